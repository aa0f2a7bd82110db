//! Quantization: numbers to blocks.

use crate::block::check_row;
use crate::{BlockType, RowError};
use half::{bf16, f16};

/// Converts one or more rows to F32, F16 or BF16 (rounding to nearest, ties to even) or to Q8_0
/// ([`quantize_q8_0`]).
///
/// # Errors
/// If `values` are not whole blocks, `out` is not exactly as long as their blocks, or the type is
/// another one.
pub fn quantize_row(block_type: BlockType, values: &[f32], out: &mut [u8]) -> Result<(), RowError> {
    check_row(block_type, values.len(), out.len())?;
    match block_type {
        BlockType::F32 => numbers(values, out, f32::to_le_bytes),
        BlockType::F16 => numbers(values, out, |value| f16::from_f32(value).to_le_bytes()),
        BlockType::Bf16 => numbers(values, out, |value| bf16::from_f32(value).to_le_bytes()),
        BlockType::Q8_0 => return quantize_q8_0(values, out),
        _ => return Err(RowError::Unimplemented(block_type)),
    }
    Ok(())
}

fn numbers<const N: usize>(values: &[f32], out: &mut [u8], bytes: impl Fn(f32) -> [u8; N]) {
    for (&value, out) in values.iter().zip(out.as_chunks_mut().0) {
        *out = bytes(value);
    }
}

/// Quantizes one or more rows to Q8_0, bit for bit as ggml's `quantize_row_q8_0_ref` does for finite
/// numbers. NaN becomes 0; ggml's result is undefined.
///
/// A block's scale is its largest magnitude over 127 in half precision, which is infinite for
/// magnitudes above 127 · 65,504.
///
/// # Errors
/// If `values` are not whole blocks of 32, or `out` does not have exactly 34 bytes for each.
pub fn quantize_q8_0(values: &[f32], out: &mut [u8]) -> Result<(), RowError> {
    check_row(BlockType::Q8_0, values.len(), out.len())?;
    for (values, out) in values.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        quantize_block(values, out);
    }
    Ok(())
}

fn quantize_block(values: &[f32; 32], out: &mut [u8; 34]) {
    let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let d = largest / 127.0;
    // As in ggml, numbers are divided by the single-precision scale, not by the stored one.
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let (scale, numbers) = out.split_at_mut(2);
    scale.copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (out, value) in numbers.iter_mut().zip(values) {
        *out = (value * inverse).round() as i8 as u8;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]
mod tests {
    use super::*;
    use crate::dequantize_row;

    fn round_trip(values: &[f32]) -> Vec<f32> {
        let mut bytes = vec![0; values.len() / 32 * 34];
        quantize_q8_0(values, &mut bytes).unwrap();
        let mut out = vec![0.0; values.len()];
        dequantize_row(BlockType::Q8_0, &bytes, &mut out).unwrap();
        out
    }

    #[test]
    fn q8_0_is_close() {
        let values: Vec<f32> = (0..64).map(|at| (at as f32 * 0.7).sin() * 3.0).collect();
        for (value, close) in values.iter().zip(round_trip(&values)) {
            assert!((value - close).abs() <= 3.0 / 127.0, "{value} {close}");
        }
        assert_eq!(round_trip(&[0.0; 32]), [0.0; 32]);
    }

    #[test]
    fn what_is_not_finite_does_not_panic() {
        for odd in [f32::NAN, f32::INFINITY, f32::MAX, f32::from_bits(1), f32::from_bits(80)] {
            let mut values = [0.0; 32];
            values[7] = odd;
            round_trip(&values);
        }
    }

    #[test]
    fn lengths_and_types_are_checked() {
        assert!(quantize_q8_0(&[0.0; 33], &mut [0; 68]).is_err());
        assert!(quantize_row(BlockType::F32, &[0.0; 2], &mut [0; 9]).is_err());
        let refused = quantize_row(BlockType::Q4_0, &[0.0; 32], &mut [0; 18]);
        assert_eq!(refused, Err(RowError::Unimplemented(BlockType::Q4_0)));
    }
}
