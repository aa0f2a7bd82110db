//! Rows against gguf-py's values: `reference/make.py` writes them.

#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

use cpu::{BlockType, Matrix};

#[test]
fn rows_are_those_of_gguf_py() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference");
    for &kind in BlockType::ALL {
        let bytes = std::fs::read(format!("{folder}/{}.bytes", kind.name())).unwrap();
        let expected = std::fs::read(format!("{folder}/{}.f32", kind.name())).unwrap();
        let expected: Vec<f32> =
            expected.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let mut found = vec![0.0; 256];
        let matrix = Matrix::from_bytes(kind, &bytes, 2, 256).unwrap();
        for (index, expected) in expected.chunks_exact(256).enumerate() {
            matrix.row(index, &mut found).unwrap();
            assert_eq!(found, expected, "{kind:?} {index}");
        }
    }
}
