//! Low-rank adapters on the GPU.
//!
//! The weights that everything computes with are `W + scale B A`, made anew after each update; the
//! adapters' own numbers, few as they are, and their optimiser stay on the host.

use crate::Error;
use crate::gpu::Gpu;
use crate::matmul::{Output, Product};
use crate::memory::Buffer;
use crate::network::Network;
use crate::ops::Ops;
use std::ops::Range;
use transformer::Weights;
use transformer::device::Plan;
use transformer::lora::{Adapter, AdapterTraining, Adapters};

/// Ranks that products here take are multiples of it.
pub(crate) const RANK_MULTIPLE: usize = 8;

/// Adapters in training.
pub struct Adapted {
    /// The adapters, their gradients and their optimiser.
    pub training: AdapterTraining,
    /// The weights without adapters, laid out like those with.
    pub base: Buffer<u16>,
}

impl Adapted {
    /// Adapters that add nothing yet.
    pub fn new(network: &Network, plan: &Plan) -> Result<Self, Error> {
        let training = AdapterTraining::new(&network.config, &plan.lora, plan.optimizer);
        let training = training.map_err(|error| Error::Shape(error.to_string()))?;
        let (gpu, count) = (&network.gpu, network.places.total());
        let base = gpu.allocate(count, "the weights without adapters")?;
        gpu.copy(network.weights.view(), base.view())?;
        Ok(Adapted { training, base })
    }

    /// Takes the adapters' gradients from that of the weights, whose first number is that of the weight
    /// `start`; returns the sum of their squares.
    pub fn project(&mut self, network: &Network, gradient: &Buffer<f32>, start: usize) -> Result<f64, Error> {
        let (gpu, ops) = (&network.gpu, &network.ops);
        let (scale, rank) = (self.training.adapters.scale(), self.training.adapters.settings.rank);
        let largest = self.training.adapters.all.iter().map(|adapter| adapter.range.len()).max().unwrap_or(0);
        let matrix = gpu.allocate::<u16>(largest, "a gradient in bf16")?;
        for (adapter, pair) in
            self.training.adapters.all.iter().zip(self.training.gradients.chunks_exact_mut(2))
        {
            let [for_a, for_b] = pair else { continue };
            let (outputs, inputs) = (adapter.outputs, adapter.inputs);
            let place = place(network, adapter);
            ops.narrow(
                gradient.part(place.start - start..place.end - start),
                matrix.part(0..outputs * inputs),
            )?;
            let (a, b) = (upload(gpu, ops, &adapter.a)?, upload(gpu, ops, &adapter.b)?);
            let slope_a = gpu.allocate::<f32>(for_a.len(), "adapters")?;
            let slope_b = gpu.allocate::<f32>(for_b.len(), "adapters")?;
            let product = |rows, columns, depth, left, left_stride, right, right_stride, out| Product {
                rows,
                columns,
                depth,
                left,
                left_stride,
                right,
                right_stride,
                bias: None,
                residual: None,
                scale,
                out: Output::F32(out),
                out_stride: columns,
            };
            let (whole, b_at) = ((matrix.view(), false), (b.view(), true));
            gpu.matmul().run(&product(rank, inputs, outputs, b_at, rank, whole, inputs, slope_a.view()))?;
            let a_at = (a.view(), true);
            gpu.matmul().run(&product(outputs, rank, inputs, whole, inputs, a_at, inputs, slope_b.view()))?;
            gpu.read_into(slope_a.view(), for_a)?;
            gpu.read_into(slope_b.view(), for_b)?;
        }
        Ok(self.training.gradient_square())
    }

    /// Writes `base + scale B A` to the weights that the network computes with.
    pub fn merge(&self, network: &Network) -> Result<(), Error> {
        merge(network, &self.base, &self.training.adapters)
    }

    /// Writes `base + scale B A` to weights on the host, in f32.
    pub fn merge_on_host(&self, network: &Network, weights: &mut Weights) -> Result<(), Error> {
        let gpu = &network.gpu;
        let largest = self.training.adapters.all.iter().map(|adapter| adapter.range.len()).max().unwrap_or(0);
        let floats = gpu.allocate::<f32>(largest, "weights in f32")?;
        let mut tensors = weights.tensors_mut();
        for adapter in &self.training.adapters.all {
            let target = &mut tensors[adapter.tensor][adapter.range.clone()];
            network.ops.widen(self.base.part(place(network, adapter)), floats.view())?;
            gpu.read_into(floats.view(), target)?;
            self.training.adapters.add_to(adapter, target);
        }
        Ok(())
    }
}

/// Writes `base + scale B A` to a network's weights; `base` is laid out like these.
pub(crate) fn merge(network: &Network, base: &Buffer<u16>, adapters: &Adapters) -> Result<(), Error> {
    let (gpu, ops, rank) = (&network.gpu, &network.ops, adapters.settings.rank);
    for adapter in &adapters.all {
        let (a, b) = (upload(gpu, ops, &adapter.a)?, upload(gpu, ops, &adapter.b)?);
        let place = place(network, adapter);
        gpu.matmul().run(&Product {
            rows: adapter.outputs,
            columns: adapter.inputs,
            depth: rank,
            left: (b.view(), false),
            left_stride: rank,
            right: (a.view(), false),
            right_stride: adapter.inputs,
            bias: None,
            residual: Some(base.part(place.clone())),
            scale: adapters.scale(),
            out: Output::Bf16(network.weights.part(place)),
            out_stride: adapter.inputs,
        })?;
    }
    Ok(())
}

/// Where an adapter's matrix lies among the weights.
fn place(network: &Network, adapter: &Adapter) -> Range<usize> {
    let start = network.places.start(adapter.tensor);
    start + adapter.range.start..start + adapter.range.end
}

fn upload(gpu: &Gpu, ops: &Ops, numbers: &[f32]) -> Result<Buffer<u16>, Error> {
    let floats = gpu.upload(numbers, "adapters")?;
    let halves = gpu.allocate(numbers.len(), "adapters")?;
    ops.narrow(floats.view(), halves.part(0..numbers.len()))?;
    Ok(halves)
}
