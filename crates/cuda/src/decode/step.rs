//! One step: what the GPU must know of the slots, and the model from top to bottom.

use super::{Flight, GpuDecoder, SLOTS, Sequence};
use crate::Error;
use crate::linear::logits_stride;
use crate::memory::{Buffer, View};
use crate::network::Network;
use crate::operations::{Attention, GpuOperations};
use crate::ops::SlotCache;
use crate::sampler::{Draw, Drawing};
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use transformer::pass;

/// What a step reads and writes on the GPU.
pub(super) struct StepBuffers {
    pub(super) tokens: Buffer<i32>,
    pub(super) lengths: Buffer<i32>,
    pub(super) prefixes: Buffer<i32>,
    pub(super) drawings: Buffer<Drawing>,
    pub(super) drawn: Buffer<i32>,
    pub(super) log_probabilities: Buffer<f32>,
    pub(super) logits: Option<Buffer<f32>>, // [rows, stride], as many rows as were needed so far
}

impl StepBuffers {
    pub(super) fn new(network: &Network) -> Result<Self, Error> {
        let gpu = &network.gpu;
        Ok(StepBuffers {
            tokens: gpu.allocate(SLOTS, "a decoding step")?,
            lengths: gpu.allocate(SLOTS, "a decoding step")?,
            prefixes: gpu.allocate(SLOTS, "a decoding step")?,
            drawings: gpu.allocate(SLOTS, "a decoding step")?,
            drawn: gpu.allocate(SLOTS, "a decoding step")?,
            log_probabilities: gpu.allocate(SLOTS, "a decoding step")?,
            logits: None,
        })
    }

    /// Draws from logits for all slots.
    pub(super) fn draw<'a>(&'a self, logits: View<'a, f32>) -> Draw<'a> {
        Draw {
            logits,
            rows: None,
            drawings: self.drawings.view(),
            tokens: self.tokens.view(),
            lengths: self.lengths.view(),
            drawn: self.drawn.view(),
            log_probabilities: self.log_probabilities.view(),
            slots: None,
            advance: true,
            adjusted: None,
        }
    }
}

/// Sizes that a batch is rounded up to: each has a graph of its own.
pub(super) fn rounded(rows: usize) -> usize {
    match rows {
        0..=16 => rows.next_power_of_two(),
        17..=128 => rows.next_multiple_of(32),
        _ => rows.next_multiple_of(128),
    }
}

impl GpuDecoder<'_> {
    /// Writes everything that the GPU must know of all slots. No step may be in flight.
    pub(super) fn write_slots(&mut self) -> Result<(), Error> {
        self.emptied.clear();
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
        }
        let widest =
            |count: fn(&Sequence) -> usize| self.in_flight().map(|(_, s)| count(s)).max().unwrap_or(0);
        let (own_at, own) = (widest(|s| s.prefix.pages.len()), widest(|s| s.pages.len()));
        let longest = widest(|s| s.prefix.length + s.max_new_tokens);
        self.network.extend_rotary(longest + 1)?;
        // A graph holds addresses and widths, so it is captured again where they change.
        if own_at > self.own_at || own > self.table_width - self.own_at {
            let own = own.max(self.table_width - self.own_at);
            self.own_at = own_at.max(self.own_at).next_multiple_of(8);
            self.table_width = self.own_at + own.next_multiple_of(8);
            self.table = Some(self.network.gpu.allocate(SLOTS * self.table_width, "the table of pages")?);
            self.graphs.clear();
        }
        let count = self.slots.len();
        let padded = rounded(count.max(1)).min(SLOTS);
        let (mut tokens, mut lengths, mut prefixes) =
            (vec![-1i32; padded], vec![0i32; padded], vec![0i32; padded]);
        let mut drawings = vec![Drawing::default(); padded];
        let mut table = vec![0i32; padded * self.table_width];
        for (slot, sequence) in self.in_flight() {
            tokens[slot] = sequence.sample.tokens.last().map_or(-1, |&token| token as i32);
            lengths[slot] = sequence.sample.tokens.len().saturating_sub(1) as i32;
            prefixes[slot] = sequence.prefix.length as i32;
            drawings[slot] = sequence.drawing;
            let row = &mut table[slot * self.table_width..(slot + 1) * self.table_width];
            let fill = |row: &mut [i32], pages: &[u32]| {
                row.iter_mut().zip(pages).for_each(|(place, &page)| *place = page as i32);
            };
            fill(row, &sequence.prefix.pages);
            fill(&mut row[self.own_at..], &sequence.pages);
        }
        let (gpu, b) = (&self.network.gpu, &self.buffers);
        gpu.write(b.tokens.view(), &tokens)?;
        gpu.write(b.lengths.view(), &lengths)?;
        gpu.write(b.prefixes.view(), &prefixes)?;
        gpu.write(b.drawings.view(), &drawings)?;
        match &self.table {
            Some(there) => gpu.write(there.view(), &table),
            None => Ok(()), // There is no sequence yet.
        }
    }

    pub(super) fn launch_step(&mut self) -> Result<Flight, Error> {
        let failed = Error::failed("decoding");
        let used = self.slots.iter().rposition(Option::is_some).map_or(1, |last| last + 1);
        let rows = rounded(used).min(SLOTS);
        let stream = self.network.gpu.stream().clone();
        let stride = logits_stride(self.network.config.vocab_size);
        // Prompts may have moved the rotary table, even where they failed afterwards.
        let positions = self.network.rotary_positions();
        if positions != self.positions {
            self.graphs.clear();
            self.positions = positions;
        }
        if self.buffers.logits.as_ref().is_none_or(|logits| logits.len() < rows * stride) {
            self.graphs.clear();
            self.network.gpu.grow(
                &mut self.buffers.logits,
                rows * stride,
                "the logits of a decoding step",
            )?;
        }
        match self.graphs.get(&rows) {
            // The first step of a size runs as it is, which loads all kernels; the second is captured.
            None => {
                self.run_step(rows)?;
                self.graphs.insert(rows, None);
            }
            Some(None) => {
                stream
                    .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
                    .map_err(&failed)?;
                let run = self.run_step(rows);
                let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
                let graph = stream.end_capture(flags).map_err(&failed)?;
                run?;
                let Some(graph) = graph else { return Err(Error::Shape("a step made no graph".into())) };
                graph.launch().map_err(&failed)?;
                self.graphs.insert(rows, Some(graph));
            }
            Some(Some(graph)) => graph.launch().map_err(&failed)?,
        }
        let buffer = self.flight.as_ref().map_or(0, |flight| 1 - flight.buffer);
        let (tokens, log_probabilities) = &mut self.results[buffer];
        self.buffers.drawn.copy_to(tokens, rows).map_err(&failed)?;
        self.buffers.log_probabilities.copy_to(log_probabilities, rows).map_err(&failed)?;
        Ok(Flight {
            members: self.in_flight().map(|(slot, sequence)| (slot, sequence.id)).collect(),
            done: stream.record_event(None).map_err(&failed)?,
            buffer,
        })
    }

    /// One token for every slot of the batch: the model from top to bottom.
    fn run_step(&mut self, rows: usize) -> Result<(), Error> {
        let (network, b) = (&*self.network, &self.buffers);
        // All are there since the first sequence was admitted, and logits since the step is launched.
        let (Some(pages), Some(table), Some(logits)) = (&self.pages, &self.table, &b.logits) else {
            return Ok(());
        };
        let cache = SlotCache {
            pages,
            tokens: b.tokens.view(),
            lengths: b.lengths.view(),
            prefixes: b.prefixes.view(),
            table: table.view(),
            width: self.table_width,
            own_at: self.own_at,
        };
        let mut operations = GpuOperations {
            network,
            rows,
            tokens: b.tokens.view(),
            attention: Attention::Cache(cache),
            training: None,
        };
        pass::forward(&mut operations, &mut self.workspace.buffers)?;
        let (hidden, vocabulary) = (network.config.hidden_size, network.config.vocab_size);
        let stride = logits_stride(vocabulary);
        let shape = (rows, hidden, vocabulary, stride);
        network.gpu.logits(self.workspace.hidden()?, network.output(), shape, logits.view())?;
        let draw = Draw { adjusted: self.adjusted.as_ref(), ..b.draw(logits.view()) };
        network.ops.draw(&draw, rows, vocabulary, stride)
    }
}
