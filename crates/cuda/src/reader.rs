//! Predicting: hidden states, log-probabilities, and a decoder.

use crate::Error;
use crate::decode::GpuDecoder;
use crate::gpu::Gpu;
use crate::linear::{logits_block, logits_stride};
use crate::memory::{Address, Buffer};
use crate::network::{Network, Workspace};
use crate::weights::download;
use std::borrow::Cow;
use transformer::decode::Decode;
use transformer::device::Reader;
use transformer::head::{Prediction, Target};
use transformer::pass::Keep;
use transformer::{Config, Error as ModelError, Model, PackedBatch, Weights};

/// A model on the GPU that predicts and samples.
pub struct GpuReader {
    /// The model.
    pub network: Network,
    workspace: Workspace,
    pub(crate) head: HeadBuffers,
}

/// Buffers between hidden states and log-probabilities.
#[derive(Default)]
pub(crate) struct HeadBuffers {
    pub(crate) numbers: Option<Buffer<i32>>, // rows and tokens of a block's targets
    pub(crate) gathered: Option<Buffer<u16>>, // [block, H]
    pub(crate) logits: Option<Buffer<f32>>,  // [block, stride]
    pub(crate) slopes: Option<Buffer<u16>>,  // [block, stride]
    pub(crate) statistics: Option<Buffer<f32>>, // [block, 2], then [block] log-sum-exp, then [block] weights
}

impl HeadBuffers {
    fn prepare(&mut self, gpu: &Gpu, config: &Config, rows: usize, slopes: bool) -> Result<(), Error> {
        let stride = logits_stride(config.vocab_size);
        gpu.grow(&mut self.numbers, 2 * rows, "targets")?;
        gpu.grow(&mut self.gathered, rows * config.hidden_size, "hidden states")?;
        gpu.grow(&mut self.logits, rows * stride, "logits")?;
        gpu.grow(&mut self.statistics, 4 * rows, "log-probabilities")?;
        if slopes {
            gpu.grow(&mut self.slopes, rows * stride, "the gradient of logits")?;
        }
        Ok(())
    }
}

/// Where a buffer begins, if it is there.
pub(crate) fn start<T>(buffer: &Option<Buffer<T>>) -> Address<T> {
    buffer.as_ref().map_or(Address::null(), Buffer::start)
}

/// Logits of one block of targets on the GPU, and what they say.
pub(crate) fn predict_block(
    network: &Network,
    head: &mut HeadBuffers,
    hidden: Address<u16>,
    block: &[Target],
    slopes: bool,
) -> Result<Vec<Prediction>, Error> {
    let (gpu, ops, config) = (&network.gpu, &network.ops, &network.config);
    let (count, width, stride) = (block.len(), config.hidden_size, logits_stride(config.vocab_size));
    network.check_tokens(block.iter().map(|target| target.token))?;
    head.prepare(gpu, config, count, slopes)?;
    let numbers = block.iter().map(|target| target.row as i32).chain(block.iter().map(|t| t.token as i32));
    let (rows, gathered, logits) = (start(&head.numbers), start(&head.gathered), start(&head.logits));
    gpu.write(rows, &numbers.collect::<Vec<i32>>())?;
    ops.gather(hidden, rows, count, width, gathered)?;
    gpu.logits(gathered, network.output(), (count, width, config.vocab_size, stride), logits)?;
    let (statistics, shape) = (start(&head.statistics), (count, config.vocab_size, stride));
    ops.predict(logits, rows.offset(count), shape, statistics, statistics.offset(2 * count))?;
    let found = gpu.read(statistics, 2 * count)?;
    let pairs = found.chunks_exact(2);
    Ok(pairs.map(|pair| Prediction { log_probability: pair[0], entropy: pair[1] }).collect())
}

impl GpuReader {
    /// Of a network.
    pub fn new(network: Network) -> Self {
        GpuReader { network, workspace: Workspace::new(Keep::Nothing), head: HeadBuffers::default() }
    }

    fn rows(&mut self, batch: &PackedBatch, rows: &[usize]) -> Result<Vec<f32>, Error> {
        self.network.forward(batch, &mut self.workspace, &mut |_, _| Ok(()))?;
        read_rows(&self.network, self.workspace.hidden(), rows)
    }
}

/// Copies rows of hidden states from the GPU.
pub(crate) fn read_rows(network: &Network, hidden: Address<u16>, rows: &[usize]) -> Result<Vec<f32>, Error> {
    let (gpu, width) = (&network.gpu, network.config.hidden_size);
    let numbers = gpu.upload(&rows.iter().map(|&row| row as i32).collect::<Vec<i32>>(), "rows")?;
    let gathered = gpu.allocate::<u16>(rows.len() * width, "rows of hidden states")?;
    let floats = gpu.allocate::<f32>(rows.len() * width, "rows of hidden states")?;
    network.ops.gather(hidden, numbers.start(), rows.len(), width, gathered.start())?;
    network.ops.widen(gathered.start(), floats.start(), rows.len() * width)?;
    gpu.read(floats.start(), rows.len() * width)
}

impl Reader for GpuReader {
    fn config(&self) -> &Config {
        &self.network.config
    }

    fn model(&self) -> Result<Cow<'_, Model>, ModelError> {
        let network = &self.network;
        let count = network.places.total();
        let floats = network.gpu.allocate::<f32>(count, "the weights in f32")?;
        network.ops.widen(network.weights.start(), floats.start(), count)?;
        let mut weights = Weights::zeros(&network.config);
        download(&network.gpu, &network.places, floats.start(), &(0..count), &mut weights)?;
        Ok(Cow::Owned(Model { config: network.config.clone(), weights }))
    }

    fn hidden_rows(&mut self, batch: &PackedBatch, rows: &[usize]) -> Result<Vec<f32>, ModelError> {
        Ok(self.rows(batch, rows)?)
    }

    fn predictions(
        &mut self,
        batch: &PackedBatch,
        targets: &[Target],
    ) -> Result<Vec<Prediction>, ModelError> {
        let GpuReader { network, workspace, head } = self;
        network.forward(batch, workspace, &mut |_, _| Ok(()))?;
        let mut predictions = Vec::with_capacity(targets.len());
        for block in targets.chunks(logits_block(network.config.vocab_size)) {
            predictions.extend(predict_block(network, head, workspace.hidden(), block, false)?);
        }
        Ok(predictions)
    }

    fn decoder(&mut self) -> Result<Box<dyn Decode + '_>, ModelError> {
        Ok(Box::new(GpuDecoder::new(&mut self.network)?))
    }
}
