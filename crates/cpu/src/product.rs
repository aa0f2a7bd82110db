//! Products of a range of panels on one thread.
//!
//! Groups of panels come first, then chunks of rows, panels, and depth: [`DEPTH`] blocks of a panel
//! are unpacked into the first-level cache and multiply every tile of the chunk's rows there. So
//! weights are read from memory once, and a group and a chunk stay in the second-level cache. While
//! blocks are multiplied, the next ones are asked for: else reading and computing would take turns.

use crate::activations::{Activations, CHUNK, Data, Factors};
use crate::block::{BLOCK, Packing, Scheme};
use crate::kernel::{FloatTile, Instructions, Kernels, RunFloatTile, RunTile, Sums, Tile, Unpack};
use crate::matrix::Matrix;
use crate::panel::{Layout, Line, PANEL};
use crate::unpack::{DEPTH, Unpacked};
use gguf::BlockType;
use std::cell::RefCell;
use std::ops::Range;

/// Inputs that floating-point sums run over before they join the others: a panel of them fits the
/// first-level cache.
const FLOAT_DEPTH: usize = 256;

/// Panels that stay in the second-level cache while all chunks of rows pass by.
const GROUP_BYTES: usize = 512 << 10;

/// Where a product goes: row-major, rows `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub out: *mut f32,
    pub stride: usize,
}

// SAFETY: a plain address; the code that writes through it keeps threads to their own outputs.
unsafe impl Send for Target {}
// SAFETY: likewise.
unsafe impl Sync for Target {}

struct Scratch {
    unpacked: Unpacked,
    sums: [Sums; CHUNK],
}

thread_local! {
    static SCRATCH: RefCell<Box<Scratch>> = RefCell::new(Box::new(Scratch {
        unpacked: Unpacked::ZERO,
        sums: [Sums([0.0; PANEL]); CHUNK],
    }));
}

/// Multiplies some panels with all rows.
///
/// # Safety
/// The activations are of the matrix's inputs and of the kind that it takes; `target` has all rows
/// of the panels' outputs, and nobody else reads or writes these.
pub(crate) unsafe fn multiply(
    matrix: &Matrix,
    activations: &Activations,
    panels: Range<usize>,
    target: Target,
    instructions: Instructions,
) {
    if panels.is_empty() {
        return;
    }
    let kernels = instructions.kernels();
    let group = (GROUP_BYTES / size_of_val(matrix.panel(panels.start)).max(1)).max(1);
    SCRATCH.with_borrow_mut(|scratch| {
        for start in panels.clone().step_by(group) {
            for first in (0..activations.rows()).step_by(CHUNK) {
                let rows = first..(first + CHUNK).min(activations.rows());
                for panel in start..(start + group).min(panels.end) {
                    let sums = &mut scratch.sums[..rows.len()];
                    sums.fill(Sums([0.0; PANEL]));
                    // SAFETY: the caller's activations fit the matrix.
                    unsafe {
                        add_panel(matrix, activations, panel, first, kernels, &mut scratch.unpacked, sums)
                    };
                    // SAFETY: the caller's target has these rows and these outputs.
                    unsafe { store(sums, matrix, panel, first, target) };
                }
            }
        }
    });
}

/// Adds the product of a panel and the chunk of rows that starts with `first` to the chunk's sums.
///
/// # Safety
/// The activations are of the matrix's inputs and of the kind that it takes.
unsafe fn add_panel(
    matrix: &Matrix,
    activations: &Activations,
    panel: usize,
    first: usize,
    kernels: &Kernels,
    unpacked: &mut Unpacked,
    sums: &mut [Sums],
) {
    let lines = matrix.panel(panel);
    match &activations.data {
        Data::Quantized { quants, factors } => {
            let Some(layout) = Layout::new(matrix.kind()) else { return };
            let start = first * matrix.inputs().div_ceil(BLOCK);
            let x = Blocks { quants: &quants[start..], factors: &factors[start..], rows: sums.len() };
            let tiles = kernels.tiles(layout.kind.scheme());
            let product = Product { layout, tiles, unpack: kernels.unpack };
            // SAFETY: kernels are for this processor; the caller's sizes.
            unsafe { product.add(lines, x, unpacked, sums) };
        }
        Data::Float(x) => {
            let Some(tiles) = kernels.float_tiles(matrix.kind()) else { return };
            let x = &x[first * matrix.inputs()..][..sums.len() * matrix.inputs()];
            // SAFETY: likewise.
            unsafe { add_float(matrix.kind(), tiles, lines, x, sums) };
        }
    }
}

/// Writes a panel's outputs of a chunk of rows.
///
/// # Safety
/// `target` has these rows and outputs, and nobody else reads or writes them.
unsafe fn store(sums: &[Sums], matrix: &Matrix, panel: usize, first: usize, target: Target) {
    let columns = PANEL.min(matrix.outputs() - panel * PANEL);
    for (row, sums) in sums.iter().enumerate() {
        let at = (first + row) * target.stride + panel * PANEL;
        // SAFETY: what this function's caller promises.
        unsafe { target.out.wrapping_add(at).copy_from_nonoverlapping(sums.0.as_ptr(), columns) };
    }
}

/// Tiles of about the same height: they waste less than high ones and a rest.
fn tiles(rows: usize, highest: usize) -> impl Iterator<Item = Range<usize>> {
    let count = rows.div_ceil(highest);
    (0..count).map(move |tile| tile * rows / count..(tile + 1) * rows / count)
}

/// A chunk of activations: block after block, and within it row after row.
#[derive(Clone, Copy)]
struct Blocks<'a> {
    quants: &'a [[i8; BLOCK]],
    factors: &'a [Factors],
    rows: usize,
}

/// A panel of integers and the functions for it.
struct Product {
    layout: Layout,
    tiles: &'static [RunTile],
    unpack: Unpack,
}

impl Product {
    /// Adds the product of a panel and a chunk to the chunk's sums.
    ///
    /// # Safety
    /// The functions are for this processor; the chunk has `sums.len()` rows of as many blocks as
    /// the panel.
    unsafe fn add(&self, lines: &[Line], x: Blocks, unpacked: &mut Unpacked, sums: &mut [Sums]) {
        let offset_shift = match self.layout.kind.scheme() {
            Scheme::Offset(offset) | Scheme::HalfOffset(offset) => offset.trailing_zeros(),
            Scheme::Minimum => 0,
        };
        let records = DEPTH / self.layout.blocks;
        for (part, lines) in lines.chunks(records * self.layout.record_lines()).enumerate() {
            // SAFETY: the caller's function is for this processor.
            unsafe { (self.unpack)(&self.layout, lines, unpacked) };
            let (quants, quants_stride) = match self.layout.kind {
                BlockType::Q8_0 => (lines[self.layout.header_lines..].as_ptr(), self.layout.record_lines()),
                _ => (unpacked.quants.as_ptr().cast(), unpacked.quants[0].len()),
            };
            let blocks = lines.len() / self.layout.record_lines() * self.layout.blocks;
            let start = part * DEPTH * x.rows;
            let count = sums.len().div_ceil(self.tiles.len());
            for (index, rows) in tiles(sums.len(), self.tiles.len()).enumerate() {
                // With one tile, reading takes most of the time and needs no help.
                if count > 1 {
                    let share = |index| lines.len() + index * lines.len() / count;
                    prefetch(lines.as_ptr(), share(index)..share(index + 1));
                }
                let tile = Tile {
                    blocks,
                    quants,
                    quants_stride,
                    scales: unpacked.scales.as_ptr(),
                    minima: unpacked.minima.as_ptr(),
                    offset_shift,
                    activations: x.quants[start + rows.start..].as_ptr(),
                    factors: x.factors[start + rows.start..].as_ptr(),
                    activations_stride: x.rows,
                    sums: sums[rows.clone()].as_mut_ptr(),
                };
                // SAFETY: `blocks` blocks were unpacked, and the caller's chunk has as many of each
                // row; the function is the one for so many rows.
                unsafe { (self.tiles[rows.len() - 1])(&tile) };
            }
        }
    }
}

/// Adds the product of a panel of floating point and a chunk `[inputs, rows]` to its sums.
///
/// # Safety
/// The functions are for this processor and this type; the panel has as many inputs as `x`.
unsafe fn add_float(kind: BlockType, by_rows: &[RunFloatTile], lines: &[Line], x: &[f32], sums: &mut [Sums]) {
    let line_count = if kind == BlockType::F32 { 2 } else { 1 };
    let rows = sums.len();
    let parts = lines.chunks(FLOAT_DEPTH * line_count).zip(x.chunks(FLOAT_DEPTH * rows));
    for (lines, x) in parts {
        for range in tiles(rows, by_rows.len()) {
            let tile = FloatTile {
                depth: lines.len() / line_count,
                weights: lines.as_ptr(),
                activations: x[range.start..].as_ptr(),
                activations_stride: rows,
                sums: sums[range.clone()].as_mut_ptr(),
            };
            // SAFETY: the panel's part has `depth` inputs, `x` as many of every row; the function is
            // the one for so many rows.
            unsafe { (by_rows[range.len() - 1])(&tile) };
        }
    }
}

/// Asks for lines that come after a part of a panel: the next part, or the next panel. Whether they
/// exist does not matter.
fn prefetch(lines: *const Line, range: Range<usize>) {
    #[cfg(target_arch = "x86_64")]
    for line in range {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a prefetch touches no memory that the program can see, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(lines.wrapping_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (lines, range);
}
