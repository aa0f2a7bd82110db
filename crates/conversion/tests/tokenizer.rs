//! What a directory says of its tokenizer is in its GGUF file too, and back; or it is refused by name.

use conversion::{Precision, to_directory, to_gguf};
use gguf::BlockType;
use serde_json::{Value, json};
use small::*;
use std::ops::ControlFlow;
use std::path::Path;
use transformer::{Checkpoint, Config, Model, Tokenizer};

/// Small files of a model.
mod small {
    use super::*;

    pub fn tokenizer() -> Value {
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [
                {"id": 0, "content": "<s>", "special": true, "lstrip": false, "rstrip": false, "single_word": false, "normalized": false},
                {"id": 1, "content": "</s>", "special": true, "lstrip": false, "rstrip": false, "single_word": false, "normalized": false},
            ],
            "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "post_processor": null,
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "vocab": {"<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4, "Ġ": 5}, "merges": [["a", "b"]]},
        })
    }

    pub fn template(single: Value) -> Value {
        let token = |id: u32, text: &str| json!({"id": text, "ids": [id], "tokens": [text]});
        json!({
            "type": "TemplateProcessing", "single": single, "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<s>": token(0, "<s>"), "</s>": token(1, "</s>")},
        })
    }

    pub fn special(text: &str) -> Value {
        json!({"SpecialToken": {"id": text, "type_id": 0}})
    }

    pub fn text() -> Value {
        json!({"Sequence": {"id": "A", "type_id": 0}})
    }

    /// Writes a model with these files beside it.
    pub fn model(directory: &Path, tokenizer: &Value, files: &[(&str, &[u8])]) -> Checkpoint {
        let config = Config { vocab_size: 6, eos_token_ids: vec![1], ..Config::tiny() };
        Model::random(config, 3).save(directory, Default::default()).expect("saved");
        std::fs::write(directory.join("tokenizer.json"), tokenizer.to_string()).expect("written");
        for (name, bytes) in files {
            std::fs::write(directory.join(name), bytes).expect("written");
        }
        Checkpoint::open(directory).expect("a model")
    }

    /// As a GGUF file.
    pub fn converted(tokenizer: &Value, files: &[(&str, &[u8])]) -> Result<Checkpoint, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let model = model(directory.path(), tokenizer, files);
        let target = directory.path().join("m.gguf");
        let done = to_gguf(&model, &target, BlockType::F32, &mut |_, _| ControlFlow::Continue(()));
        done.map(|()| Checkpoint::open(&target).expect("a model")).map_err(|error| error.to_string())
    }
}

#[test]
fn what_is_added_to_a_text_is_added_in_every_form() {
    for (post_processor, expected) in [
        (Value::Null, vec![4]),
        (template(json!([special("<s>"), text()])), vec![0, 4]),
        (template(json!([special("<s>"), text(), special("</s>")])), vec![0, 4, 1]),
        (
            json!({"type": "Sequence", "processors": [
                {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
                template(json!([special("<s>"), text()])),
            ]}),
            vec![0, 4],
        ),
    ] {
        let mut tokenizer = tokenizer();
        tokenizer["post_processor"] = post_processor;
        let file = converted(&tokenizer, &[]).expect("a file");
        let known = Tokenizer::of(&file).expect("a tokenizer");
        assert_eq!(known.encode_whole("ab"), expected);
        assert_eq!(known.encode("ab"), [4]);
        let back = tempfile::tempdir().expect("a directory");
        let directory = back.path().join("model");
        to_directory(&file, &directory, Precision::F32, &mut |_, _| ControlFlow::Continue(())).expect("back");
        assert_eq!(Tokenizer::load(&directory).expect("a tokenizer").encode_whole("ab"), expected);
    }
}

/// What transformers' `PreTrainedTokenizerFast` makes of the same file.
#[test]
fn added_tokens_take_white_space_and_stand_between_words_in_every_form() {
    let mut tokenizer = tokenizer();
    tokenizer["added_tokens"][0]["lstrip"] = true.into();
    tokenizer["added_tokens"][1]["rstrip"] = true.into();
    let word = json!({"id": 6, "content": "bab", "special": false, "lstrip": false, "rstrip": false,
        "single_word": true, "normalized": false});
    tokenizer["added_tokens"].as_array_mut().expect("a list").push(word);
    let directory = tempfile::tempdir().expect("a directory");
    let config = Config { vocab_size: 7, eos_token_ids: vec![1], ..Config::tiny() };
    Model::random(config, 3).save(directory.path(), Default::default()).expect("saved");
    std::fs::write(directory.path().join("tokenizer.json"), tokenizer.to_string()).expect("written");
    let model = Checkpoint::open(directory.path()).expect("a model");
    let (target, back) = (directory.path().join("m.gguf"), directory.path().join("back"));
    let go_on = &mut |_: usize, _: usize| ControlFlow::Continue(());
    to_gguf(&model, &target, BlockType::F32, go_on).expect("a file");
    let file = Checkpoint::open(&target).expect("a model");
    to_directory(&file, &back, Precision::F32, go_on).expect("a directory");
    let forms = [&model, &file, &Checkpoint::open(&back).expect("a model")]
        .map(|form| Tokenizer::of(form).expect("a tokenizer"));
    for (text, expected) in [
        ("ab  <s> ab", &[4, 0, 5, 4][..]),
        ("ab </s>  ab", &[4, 5, 1, 4]),
        ("bab", &[6]),
        ("a bab b", &[2, 5, 6, 5, 3]),
        ("abab", &[4, 4]),
        ("a<s>bab</s>", &[2, 0, 6, 1]),
        (" <s> ", &[0, 5]),
        (" </s> ", &[5, 1]),
        ("babbab bab", &[3, 4, 3, 4, 5, 6]),
    ] {
        for form in &forms {
            assert_eq!(form.encode(text), expected, "{text}");
        }
    }
}

#[test]
fn what_cuts_and_pads_batches_does_nothing_to_a_text() {
    let mut tokenizer = tokenizer();
    tokenizer["truncation"] =
        json!({"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0});
    tokenizer["padding"] = json!({"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 1, "pad_type_id": 0, "pad_token": "</s>"});
    let directory = tempfile::tempdir().expect("a directory");
    model(directory.path(), &tokenizer, &[]);
    assert_eq!(Tokenizer::load(directory.path()).expect("a tokenizer").encode("abab"), [4, 4]);
}

#[test]
fn every_template_and_special_token_is_kept() {
    let settings = json!({
        "bos_token": {"content": "<s>"}, "pad_token": "</s>",
        "chat_template": [
            {"name": "default", "template": "{{ 1 }}"},
            {"name": "tool use", "template": "{{ 2 }}"},
        ],
    });
    let file = converted(&tokenizer(), &[("tokenizer_config.json", settings.to_string().as_bytes())]);
    let file = file.expect("a file");
    let metadata = file.gguf().expect("a file").metadata();
    assert_eq!(metadata.str("tokenizer.chat_template").expect("a template"), "{{ 1 }}");
    assert_eq!(metadata.str("tokenizer.chat_template.tool_use").expect("a template"), "{{ 2 }}");
    assert_eq!(metadata.u32("tokenizer.ggml.bos_token_id").expect("a token"), 0);
    let settings = transformer::tokenizer::gguf::settings(file.gguf().expect("a file")).expect("settings");
    assert_eq!(settings["chat_template"][1], json!({"name": "tool_use", "template": "{{ 2 }}"}));
    assert_eq!((&settings["bos_token"], &settings["pad_token"]), (&json!("<s>"), &json!("</s>")));
    // A token of the vocabulary alone is one too.
    let plain = json!({"bos_token": "a"}).to_string();
    let file = converted(&tokenizer(), &[("tokenizer_config.json", plain.as_bytes())]).expect("a file");
    let metadata = file.gguf().expect("a file").metadata();
    assert_eq!(metadata.u32("tokenizer.ggml.bos_token_id").expect("a token"), 2);
}

#[test]
fn what_a_gguf_file_cannot_say_is_refused_by_name() {
    let refused = |pointer: &str, value: Value, expected: &str| {
        let mut changed = tokenizer();
        *changed.pointer_mut(pointer).expect("a field") = value;
        let message = converted(&changed, &[]).map(drop).expect_err(pointer);
        assert!(message.contains(&format!("tokenizer.json: {expected}")), "{message}");
    };
    refused(
        "/post_processor",
        template(json!([special("<s>"), special("<s>"), text(), text()])),
        "post_processor",
    );
    refused("/pre_tokenizer/add_prefix_space", json!(true), "normalizer, pre_tokenizer: expected those");
    let removed = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "\\p{N}"}, "behavior": "Removed", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
    ]});
    refused("/pre_tokenizer", removed, "normalizer, pre_tokenizer: expected those");
    refused("/decoder", json!({"type": "Fuse"}), "decoder.type: expected ByteLevel");
    for (name, bytes, expected) in [
        ("tokenizer_config.json", &b"{\"bos_token\": "[..], "expected JSON"),
        ("tokenizer_config.json", b"[]", "expected a JSON object"),
        (
            "tokenizer_config.json",
            b"{\"bos_token\": \"<x>\"}",
            "bos_token: expected a token of tokenizer.json",
        ),
        ("tokenizer_config.json", b"{\"chat_template\": 5}", "chat_template: expected a template"),
        ("chat_template.jinja", b"\xff\xfe{{", "valid UTF-8"),
    ] {
        let message = converted(&tokenizer(), &[(name, bytes)]).map(drop).expect_err(name);
        assert!(message.contains(name) && message.contains(expected), "{message}");
    }
}
