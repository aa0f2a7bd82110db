//! A model on the processor that only predicts and samples, its weights in 4 to 32 bits.

use crate::checkpoint::Checkpoint;
use crate::decode::Decode;
use crate::decoder::Decoder;
use crate::device::Reader;
use crate::head::{Prediction, Target, predictions};
use crate::lora::Adapters;
use crate::low_rank::{self, Added};
use crate::model::{Workspace, forward};
use crate::processor::gather_rows;
use crate::products::{BlockTensor, Products};
use crate::table::{Table, TensorInfo};
use crate::{Config, Error, Model, PackedBatch, Weights, error};
use cpu::Matrix;
use gguf::BlockType;
use std::borrow::Cow;
use std::sync::Arc;

/// The form in which a model's matrices are kept in memory. Vectors are always kept in single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// What suits the model: today [`AsStored`](Format::AsStored).
    #[default]
    Auto,
    /// Single precision: 4 bytes a weight.
    F32,
    /// The upper half of single precision, rounded: 2 bytes.
    Bf16,
    /// Blocks of 32 weights of 8 bits and a scale: 1.06 bytes. A matrix whose rows are not whole blocks is
    /// kept as [`Bf16`](Format::Bf16).
    Q8_0,
    /// As the file has them: 4 to 8 bits of a quantised file, 16 of half precision. A small model of single
    /// precision, which the processor's caches hold, is kept as it is trained.
    AsStored,
}

/// Weights of single precision that are small enough for every thread to read all of them.
const SMALL: usize = 32 << 20;

impl Format {
    /// All of them with their names.
    pub const NAMES: [(&'static str, Format); 5] = [
        ("auto", Format::Auto),
        ("f32", Format::F32),
        ("bf16", Format::Bf16),
        ("q8_0", Format::Q8_0),
        ("as-stored", Format::AsStored),
    ];

    /// Its name; that of [`Auto`](Format::Auto) is the name of what it stands for.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::F32 => "f32",
            Format::Bf16 => "bf16",
            Format::Q8_0 => "q8_0",
            Format::Auto | Format::AsStored => "as-stored",
        }
    }

    /// Those that are forms of their own.
    fn own() -> impl Iterator<Item = (&'static str, Format)> {
        Format::NAMES.into_iter().filter(|(_, format)| *format != Format::Auto)
    }

    /// The form for a model on disk; none is single precision as it is trained.
    pub(crate) fn of(self, checkpoint: &Checkpoint) -> Result<Option<Format>, Error> {
        let is_small = 4 * checkpoint.config().parameters() <= SMALL;
        let is_single = stored_kinds(checkpoint)?.iter().all(|kind| *kind == BlockType::F32);
        Ok(match self {
            Format::F32 if is_small => None,
            Format::Auto | Format::AsStored if is_small && is_single => None,
            Format::Auto => Some(Format::AsStored),
            format => Some(format),
        })
    }

    /// The type of a matrix that the file has in another.
    fn kind(self, stored: BlockType, inputs: usize) -> BlockType {
        match self {
            Format::F32 => BlockType::F32,
            Format::Bf16 => BlockType::Bf16,
            Format::Q8_0 if inputs.is_multiple_of(BlockType::Q8_0.block_elements()) => BlockType::Q8_0,
            Format::Q8_0 => BlockType::Bf16,
            Format::Auto | Format::AsStored => stored,
        }
    }

    /// Bytes that a model on disk takes in memory in this form.
    ///
    /// # Errors
    /// Where a tensor cannot be read.
    pub fn bytes(self, checkpoint: &Checkpoint) -> Result<usize, Error> {
        let of_part = |part: &crate::table::Part| {
            let stored = checkpoint.kind(part)?;
            let (rows, inputs) = (part.shape[0], part.shape.get(1).copied());
            let kind = inputs.map_or(BlockType::F32, |inputs| self.kind(stored, inputs));
            Ok(rows * kind.row_bytes(inputs.unwrap_or(1)).unwrap_or(0))
        };
        checkpoint.table().parts().map(|(_, part)| of_part(part)).sum()
    }
}

/// The types of all matrices of a model on disk.
fn stored_kinds(checkpoint: &Checkpoint) -> Result<Vec<BlockType>, Error> {
    let matrices = checkpoint.table().parts().filter(|(_, part)| part.shape.len() == 2);
    matrices.map(|(_, part)| checkpoint.kind(part)).collect()
}

/// A model on the processor that only predicts and samples. Readers of the same weights with other
/// adapters share them.
pub(crate) struct BlockReader {
    config: Config,
    table: Table,
    tensors: Arc<[BlockTensor]>,
    /// What adapters add to each tensor.
    added: Added,
    workspace: Workspace,
}

impl BlockReader {
    /// Reads a model in this form, a tensor at a time.
    ///
    /// # Errors
    /// Where a tensor cannot be read, or memory does not suffice.
    pub(crate) fn open(checkpoint: &Checkpoint, format: Format) -> Result<Self, Error> {
        let table = checkpoint.table();
        let read = |index: usize| {
            let tensor = read(checkpoint, &table.tensors()[index], index, format)?;
            // One copy in memory: the packed one.
            checkpoint.release();
            Ok(tensor)
        };
        Ok(BlockReader {
            config: checkpoint.config().clone(),
            added: vec![Vec::new(); table.tensors().len()],
            tensors: (0..table.tensors().len()).map(read).collect::<Result<_, Error>>()?,
            table: table.clone(),
            workspace: Workspace::for_inference(),
        })
    }

    fn parts(&self) -> (&Config, &Table, Products<'_>) {
        (&self.config, &self.table, Products::Blocks(&self.tensors, &self.added))
    }
}

/// Bytes that are needed beside the weights and the largest tensor: for the tokenizer, and for what a
/// sequence computes.
const BESIDE: usize = 128 << 20;

/// Says how much each form takes where this one does not fit.
pub(crate) fn check_memory(checkpoint: &Checkpoint, format: Format) -> Result<(), Error> {
    let mut largest = 0;
    for info in checkpoint.table().tensors() {
        largest = largest.max(copied(checkpoint, info, format)?);
    }
    let needed = format.bytes(checkpoint)? + largest + BESIDE;
    error::check_memory(Some(checkpoint.path()), needed, &|| {
        Format::own().map(|(name, format)| Ok((name, format.bytes(checkpoint)? as u64))).collect()
    })
}

/// What each form takes of tensors of which the file's table alone was read; none where none is known.
pub(crate) fn bytes_of_forms(tensors: &[gguf::TensorInfo]) -> Vec<(&'static str, u64)> {
    let of_tensor = |format: Format, tensor: &gguf::TensorInfo| {
        let (inputs, rows) = (tensor.row_elements(), tensor.shape.get(1..).unwrap_or_default());
        let kind = if rows.is_empty() { BlockType::F32 } else { format.kind(tensor.block_type, inputs) };
        let row = kind.row_bytes(inputs).unwrap_or(0) as u64;
        rows.iter().fold(row, |bytes, &count| bytes.saturating_mul(count as u64))
    };
    let of_all = |format: Format| tensors.iter().map(move |tensor| of_tensor(format, tensor));
    let forms = Format::own().map(|(name, format)| (name, of_all(format).fold(0, u64::saturating_add)));
    forms.filter(|_| !tensors.is_empty()).collect()
}

/// Bytes of the copies of a tensor while it is read: as the file has it where its parts become one, and in
/// single precision where it is kept in another form.
fn copied(checkpoint: &Checkpoint, info: &TensorInfo, format: Format) -> Result<usize, Error> {
    let of_part = |part: &crate::table::Part| {
        let stored = checkpoint.kind(part)?;
        let inputs = part.shape.get(1).copied().unwrap_or(1);
        let bytes = part.shape[0] * stored.row_bytes(inputs).unwrap_or(0);
        let numbers = if format.kind(stored, inputs) == stored { 0 } else { 4 * part.range.len() };
        Ok(numbers + if info.parts.len() > 1 || part.paired_head_dim.is_some() { bytes } else { 0 })
    };
    info.parts.iter().map(of_part).sum()
}

fn read(
    checkpoint: &Checkpoint,
    info: &TensorInfo,
    index: usize,
    format: Format,
) -> Result<BlockTensor, Error> {
    let &[_, inputs] = info.shape.as_slice() else {
        let mut numbers = vec![0.0; info.len()];
        checkpoint.read(index, &mut numbers)?;
        return Ok(BlockTensor::Vector(numbers));
    };
    let mut matrices = Vec::new();
    // Parts of one type become one matrix: fewer and larger products.
    let mut group: Option<(BlockType, Cow<[u8]>)> = None;
    let mut close = |group: Option<(BlockType, Cow<[u8]>)>| {
        if let Some((kind, bytes)) = group {
            let fail = |error: cpu::Error| Error::invalid(checkpoint.path(), error.to_string());
            matrices.push(matrix(kind, &bytes, inputs, format).map_err(fail)?);
        }
        Ok::<(), Error>(())
    };
    for part in &info.parts {
        let (kind, bytes) = checkpoint.part(part)?;
        match &mut group {
            Some((known, all)) if *known == kind => all.to_mut().extend_from_slice(&bytes),
            _ => close(group.replace((kind, bytes)))?,
        }
    }
    close(group)?;
    Ok(BlockTensor::Matrix(matrices))
}

fn matrix(stored: BlockType, bytes: &[u8], inputs: usize, format: Format) -> Result<Matrix, cpu::Error> {
    let row_bytes = stored.row_bytes(inputs).ok_or(cpu::Error::PartialBlock { kind: stored, inputs })?;
    let outputs = bytes.len() / row_bytes.max(1);
    let kind = format.kind(stored, inputs);
    if kind == stored {
        return Matrix::from_bytes(kind, bytes, outputs, inputs);
    }
    let mut numbers = vec![0.0; outputs * inputs];
    if gguf::dequantize_row(stored, bytes, &mut numbers).is_err() {
        unreachable!("rows are whole blocks, as was just checked");
    }
    Matrix::from_f32(kind, &numbers, outputs, inputs)
}

impl Reader for BlockReader {
    fn config(&self) -> &Config {
        &self.config
    }

    fn model(&self) -> Result<Cow<'_, Model>, Error> {
        let mut weights = Weights::zeros(&self.config);
        let tensors = weights.tensors_mut().into_iter().zip(self.tensors.iter()).zip(&self.added);
        for ((numbers, tensor), added) in tensors {
            tensor.numbers(numbers);
            added.iter().for_each(|low_rank| low_rank.merge(numbers));
        }
        Ok(Cow::Owned(Model { config: self.config.clone(), weights }))
    }

    fn hidden_rows(&mut self, batch: &PackedBatch, rows: &[usize]) -> Result<Vec<f32>, Error> {
        let BlockReader { config, table, tensors, added, workspace } = self;
        let model = (&*config, &*table, Products::Blocks(tensors, added));
        let hidden = forward(model, batch, workspace);
        Ok(gather_rows(hidden, rows, config.hidden_size))
    }

    fn predictions(&mut self, batch: &PackedBatch, targets: &[Target]) -> Result<Vec<Prediction>, Error> {
        let BlockReader { config, table, tensors, added, workspace } = self;
        let model = (&*config, &*table, Products::Blocks(tensors, added));
        let hidden = forward(model, batch, workspace).to_vec();
        Ok(predictions(model, &hidden, targets, &mut workspace.scratch))
    }

    fn adapted(&self, adapters: &Adapters) -> Result<Box<dyn Reader>, Error> {
        adapters.check(&self.table)?;
        Ok(Box::new(BlockReader {
            config: self.config.clone(),
            table: self.table.clone(),
            tensors: self.tensors.clone(),
            added: low_rank::add(adapters, &self.table, &self.added),
            workspace: Workspace::for_inference(),
        }))
    }

    fn decoder(&mut self) -> Result<Box<dyn Decode + '_>, Error> {
        let (config, table, products) = self.parts();
        Ok(Box::new(Decoder::new(config, table, products)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Precision;
    use crate::decode::{Request, Settings, decode};
    use crate::lora::LoraSettings;
    use crate::sampling::Sampling;

    /// A model on disk and adapters of it that matter.
    fn model_and_adapters() -> (tempfile::TempDir, Model, Adapters) {
        let config = Config { hidden_size: 64, intermediate_size: 160, ..Config::tiny() };
        let mut model = Model::random(config, 5);
        // Rounded to 16 bits, so that half precision holds it too.
        let tensors = model.weights.tensors_mut().into_iter().flatten();
        tensors.for_each(|value| *value = half::bf16::from_f32(3.0 * *value).to_f32());
        let directory = tempfile::tempdir().expect("a directory");
        model.save(directory.path(), Precision::F32).expect("written");
        let settings = LoraSettings { rank: 8, alpha: 16.0, ..LoraSettings::default() };
        let mut adapters = Adapters::new(&model.config, &settings, 3).expect("adapters");
        for adapter in &mut adapters.all {
            adapter.b.iter_mut().enumerate().for_each(|(at, b)| *b = (at as f32).sin() / 8.0);
        }
        (directory, model, adapters)
    }

    fn samples(reader: &mut dyn Reader, max_sequences: usize) -> Vec<(usize, Vec<u32>, Vec<f32>)> {
        let mut decoder = reader.decoder().expect("a decoder");
        let request = Request { prompt: vec![1, 2, 3, 4], samples: 5, stream: 1 };
        let sampling = Sampling { temperature: 0.7, ..Sampling::PLAIN };
        let settings = Settings { sampling, max_new_tokens: 12, seed: 9, max_sequences };
        let mut all = Vec::new();
        let _ = decode(&mut *decoder, &[request], &settings, &|_| false, &mut |sample| {
            all.push((sample.index, sample.tokens, sample.log_probabilities));
            std::ops::ControlFlow::Continue(())
        })
        .expect("samples");
        all.sort_by_key(|sample| sample.0);
        all
    }

    /// Between two lists of numbers, as a share of the second's length.
    fn distance(a: &[f32], b: &[f32]) -> f32 {
        let length = |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| x * x).sum::<f32>().sqrt();
        length(&mut a.iter().zip(b).map(|(a, b)| a - b)) / length(&mut b.iter().copied())
    }

    fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    /// Prefill, hidden states and decoding of a model kept as blocks with adapters beside it, against single
    /// precision with the adapters merged to the same weights.
    #[test]
    fn adapters_beside_blocks_are_as_adapters_merged() {
        let (directory, _, adapters) = model_and_adapters();
        let checkpoint = Checkpoint::open(directory.path()).expect("a checkpoint");
        let mut batch = PackedBatch::default();
        let rows: Vec<usize> = batch.push_sequence(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).collect();
        let targets: Vec<Target> = rows.iter().map(|&row| Target { row, token: 7 }).collect();
        let logs = |found: Vec<Prediction>| found.iter().map(|p| p.log_probability).collect::<Vec<_>>();
        // Products with 8-bit weights round their activations to 8 bits too.
        for (format, tolerance) in [(Format::F32, 1e-4), (Format::Bf16, 1e-4), (Format::Q8_0, 0.1)] {
            let mut base = BlockReader::open(&checkpoint, format).expect("a reader");
            let mut adapted = base.adapted(&adapters).expect("a reader");
            let mut merged = base.model().expect("weights").into_owned();
            let before = merged.weights.clone();
            adapters.merge(&before, &mut merged.weights);
            let weights = adapted.model().expect("weights").into_owned().weights;
            for (ours, by_hand) in weights.tensors().into_iter().zip(merged.weights.tensors()) {
                assert!(largest_difference(ours, by_hand) < 1e-5);
            }
            let mut plain = crate::device::Device::reader(&crate::Cpu::default(), merged).expect("a reader");
            let expected = plain.hidden_rows(&batch, &rows).expect("runs");
            let found = adapted.hidden_rows(&batch, &rows).expect("runs");
            let without = base.hidden_rows(&batch, &rows).expect("runs");
            assert!(distance(&found, &expected) < tolerance, "{format:?} {}", distance(&found, &expected));
            assert!(distance(&without, &expected) > 0.3, "the adapters matter");
            let predicted = logs(adapted.predictions(&batch, &targets).expect("runs"));
            let of_plain = logs(plain.predictions(&batch, &targets).expect("runs"));
            assert!(distance(&predicted, &of_plain) < tolerance, "{format:?}");
            let ours = samples(adapted.as_mut(), 5);
            if format != Format::Q8_0 {
                for (ours, plain) in ours.iter().zip(samples(plain.as_mut(), 5)) {
                    assert_eq!(ours.1, plain.1, "{format:?}");
                    assert!(largest_difference(&ours.2, &plain.2) < 1e-3, "{format:?}");
                }
            }
            assert_eq!(ours, samples(adapted.as_mut(), 2), "a sample does not depend on its batch");
        }
    }

    #[test]
    fn readers_share_weights_and_adapters_add_up() {
        let (directory, _, adapters) = model_and_adapters();
        let checkpoint = Checkpoint::open(directory.path()).expect("a checkpoint");
        let base = BlockReader::open(&checkpoint, Format::Bf16).expect("a reader");
        let once = base.adapted(&adapters).expect("a reader");
        let twice = once.adapted(&adapters).expect("a reader");
        assert_eq!(Arc::strong_count(&base.tensors), 3, "one copy of the weights");
        let tensor = base.table.of_layer(0, crate::table::Role::Down);
        let weights = |reader: &dyn Reader| reader.model().expect("weights").weights.tensor(tensor).to_vec();
        let (zero, one, two) = (weights(&base), weights(once.as_ref()), weights(twice.as_ref()));
        let doubled: Vec<f32> = zero.iter().zip(&one).map(|(zero, one)| 2.0 * one - zero).collect();
        assert!(largest_difference(&two, &doubled) < 1e-5);
        let other = Config { intermediate_size: 32, ..base.config.clone() };
        let others = Adapters::new(&other, &adapters.settings, 0).expect("adapters");
        let message = base.adapted(&others).map(drop).expect_err("refused").to_string();
        assert!(message.contains("gate_proj"), "{message}");
    }
}
