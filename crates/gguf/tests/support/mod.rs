//! What several test files need.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

use gguf::{Array, File, Tensor, Value};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that `reference/make.py` made.
pub fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(name)
}

/// A Python with the gguf package, if `NCOMP_TEST_PYTHON` names one.
pub fn python_with_gguf() -> Option<PathBuf> {
    let Some(python) = std::env::var_os("NCOMP_TEST_PYTHON").map(PathBuf::from) else {
        eprintln!("SKIPPED: NCOMP_TEST_PYTHON names no Python that has the gguf package");
        return None;
    };
    let status =
        Command::new(&python).args(["-c", "import gguf"]).stderr(std::process::Stdio::null()).status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: {} has no gguf package", python.display());
        return None;
    }
    Some(python)
}

/// Runs a script of `reference`.
pub fn run_python(python: &Path, script: &str, arguments: &[&Path]) {
    let output = Command::new(python).arg(reference(script)).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {errors}");
}

/// Whether two numbers have the same bits, or neither is a number.
pub fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Asserts that two rows are the same, bit for bit.
pub fn assert_same(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        assert!(same(found, expected), "{what}, element {at}: {found:e}, expected {expected:e}");
    }
}

/// Little-endian single-precision numbers.
pub fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// Uses all that an open file offers.
pub fn use_all(file: &File) {
    let metadata = file.metadata();
    assert_eq!(metadata.iter().len(), metadata.len());
    for (key, value) in metadata.iter() {
        assert_eq!(metadata.get(key).map(Value::value_type), Some(value.value_type()));
        let read = (metadata.u32(key), metadata.u64(key), metadata.f32(key), metadata.bool(key));
        let arrays = (metadata.u32s(key), metadata.i32s(key), metadata.f32s(key));
        let texts = (metadata.str(key).map(str::len), metadata.strings(key).map(gguf::Strings::len));
        if let Value::Array(Array::Strings(strings)) = value {
            let by_number = (0..strings.len()).map(|number| strings.get(number).unwrap());
            assert!(by_number.eq(strings.iter()));
        }
        std::hint::black_box((&read, &arrays, &texts));
    }
    file.tensors().for_each(|tensor| use_tensor(file, tensor));
}

fn use_tensor(file: &File, tensor: Tensor<'_>) {
    assert_eq!(file.tensor(tensor.name()).unwrap().bytes(), tensor.bytes());
    assert_eq!(tensor.rows() * tensor.row_elements(), tensor.elements());
    let values = tensor.dequantize();
    let mut last = vec![0.0; tensor.row_elements()];
    let row = tensor.row(tensor.rows() - 1).unwrap();
    gguf::dequantize_row(tensor.block_type(), row, &mut last).unwrap();
    assert_same(&last, &values[values.len() - last.len()..], tensor.name());
    assert_eq!(tensor.row(tensor.rows()), None);
}
