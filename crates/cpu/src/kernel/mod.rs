//! The innermost loops: a tile of a few rows by one panel of outputs, kept in registers.
//!
//! Within a block of 32 (or 16) inputs numbers are multiplied and summed as integers, which is
//! exact. Then, in every kernel, with `f32::mul_add` or the instruction for it:
//!
//! ```text
//! sum = (integer as f32) * (weight scale * activation scale) + sum
//! sum = minimum * scaled sum of activations + sum              (types with minima)
//! ```
//!
//! block after block. Products in floating point are summed input after input. So a result has the
//! same bits whichever kernel, tile, batch or thread makes it.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::activations::Factors;
use crate::block::{BLOCK, Scheme};
use crate::panel::{Layout, Line, PANEL};
use crate::unpack::Unpacked;
use gguf::BlockType;
use std::sync::LazyLock;

/// Sums of one row of a tile.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Sums(pub [f32; PANEL]);

/// Some blocks of a panel of integers, and rows to multiply with them.
pub(crate) struct Tile {
    /// Number of blocks.
    pub blocks: usize,
    /// 16 lines of 8 bits a block.
    pub quants: *const Line,
    /// Lines from one block to the next.
    pub quants_stride: usize,
    /// A pair for every block.
    pub scales: *const [[f32; PANEL]; 2],
    /// One for every block.
    pub minima: *const [f32; PANEL],
    /// Binary logarithm of the offset of numbers.
    pub offset_shift: u32,
    /// The first row's block of the activations; the other rows' follow.
    pub activations: *const [i8; BLOCK],
    /// Likewise.
    pub factors: *const Factors,
    /// Rows from one block to the next.
    pub activations_stride: usize,
    /// One for every row of the tile, to add to.
    pub sums: *mut Sums,
}

/// Some inputs of a panel of floating-point weights, and rows to multiply with them.
pub(crate) struct FloatTile {
    /// Number of inputs.
    pub depth: usize,
    /// One line an input, two for single precision.
    pub weights: *const Line,
    /// The first row's first input; the other rows' follow.
    pub activations: *const f32,
    /// Rows from one input to the next.
    pub activations_stride: usize,
    /// One for every row of the tile, to add to.
    pub sums: *mut Sums,
}

/// # Safety
/// The processor must have the instructions that the function is compiled for, and everything that
/// the tile points to must be there: `blocks` of each, for as many rows as the function is for.
pub(crate) type RunTile = unsafe fn(&Tile);
/// # Safety
/// As for [`RunTile`].
pub(crate) type RunFloatTile = unsafe fn(&FloatTile);
/// # Safety
/// The processor must have the instructions that the function is compiled for.
pub(crate) type Unpack = unsafe fn(&Layout, &[Line], &mut Unpacked);

/// How the integers of a tile become sums, as a parameter of kernels.
pub(crate) mod scheme {
    pub const OFFSET: u8 = 0;
    pub const HALF_OFFSET: u8 = 1;
    pub const MINIMUM: u8 = 2;
}

/// How floating-point weights are kept, as a parameter of kernels.
pub(crate) mod float {
    /// A line for outputs 0 to 15, one for 16 to 31.
    pub const F32: u8 = 0;
    /// 32 numbers in order.
    pub const F16: u8 = 1;
    /// In lane `l` output `l` below, `16 + l` above.
    pub const BF16: u8 = 2;
}

/// The kernels of one set of instructions.
pub(crate) struct Kernels {
    pub unpack: Unpack,
    /// By scheme, then for 1, 2, 3 … rows.
    pub tiles: [&'static [RunTile]; 3],
    /// By the way in which weights are kept, then for 1, 2, 3 … rows.
    pub float_tiles: [&'static [RunFloatTile]; 3],
}

impl Kernels {
    pub fn tiles(&self, scheme: Scheme) -> &'static [RunTile] {
        self.tiles[usize::from(match scheme {
            Scheme::Offset(_) => scheme::OFFSET,
            Scheme::HalfOffset(_) => scheme::HALF_OFFSET,
            Scheme::Minimum => scheme::MINIMUM,
        })]
    }

    /// `None` for types of integers.
    pub fn float_tiles(&self, kind: BlockType) -> Option<&'static [RunFloatTile]> {
        Some(
            self.float_tiles[usize::from(match kind {
                BlockType::F32 => float::F32,
                BlockType::F16 => float::F16,
                BlockType::Bf16 => float::BF16,
                _ => return None,
            })],
        )
    }
}

/// A set of instructions that there are kernels for, from the least to the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Instructions {
    /// Whatever the program is compiled for.
    Portable,
    /// AVX2, FMA and F16C: 16-bit sums of pairs of products.
    Avx2,
    /// The same with AVX-VNNI: 32-bit sums of four products.
    AvxVnni,
    /// AVX-512 with VNNI.
    Avx512,
}

static BEST: LazyLock<Instructions> = LazyLock::new(|| {
    let all = [Instructions::Avx512, Instructions::AvxVnni, Instructions::Avx2];
    all.into_iter().find(|set| set.is_available()).unwrap_or(Instructions::Portable)
});

impl Instructions {
    /// Every set.
    pub const ALL: [Instructions; 4] =
        [Instructions::Portable, Instructions::Avx2, Instructions::AvxVnni, Instructions::Avx512];

    /// The best set of this processor.
    pub fn best() -> Self {
        *BEST
    }

    /// Whether this processor has them.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            match self {
                Instructions::Portable => true,
                Instructions::Avx2 => avx2,
                Instructions::AvxVnni => avx2 && is_x86_feature_detected!("avxvnni"),
                Instructions::Avx512 => {
                    is_x86_feature_detected!("avx512f")
                        && is_x86_feature_detected!("avx512bw")
                        && is_x86_feature_detected!("avx512dq")
                        && is_x86_feature_detected!("avx512vl")
                        && is_x86_feature_detected!("avx512vnni")
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Instructions::Portable
        }
    }

    /// The kernels; portable ones where the processor lacks the instructions.
    pub(crate) fn kernels(self) -> &'static Kernels {
        match self {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 if self.is_available() => &avx512::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Instructions::AvxVnni if self.is_available() => &avx2::VNNI_KERNELS,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 if self.is_available() => &avx2::KERNELS,
            _ => &portable::KERNELS,
        }
    }
}

/// Kernels of one kind for tiles of these numbers of rows.
macro_rules! by_rows {
    ($kernel:ident, $parameter:expr; $($rows:literal)*) => {
        &[$($kernel::<$rows, { $parameter }>),*]
    };
}
use by_rows;
