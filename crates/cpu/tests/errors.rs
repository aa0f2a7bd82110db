//! What does not fit is refused, and empty sizes are none of that.

#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

use cpu::{Activations, BlockType, Error, Matrix};

fn matrix() -> Matrix {
    Matrix::from_f32(BlockType::Q8_0, &vec![0.5; 70 * 64], 70, 64).unwrap()
}

#[test]
fn wrong_tensors_are_refused() {
    let found = Matrix::from_bytes(BlockType::Q4K, &[0; 144], 1, 128).unwrap_err();
    assert_eq!(found, Error::PartialBlock { kind: BlockType::Q4K, inputs: 128 });
    let found = Matrix::from_bytes(BlockType::Q4K, &[0; 143], 1, 256).unwrap_err();
    assert_eq!(found.to_string(), "a Q4_K tensor [1, 256] does not have 143 bytes");
    assert!(Matrix::from_bytes(BlockType::F32, &[], usize::MAX, usize::MAX / 4).is_err());
    let found = Matrix::from_f32(BlockType::Q6K, &[0.0; 256], 1, 256).unwrap_err();
    assert_eq!(found, Error::NotMade { kind: BlockType::Q6K });
}

#[test]
fn wrong_products_are_refused() {
    let matrix = matrix();
    let mut out = vec![0.0; 140];
    let activations = Activations::quantize(&[1.0; 128], 2, 64);
    assert!(matrix.multiply(&activations, &mut out).is_ok());
    assert_eq!(
        matrix.multiply(&activations, &mut out[1..]),
        Err(Error::Shape { rows: 2, columns: 70, found: 139 })
    );
    let found = matrix.multiply(&Activations::float(&[1.0; 128], 2, 64), &mut out).unwrap_err();
    assert_eq!(
        found.to_string(),
        "a Q8_0 matrix with 64 inputs cannot take single-precision activations of 64 inputs"
    );
    assert!(matrix.multiply(&Activations::quantize(&[1.0; 128], 4, 32), &mut out).is_err());
    let outside = 32..71;
    let error = Err(Error::Range { range: outside.clone(), outputs: 70 });
    assert_eq!(matrix.multiply_range(&activations, outside, &mut out), error);
    assert!(matrix.multiply_range(&activations, 16..70, &mut out).is_err());
    assert_eq!(matrix.row(70, &mut out[..64]), Err(Error::Row { index: 70, outputs: 70 }));
}

#[test]
fn ranges_are_parts_of_the_whole() {
    let weights: Vec<f32> = (0..70 * 64).map(|i| (i % 13) as f32 - 6.0).collect();
    let matrix = Matrix::from_f32(BlockType::Q8_0, &weights, 70, 64).unwrap();
    let x: Vec<f32> = (0..3 * 64).map(|i| (i % 7) as f32 - 3.0).collect();
    let activations = matrix.activations(&x, 3).unwrap();
    let (mut whole, mut parts) = (vec![0.0; 210], vec![f32::NAN; 210]);
    matrix.multiply(&activations, &mut whole).unwrap();
    for range in [0..32, 32..70] {
        // SAFETY: the whole product is there, and one thread writes it.
        unsafe { matrix.multiply_range_into(&activations, range.clone(), parts.as_mut_ptr()) }.unwrap();
        let mut part = vec![0.0; 3 * range.len()];
        matrix.multiply_range(&activations, range.clone(), &mut part).unwrap();
        for (row, part) in part.chunks_exact(range.len()).enumerate() {
            assert_eq!(part, &whole[row * 70..][range.clone()]);
        }
    }
    assert_eq!(parts, whole);
}

#[test]
fn empty_products_are_empty() {
    let matrix = matrix();
    matrix.multiply(&Activations::quantize(&[], 0, 64), &mut []).unwrap();
    let activations = Activations::quantize(&[1.0; 64], 1, 64);
    matrix.multiply_range(&activations, 32..32, &mut []).unwrap();
    for kind in [BlockType::Q4K, BlockType::F32] {
        let none = Matrix::from_bytes(kind, &[], 0, 256).unwrap();
        none.multiply(&none.activations(&[1.0; 256], 1).unwrap(), &mut []).unwrap();
        let mut out = [1.0; 3];
        let flat = Matrix::from_bytes(kind, &[], 3, 0).unwrap();
        flat.multiply(&flat.activations(&[], 1).unwrap(), &mut out).unwrap();
        assert_eq!(out, [0.0; 3], "{kind:?}");
    }
}

/// Zeros stay zeros, tiny blocks become zeros, and what is not a number is not lost.
#[test]
fn unusual_activations_are_kept() {
    let matrix = matrix();
    let product = |x: f32| {
        let mut row = [0.25; 64];
        row[40] = x;
        let mut out = [0.0; 70];
        matrix.multiply(&Activations::quantize(&row, 1, 64), &mut out).unwrap();
        out[69]
    };
    assert!((product(0.25) - 8.0).abs() < 1e-3);
    for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(product(x).is_nan());
    }
    let mut out = [1.0; 70];
    matrix.multiply(&Activations::quantize(&[1e-38; 64], 1, 64), &mut out).unwrap();
    assert_eq!(out, [0.0; 70]);
}
