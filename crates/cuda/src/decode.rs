//! Sampling many sequences at once on the GPU.
//!
//! The same promises as `transformer::decode` on the CPU: samples of one prompt share its keys and
//! values, which are computed once and lie in pages that nobody copies; sequences of any length run in
//! one batch, and a finished one makes room for the next. Two things differ. A step runs ahead of what
//! the host has seen, so that the GPU never waits for the host. And the batch's size decides which
//! kernels multiply matrices, so a sample depends on it within rounding.
//!
//! A batch is a row of *slots*. What a step needs of a slot lies on the GPU and moves on there; a step is
//! one graph launch (CUDA graphs), captured once for each size of the batch.

mod admission;
mod step;

use crate::Error;
use crate::adjusting::{AdjustedRow, AdjustedRows};
use crate::memory::Buffer;
use crate::network::{Network, Workspace};
use crate::pages::{Pages, Prefix};
use crate::sampler::Drawing;
use cudarc::driver::{CudaEvent, CudaGraph, PinnedHostSlice};
use std::collections::HashMap;
use std::sync::Arc;
use step::{StepBuffers, rounded};
use transformer::Error as ModelError;
use transformer::decode::{Admission, Admitted, Decode, KnownPrompt, Sample};
use transformer::pass::Keep;

/// Sequences in flight, at most.
pub const SLOTS: usize = 1024;
/// Slots that are marked empty one by one; more are written anew together.
const FEW: usize = 16;

struct Sequence {
    /// Tells it from others that have its slot before or after it.
    id: u64,
    sample: Sample,
    prefix: Arc<Prefix>,
    pages: Vec<u32>,
    drawing: Drawing,
    adjusted: Option<AdjustedRow>,
    max_new_tokens: usize,
}

/// A step whose results are on their way.
struct Flight {
    members: Vec<(usize, u64)>,
    done: CudaEvent,
    /// Which of the two pairs of result buffers it writes.
    buffer: usize,
}

/// [`Decode`] on the GPU.
pub struct GpuDecoder<'a> {
    network: &'a mut Network,
    prefill: Workspace,
    pages: Option<Pages>,
    slots: Vec<Option<Sequence>>,
    next_id: u64,
    /// The last prompt admitted: its other samples may still be waiting.
    last_prefix: Option<KnownPrompt<Prefix>>,
    buffers: StepBuffers,
    /// Of sequences whose logits are changed; none before the first.
    adjusted: Option<AdjustedRows>,
    /// Of a step; made once for all slots, since graphs hold its addresses.
    workspace: Workspace,
    /// Pages of each slot: `[SLOTS, width]`, those of the prompt first, its own from `own_at` on.
    table: Option<Buffer<i32>>,
    table_width: usize,
    own_at: usize,
    /// Positions that the rotary table in the graphs has.
    positions: usize,
    graphs: HashMap<usize, Option<CudaGraph>>,
    flight: Option<Flight>,
    results: [(PinnedHostSlice<i32>, PinnedHostSlice<f32>); 2],
    /// Slots whose sequence has left, which the GPU does not know yet.
    emptied: Vec<usize>,
    /// The token of an empty slot, in memory from which a copy need not wait for the step in flight.
    no_token: PinnedHostSlice<i32>,
}

impl<'a> GpuDecoder<'a> {
    /// A decoder without sequences.
    pub fn new(network: &'a mut Network) -> Result<Self, Error> {
        network.extend_rotary(network.config.max_position_embeddings.min(1 << 15))?;
        let positions = network.rotary_positions();
        let buffers = StepBuffers::new(network)?;
        let mut workspace = Workspace::new(Keep::Nothing);
        network.make_room(&mut workspace, SLOTS)?;
        let context = network.gpu.context();
        let pinned = || {
            // SAFETY: the GPU writes a result before the host reads it, which waits for that.
            let pair = unsafe {
                context
                    .alloc_pinned_with_flags(SLOTS, 0)
                    .and_then(|first| Ok((first, context.alloc_pinned_with_flags(SLOTS, 0)?)))
            };
            pair.map_err(Error::failed("reserving memory of the host"))
        };
        // SAFETY: written in the next line, before anybody reads it.
        let no_token = unsafe { context.alloc_pinned_with_flags(1, 0) };
        let mut no_token = no_token.map_err(Error::failed("reserving memory of the host"))?;
        no_token.as_mut_slice().map_err(Error::failed("reserving memory of the host"))?.fill(-1);
        Ok(GpuDecoder {
            results: [pinned()?, pinned()?],
            network,
            prefill: Workspace::new(Keep::Nothing),
            pages: None,
            slots: Vec::new(),
            next_id: 0,
            last_prefix: None,
            buffers,
            adjusted: None,
            workspace,
            table: None,
            table_width: 0,
            own_at: 0,
            positions,
            graphs: HashMap::new(),
            flight: None,
            emptied: Vec::new(),
            no_token,
        })
    }

    fn in_flight(&self) -> impl Iterator<Item = (usize, &Sequence)> {
        self.slots.iter().enumerate().filter_map(|(slot, sequence)| Some((slot, sequence.as_ref()?)))
    }

    /// Takes in the results of the step in flight, if there is one.
    fn collect(&mut self) -> Result<(), Error> {
        let Some(flight) = self.flight.take() else { return Ok(()) };
        let failed = Error::failed("decoding");
        flight.done.synchronize().map_err(&failed)?;
        let (tokens, log_probabilities) = &self.results[flight.buffer];
        let tokens = tokens.as_slice().map_err(&failed)?;
        let log_probabilities = log_probabilities.as_slice().map_err(&failed)?;
        for (slot, id) in flight.members {
            check_number(log_probabilities[slot])?;
            if let Some(sequence) = self.slots[slot].as_mut().filter(|sequence| sequence.id == id) {
                // A step ahead of what the host has seen may run past the end.
                if sequence.sample.tokens.len() >= sequence.max_new_tokens {
                    continue;
                }
                sequence.sample.tokens.push(tokens[slot] as u32);
                sequence.sample.log_probabilities.push(log_probabilities[slot]);
            }
        }
        Ok(())
    }

    /// Tells the GPU which slots are empty, and closes gaps where that makes the batch smaller.
    fn tidy(&mut self) -> Result<(), Error> {
        let active = self.active();
        let used = self.slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let smaller = rounded(active) < rounded(used);
        if self.emptied.len() > FEW || smaller {
            self.collect()?;
            if smaller {
                let mut sequences: Vec<Option<Sequence>> =
                    self.slots.drain(..).filter(Option::is_some).collect();
                std::mem::swap(&mut self.slots, &mut sequences);
            }
            return self.write_slots();
        }
        for slot in std::mem::take(&mut self.emptied) {
            let no_token = self.no_token.as_slice().map_err(Error::failed("decoding"))?;
            self.network.gpu.write(self.buffers.tokens.view().after(slot), no_token)?;
        }
        Ok(())
    }

    /// Takes a sequence out and gives its pages back.
    fn remove(&mut self, slot: usize) -> Option<Sample> {
        let sequence = self.slots[slot].take()?;
        if let Some(pages) = &mut self.pages {
            pages.give_back(sequence.pages);
            pages.release(sequence.prefix);
        }
        if let (Some(rows), Some(adjusted)) = (&mut self.adjusted, sequence.adjusted) {
            rows.give_back(adjusted.row);
        }
        self.emptied.push(slot);
        Some(sequence.sample)
    }
}

/// A model whose logits are not numbers draws nothing that means anything.
fn check_number(log_probability: f32) -> Result<(), Error> {
    if log_probability.is_nan() {
        let message = "logits are not numbers: the weights are damaged, or training has diverged".to_owned();
        return Err(Error::Failed { doing: "decoding", message });
    }
    Ok(())
}

impl Decode for GpuDecoder<'_> {
    fn active(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn sequences(&self) -> usize {
        SLOTS
    }

    fn samples(&self) -> Vec<&Sample> {
        self.in_flight().map(|(_, sequence)| &sequence.sample).collect()
    }

    fn retain(&mut self, keep: &dyn Fn(usize) -> bool) {
        let leaving = self.in_flight().filter(|(_, sequence)| !keep(sequence.sample.request));
        for slot in leaving.map(|(slot, _)| slot).collect::<Vec<usize>>() {
            self.remove(slot);
        }
    }

    fn piece(&self) -> usize {
        admission::PREFILL_TOKENS
    }

    fn admit(&mut self, wanted: &[Admission], limit: usize) -> Result<Admitted, ModelError> {
        self.admit_some(wanted, limit)
    }

    fn take_finished(&mut self, stop: &dyn Fn(&Sample) -> bool) -> Vec<Sample> {
        let ends = &self.network.config.eos_token_ids;
        let ended =
            |sample: &Sample| sample.tokens.last().is_some_and(|last| ends.contains(last)) || stop(sample);
        let done = self.in_flight().filter_map(|(slot, sequence)| {
            let stopped = ended(&sequence.sample);
            (stopped || sequence.sample.tokens.len() >= sequence.max_new_tokens).then_some((slot, stopped))
        });
        let done: Vec<(usize, bool)> = done.collect();
        let samples = done.into_iter().filter_map(|(slot, stopped)| {
            let sample = self.remove(slot)?;
            Some(Sample { stopped, ..sample })
        });
        samples.collect()
    }

    fn step(&mut self) -> Result<(), ModelError> {
        if self.active() == 0 {
            return Ok(());
        }
        self.tidy()?;
        let next = self.launch_step()?;
        self.collect()?;
        self.flight = Some(next);
        Ok(())
    }
}

impl Drop for GpuDecoder<'_> {
    fn drop(&mut self) {
        // Results on their way must not arrive in memory that is gone; a failure shows at the next use.
        let _ = self.network.gpu.synchronize();
    }
}
