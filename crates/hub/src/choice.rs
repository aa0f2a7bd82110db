//! Which of a repository's files a name means.

/// The weights of a directory.
pub(crate) const WEIGHTS: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];
/// What a directory holds beside them.
pub(crate) const BESIDE_WEIGHTS: [&str; 5] = [
    "tokenizer.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];
/// What is taken where nothing is said, in this order, as in llama.cpp; then the first.
const DEFAULTS: [&str; 2] = ["q4_k_m", "q8_0"];
/// What the names of files beside a model's contain, as llama.cpp has it: projectors of images, matrices of
/// importance, drafts.
const NO_MODEL: [&str; 6] = ["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];

/// The repository, and the quantisation or file in it, that a name says.
pub(crate) fn parse(name: &str) -> Option<(String, Option<String>)> {
    let (repository, wanted) = match name.split_once(':') {
        Some((repository, wanted)) => (repository.to_owned(), Some(wanted.to_owned())),
        None => {
            let mut parts = name.splitn(3, '/');
            let repository = format!("{}/{}", parts.next()?, parts.next()?);
            (repository, parts.next().map(str::to_owned))
        }
    };
    let (owner, model) = repository.split_once('/')?;
    let is_fine = match wanted.as_deref() {
        Some(wanted) if name.contains(':') => !wanted.is_empty(),
        Some(path) => is_file(path),
        None => true,
    };
    (is_fine && crate::cache::is_name(owner) && crate::cache::is_name(model)).then_some((repository, wanted))
}

/// The parts of the GGUF file that is meant, the first one first; one for a file that is not split.
///
/// # Errors
/// Says what there is instead.
pub(crate) fn gguf(files: &[String], wanted: Option<&str>) -> Result<Vec<String>, String> {
    let mut models: Vec<&String> = files.iter().filter(|file| is_model(file)).collect();
    models.sort();
    if let Some(wanted) = wanted.filter(|wanted| !is_file(wanted) && !is_quantisation(wanted)) {
        return Err(format!("'{wanted}' is neither a quantisation, such as Q4_K_M, nor a GGUF file's name"));
    }
    let Some(file) = chosen(&models, wanted) else {
        return Err(match models.is_empty() {
            true => "it has neither safetensors nor GGUF files; name another that has".to_owned(),
            false => {
                let whole: Vec<&str> = models
                    .iter()
                    .map(|file| file.as_str())
                    .filter(|file| part(file).is_none_or(|part| part.number == 1))
                    .collect();
                format!("it has no such GGUF file; it has {}", whole.join(", "))
            }
        });
    };
    let Some(Part { before, count, .. }) = part(file) else { return Ok(vec![file.clone()]) };
    let parts: Vec<String> =
        (1..=count).map(|number| format!("{before}-{number:05}-of-{count:05}.gguf")).collect();
    match parts.iter().find(|part| !files.contains(part)) {
        None => Ok(parts),
        Some(missing) => Err(format!("it has no {missing}, without which {file} is not whole")),
    }
}

/// As [`gguf`], where a quantisation must mean one file only: a directory may hold different models.
///
/// # Errors
/// As [`gguf`], and where several files are meant.
pub(crate) fn only(files: &[String], wanted: &str) -> Result<Vec<String>, String> {
    let found = gguf(files, Some(wanted))?;
    let tag = wanted.to_lowercase();
    let is_meant = |file: &&String| {
        is_model(file)
            && part(file).is_none_or(|part| part.number == 1)
            && has_tag(&file.to_lowercase(), &tag)
    };
    let mut meant: Vec<&str> = files.iter().filter(is_meant).map(String::as_str).collect();
    meant.sort_unstable();
    match is_file(wanted) || meant.len() < 2 {
        true => Ok(found),
        false => Err(format!("{wanted} may mean {}; name one of them", meant.join(" or "))),
    }
}

fn is_file(wanted: &str) -> bool {
    wanted.to_lowercase().ends_with(".gguf")
}

/// Whether a text is the name of a form of weights, as files are named for it: `Q4_K_M`, `IQ4_XS`, `BF16`,
/// `UD-Q4_K_XL`.
fn is_quantisation(text: &str) -> bool {
    let lower = text.to_lowercase();
    let name = lower.rsplit('-').next().unwrap_or_default();
    let is_plain = lower.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    let kinds = ["iq", "tq", "q", "bf", "fp", "f", "mxfp", "nvfp"];
    let begins = |kind: &&str| {
        name.strip_prefix(*kind).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    is_plain && kinds.iter().any(begins)
}

fn chosen<'a>(models: &[&'a String], wanted: Option<&str>) -> Option<&'a String> {
    let first = |is_meant: &dyn Fn(&str) -> bool| {
        let starts = |file: &&&String| part(file).is_none_or(|part| part.number == 1);
        models.iter().filter(starts).find(|file| is_meant(&file.to_lowercase())).copied()
    };
    match wanted {
        None => {
            DEFAULTS.iter().find_map(|tag| first(&|file| has_tag(file, tag))).or_else(|| first(&|_| true))
        }
        Some(wanted) => {
            let wanted = wanted.to_lowercase();
            let is_named = |file: &&&String| file.to_lowercase() == wanted;
            match wanted.ends_with(".gguf") {
                // Of a split file any part stands for all.
                true => models.iter().find(is_named).copied(),
                false => first(&|file| has_tag(file, &wanted)),
            }
        }
    }
}

fn is_model(file: &str) -> bool {
    let lower = file.to_lowercase();
    let name = lower.rsplit('/').next().unwrap_or_default();
    name.ends_with(".gguf") && !NO_MODEL.iter().any(|other| name.contains(other))
}

/// Whether a path has a quantisation in it, as llama.cpp finds it: followed by a dot or a dash. Unlike
/// there, a name must begin where the tag does: F16 is not meant by BF16.
fn has_tag(path: &str, tag: &str) -> bool {
    path.match_indices(tag).any(|(at, _)| {
        let (before, after) = (path[..at].chars().next_back(), path[at + tag.len()..].chars().next());
        before.is_none_or(|c| !c.is_alphanumeric()) && after.is_some_and(|c| matches!(c, '.' | '-'))
    })
}

/// What `NAME-00001-of-00002.gguf` says.
struct Part<'a> {
    before: &'a str,
    number: usize,
    count: usize,
}

fn part(file: &str) -> Option<Part<'_>> {
    let (rest, count) = file.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (before, number) = rest.rsplit_once('-')?;
    let parsed = |text: &str| text.parse::<usize>().ok().filter(|_| text.len() == 5);
    Some(Part { before, number: parsed(number)?, count: parsed(count)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(files: &[&str], wanted: Option<&str>) -> Vec<String> {
        let files: Vec<String> = files.iter().map(|&file| file.to_owned()).collect();
        gguf(&files, wanted).unwrap_or_default()
    }

    #[test]
    fn a_quantisation_names_the_file_that_llama_cpp_takes() {
        let files = [
            "README.md",
            "mmproj-Q4_K_M.gguf",
            "m-BF16.gguf",
            "m-F16.gguf",
            "m-IQ4_XS.gguf",
            "m-Q4_K_M.gguf",
            "m-UD-Q4_K_M.gguf",
            "m.q8_0.gguf",
        ];
        for (wanted, file) in [
            (None, "m-Q4_K_M.gguf"),
            (Some("q4_k_m"), "m-Q4_K_M.gguf"),
            (Some("UD-Q4_K_M"), "m-UD-Q4_K_M.gguf"),
            (Some("Q8_0"), "m.q8_0.gguf"),
            (Some("F16"), "m-F16.gguf"),
            (Some("iq4_xs"), "m-IQ4_XS.gguf"),
            (Some("M-BF16.gguf"), "m-BF16.gguf"),
        ] {
            assert_eq!(meant(&files, wanted), [file], "{wanted:?}");
        }
        // A part of a name is none, and what is no model is not taken.
        for wanted in ["Q4_K", "Q4", "4_XS", "Q5_K_M", "mmproj-Q4_K_M.gguf", "README.md"] {
            assert_eq!(meant(&files, Some(wanted)), [""; 0], "{wanted}");
        }
        for wanted in ["m", "1", "SmolLM2", "Q", "gguf", "Q4 K", ""] {
            let files = ["SmolLM2-1.gguf".to_owned(), "m-Q8_0.gguf".to_owned()];
            let message = gguf(&files, Some(wanted)).expect_err(wanted);
            assert!(message.contains("neither a quantisation, such as Q4_K_M, nor"), "{message}");
        }
        assert_eq!(meant(&["b-Q6_K.gguf", "b-Q8_0.gguf"], None), ["b-Q8_0.gguf"]);
        for wanted in ["m", "1", "SmolLM2", "Q", "gguf", "Q4 K", ""] {
            let files = ["SmolLM2-1.gguf".to_owned(), "m-Q8_0.gguf".to_owned()];
            let message = gguf(&files, Some(wanted)).expect_err(wanted);
            assert!(message.contains("neither a quantisation, such as Q4_K_M, nor"), "{message}");
        }
        assert_eq!(meant(&["b-Q6_K.gguf", "a-Q5_0.gguf", "mtp-a.gguf"], None), ["a-Q5_0.gguf"]);
        assert_eq!(meant(&["Q4_K_M/m-Q4_K_M-imat.gguf"], None), ["Q4_K_M/m-Q4_K_M-imat.gguf"]);
    }

    #[test]
    fn a_split_file_is_all_its_parts_and_no_other() {
        let parts = ["Q8_0/m-Q8_0-00001-of-00002.gguf", "Q8_0/m-Q8_0-00002-of-00002.gguf"];
        let others = ["Q8_0/z-Q8_0-00001-of-00002.gguf", "Q8_0/z-Q8_0-00002-of-00002.gguf"];
        let files = [parts[1], others[0], parts[0], others[1]];
        assert_eq!(meant(&files, Some("q8_0")), parts);
        assert_eq!(meant(&files, Some(parts[1])), parts);
        let lacking = [parts[0].to_owned()];
        let message = gguf(&lacking, None).expect_err("a part is missing");
        assert!(message.contains("00002-of-00002"), "{message}");
    }

    #[test]
    fn what_names_a_repository() {
        let parsed =
            |name: &str| parse(name).map(|(repository, wanted)| (repository, wanted.unwrap_or_default()));
        let all = |wanted: &str| Some(("o/n".to_owned(), wanted.to_owned()));
        assert_eq!(parsed("o/n"), all(""));
        assert_eq!(parsed("o/n:Q8_0"), all("Q8_0"));
        assert_eq!(parsed("o/n:sub/f.gguf"), all("sub/f.gguf"));
        assert_eq!(parsed("o/n/sub/f.gguf"), all("sub/f.gguf"));
        for wrong in ["n", "o/n:", "o/n/x", "o/../x.gguf", "o/n?x", "/n", "o//x.gguf"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
