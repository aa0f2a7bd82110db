//! Published models: the GGUF files in the directory that `NCOMP_TEST_GGUF` names. Where
//! `NCOMP_TEST_PYTHON` has the gguf package, rows are compared with its.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use gguf::{File, Tensor, dequantize_row};
use std::path::{Path, PathBuf};
use support::{assert_same, python_with_gguf, run_python};

fn files() -> Vec<PathBuf> {
    let Some(directory) = std::env::var_os("NCOMP_TEST_GGUF") else {
        eprintln!("SKIPPED: NCOMP_TEST_GGUF names no directory with GGUF files");
        return Vec::new();
    };
    let paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "gguf")).collect();
    assert!(!files.is_empty(), "no *.gguf in NCOMP_TEST_GGUF");
    files
}

fn row(tensor: Tensor<'_>, number: usize) -> Vec<f32> {
    let mut values = vec![0.0; tensor.row_elements()];
    dequantize_row(tensor.block_type(), tensor.row(number).unwrap(), &mut values).unwrap();
    values
}

#[test]
fn every_tensor_is_finite() {
    for path in files() {
        let file = File::open(&path).unwrap();
        for tensor in file.tensors() {
            for number in 0..tensor.rows() {
                let is_finite = row(tensor, number).iter().all(|value| value.is_finite());
                assert!(is_finite, "{}: {} row {number}", path.display(), tensor.name());
            }
        }
    }
}

#[test]
fn tokens_and_their_types_go_together() {
    for path in files() {
        let file = File::open(&path).unwrap();
        let tokens = file.metadata().strings("tokenizer.ggml.tokens").unwrap();
        let types = file.metadata().i32s("tokenizer.ggml.token_type").unwrap();
        assert_eq!(tokens.len(), types.len(), "{}", path.display());
    }
}

#[test]
fn rows_are_the_packages() {
    let files = files();
    if files.is_empty() {
        return;
    }
    let Some(python) = python_with_gguf() else { return };
    for path in files {
        let expected = tempfile::NamedTempFile::new().unwrap();
        run_python(&python, "rows.py", &[&path, expected.path()]);
        compare(&path, expected.path());
    }
}

fn compare(path: &Path, expected: &Path) {
    let (file, expected) = (File::open(path).unwrap(), File::open(expected).unwrap());
    assert_eq!(file.tensors().len(), expected.tensors().len());
    for tensor in file.tensors() {
        let expected = expected.tensor(tensor.name()).unwrap();
        let rows = [0, tensor.rows() / 2, tensor.rows() - 1];
        for (number, row_number) in rows.into_iter().enumerate() {
            let what = format!("{}: {} row {row_number}", path.display(), tensor.name());
            assert_same(&row(tensor, row_number), &row(expected, number), &what);
        }
    }
}
