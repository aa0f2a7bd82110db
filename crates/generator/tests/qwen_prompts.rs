//! Qwen2.5's real tokenizer and chat template on every MBPP prompt, against transformers;
//! `reference/make.py` makes the values.

use problems::prompt::{ChatTemplate, PromptTests};
use problems::sets::read_file;
use std::path::Path;
use transformer::Tokenizer;

fn fnv(bytes: impl IntoIterator<Item = u8>) -> String {
    let hash = bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

#[test]
fn prompts_and_tokens_are_transformers() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = here.join("../../../shared/data");
    if !data.join("qwen2.5-coder/tokenizer.json").exists() {
        eprintln!("SKIPPED: {} is not here", data.display());
        return;
    }
    let template =
        ChatTemplate::load(&data.join("qwen2.5-coder")).expect("readable").expect("a chat template");
    let tokenizer = Tokenizer::load(&data.join("qwen2.5-coder")).expect("a tokenizer");
    let problems = read_file(&data.join("mbpp/mbpp.jsonl")).expect("MBPP");
    let reference = std::fs::read_to_string(here.join("tests/reference/qwen_prompts.jsonl")).expect("values");
    assert_eq!(reference.lines().count(), problems.len());
    for (problem, line) in problems.iter().zip(reference.lines()) {
        let (id, text_hash, count, token_hash): (u32, String, usize, String) =
            serde_json::from_str(line).expect("a row");
        assert_eq!(problem.id, format!("Mbpp/{id}"));
        let prompt = template.protocol_prompt(&problem.shown, PromptTests::All, &|| false).expect("a prompt");
        assert_eq!(fnv(prompt.bytes()), text_hash, "{}: {prompt}", problem.id);
        let tokens = tokenizer.encode(&prompt);
        assert_eq!(tokens.len(), count, "{}", problem.id);
        assert_eq!(fnv(tokens.iter().flat_map(|token| token.to_le_bytes())), token_hash, "{}", problem.id);
    }
}
