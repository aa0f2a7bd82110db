//! The block types of GGUF files: what their bytes hold, and what a weight's value is.
//!
//! Layouts and formulas are those of ggml's `ggml-quants.c` (`dequantize_row_*`). Every type is
//! read into one form, a [`Block`] of up to 256 weights: unsigned numbers, one scale for every 32
//! or 16 of them, and either a minimum for every 32 or one offset for all.

use gguf::BlockType;
use half::f16;

/// Weights that share a scale and a minimum: one block of the activations.
pub const BLOCK: usize = 32;
/// Most weights of a block of any type: those of the `K` types.
pub const SUPER_BLOCK: usize = 256;

/// How the numbers of a block become weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `scale * (q - offset)`, a scale for every 32.
    Offset(u32),
    /// `scale * (q - offset)`, a scale for every 16.
    HalfOffset(u32),
    /// `scale * q + minimum`, both for every 32.
    Minimum,
}

/// What the kernels need to know of a type.
pub(crate) trait Packing {
    /// Bits of a number of a type of integers; `None` for types that are not of integers.
    fn bits(self) -> Option<usize>;
    /// How numbers become weights.
    fn scheme(self) -> Scheme;
}

impl Packing for BlockType {
    fn bits(self) -> Option<usize> {
        match self {
            BlockType::F32 | BlockType::F16 | BlockType::Bf16 => None,
            BlockType::Q4_0 | BlockType::Q4_1 | BlockType::Q4K => Some(4),
            BlockType::Q5_0 | BlockType::Q5_1 | BlockType::Q5K => Some(5),
            BlockType::Q6K => Some(6),
            BlockType::Q8_0 => Some(8),
        }
    }

    fn scheme(self) -> Scheme {
        match self {
            BlockType::Q4_0 => Scheme::Offset(8),
            BlockType::Q5_0 => Scheme::Offset(16),
            BlockType::Q6K => Scheme::HalfOffset(32),
            BlockType::Q8_0 => Scheme::Offset(128),
            _ => Scheme::Minimum,
        }
    }
}

/// A block of integers in the one form that all types share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Block {
    /// Unsigned numbers; those of types of 32 weights are the first 32.
    pub quants: [u8; SUPER_BLOCK],
    /// Scale of all, the bits of an [`f16`].
    pub scale: u16,
    /// Minimum of all, or the factor of minima, likewise; 0 without minima.
    pub minimum: u16,
    /// Factors of the scale, for every 16 (`Q6_K`: the bits of an `i8`) or every 32 weights.
    pub scales: [u8; 16],
    /// Factors of the minimum, for every 32 weights.
    pub minima: [u8; 8],
}

impl Block {
    pub const ZERO: Block =
        Block { quants: [0; SUPER_BLOCK], scale: 0, minimum: 0, scales: [0; 16], minima: [0; 8] };

    /// Reads a block of a type of integers from its bytes.
    pub fn read(&mut self, kind: BlockType, bytes: &[u8]) {
        assert_eq!(bytes.len(), kind.block_bytes(), "bytes of a block");
        match kind {
            BlockType::Q4_0 | BlockType::Q4_1 | BlockType::Q5_0 | BlockType::Q5_1 => {
                self.read_plain(kind, bytes);
            }
            BlockType::Q8_0 => {
                self.scale = u16_at(bytes, 0);
                for (quant, byte) in self.quants.iter_mut().zip(&bytes[2..]) {
                    *quant = byte ^ 0x80;
                }
            }
            BlockType::Q4K | BlockType::Q5K => self.read_k(kind, bytes),
            BlockType::Q6K => self.read_q6_k(bytes),
            BlockType::F32 | BlockType::F16 | BlockType::Bf16 => {
                unreachable!("types of floating point have no blocks of integers")
            }
        }
    }

    /// `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`: scale, perhaps a minimum, perhaps fifth bits, then nibbles.
    fn read_plain(&mut self, kind: BlockType, bytes: &[u8]) {
        self.scale = u16_at(bytes, 0);
        let mut at = 2;
        if kind.scheme() == Scheme::Minimum {
            self.minimum = u16_at(bytes, at);
            at += 2;
        }
        let mut fifth = 0;
        if kind.bits() == Some(5) {
            fifth = u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16;
            at += 4;
        }
        for (index, byte) in bytes[at..].iter().enumerate() {
            let high = |bit: usize| ((fifth >> bit & 1) << 4) as u8;
            self.quants[index] = byte & 15 | high(index);
            self.quants[index + 16] = byte >> 4 | high(index + 16);
        }
    }

    /// `Q4_K`, `Q5_K`: scale, factor of minima, both 6-bit factors, perhaps fifth bits, nibbles.
    fn read_k(&mut self, kind: BlockType, bytes: &[u8]) {
        (self.scale, self.minimum) = (u16_at(bytes, 0), u16_at(bytes, 2));
        let packed = &bytes[4..16];
        for index in 0..4 {
            self.scales[index] = packed[index] & 63;
            self.minima[index] = packed[index + 4] & 63;
            self.scales[index + 4] = packed[index + 8] & 15 | packed[index] >> 6 << 4;
            self.minima[index + 4] = packed[index + 8] >> 4 | packed[index + 4] >> 6 << 4;
        }
        let five = kind.bits() == Some(5);
        let (fifth, nibbles) = bytes[16..].split_at(if five { 32 } else { 0 });
        let pairs = self.quants.chunks_exact_mut(64).zip(nibbles.chunks_exact(32));
        for (pair, (quants, nibbles)) in pairs.enumerate() {
            for (index, byte) in nibbles.iter().enumerate() {
                let high = if five { fifth[index] >> (2 * pair) } else { 0 };
                quants[index] = byte & 15 | (high & 1) << 4;
                quants[index + 32] = byte >> 4 | (high >> 1 & 1) << 4;
            }
        }
    }

    /// `Q6_K`: nibbles, upper pairs of bits, 8-bit factors, scale.
    fn read_q6_k(&mut self, bytes: &[u8]) {
        let (low, high) = (&bytes[..128], &bytes[128..192]);
        self.scales.copy_from_slice(&bytes[192..208]);
        self.scale = u16_at(bytes, 208);
        let halves = low.chunks_exact(64).zip(high.chunks_exact(32));
        for (quants, (low, high)) in self.quants.chunks_exact_mut(128).zip(halves) {
            for (index, high) in high.iter().enumerate() {
                quants[index] = low[index] & 15 | (high & 3) << 4;
                quants[index + 32] = low[index + 32] & 15 | (high >> 2 & 3) << 4;
                quants[index + 64] = low[index] >> 4 | (high >> 4 & 3) << 4;
                quants[index + 96] = low[index + 32] >> 4 | (high >> 6) << 4;
            }
        }
    }

    /// The weights of the block, rounded as ggml rounds them: products of scales first, then by the
    /// number, then the minimum, each in single precision.
    pub fn dequantize(&self, kind: BlockType, out: &mut [f32]) {
        let (scale, minimum) = (widen(self.scale), widen(self.minimum));
        for (part, out) in out.chunks_mut(16).enumerate() {
            let (factor, minimum) = match kind {
                BlockType::Q6K => (scale * f32::from(self.scales[part] as i8), 0.0),
                BlockType::Q4K | BlockType::Q5K => {
                    (scale * f32::from(self.scales[part / 2]), -(minimum * f32::from(self.minima[part / 2])))
                }
                _ => (scale, minimum),
            };
            let offset = match kind.scheme() {
                Scheme::Offset(offset) | Scheme::HalfOffset(offset) => offset as i32,
                Scheme::Minimum => 0,
            };
            for (out, quant) in out.iter_mut().zip(&self.quants[part * 16..]) {
                let value = factor * (i32::from(*quant) - offset) as f32;
                *out = if kind.scheme() == Scheme::Minimum { value + minimum } else { value };
            }
        }
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn widen(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}
