//! Whatever the files of a model say, opening it ends without a panic: in an error that names a file, or
//! in a model that can be read and run.
//!
//! The bytes are a GGUF file, or, where they begin with a brace, a directory's `config.json`,
//! `model.safetensors.index.json` and `model.safetensors`, with a line `----` between.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use transformer::device::Device;
use transformer::{Checkpoint, Cpu, PackedBatch, Tokenizer};

/// More numbers take too long to be multiplied.
const MOST_NUMBERS: usize = 1 << 20;

static HERE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    }
    .expect("a directory")
});

fn write(bytes: &[u8]) -> PathBuf {
    let directory = HERE.path().join("model");
    if !bytes.starts_with(b"{") {
        let path = HERE.path().join("model.gguf");
        std::fs::write(&path, bytes).expect("written");
        return path;
    }
    std::fs::create_dir_all(&directory).expect("a directory");
    const BETWEEN: &[u8] = b"\n----\n";
    let mut rest = bytes;
    for name in ["config.json", "model.safetensors.index.json"] {
        let end = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN);
        let part = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[], |end| &rest[end + BETWEEN.len()..]);
        let path = directory.join(name);
        match part.is_empty() {
            true => drop(std::fs::remove_file(path)),
            false => std::fs::write(path, part).expect("written"),
        }
    }
    std::fs::write(directory.join("model.safetensors"), rest).expect("written");
    directory
}

fn use_model(checkpoint: &Checkpoint) {
    let config = checkpoint.config();
    if config.parameters() > MOST_NUMBERS {
        return;
    }
    let Ok(model) = checkpoint.model() else { return };
    assert_eq!(model.weights.tensors().len(), checkpoint.table().tensors().len());
    let mut batch = PackedBatch::default();
    batch.push_sequence(&[0]);
    let Ok(mut reader) = Cpu::default().open(checkpoint) else { return };
    let hidden = reader.hidden_rows(&batch, &[0]).expect("the processor does not fail");
    assert_eq!(hidden.len(), config.hidden_size);
}

fuzz_target!(|bytes: &[u8]| {
    let path = write(bytes);
    match Checkpoint::open(&path) {
        Ok(checkpoint) => {
            use_model(&checkpoint);
            if let Ok(tokenizer) = Tokenizer::of(&checkpoint) {
                let _ = tokenizer.decode(&tokenizer.encode("ab ab<|im_end|>"));
            }
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with(&HERE.path().display().to_string()), "{message}");
        }
    }
});
