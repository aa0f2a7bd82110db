//! Products against sums in double precision, and against each other.

#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

use cpu::{Activations, BlockType, Instructions, Matrix, PANEL};
use gguf::dequantize_row;

/// Numbers that look random, the same ones everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = self.0 ^ self.0 >> 29;
        x.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
    }

    /// Within -1 and 1.
    fn number(&mut self) -> f32 {
        (self.next() % 20_001) as f32 / 10_000.0 - 1.0
    }

    fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number()).collect()
    }
}

/// Where the half-precision numbers of a block are.
fn scales_at(kind: BlockType) -> &'static [usize] {
    match kind {
        BlockType::Q4_1 | BlockType::Q5_1 | BlockType::Q4K | BlockType::Q5K => &[0, 2],
        BlockType::Q6K => &[208],
        BlockType::F32 | BlockType::F16 | BlockType::Bf16 => &[],
        _ => &[0],
    }
}

/// A tensor of random bits with scales of a size that weights have.
fn tensor(kind: BlockType, outputs: usize, inputs: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let half = |x: f32| half::f16::from_f32(x).to_le_bytes();
    let mut bytes = Vec::new();
    for _ in 0..outputs * inputs / kind.block_elements() {
        match kind {
            BlockType::F32 => bytes.extend(random.number().to_le_bytes()),
            BlockType::F16 => bytes.extend(half(random.number())),
            BlockType::Bf16 => bytes.extend(half::bf16::from_f32(random.number()).to_le_bytes()),
            _ => {
                let start = bytes.len();
                bytes.extend((0..kind.block_bytes()).map(|_| random.next() as u8));
                for at in scales_at(kind) {
                    bytes[start + at..start + at + 2].copy_from_slice(&half(random.number() * 0.01));
                }
            }
        }
    }
    bytes
}

fn dequantized(kind: BlockType, bytes: &[u8], inputs: usize) -> Vec<Vec<f32>> {
    let rows = bytes.chunks_exact(kind.row_bytes(inputs).unwrap());
    rows.map(|row| {
        let mut out = vec![0.0; inputs];
        dequantize_row(kind, row, &mut out).unwrap();
        out
    })
    .collect()
}

/// Sizes with a panel that is not full, and records that do not fill a part of the depth.
fn shape(kind: BlockType) -> (usize, usize) {
    match kind.block_elements() {
        1 => (70, 301),
        32 => (70, 11 * 32),
        _ => (70, 3 * 256),
    }
}

#[test]
fn rows_are_the_tensors() {
    for &kind in BlockType::ALL {
        let (outputs, inputs) = shape(kind);
        let bytes = tensor(kind, outputs, inputs, 1);
        let matrix = Matrix::from_bytes(kind, &bytes, outputs, inputs).unwrap();
        let mut row = vec![0.0; inputs];
        for (index, expected) in dequantized(kind, &bytes, inputs).iter().enumerate() {
            matrix.row(index, &mut row).unwrap();
            assert_eq!(&row, expected, "{kind:?} {index}");
        }
    }
}

/// The error is that of sums in single precision, relative to the sum of magnitudes.
#[test]
fn products_are_right() {
    for &kind in BlockType::ALL {
        let (outputs, inputs) = shape(kind);
        let bytes = tensor(kind, outputs, inputs, 2);
        let weights = dequantized(kind, &bytes, inputs);
        let matrix = Matrix::from_bytes(kind, &bytes, outputs, inputs).unwrap();
        let (rows, mut worst, mut rounding) = (9, 0.0f64, 0.0f64);
        let x = Random(3).numbers(rows * inputs);
        let activations = matrix.activations(&x, rows).unwrap();
        let values = activations.values();
        let mut out = vec![f32::NAN; rows * outputs];
        matrix.multiply(&activations, &mut out).unwrap();
        for row in 0..rows {
            for (output, weight) in weights.iter().enumerate() {
                let products = |x: &[f32]| -> Vec<f64> {
                    let x = &x[row * inputs..(row + 1) * inputs];
                    x.iter().zip(weight).map(|(x, w)| f64::from(*x) * f64::from(*w)).collect()
                };
                let terms = products(&values);
                let size: f64 = terms.iter().map(|x| x.abs()).sum();
                let found = f64::from(out[row * outputs + output]);
                worst = worst.max((found - terms.iter().sum::<f64>()).abs() / size);
                rounding = rounding.max((found - products(&x).iter().sum::<f64>()).abs() / size);
            }
        }
        println!("{kind:?}: {worst:.1e}, with the rounding of activations {rounding:.1e}");
        assert!(worst < 1e-6, "{kind:?}: {worst}");
        assert!(rounding < if matrix.takes_quantized() { 3e-3 } else { 1e-6 }, "{kind:?}: {rounding}");
    }
}

/// The bits of a row do not depend on the batch, on where in it the row stands, or on threads.
#[test]
fn a_row_does_not_depend_on_the_others() {
    for &kind in BlockType::ALL {
        let (_, inputs) = shape(kind);
        let outputs = 300;
        let bytes = tensor(kind, outputs, inputs, 4);
        let matrix = Matrix::from_bytes(kind, &bytes, outputs, inputs).unwrap();
        let x = Random(5).numbers(130 * inputs);
        let product = |rows: std::ops::Range<usize>, threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let x = &x[rows.start * inputs..rows.end * inputs];
            let mut out = vec![f32::NAN; rows.len() * outputs];
            pool.install(|| {
                let activations = matrix.activations(x, rows.len()).unwrap();
                matrix.multiply(&activations, &mut out).unwrap();
            });
            out.iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
        };
        let all = product(0..130, 2);
        for rows in [0..1, 3..4, 129..130, 0..2, 40..47, 1..9, 80..130, 50..107, 0..130] {
            for threads in [1, 2] {
                let expected = &all[rows.start * outputs..rows.end * outputs];
                assert_eq!(product(rows.clone(), threads), expected, "{kind:?} {rows:?}");
            }
        }
    }
}

#[test]
fn instructions_agree_in_every_bit() {
    for &kind in BlockType::ALL {
        let (outputs, inputs) = shape(kind);
        let matrix = Matrix::from_bytes(kind, &tensor(kind, outputs, inputs, 6), outputs, inputs).unwrap();
        for rows in [1, 2, 3, 4, 5, 6, 7, 13, 14, 61] {
            let x = Random(rows as u64).numbers(rows * inputs);
            let activations = matrix.activations(&x, rows).unwrap();
            let product = |instructions| {
                let mut out = vec![f32::NAN; rows * outputs];
                matrix.multiply_range_with(instructions, &activations, 0..outputs, &mut out).unwrap();
                out.iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
            };
            let portable = product(Instructions::Portable);
            for instructions in Instructions::ALL.into_iter().filter(|set| set.is_available()) {
                assert_eq!(product(instructions), portable, "{kind:?} {instructions:?} {rows}");
            }
        }
    }
}

/// The largest integers that a file can hold do not overflow.
#[test]
fn extreme_integers_are_exact() {
    for byte in [0x00, 0x7f, 0x80, 0xff] {
        for kind in BlockType::ALL.iter().copied().filter(|kind| kind.block_elements() > 1) {
            let mut bytes = vec![byte; kind.block_bytes() * PANEL];
            for block in bytes.chunks_exact_mut(kind.block_bytes()) {
                for at in scales_at(kind) {
                    block[*at..at + 2].copy_from_slice(&half::f16::ONE.to_le_bytes());
                }
            }
            let inputs = kind.block_elements();
            let matrix = Matrix::from_bytes(kind, &bytes, PANEL, inputs).unwrap();
            let weights = dequantized(kind, &bytes, inputs);
            for x in [vec![127.0; inputs], vec![-127.0; inputs]] {
                let exact: f64 = x.iter().zip(&weights[0]).map(|(x, w)| f64::from(x * w)).sum();
                let activations = Activations::quantize(&x, 1, inputs);
                for set in Instructions::ALL.into_iter().filter(|set| set.is_available()) {
                    let mut out = [0.0; PANEL];
                    matrix.multiply_range_with(set, &activations, 0..PANEL, &mut out).unwrap();
                    assert!(out.iter().all(|x| f64::from(*x) == exact), "{kind:?} {set:?} {exact} {out:?}");
                }
            }
        }
    }
}

/// bf16 and f16 are widened exactly: the same bits as with the same numbers in single precision.
#[test]
fn narrow_floats_are_exact() {
    let (outputs, inputs, rows) = (70, 601, 15);
    let x = Random(7).numbers(rows * inputs);
    for kind in [BlockType::F16, BlockType::Bf16] {
        let bytes = tensor(kind, outputs, inputs, 8);
        let narrow = Matrix::from_bytes(kind, &bytes, outputs, inputs).unwrap();
        let weights = dequantized(kind, &bytes, inputs).concat();
        let wide = Matrix::from_f32(BlockType::F32, &weights, outputs, inputs).unwrap();
        let activations = Activations::float(&x, rows, inputs);
        let (mut found, mut expected) = (vec![0.0; rows * outputs], vec![1.0; rows * outputs]);
        narrow.multiply(&activations, &mut found).unwrap();
        wide.multiply(&activations, &mut expected).unwrap();
        assert_eq!(found, expected, "{kind:?}");
    }
}
