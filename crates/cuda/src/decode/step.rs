//! One step: what the GPU must know of the slots, and the model from top to bottom.

use super::{Flight, GpuDecoder, SLOTS, Sequence};
use crate::linear::logits_stride;
use crate::memory::{Address, Buffer};
use crate::network::Network;
use crate::ops::launch;
use crate::sampler::{Draw, Drawing};
use crate::weights::Part;
use crate::{Error, ops::Ops};
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{DeviceRepr, PushKernelArg};

/// `Slots` of `cache.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SlotTable {
    tokens: Address<i32>,
    lengths: Address<i32>,
    prefixes: Address<i32>,
    pages: Address<i32>,
    width: i32,
    own_at: i32,
}

// SAFETY: four pointers and two integers, laid out as the kernel's structure.
unsafe impl DeviceRepr for SlotTable {}

/// What a step reads and writes on the GPU.
pub(super) struct StepBuffers {
    pub(super) tokens: Buffer<i32>,
    pub(super) lengths: Buffer<i32>,
    pub(super) prefixes: Buffer<i32>,
    pub(super) drawings: Buffer<Drawing>,
    pub(super) drawn: Buffer<i32>,
    pub(super) log_probabilities: Buffer<f32>,
    pub(super) residual: Buffer<u16>,       // [SLOTS, H]
    pub(super) normed: Buffer<u16>,         // [SLOTS, H]
    pub(super) scale: Buffer<f32>,          // [SLOTS]
    pub(super) qkv: Buffer<u16>,            // [SLOTS, QKV]
    pub(super) attended: Buffer<u16>,       // [SLOTS, Q]
    pub(super) gate_up: Buffer<u16>,        // [SLOTS, 2 F]
    pub(super) activated: Buffer<u16>,      // [SLOTS, F]
    pub(super) logits: Option<Buffer<f32>>, // [rows, stride], as many rows as were needed so far
}

impl StepBuffers {
    pub(super) fn new(network: &Network) -> Result<Self, Error> {
        let (gpu, c) = (&network.gpu, &network.config);
        let half = |width: usize| gpu.allocate::<u16>(SLOTS * width, "a decoding step");
        Ok(StepBuffers {
            tokens: gpu.allocate(SLOTS, "a decoding step")?,
            lengths: gpu.allocate(SLOTS, "a decoding step")?,
            prefixes: gpu.allocate(SLOTS, "a decoding step")?,
            drawings: gpu.allocate(SLOTS, "a decoding step")?,
            drawn: gpu.allocate(SLOTS, "a decoding step")?,
            log_probabilities: gpu.allocate(SLOTS, "a decoding step")?,
            residual: half(c.hidden_size)?,
            normed: half(c.hidden_size)?,
            scale: gpu.allocate(SLOTS, "a decoding step")?,
            qkv: half(c.qkv_size())?,
            attended: half(c.query_size())?,
            gate_up: half(2 * c.intermediate_size)?,
            activated: half(c.intermediate_size)?,
            logits: None,
        })
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
        let rotary = self.network.rotary(longest + 1)?;
        // A graph holds addresses and widths, so it is captured again where they change.
        if own_at > self.own_at || own > self.table_width - self.own_at || rotary.raw != self.rotary.raw {
            let own = own.max(self.table_width - self.own_at);
            self.own_at = own_at.max(self.own_at).next_multiple_of(8);
            self.table_width = self.own_at + own.next_multiple_of(8);
            self.table = Some(self.network.gpu.allocate(SLOTS * self.table_width, "the table of pages")?);
            self.rotary = rotary;
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
        gpu.write(b.tokens.start(), &tokens)?;
        gpu.write(b.lengths.start(), &lengths)?;
        gpu.write(b.prefixes.start(), &prefixes)?;
        gpu.write(b.drawings.start(), &drawings)?;
        gpu.write(self.table.as_ref().map_or(Address::null(), Buffer::start), &table)
    }

    pub(super) fn draw(&self, logits: Address<f32>) -> Draw {
        let b = &self.buffers;
        Draw {
            logits,
            rows: Address::null(),
            drawings: b.drawings.start(),
            tokens: b.tokens.start(),
            lengths: b.lengths.start(),
            drawn: b.drawn.start(),
            log_probabilities: b.log_probabilities.start(),
            slots: Address::null(),
            advance: true,
        }
    }

    pub(super) fn launch_step(&mut self) -> Result<Flight, Error> {
        let failed = Error::failed("decoding");
        let used = self.slots.iter().rposition(Option::is_some).map_or(1, |last| last + 1);
        let rows = rounded(used).min(SLOTS);
        let stream = self.network.gpu.stream().clone();
        let stride = logits_stride(self.network.config.vocab_size);
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
    pub(super) fn run_step(&self, rows: usize) -> Result<(), Error> {
        let (network, b) = (&*self.network, &self.buffers);
        let (gpu, ops, c) = (&network.gpu, &network.ops, &network.config);
        let (hidden, query, qkv, wide) = (c.hidden_size, c.query_size(), c.qkv_size(), c.intermediate_size);
        let (residual, normed, scale) = (b.residual.start(), b.normed.start(), b.scale.start());
        let norm = |gain| ops.rms_norm(residual, gain, (rows, hidden), c.rms_norm_eps, normed, scale);
        ops.embed(network.weights.start(), b.tokens.start(), rows, hidden, residual)?;
        for layer in 0..c.num_hidden_layers {
            let weight = |part| network.weight(layer, part);
            norm(weight(Part::InputNorm))?;
            let bias = Some(weight(Part::QkvBias));
            gpu.linear(normed, weight(Part::Qkv), bias, None, (rows, hidden, qkv), b.qkv.start())?;
            self.store_and_attend(ops, layer, rows)?;
            let out = weight(Part::AttentionOut);
            gpu.linear(b.attended.start(), out, None, Some(residual), (rows, query, hidden), residual)?;
            norm(weight(Part::FeedForwardNorm))?;
            gpu.linear(
                normed,
                weight(Part::GateUp),
                None,
                None,
                (rows, hidden, 2 * wide),
                b.gate_up.start(),
            )?;
            ops.swiglu(b.gate_up.start(), rows, wide, b.activated.start())?;
            let down = weight(Part::Down);
            gpu.linear(b.activated.start(), down, None, Some(residual), (rows, wide, hidden), residual)?;
        }
        norm(network.weights.at(network.places.final_norm()))?;
        let (logits, stride) =
            (b.logits.as_ref().map_or(Address::null(), Buffer::start), logits_stride(c.vocab_size));
        gpu.logits(normed, network.output(), (rows, hidden, c.vocab_size, stride), logits)?;
        ops.draw(&self.draw(logits), rows, c.vocab_size, stride)
    }

    pub(super) fn store_and_attend(&self, ops: &Ops, layer: usize, rows: usize) -> Result<(), Error> {
        let (c, b) = (&self.network.config, &self.buffers);
        let Some(pages) = &self.pages else { return Ok(()) };
        let (heads, key_heads) = (c.num_attention_heads, c.num_key_value_heads);
        let slots = SlotTable {
            tokens: b.tokens.start(),
            lengths: b.lengths.start(),
            prefixes: b.prefixes.start(),
            pages: self.table.as_ref().map_or(Address::null(), Buffer::start),
            width: self.table_width as i32,
            own_at: self.own_at as i32,
        };
        let warps = rows * (heads + key_heads);
        launch!(
            ops,
            "rotate_and_store",
            (warps.div_ceil(4), 1),
            128,
            pages.layer(layer),
            b.qkv.start(),
            slots,
            self.rotary,
            rows as i32,
            heads as i32,
            key_heads as i32
        )?;
        let scale = 1.0 / (c.head_dim as f32).sqrt();
        launch!(
            ops,
            "attend_cache",
            (rows, key_heads),
            128,
            pages.layer(layer),
            b.qkv.start(),
            b.attended.start(),
            slots,
            heads as i32,
            key_heads as i32,
            scale
        )
    }
}
