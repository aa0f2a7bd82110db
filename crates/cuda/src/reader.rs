//! Predicting: hidden states, log-probabilities, and a decoder.

use crate::Error;
use crate::adapters::{RANK_MULTIPLE, merge};
use crate::decode::GpuDecoder;
use crate::gpu::Gpu;
use crate::linear::{logits_block, logits_stride};
use crate::memory::{Buffer, View};
use crate::network::{Network, Workspace};
use crate::weights::download;
use std::borrow::Cow;
use transformer::decode::Decode;
use transformer::device::Reader;
use transformer::head::{Prediction, Target};
use transformer::lora::Adapters;
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
    numbers: Option<Buffer<i32>>,    // rows and tokens of a block's targets
    gathered: Option<Buffer<u16>>,   // [block, H]
    logits: Option<Buffer<f32>>,     // [block, stride]
    statistics: Option<Buffer<f32>>, // [block, 2], then [block] log-sum-exp, then [block] weights
}

/// What of the buffers belongs to one block of targets.
pub(crate) struct HeadBlock<'a> {
    pub(crate) rows: View<'a, i32>,
    pub(crate) tokens: View<'a, i32>,
    pub(crate) gathered: View<'a, u16>,
    pub(crate) logits: View<'a, f32>,
    /// Log-probability and entropy of each target.
    pub(crate) found: View<'a, f32>,
    pub(crate) log_sum_exp: View<'a, f32>,
    /// The derivative of the loss by each log-probability.
    pub(crate) weights: View<'a, f32>,
}

impl HeadBuffers {
    /// Room for a block of so many targets.
    pub(crate) fn block(&mut self, gpu: &Gpu, config: &Config, count: usize) -> Result<HeadBlock<'_>, Error> {
        let (width, stride) = (config.hidden_size, logits_stride(config.vocab_size));
        let numbers = gpu.grow(&mut self.numbers, 2 * count, "targets")?;
        let statistics = gpu.grow(&mut self.statistics, 4 * count, "log-probabilities")?;
        Ok(HeadBlock {
            rows: numbers.part(0..count),
            tokens: numbers.part(count..2 * count),
            gathered: gpu.grow(&mut self.gathered, count * width, "hidden states")?.part(0..count * width),
            logits: gpu.grow(&mut self.logits, count * stride, "logits")?.part(0..count * stride),
            found: statistics.part(0..2 * count),
            log_sum_exp: statistics.part(2 * count..3 * count),
            weights: statistics.part(3 * count..4 * count),
        })
    }
}

/// Logits of one block of targets on the GPU, and what they say.
pub(crate) fn predict_block(
    network: &Network,
    there: &HeadBlock,
    hidden: View<u16>,
    block: &[Target],
) -> Result<Vec<Prediction>, Error> {
    let (gpu, ops, config) = (&network.gpu, &network.ops, &network.config);
    let (count, width, stride) = (block.len(), config.hidden_size, logits_stride(config.vocab_size));
    network.check_tokens(block.iter().map(|target| target.token))?;
    gpu.write(there.rows, &block.iter().map(|target| target.row as i32).collect::<Vec<i32>>())?;
    gpu.write(there.tokens, &block.iter().map(|target| target.token as i32).collect::<Vec<i32>>())?;
    ops.gather(hidden, there.rows, count, width, there.gathered)?;
    let shape = (count, width, config.vocab_size, stride);
    gpu.logits(there.gathered, network.output(), shape, there.logits)?;
    let shape = (count, config.vocab_size, stride);
    ops.predict(there.logits, there.tokens, shape, there.found, there.log_sum_exp)?;
    let found = gpu.read(there.found)?;
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
        read_rows(&self.network, self.workspace.hidden()?, rows)
    }
}

/// Copies rows of hidden states from the GPU.
pub(crate) fn read_rows(network: &Network, hidden: View<u16>, rows: &[usize]) -> Result<Vec<f32>, Error> {
    let (gpu, width) = (&network.gpu, network.config.hidden_size);
    let numbers = gpu.upload(&rows.iter().map(|&row| row as i32).collect::<Vec<i32>>(), "rows")?;
    let gathered = gpu.allocate::<u16>(rows.len() * width, "rows of hidden states")?;
    let floats = gpu.allocate::<f32>(rows.len() * width, "rows of hidden states")?;
    network.ops.gather(hidden, numbers.view(), rows.len(), width, gathered.view())?;
    let gathered = gathered.part(0..rows.len() * width);
    network.ops.widen(gathered, floats.view())?;
    gpu.read(floats.part(0..rows.len() * width))
}

impl Reader for GpuReader {
    fn config(&self) -> &Config {
        &self.network.config
    }

    fn model(&self) -> Result<Cow<'_, Model>, ModelError> {
        let network = &self.network;
        let count = network.places.total();
        let floats = network.gpu.allocate::<f32>(count, "the weights in f32")?;
        network.ops.widen(network.weights.part(0..count), floats.view())?;
        let mut weights = Weights::zeros(&network.config);
        download(&network.gpu, &network.places, floats.view(), &(0..count), &mut weights)?;
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
            let there = head.block(&network.gpu, &network.config, block.len())?;
            predictions.extend(predict_block(network, &there, workspace.hidden()?, block)?);
        }
        Ok(predictions)
    }

    fn adapted(&self, adapters: &Adapters) -> Result<Box<dyn Reader>, ModelError> {
        adapters.check(&self.network.table)?;
        let adapters = adapters.with_rank_multiple(RANK_MULTIPLE);
        let network = self.network.copy()?;
        merge(&network, &self.network.weights, &adapters)?;
        network.gpu.synchronize().map_err(ModelError::from)?;
        Ok(Box::new(GpuReader::new(network)))
    }

    fn decoder(&mut self) -> Result<Box<dyn Decode + '_>, ModelError> {
        Ok(Box::new(GpuDecoder::new(&mut self.network)?))
    }
}
