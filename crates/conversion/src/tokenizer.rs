//! The tokenizer: GGUF's tokens and merges as `tokenizer.json`, its template as
//! `tokenizer_config.json`.

use crate::Error;
use gguf::File;
use serde_json::{Map, Value, json};

/// How text is split before merging, by `tokenizer.ggml.pre`; from the tokenizers that the models were
/// published with.
const SPLITS: [(&str, &str); 1] = [(
    "qwen2",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)];
/// Control tokens that end an answer, whatever the file names as its end.
const ENDS: [&str; 4] = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>"];

/// `tokenizer.ggml.token_type`, from the GGUF specification.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// `tokenizer.json` and `tokenizer_config.json`.
pub(crate) fn of(file: &File) -> Result<(Value, Value), Error> {
    let metadata = file.metadata();
    let model = metadata.str("tokenizer.ggml.model")?;
    if model != "gpt2" {
        let expected = "gpt2, a byte-level BPE";
        return Err(Error::unsupported(file, "tokenizer.ggml.model", expected, model));
    }
    let pre = metadata.str("tokenizer.ggml.pre")?;
    let Some((_, split)) = SPLITS.iter().find(|(name, _)| *name == pre) else {
        let known = SPLITS.map(|(name, _)| name).join(", ");
        return Err(Error::unsupported(file, "tokenizer.ggml.pre", known, pre));
    };
    let (vocabulary, added) = tokens(file)?;
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
    });
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": { "type": "NFC" },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                { "type": "Split", "pattern": { "Regex": split }, "behavior": "Isolated", "invert": false },
                byte_level,
            ],
        },
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges(file)?,
        },
    });
    Ok((tokenizer, settings(file)?))
}

/// The vocabulary of ordinary tokens, and the tokens beside it, which no merge makes.
fn tokens(file: &File) -> Result<(Map<String, Value>, Vec<Value>), Error> {
    let metadata = file.metadata();
    let texts = metadata.strings("tokenizer.ggml.tokens")?;
    let types = metadata.i32s("tokenizer.ggml.token_type")?;
    if texts.len() != types.len() {
        let (expected, found) = (format!("one for each of {} tokens", texts.len()), types.len().to_string());
        return Err(Error::unsupported(file, "tokenizer.ggml.token_type", expected, found));
    }
    let (mut vocabulary, mut added) = (Map::new(), Vec::new());
    for (id, (text, &kind)) in texts.iter().zip(types.iter()).enumerate() {
        match kind {
            NORMAL => {
                vocabulary.insert(text.to_owned(), id.into());
            }
            CONTROL | USER_DEFINED => added.push(json!({
                "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": kind == CONTROL,
            })),
            // Rows of the matrix that stand for nothing.
            UNUSED => {}
            _ => {
                let what = format!("tokenizer.ggml.token_type of token {id}");
                return Err(Error::unsupported(file, what, "1, 3, 4 or 5", kind.to_string()));
            }
        }
    }
    Ok((vocabulary, added))
}

fn merges(file: &File) -> Result<Vec<[String; 2]>, Error> {
    let merges = file.metadata().strings("tokenizer.ggml.merges")?;
    let pair = |merge: &str| {
        let (left, right) = merge.split_once(' ')?;
        Some([left.to_owned(), right.to_owned()])
    };
    let pairs = merges.iter().map(|merge| {
        pair(merge).ok_or_else(|| {
            Error::unsupported(file, "tokenizer.ggml.merges", "two tokens and a space between", merge)
        })
    });
    pairs.collect()
}

fn settings(file: &File) -> Result<Value, Error> {
    let metadata = file.metadata();
    let texts = metadata.strings("tokenizer.ggml.tokens")?;
    let token = |key: &str| -> Result<Option<&str>, Error> {
        let id = metadata.optional::<u32>(&format!("tokenizer.ggml.{key}_token_id"))?;
        Ok(id.and_then(|id| texts.get(id as usize)))
    };
    Ok(json!({
        "add_bos_token": metadata.optional::<bool>("tokenizer.ggml.add_bos_token")?.unwrap_or(false),
        "bos_token": token("bos")?,
        "chat_template": metadata.optional::<&str>("tokenizer.chat_template")?,
        "clean_up_tokenization_spaces": false,
        "eos_token": token("eos")?,
        "pad_token": token("padding")?,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": null,
    }))
}

/// Tokens that end an answer, the file's own first.
pub(crate) fn end_tokens(file: &File) -> Result<Vec<usize>, Error> {
    let metadata = file.metadata();
    let texts = metadata.strings("tokenizer.ggml.tokens")?;
    let types = metadata.i32s("tokenizer.ggml.token_type")?;
    let own = metadata.optional::<u32>("tokenizer.ggml.eos_token_id")?.map(|id| id as usize);
    let ends = texts.iter().zip(types.iter()).enumerate();
    let ends = ends.filter(|(_, (text, kind))| **kind == CONTROL && ENDS.contains(text)).map(|(id, _)| id);
    Ok(own.into_iter().chain(ends.filter(|&id| Some(id) != own)).collect())
}
