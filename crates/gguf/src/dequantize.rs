//! Dequantization: blocks to numbers.
//!
//! The operations and their order are those of ggml's reference code (`dequantize_row_*` in
//! `ggml-quants.c`) in single precision, so that results are equal bit for bit.

use crate::block::check_row;
use crate::k_blocks::{q4_k, q5_k, q6_k};
use crate::{BlockType, RowError};
use half::f16;
use half::slice::HalfFloatSliceExt;

/// Converts the blocks of one or more whole rows to numbers.
///
/// A damaged file's scales may be infinite or NaN, and then so is the result.
///
/// # Errors
/// If `out` is not made of whole blocks, or `bytes` is not exactly as long as these.
pub fn dequantize_row(block_type: BlockType, bytes: &[u8], out: &mut [f32]) -> Result<(), RowError> {
    check_row(block_type, out.len(), bytes.len())?;
    match block_type {
        BlockType::F32 => blocks(bytes, out, |bytes: &[u8; 4], out| *out = [f32::from_le_bytes(*bytes)]),
        BlockType::F16 => f16s(bytes, out),
        BlockType::Bf16 => blocks(bytes, out, bf16),
        BlockType::Q4_0 => blocks(bytes, out, q4_0),
        BlockType::Q4_1 => blocks(bytes, out, q4_1),
        BlockType::Q5_0 => blocks(bytes, out, q5_0),
        BlockType::Q5_1 => blocks(bytes, out, q5_1),
        BlockType::Q8_0 => blocks(bytes, out, q8_0),
        BlockType::Q4K => blocks(bytes, out, q4_k),
        BlockType::Q5K => blocks(bytes, out, q5_k),
        BlockType::Q6K => blocks(bytes, out, q6_k),
    }
    Ok(())
}

/// Applies a function to each block of `B` bytes and the `E` elements that it gives.
fn blocks<const B: usize, const E: usize>(
    bytes: &[u8],
    out: &mut [f32],
    dequantize: impl Fn(&[u8; B], &mut [f32; E]),
) {
    for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        dequantize(block, out);
    }
}

/// The half-precision number at a byte offset of a block.
pub(crate) fn half_at<const B: usize>(block: &[u8; B], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Converts in runs: `half` looks for the processor's conversion instructions once a call.
fn f16s(bytes: &[u8], out: &mut [f32]) {
    const RUN: usize = 64;
    let mut run = [f16::ZERO; RUN];
    for (bytes, out) in bytes.chunks(2 * RUN).zip(out.chunks_mut(RUN)) {
        let run = &mut run[..out.len()];
        for (number, &bytes) in run.iter_mut().zip(bytes.as_chunks().0) {
            *number = f16::from_le_bytes(bytes);
        }
        run.convert_to_f32_slice(out);
    }
}

fn bf16(&[low, high]: &[u8; 2], out: &mut [f32; 1]) {
    *out = [f32::from_le_bytes([0, 0, low, high])];
}

fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (at, &byte) in block[2..].iter().enumerate() {
        out[at] = (i32::from(byte & 15) - 8) as f32 * d;
        out[at + 16] = (i32::from(byte >> 4) - 8) as f32 * d;
    }
}

fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (at, &byte) in block[4..].iter().enumerate() {
        out[at] = f32::from(byte & 15) * d + m;
        out[at + 16] = f32::from(byte >> 4) * d + m;
    }
}

/// The fifth bit of element `at`, shifted to its place.
fn fifth_bit(bits: u32, at: usize) -> u8 {
    ((bits >> at & 1) << 4) as u8
}

fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    let fifth_bits = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    for (at, &byte) in block[6..].iter().enumerate() {
        let low = byte & 15 | fifth_bit(fifth_bits, at);
        let high = byte >> 4 | fifth_bit(fifth_bits, at + 16);
        out[at] = (i32::from(low) - 16) as f32 * d;
        out[at + 16] = (i32::from(high) - 16) as f32 * d;
    }
}

fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    let fifth_bits = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    for (at, &byte) in block[8..].iter().enumerate() {
        let low = byte & 15 | fifth_bit(fifth_bits, at);
        let high = byte >> 4 | fifth_bit(fifth_bits, at + 16);
        out[at] = f32::from(low) * d + m;
        out[at + 16] = f32::from(high) * d + m;
    }
}

fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (out, &byte) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(byte as i8) * d;
    }
}
