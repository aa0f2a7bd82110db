//! A weight `[outputs, inputs]`, packed for products.

use crate::activations::Activations;
use crate::block::{BLOCK, Block, Packing};
use crate::error::Error;
use crate::kernel::Instructions;
use crate::panel::{Layout, Line, PANEL};
use crate::product::{self, Target};
use gguf::BlockType;
use half::{bf16, f16};
use rayon::prelude::*;
use std::ops::Range;

/// Panels that one of rayon's tasks multiplies at least where rows are few.
const TASK_PANELS: usize = 4;
/// Multiplications that make a task worth the while whatever its panels.
const TASK_PRODUCTS: usize = 1 << 18;

/// A weight `[outputs, inputs]` in the type that its file keeps it in, packed for products.
///
/// Memory is that of the file for every type but `Q4_K` and `Q5_K` (1.03 times it), plus the
/// missing outputs of the last panel of [`PANEL`].
#[derive(Clone)]
pub struct Matrix {
    kind: BlockType,
    outputs: usize,
    inputs: usize,
    /// Panel after panel.
    lines: Vec<Line>,
    panel_lines: usize,
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(formatter, "Matrix({:?}, [{}, {}])", self.kind, self.outputs, self.inputs)
    }
}

impl Matrix {
    /// Packs a tensor of a GGUF file: rows of blocks, one row an output, little-endian. Split over
    /// rayon's threads.
    ///
    /// # Errors
    /// [`Error::PartialBlock`] if a row of so many inputs is not a whole number of blocks,
    /// [`Error::Bytes`] if `bytes` is not the tensor's length.
    pub fn from_bytes(kind: BlockType, bytes: &[u8], outputs: usize, inputs: usize) -> Result<Self, Error> {
        let row_bytes = kind.row_bytes(inputs).ok_or(Error::PartialBlock { kind, inputs })?;
        if row_bytes.checked_mul(outputs) != Some(bytes.len()) {
            return Err(Error::Bytes { kind, outputs, inputs, found: bytes.len() });
        }
        let mut matrix = Matrix::zeros(kind, outputs, inputs);
        if row_bytes > 0 {
            let panels = matrix.lines.par_chunks_exact_mut(matrix.panel_lines);
            panels.zip(bytes.par_chunks(row_bytes * PANEL)).for_each(|(lines, rows)| {
                for (column, row) in rows.chunks_exact(row_bytes).enumerate() {
                    pack_row(kind, row, column, lines);
                }
            });
        }
        Ok(matrix)
    }

    /// Packs single-precision weights, row-major: as they are ([`BlockType::F32`]), rounded to
    /// half even ([`BlockType::Bf16`], [`BlockType::F16`]), or in blocks of 8 bits as ggml makes
    /// them ([`BlockType::Q8_0`]).
    ///
    /// # Errors
    /// [`Error::NotMade`] for other types, else as [`Matrix::from_bytes`].
    pub fn from_f32(kind: BlockType, weights: &[f32], outputs: usize, inputs: usize) -> Result<Self, Error> {
        let bytes: Vec<u8> = match kind {
            BlockType::F32 => weights.iter().flat_map(|x| x.to_le_bytes()).collect(),
            BlockType::Bf16 => weights.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
            BlockType::F16 => weights.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
            BlockType::Q8_0 => {
                if !inputs.is_multiple_of(BLOCK) {
                    return Err(Error::PartialBlock { kind, inputs });
                }
                weights.as_chunks().0.iter().flat_map(quantize_q8_0).collect()
            }
            _ => return Err(Error::NotMade { kind }),
        };
        Self::from_bytes(kind, &bytes, outputs, inputs)
    }

    fn zeros(kind: BlockType, outputs: usize, inputs: usize) -> Self {
        let panel_lines = match (Layout::new(kind), kind) {
            (Some(layout), _) => inputs / kind.block_elements() * layout.record_lines(),
            (None, BlockType::F32) => 2 * inputs,
            (None, _) => inputs,
        };
        let lines = vec![Line::ZERO; outputs.div_ceil(PANEL) * panel_lines];
        Matrix { kind, outputs, inputs, lines, panel_lines }
    }

    /// Type in which weights are kept.
    pub fn kind(&self) -> BlockType {
        self.kind
    }

    /// Length of a row of a product.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Length of a row of activations.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes of memory that the packed weights take.
    pub fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }

    /// Lines of some panels from `panel` on.
    pub(crate) fn panel(&self, panel: usize) -> &[Line] {
        &self.lines[panel * self.panel_lines..(panel + 1) * self.panel_lines]
    }

    /// Whether products take activations that are rounded to 8 bits.
    pub fn takes_quantized(&self) -> bool {
        self.kind.bits().is_some()
    }

    /// Rows of activations as this matrix takes them: see [`Activations`]. Matrices that share
    /// their input can share the result where [`Matrix::takes_quantized`] agrees.
    ///
    /// # Errors
    /// [`Error::Shape`] if `x` is not `[rows, inputs]`.
    pub fn activations(&self, x: &[f32], rows: usize) -> Result<Activations, Error> {
        if Some(x.len()) != rows.checked_mul(self.inputs) {
            return Err(Error::Shape { rows, columns: self.inputs, found: x.len() });
        }
        Ok(match self.takes_quantized() {
            true => Activations::quantize(x, rows, self.inputs),
            false => Activations::float(x, rows, self.inputs),
        })
    }

    /// The weights of one output, rounded as ggml rounds them: an embedding.
    ///
    /// # Errors
    /// [`Error::Row`] if there is no such output, [`Error::Shape`] if `out` is not `[inputs]`.
    pub fn row(&self, index: usize, out: &mut [f32]) -> Result<(), Error> {
        if index >= self.outputs {
            return Err(Error::Row { index, outputs: self.outputs });
        }
        if out.len() != self.inputs {
            return Err(Error::Shape { rows: 1, columns: self.inputs, found: out.len() });
        }
        let (lines, column) = (self.panel(index / PANEL), index % PANEL);
        let Some(layout) = Layout::new(self.kind) else {
            out.iter_mut().enumerate().for_each(|(input, out)| {
                *out = read_float(self.kind, lines, input, column);
            });
            return Ok(());
        };
        let mut block = Block::ZERO;
        let records = lines.chunks_exact(layout.record_lines());
        for (out, record) in out.chunks_exact_mut(self.kind.block_elements()).zip(records) {
            layout.read(record, column, &mut block);
            block.dequantize(self.kind, out);
        }
        Ok(())
    }

    /// `out[r] = weight · x[r]` for all rows, `out` being `[rows, outputs]`; panels of outputs are
    /// split over rayon's threads.
    ///
    /// # Errors
    /// [`Error::Activations`] if they are not of this matrix's inputs or not of the kind that it
    /// takes, [`Error::Shape`] if `out` is not `[rows, outputs]`.
    pub fn multiply(&self, activations: &Activations, out: &mut [f32]) -> Result<(), Error> {
        self.multiply_columns(activations, out, self.outputs, 0)
    }

    /// [`Matrix::multiply`] into some columns of wider rows: `out` is `[rows, columns]`, and the
    /// product its columns from `first` on. For matrices of several types, one below the other.
    ///
    /// # Errors
    /// [`Error::Range`] if the rows have no such columns, else as [`Matrix::multiply`].
    pub fn multiply_columns(
        &self,
        activations: &Activations,
        out: &mut [f32],
        columns: usize,
        first: usize,
    ) -> Result<(), Error> {
        let range = first..first.saturating_add(self.outputs);
        if range.end > columns {
            return Err(Error::Range { range, outputs: columns });
        }
        self.check(activations, columns, out.len())?;
        if out.is_empty() {
            return Ok(());
        }
        let target = Target { out: out[first..].as_mut_ptr(), stride: columns };
        let panels = self.outputs.div_ceil(PANEL);
        // Four parts a thread even out what threads lose to others.
        let parts = 4 * rayon::current_num_threads();
        let of_panel = activations.rows() * self.inputs * PANEL;
        let size = panels.div_ceil(parts).max((TASK_PRODUCTS / of_panel.max(1)).clamp(1, TASK_PANELS));
        (0..panels.div_ceil(size)).into_par_iter().for_each(|part| {
            let part = part * size..((part + 1) * size).min(panels);
            // SAFETY: `out` holds all rows of all outputs, and no two parts write the same outputs.
            unsafe { product::multiply(self, activations, part, target, Instructions::best()) };
        });
        Ok(())
    }

    /// [`Matrix::multiply`] for a range of outputs, on the calling thread: `out` is
    /// `[rows, range.len()]`.
    ///
    /// # Errors
    /// [`Error::Range`] if the range starts or ends within a panel or after the last output, else as
    /// [`Matrix::multiply`].
    pub fn multiply_range(
        &self,
        activations: &Activations,
        range: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.multiply_range_with(Instructions::best(), activations, range, out)
    }

    /// [`Matrix::multiply_range`] with some set of instructions, to compare or time them.
    ///
    /// # Errors
    /// As [`Matrix::multiply_range`].
    pub fn multiply_range_with(
        &self,
        instructions: Instructions,
        activations: &Activations,
        range: Range<usize>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let panels = self.panels(&range)?;
        self.check(activations, range.len(), out.len())?;
        // The first panel's outputs come first.
        let target = Target { out: out.as_mut_ptr().wrapping_sub(range.start), stride: range.len() };
        // SAFETY: `out` holds all rows of the range, and the product writes none but these.
        unsafe { product::multiply(self, activations, panels, target, instructions) };
        Ok(())
    }

    /// [`Matrix::multiply_range`] into the range's part of a whole `[rows, outputs]`, whose other
    /// parts other threads may write at the same time.
    ///
    /// # Errors
    /// As [`Matrix::multiply_range`].
    ///
    /// # Safety
    /// `out` points to `rows * outputs` numbers; nobody else reads or writes those of the range.
    pub unsafe fn multiply_range_into(
        &self,
        activations: &Activations,
        range: Range<usize>,
        out: *mut f32,
    ) -> Result<(), Error> {
        let panels = self.panels(&range)?;
        self.check(activations, self.outputs, activations.rows() * self.outputs)?;
        let target = Target { out, stride: self.outputs };
        // SAFETY: what this function's caller promises.
        unsafe { product::multiply(self, activations, panels, target, Instructions::best()) };
        Ok(())
    }

    fn check(&self, activations: &Activations, columns: usize, found: usize) -> Result<(), Error> {
        let quantized = activations.is_quantized();
        if activations.inputs() != self.inputs || quantized != self.takes_quantized() {
            return Err(Error::Activations {
                kind: self.kind,
                inputs: self.inputs,
                found: activations.inputs(),
                quantized,
            });
        }
        if activations.rows().checked_mul(columns) != Some(found) {
            return Err(Error::Shape { rows: activations.rows(), columns, found });
        }
        Ok(())
    }

    fn panels(&self, range: &Range<usize>) -> Result<Range<usize>, Error> {
        let whole = |at: usize| at.is_multiple_of(PANEL) || at == self.outputs;
        if range.start > range.end || range.end > self.outputs || !whole(range.start) || !whole(range.end) {
            return Err(Error::Range { range: range.clone(), outputs: self.outputs });
        }
        Ok(range.start.div_ceil(PANEL)..range.end.div_ceil(PANEL))
    }
}

/// Adds one output to a panel.
fn pack_row(kind: BlockType, row: &[u8], column: usize, lines: &mut [Line]) {
    let (lane, half) = (column % 16, column / 16);
    let Some(layout) = Layout::new(kind) else {
        for (input, bytes) in row.chunks_exact(kind.block_bytes()).enumerate() {
            match (kind, bytes) {
                (BlockType::F32, &[a, b, c, d]) => {
                    lines[2 * input + half].0[lane] = u32::from_le_bytes([a, b, c, d]);
                }
                (BlockType::F16, &[a, b]) => {
                    let bits = u32::from(u16::from_le_bytes([a, b]));
                    lines[input].0[column / 2] |= bits << (16 * (column % 2));
                }
                (_, &[a, b]) => {
                    lines[input].0[lane] |= u32::from(u16::from_le_bytes([a, b])) << (16 * half);
                }
                _ => unreachable!("numbers have 4 or 2 bytes"),
            }
        }
        return;
    };
    let mut block = Block::ZERO;
    let records = lines.chunks_exact_mut(layout.record_lines());
    for (record, bytes) in records.zip(row.chunks_exact(kind.block_bytes())) {
        block.read(kind, bytes);
        layout.write(record, column, &block);
    }
}

/// One weight of a panel of floating point.
fn read_float(kind: BlockType, lines: &[Line], input: usize, column: usize) -> f32 {
    let (lane, half) = (column % 16, column / 16);
    match kind {
        BlockType::F32 => f32::from_bits(lines[2 * input + half].0[lane]),
        BlockType::F16 => {
            let bits = lines[input].0[column / 2] >> (16 * (column % 2));
            f16::from_bits(bits as u16).to_f32()
        }
        _ => f32::from_bits(lines[input].0[lane] >> (16 * half) << 16),
    }
}

/// A block of 8 bits as ggml's `quantize_row_q8_0_ref` makes it.
fn quantize_q8_0(weights: &[f32; BLOCK]) -> [u8; 34] {
    let largest = weights.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let mut out = [0; 34];
    out[..2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    for (out, weight) in out[2..].iter_mut().zip(weights) {
        *out = (weight * inverse).round() as i8 as u8;
    }
    out
}
