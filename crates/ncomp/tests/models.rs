//! What is no model, or too large a one, as `ncomp` tells it.

mod support;

use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use support::{error, ncomp, root};
use transformer::table::Table;
use transformer::{Architecture, Config, Tokenizer};

fn generate(model: &str, out: &Path) -> Vec<String> {
    let out = out.join("out.jsonl").display().to_string();
    ["generate", "--model", model, "--limit", "1", "--max-new-tokens", "2", "--out", &out]
        .map(str::to_owned)
        .into()
}

fn refused(model: &Path) -> String {
    let out = tempfile::tempdir().expect("a directory");
    let arguments = generate(&model.display().to_string(), out.path());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    error(&ncomp(&arguments).output().expect("ncomp"))
}

#[test]
fn what_is_no_model_is_told_in_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    std::fs::create_dir(path("empty")).expect("a directory");
    assert!(
        refused(&path("empty"))
            .contains("expected a model: config.json with model.safetensors, or a GGUF file")
    );
    assert!(Command::new("mkfifo").arg(path("pipe.gguf")).status().expect("mkfifo").success());
    assert!(refused(&path("pipe.gguf")).contains("found a pipe or a device"));
    std::fs::write(path("lfs.gguf"), "version https://git-lfs.github.com/spec/v1\noid sha256:a\n")
        .expect("written");
    assert!(refused(&path("lfs.gguf")).contains("a Git LFS pointer"));
    std::fs::write(path("page.gguf"), "<!DOCTYPE html><html><body>404</body></html>").expect("written");
    assert!(refused(&path("page.gguf")).contains("a page of the web"));
}

/// A model of half a billion weights of which none is written: a file with holes.
fn large_model(directory: &Path) {
    std::fs::copy(root().join("models/basics/tokenizer.json"), directory.join("tokenizer.json"))
        .expect("copied");
    let tokenizer = Tokenizer::load(directory).expect("a tokenizer");
    let config = Config {
        architecture: Architecture::Llama,
        vocab_size: tokenizer.vocab_size(),
        hidden_size: 2048,
        intermediate_size: 8192,
        num_hidden_layers: 8,
        num_attention_heads: 16,
        num_key_value_heads: 16,
        head_dim: 128,
        ..Config::tiny()
    };
    std::fs::write(directory.join("config.json"), config.to_json().to_string()).expect("written");
    let (mut header, mut end) = (Map::new(), 0);
    for (_, part) in Table::of(&config).parts() {
        let start = end;
        end += 2 * part.range.len();
        let tensor = json!({"dtype": "BF16", "shape": part.shape, "data_offsets": [start, end]});
        header.insert(part.hugging_face.clone(), tensor);
    }
    let header = Value::Object(header).to_string();
    let mut file = std::fs::File::create(directory.join("model.safetensors")).expect("a file");
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("written");
    file.write_all(header.as_bytes()).expect("written");
    file.set_len((8 + header.len() + end) as u64).expect("a file with holes");
}

#[test]
fn a_model_beyond_the_limit_on_address_space_is_refused_with_what_would_fit() {
    let directory = tempfile::tempdir().expect("a directory");
    large_model(directory.path());
    let arguments = generate(&directory.path().display().to_string(), directory.path());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 2000000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ncomp")]);
    let message = error(&command.args(arguments).env("NCOMP_DEVICE", "cpu").output().expect("ncomp"));
    assert!(message.contains("its weights need 1.") && message.contains("(ulimit -v) leaves"), "{message}");
    assert!(message.contains("q8_0 0.") && message.contains("; a smaller form of the weights"), "{message}");
    assert!(message.contains("--weights"), "{message}");
}

/// A GGUF file with a vocabulary of many tokens, which lacks much else.
fn file_of_many_tokens(path: &Path) {
    let tokens = (0..150_000).map(|at| format!("a token that is called {at}"));
    let metadata = [
        ("general.architecture", gguf::Value::from("llama")),
        ("tokenizer.ggml.tokens", gguf::Value::Array(gguf::Array::Strings(tokens.collect()))),
    ];
    let tensor = gguf::TensorInfo {
        name: "token_embd.weight".to_owned(),
        shape: vec![64, 150_000],
        block_type: gguf::BlockType::Bf16,
    };
    let mut writer = gguf::Writer::create(path, metadata, vec![tensor]).expect("a file");
    writer.write("token_embd.weight", &vec![0; 2 * 64 * 150_000]).expect("written");
    writer.finish().expect("written");
}

#[test]
fn a_file_that_hardly_fits_the_address_space_is_refused_and_never_ends_the_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("m.gguf");
    file_of_many_tokens(&path);
    let kib = std::fs::metadata(&path).expect("a file").len() / 1024;
    let (mut refused, mut told) = (0, 0);
    // The program itself takes less than 32 MiB.
    for more in (32..110).step_by(2) {
        let limit = format!("ulimit -v {}; exec \"$0\" \"$@\"", kib + 1024 * more);
        let mut command = Command::new("sh");
        command.args(["-c", &limit, env!("CARGO_BIN_EXE_ncomp")]).env("NCOMP_DEVICE", "cpu");
        let arguments = generate(&path.display().to_string(), directory.path());
        let output = command.args(arguments).output().expect("ncomp");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{more} MiB more: {message}");
        if message.contains("(ulimit -v) leaves") {
            // Where hardly anything is left, not even the table of tensors can be looked at.
            let forms = message.contains("its weights in other forms, in GiB: f32 0.0, bf16");
            told += usize::from(forms);
            assert!(forms || message.contains("leaves 0.0"), "{message}");
            refused += 1;
        } else {
            assert!(message.contains("llama.block_count"), "{message}");
        }
    }
    assert!((2..39).contains(&refused) && told > 0, "{refused} of 39, {told} with forms");
}
