//! Which names are one model's.

/// Ends the name of a model that has a learned adapter.
pub const LEARNED: &str = "+learned";

/// Whether a name is that of the model `known`, or of a form of it: case, the owner in `owner/name`, the
/// form of the weights (`-q4_k_m`, `.gguf`) and a learned adapter ([`LEARNED`]) make no other model.
pub fn is_model(known: &str, name: &str) -> bool {
    let (known, name) = (plain(known), plain(name));
    let rest = name.strip_prefix(&known);
    rest.is_some_and(|rest| rest.is_empty() || is_form(rest))
}

/// A model's name in lower case, without its owner and what it learned.
fn plain(name: &str) -> String {
    let name = name.trim_end_matches('/');
    let name = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    name.strip_suffix(LEARNED).map(str::to_owned).unwrap_or(name)
}

/// Whether what follows a model's name says in which form its weights are: `-q4_k_m`, `.gguf`, `:bf16`.
fn is_form(rest: &str) -> bool {
    let word = rest.strip_prefix(['-', '.', ':', '_']).unwrap_or_default();
    let forms = ["gguf", "f16", "fp16", "bf16", "f32", "fp32"];
    let digit_after =
        |prefix: &str| word.strip_prefix(prefix).is_some_and(|w| w.starts_with(|c: char| c.is_ascii_digit()));
    forms.iter().any(|form| word.starts_with(form)) || digit_after("q") || digit_after("iq")
}

#[cfg(test)]
mod tests {
    use super::is_model;

    #[test]
    fn forms_of_a_model_are_it_and_other_models_are_not() {
        let known = "Qwen/Qwen2.5-Coder-1.5B-Instruct";
        for name in [
            "Qwen/Qwen2.5-Coder-1.5B-Instruct",
            "/data/qwen2.5-coder-1.5b-instruct/",
            "qwen2.5-coder-1.5b-instruct-q4_k_m",
            "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            "bartowski/Qwen2.5-Coder-1.5B-Instruct-GGUF:Q4_K_M",
            "qwen2.5-coder-1.5b-instruct-q8_0+learned",
            "Qwen2.5-Coder-1.5B-Instruct+learned",
        ] {
            assert!(is_model(known, name), "{name}");
        }
        assert!(is_model("m-q4_0+learned", "m-q4_0"));
        for name in [
            "",
            "qwen2.5-coder-1.5b",
            "qwen2.5-coder-1.5b-instruct-mine",
            "qwen2.5-coder-0.5b-instruct",
            "grpo",
        ] {
            assert!(!is_model(known, name), "{name}");
        }
    }
}
