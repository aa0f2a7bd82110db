//! A model's weights in the GPU's memory: one buffer, each tensor at a place of its own.

use crate::Error;
use crate::gpu::Gpu;
use crate::memory::{Buffer, View};
use crate::ops::Ops;
use std::ops::Range;
use transformer::Weights;
use transformer::table::{Table, TensorInfo};

/// Where each tensor of a [`Table`] lies in a buffer of all weights, in its order.
#[derive(Clone, Debug)]
pub struct Places {
    tensors: Vec<Range<usize>>,
    total: usize,
}

/// Tensors begin at multiples of this, so that every vector access is aligned.
const ALIGNMENT: usize = 128;

impl Places {
    /// For a model's tensors.
    pub fn of(table: &Table) -> Self {
        let mut total = 0;
        let tensors = table.tensors().iter().map(TensorInfo::len).map(|size| {
            let start = total;
            total = (start + size).next_multiple_of(ALIGNMENT);
            start..start + size
        });
        Places { tensors: tensors.collect(), total }
    }

    /// Numbers of a buffer that holds all.
    pub fn total(&self) -> usize {
        self.total
    }

    /// All tensors.
    pub fn tensors(&self) -> &[Range<usize>] {
        &self.tensors
    }

    /// Where a tensor begins.
    pub fn start(&self, tensor: usize) -> usize {
        self.tensors[tensor].start
    }

    /// Where what follows a tensor begins: behind it and its padding.
    pub fn next(&self, tensor: usize) -> usize {
        self.tensors.get(tensor + 1).map_or(self.total, |next| next.start)
    }

    /// The stretch of those that are trained, which are neighbours; none is empty.
    pub fn trained(&self, trained: &[bool]) -> Range<usize> {
        let first = trained.iter().position(|&trained| trained);
        let last = trained.iter().rposition(|&trained| trained);
        first.zip(last).map_or(0..0, |(first, last)| self.start(first)..self.next(last))
    }
}

/// Copies weights to the GPU as bf16, tensor by tensor.
#[derive(Default)]
pub struct Upload {
    scratch: Option<Buffer<f32>>,
}

impl Upload {
    /// One tensor to its place; its numbers may change as soon as this returns.
    pub fn put(&mut self, ops: &Ops, numbers: &[f32], to: View<u16>) -> Result<(), Error> {
        let scratch = ops.gpu.grow(&mut self.scratch, numbers.len(), "the weights")?;
        ops.gpu.write(scratch.view(), numbers)?;
        ops.narrow(scratch.view().first(numbers.len()), to)
    }
}

/// Copies numbers laid out like a stretch of the weights from the GPU.
pub fn download(
    gpu: &Gpu,
    places: &Places,
    numbers: View<f32>,
    range: &Range<usize>,
    weights: &mut Weights,
) -> Result<(), Error> {
    for (tensor, place) in weights.tensors_mut().into_iter().zip(places.tensors()) {
        if range.contains(&place.start) {
            gpu.read_into(numbers.after(place.start - range.start), tensor)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use transformer::device::Plan;
    use transformer::table::Role;
    use transformer::{Architecture, Config};

    #[test]
    fn tensors_have_their_sizes_and_do_not_overlap() {
        for (architecture, tied) in Architecture::ALL.into_iter().flat_map(|one| [(one, true), (one, false)])
        {
            let config = Config { architecture, tie_word_embeddings: tied, ..Config::tiny() };
            let table = Table::of(&config);
            let places = Places::of(&table);
            assert_eq!(table.tensors().len(), places.tensors().len());
            let mut end = 0;
            for (tensor, place) in table.tensors().iter().zip(places.tensors()) {
                assert_eq!(tensor.len(), place.len());
                assert!(place.start >= end && place.start.is_multiple_of(ALIGNMENT));
                end = place.end;
            }
            assert!(end <= places.total());
        }
    }

    #[test]
    fn what_is_trained_is_one_stretch() {
        for tied in [true, false] {
            let config = Config { tie_word_embeddings: tied, ..Config::tiny() };
            let table = Table::of(&config);
            let places = Places::of(&table);
            let trained = |first_layer, frozen_output| {
                let plan = Plan { first_layer, frozen_output, ..Plan::default() };
                places.trained(&plan.trained(&config))
            };
            assert_eq!(trained(0, false), 0..places.total());
            assert_eq!(trained(1, true).start, places.start(table.of_layer(1, Role::InputNorm)));
            assert_eq!(trained(2, true).start, places.start(table.final_norm()));
            let own_output = if tied { places.total() } else { places.start(table.output()) };
            assert_eq!(trained(0, true).end, own_output);
            assert_eq!(trained(1, false).end, own_output);
        }
    }
}
