//! Weights in the order in which the kernels read them.
//!
//! A *panel* holds [`PANEL`] outputs. Within it a *record* holds what one block of the type holds
//! for one output, for all of them: header lines with scales (and minima), then for every
//! [`BLOCK`] inputs, in `K` types, a line of factors, and the numbers. A [`Line`] is 16 lanes of 32
//! bits; lane `l` is about outputs `l` and `16 + l`, so that no kernel has to move anything between
//! lanes:
//!
//! | line | lane |
//! | --- | --- |
//! | scales, minima | 16 bits for `2l`, then 16 for `2l + 1`: what an instruction widens |
//! | factors with minima | bytes: scale of `l`, of `16 + l`, minimum of `l`, of `16 + l` |
//! | factors of halves | bytes: first half's of `l`, of `16 + l`, second half's of `l`, of `16 + l` |
//! | 8 bits | line `2k`: inputs `4k..4k + 4` of `l`, a byte each; `2k + 1`: those of `16 + l` |
//! | low 4 bits | line `k`: inputs `4k..4k + 4`, the byte's low half for `l`, the high one for `16 + l` |
//! | high 1 or 2 bits | 4 or 2 such lines in one: fields from the lowest bits on, `l` before `16 + l` |
//!
//! A type takes the bytes that it takes in the file, `Q4_K` and `Q5_K` 1.03 times as many.

use crate::block::{BLOCK, Block, Packing, SUPER_BLOCK, Scheme};
use gguf::BlockType;

/// Outputs of a panel: two registers of 16 lanes.
pub const PANEL: usize = 32;
/// Inputs that one lane of a product takes at once.
const STEP: usize = 4;
/// Steps of a block.
const STEPS: usize = BLOCK / STEP;

/// The size of a cache line and of the widest register.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [u32; 16]);

impl Line {
    pub const ZERO: Line = Line([0; 16]);
}

/// Where a type of integers keeps what within a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub kind: BlockType,
    /// Bits of a number above the fourth, unless it has 8.
    high: usize,
    /// Scales, and minima if there are any.
    pub header_lines: usize,
    /// 1 if every block has a line of factors.
    pub factor_lines: usize,
    /// Lines of a block's numbers.
    pub quant_lines: usize,
    /// Blocks of a record.
    pub blocks: usize,
}

impl Layout {
    /// `None` for types of floating point.
    pub fn new(kind: BlockType) -> Option<Self> {
        let bits = kind.bits()?;
        Some(Layout {
            kind,
            high: if bits == 8 { 0 } else { bits - 4 },
            header_lines: if kind.scheme() == Scheme::Minimum { 2 } else { 1 },
            factor_lines: usize::from(kind.block_elements() == SUPER_BLOCK),
            quant_lines: bits * 2,
            blocks: kind.block_elements() / BLOCK,
        })
    }

    /// Lines of a block: factors and numbers.
    pub fn block_lines(&self) -> usize {
        self.factor_lines + self.quant_lines
    }

    pub fn record_lines(&self) -> usize {
        self.header_lines + self.blocks * self.block_lines()
    }

    /// Adds one output's block to a record whose lanes of that output are zero.
    pub fn write(&self, record: &mut [Line], column: usize, block: &Block) {
        let (lane, half) = (column % 16, column / 16);
        let (header, blocks) = record.split_at_mut(self.header_lines);
        let halves = [block.scale, block.minimum];
        for (line, bits) in header.iter_mut().zip(halves) {
            line.0[column / 2] |= u32::from(bits) << (16 * (column % 2));
        }
        let parts = block.quants.chunks_exact(BLOCK);
        for (index, (lines, quants)) in blocks.chunks_exact_mut(self.block_lines()).zip(parts).enumerate() {
            let (factors, lines) = lines.split_at_mut(self.factor_lines);
            if let [line] = factors {
                let [low, high] = self.factors(block, index);
                line.0[lane] |= u32::from(low) << (8 * half) | u32::from(high) << (8 * half + 16);
            }
            for (step, quants) in quants.as_chunks::<STEP>().0.iter().enumerate() {
                self.write_step(lines, lane, half, step, u32::from_le_bytes(*quants));
            }
        }
    }

    fn factors(&self, block: &Block, index: usize) -> [u8; 2] {
        match self.kind.scheme() {
            Scheme::HalfOffset(_) => [block.scales[2 * index], block.scales[2 * index + 1]],
            _ => [block.scales[index], block.minima[index]],
        }
    }

    fn write_step(&self, lines: &mut [Line], lane: usize, half: usize, step: usize, quants: u32) {
        if self.quant_lines == 2 * STEPS {
            lines[2 * step + half].0[lane] = quants;
            return;
        }
        lines[step].0[lane] |= (quants & 0x0f0f_0f0f) << (4 * half);
        if let Some((line, shift)) = self.high_bits(step, half) {
            let mask = 0x0101_0101 * ((1 << self.high) - 1);
            lines[line].0[lane] |= (quants >> 4 & mask) << shift;
        }
    }

    /// Line and shift of a step's upper bits.
    fn high_bits(&self, step: usize, half: usize) -> Option<(usize, usize)> {
        let steps = 4usize.checked_div(self.high)?;
        Some((STEPS + step / steps, self.high * (2 * (step % steps) + half)))
    }

    /// One output's block of a record: the inverse of [`Layout::write`].
    pub fn read(&self, record: &[Line], column: usize, block: &mut Block) {
        let (lane, half) = (column % 16, column / 16);
        let (header, blocks) = record.split_at(self.header_lines);
        let mut halves = header.iter().map(|line| (line.0[column / 2] >> (16 * (column % 2))) as u16);
        (block.scale, block.minimum) = (halves.next().unwrap_or(0), halves.next().unwrap_or(0));
        let parts = block.quants.chunks_exact_mut(BLOCK);
        for (index, (lines, quants)) in blocks.chunks_exact(self.block_lines()).zip(parts).enumerate() {
            let (factors, lines) = lines.split_at(self.factor_lines);
            if let [line] = factors {
                let pair = line.0[lane] >> (8 * half);
                let (low, high) = (pair as u8, (pair >> 16) as u8);
                match self.kind.scheme() {
                    Scheme::HalfOffset(_) => {
                        (block.scales[2 * index], block.scales[2 * index + 1]) = (low, high);
                    }
                    _ => (block.scales[index], block.minima[index]) = (low, high),
                }
            }
            for (step, quants) in quants.as_chunks_mut::<STEP>().0.iter_mut().enumerate() {
                *quants = self.read_step(lines, lane, half, step).to_le_bytes();
            }
        }
    }

    fn read_step(&self, lines: &[Line], lane: usize, half: usize, step: usize) -> u32 {
        if self.quant_lines == 2 * STEPS {
            return lines[2 * step + half].0[lane];
        }
        let low = lines[step].0[lane] >> (4 * half) & 0x0f0f_0f0f;
        self.high_bits(step, half).map_or(low, |(line, shift)| {
            let mask = 0x0101_0101 * ((1 << self.high) - 1);
            low | (lines[line].0[lane] >> shift & mask) << 4
        })
    }
}
