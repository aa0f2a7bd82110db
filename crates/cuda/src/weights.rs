//! A model's weights in the GPU's memory: one buffer, each tensor at a place of its own.

use crate::Error;
use crate::gpu::Gpu;
use crate::memory::{Address, Buffer};
use crate::ops::Ops;
use std::ops::Range;
use transformer::{Config, Weights};

/// Where each tensor lies in a buffer of all weights, in the order of [`Weights::tensors`].
#[derive(Clone, Debug)]
pub struct Places {
    tensors: Vec<Range<usize>>,
    layers: usize,
    total: usize,
}

/// Tensors begin at multiples of this, so that every vector access is aligned.
const ALIGNMENT: usize = 128;

/// The tensors of a layer, in the order of [`Weights::tensors`].
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Gain of the norm before attention.
    InputNorm,
    /// Queries, keys and values.
    Qkv,
    /// Their biases.
    QkvBias,
    /// From attention back to the residual stream.
    AttentionOut,
    /// Gain of the norm before the feed-forward part.
    FeedForwardNorm,
    /// Gate and up.
    GateUp,
    /// From the feed-forward part back to the residual stream.
    Down,
}

impl Places {
    /// For a model's shape.
    pub fn of(config: &Config) -> Self {
        let mut total = 0;
        let tensors = sizes(config).into_iter().map(|size| {
            let start = total;
            total = (start + size).next_multiple_of(ALIGNMENT);
            start..start + size
        });
        Places { tensors: tensors.collect(), layers: config.num_hidden_layers, total }
    }

    /// Numbers of a buffer that holds all.
    pub fn total(&self) -> usize {
        self.total
    }

    /// All tensors.
    pub fn tensors(&self) -> &[Range<usize>] {
        &self.tensors
    }

    /// Where a tensor of a layer begins.
    pub fn layer(&self, layer: usize, part: Part) -> usize {
        self.tensors[1 + 7 * layer + part as usize].start
    }

    /// Where the final norm's gain begins.
    pub fn final_norm(&self) -> usize {
        self.tensors[1 + 7 * self.layers].start
    }

    /// Where the output matrix begins: the embedding's place where it serves as output.
    pub fn output(&self) -> usize {
        self.tensors.get(2 + 7 * self.layers).map_or(0, |range| range.start)
    }

    /// What is trained if the layers below `first_layer` and, unless that is 0, the embedding are frozen,
    /// and the output matrix (if it is one of its own) serves only `with_output`.
    pub fn trained(&self, first_layer: usize, with_output: bool) -> Range<usize> {
        let start = match first_layer {
            0 => 0,
            _ if first_layer >= self.layers => self.final_norm(),
            layer => self.layer(layer, Part::InputNorm),
        };
        let end = if with_output && first_layer == 0 { self.total } else { self.output() };
        start..if end <= start { self.total } else { end }
    }
}

/// The number of weights of each tensor, in the order of [`Weights::tensors`].
fn sizes(c: &Config) -> Vec<usize> {
    let hidden = c.hidden_size;
    let mut sizes = vec![c.vocab_size * hidden];
    for _ in 0..c.num_hidden_layers {
        sizes.extend([
            hidden,
            c.qkv_size() * hidden,
            c.qkv_size(),
            hidden * c.query_size(),
            hidden,
            2 * c.intermediate_size * hidden,
            hidden * c.intermediate_size,
        ]);
    }
    sizes.push(hidden);
    if !c.tie_word_embeddings {
        sizes.push(c.vocab_size * hidden);
    }
    sizes
}

/// Copies weights to the GPU as bf16, tensor by tensor.
pub fn upload(gpu: &Gpu, ops: &Ops, places: &Places, weights: &Weights) -> Result<Buffer<u16>, Error> {
    let target = gpu.zeros(places.total(), "the weights")?;
    let mut scratch: Option<Buffer<f32>> = None;
    for (tensor, place) in weights.tensors().into_iter().zip(places.tensors()) {
        gpu.grow(&mut scratch, tensor.len(), "the weights")?;
        let Some(scratch) = &scratch else { continue };
        gpu.write(scratch.start(), tensor)?;
        ops.narrow(scratch.start(), target.at(place.start), tensor.len())?;
    }
    gpu.synchronize()?;
    Ok(target)
}

/// Copies numbers laid out like the weights from the GPU; `start` is the place of the first.
pub fn download(
    gpu: &Gpu,
    places: &Places,
    numbers: Address<f32>,
    range: &Range<usize>,
    weights: &mut Weights,
) -> Result<(), Error> {
    for (tensor, place) in weights.tensors_mut().into_iter().zip(places.tensors()) {
        if range.contains(&place.start) {
            gpu.read_into(numbers.offset(place.start - range.start), tensor)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_have_their_sizes_and_do_not_overlap() {
        for tied in [true, false] {
            let config = Config { tie_word_embeddings: tied, ..Config::tiny() };
            let (weights, places) = (Weights::zeros(&config), Places::of(&config));
            let tensors = weights.tensors();
            assert_eq!(tensors.len(), places.tensors().len());
            let mut end = 0;
            for (tensor, place) in tensors.iter().zip(places.tensors()) {
                assert_eq!(tensor.len(), place.len());
                assert!(place.start >= end && place.start.is_multiple_of(ALIGNMENT));
                end = place.end;
            }
            assert!(end <= places.total());
            assert_eq!(places.trained(0, true), 0..places.total());
            assert_eq!(places.trained(1, false).start, places.layer(1, Part::InputNorm));
            assert_eq!(places.trained(2, false).start, places.final_norm());
            let own_output = if tied { places.total() } else { places.output() };
            assert_eq!(places.trained(0, false).end, own_output);
        }
    }
}
