//! How byte-level tokenizers split text before merging, by the names that GGUF files have for it.

use serde_json::{Value, json};

/// One way to split.
pub(super) struct Split {
    /// `tokenizer.ggml.pre`; others that split alike follow the first.
    pub(super) names: &'static [&'static str],
    /// Patterns, one after the other; after them GPT-2's, if `is_gpt2`. From the `tokenizer.json` that the
    /// models were published with; of `default` from llama.cpp, which alone has it.
    patterns: &'static [&'static str],
    is_gpt2: bool,
    is_normalized: bool,
    /// Whether a word that is a token is one, whatever the merges say.
    pub(super) ignores_merges: bool,
    /// Whether a text begins with a token of its own where the file does not say.
    pub(super) adds_bos: bool,
}

const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const PLAIN: Split = Split {
    names: &[],
    patterns: &[],
    is_gpt2: false,
    is_normalized: false,
    ignores_merges: false,
    adds_bos: false,
};

pub(super) const SPLITS: [Split; 8] = [
    Split { names: &["qwen2"], patterns: &[QWEN2], is_normalized: true, ..PLAIN },
    Split { names: &["deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan"], patterns: &[QWEN2], ..PLAIN },
    Split {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "lfm2"],
        patterns: &[LLAMA3],
        ignores_merges: true,
        adds_bos: true,
        ..PLAIN
    },
    Split { names: &["smaug-bpe", "dbrx", "chatglm-bpe"], patterns: &[LLAMA3], ..PLAIN },
    Split {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        patterns: &[r"\p{N}"],
        is_gpt2: true,
        ..PLAIN
    },
    Split {
        names: &["deepseek-coder"],
        patterns: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"],
        ..PLAIN
    },
    Split {
        names: &["gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "exaone4", "mellum", "gigachat"],
        is_gpt2: true,
        ..PLAIN
    },
    Split {
        names: &["default"],
        patterns: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
        ..PLAIN
    },
];

impl Split {
    /// The one of that name.
    pub(super) fn named(name: &str) -> Option<&'static Split> {
        SPLITS.iter().find(|split| split.names.contains(&name))
    }

    /// Their names, for messages.
    pub(super) fn all_names() -> String {
        SPLITS.iter().flat_map(|split| split.names).copied().collect::<Vec<&str>>().join(", ")
    }

    /// `normalizer` of `tokenizer.json`.
    pub(super) fn normalizer(&self) -> Value {
        if self.is_normalized { json!({ "type": "NFC" }) } else { Value::Null }
    }

    /// `pre_tokenizer` of `tokenizer.json`.
    pub(super) fn pre_tokenizer(&self) -> Value {
        let step = |pattern: &&str| {
            json!({
                "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false,
            })
        };
        let mut steps: Vec<Value> = self.patterns.iter().map(step).collect();
        steps.push(byte_level(self.is_gpt2));
        json!({ "type": "Sequence", "pretokenizers": steps })
    }

    /// The one that a `tokenizer.json` describes, if any does.
    pub(super) fn of(tokenizer: &Value) -> Option<&'static Split> {
        let before = &tokenizer["pre_tokenizer"];
        let steps = match before["pretokenizers"].as_array() {
            Some(steps) => steps.as_slice(),
            None => std::slice::from_ref(before),
        };
        let (last, splits) = steps.split_last()?;
        if last["type"] != "ByteLevel" || last["add_prefix_space"] != false {
            return None;
        }
        let patterns = splits.iter().map(pattern).collect::<Option<Vec<String>>>()?;
        let normalizer = &tokenizer["normalizer"];
        let is_normalized = normalizer["type"] == "NFC";
        let is_nothing = normalizer.is_null()
            || normalizer["type"] == "Sequence" && normalizer["normalizers"].as_array()?.is_empty();
        if !is_normalized && !is_nothing {
            return None;
        }
        let (is_gpt2, ignores_merges) =
            (last["use_regex"] != false, tokenizer["model"]["ignore_merges"] == true);
        SPLITS.iter().find(|split| {
            split.patterns == patterns
                && (split.is_gpt2, split.is_normalized, split.ignores_merges)
                    == (is_gpt2, is_normalized, ignores_merges)
        })
    }
}

/// What a step isolates; none where it does anything else with it.
fn pattern(step: &Value) -> Option<String> {
    match step["type"].as_str()? {
        "Digits" if step["individual_digits"] == true => Some(r"\p{N}".to_owned()),
        "Split" if step["behavior"] == "Isolated" && step["invert"] != true => {
            step["pattern"]["Regex"].as_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// A step, or a decoder, between texts and the characters that stand for their bytes.
pub(super) fn byte_level(use_regex: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(split: &Split) -> Value {
        json!({
            "normalizer": split.normalizer(),
            "pre_tokenizer": split.pre_tokenizer(),
            "model": { "ignore_merges": split.ignores_merges },
        })
    }

    #[test]
    fn what_is_split_in_a_known_way_is_recognised() {
        for split in &SPLITS {
            assert_eq!(Split::of(&tokenizer(split)).map(|found| found.names), Some(split.names));
        }
        let other = json!({ "pre_tokenizer": { "type": "Whitespace" } });
        assert!(Split::of(&other).is_none());
    }

    /// What a way to split makes of a text, as llama.cpp does it (`bench/tokens.sh` compares many).
    #[test]
    fn what_no_file_names_splits_as_llama_cpp_does() {
        let pieces = |name: &str, text: &str| {
            let split = Split::named(name).expect("a way to split");
            let whole = json!({
                "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
                "normalizer": null, "pre_tokenizer": split.pre_tokenizer(), "post_processor": null,
                "decoder": null,
                "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
            });
            let whole: tokenizers::Tokenizer = whole.to_string().parse().expect("a tokenizer");
            let mut text = tokenizers::PreTokenizedString::from(text);
            let step = whole.get_pre_tokenizer().expect("a step");
            tokenizers::PreTokenizer::pre_tokenize(step, &mut text).expect("split");
            let found =
                text.get_splits(tokenizers::OffsetReferential::Original, tokenizers::OffsetType::Byte);
            found.into_iter().map(|(piece, ..)| piece.to_owned()).collect::<Vec<String>>().join("|")
        };
        assert_eq!(pieces("default", "x+=12345, y1"), "x|+=|123|45|,|Ġy|1");
        assert_eq!(pieces("gpt-2", "x+=12345, y1"), "x|+=|12345|,|Ġy|1");
        assert_eq!(pieces("smollm", "x+=123, y1"), "x|+=|1|2|3|,|Ġy|1");
        assert_eq!(pieces("llama-bpe", "12345  b"), "123|45|Ġ|Ġb");
    }

    #[test]
    fn what_does_anything_else_with_a_pattern_is_another() {
        for (field, value) in [
            ("behavior", json!("Removed")),
            ("behavior", json!("MergedWithPrevious")),
            ("invert", json!(true)),
            ("pattern", json!({ "String": "x" })),
        ] {
            let mut changed = tokenizer(&SPLITS[0]);
            changed["pre_tokenizer"]["pretokenizers"][0][field] = value;
            assert!(Split::of(&changed).is_none(), "{field}");
        }
    }
}
