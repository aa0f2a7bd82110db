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

use crate::gpu::{Address, Buffer};
use crate::kernels::PAGE;
use crate::matmul::logits_stride;
use crate::network::{Keep, Network, Workspace};
use crate::ops::launch;
use crate::pages::{Pages, Prefix};
use crate::sampler::{Draw, Drawing};
use crate::weights::Part;
use crate::{Error, ops::Ops};
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaEvent, CudaGraph, DeviceRepr, PinnedHostSlice, PushKernelArg};
use std::collections::HashMap;
use std::sync::Arc;
use transformer::decode::{Admission, Sample};
use transformer::device::Decode;
use transformer::{Error as ModelError, PackedBatch};

/// Sequences in flight, at most.
pub const SLOTS: usize = 1024;
/// Prompt tokens that are computed at once.
const PREFILL_TOKENS: usize = 8192;
/// Slots that are marked empty one by one; more are written anew together.
const FEW: usize = 16;

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

struct Sequence {
    /// Tells it from others that have its slot before or after it.
    id: u64,
    sample: Sample,
    prefix: Arc<Prefix>,
    pages: Vec<u32>,
    drawing: Drawing,
    max_new_tokens: usize,
}

/// A step whose results are on their way.
struct Flight {
    members: Vec<(usize, u64)>,
    done: CudaEvent,
    /// Which of the two pairs of result buffers it writes.
    buffer: usize,
}

/// What a step reads and writes on the GPU.
struct StepBuffers {
    tokens: Buffer<i32>,
    lengths: Buffer<i32>,
    prefixes: Buffer<i32>,
    drawings: Buffer<Drawing>,
    drawn: Buffer<i32>,
    log_probabilities: Buffer<f32>,
    residual: Buffer<u16>,       // [SLOTS, H]
    normed: Buffer<u16>,         // [SLOTS, H]
    scale: Buffer<f32>,          // [SLOTS]
    qkv: Buffer<u16>,            // [SLOTS, QKV]
    attended: Buffer<u16>,       // [SLOTS, Q]
    gate_up: Buffer<u16>,        // [SLOTS, 2 F]
    activated: Buffer<u16>,      // [SLOTS, F]
    logits: Option<Buffer<f32>>, // [rows, stride], as many rows as were needed so far
}

impl StepBuffers {
    fn new(network: &Network) -> Result<Self, Error> {
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

/// [`Decode`] on the GPU.
pub struct GpuDecoder<'a> {
    network: &'a mut Network,
    prefill: Workspace,
    pages: Option<Pages>,
    slots: Vec<Option<Sequence>>,
    next_id: u64,
    /// The last prompt admitted: its other samples may still be waiting.
    last_prefix: Option<(usize, Arc<Prefix>)>,
    buffers: StepBuffers,
    /// Pages of each slot: `[SLOTS, width]`, those of the prompt first, its own from `own_at` on.
    table: Option<Buffer<i32>>,
    table_width: usize,
    own_at: usize,
    rotary: Address<f32>,
    graphs: HashMap<usize, Option<CudaGraph>>,
    flight: Option<Flight>,
    results: [(PinnedHostSlice<i32>, PinnedHostSlice<f32>); 2],
    /// Slots whose sequence has left, which the GPU does not know yet.
    emptied: Vec<usize>,
}

/// Sizes that a batch is rounded up to: each has a graph of its own.
fn rounded(rows: usize) -> usize {
    match rows {
        0..=16 => rows.next_power_of_two(),
        17..=128 => rows.next_multiple_of(32),
        _ => rows.next_multiple_of(128),
    }
}

impl<'a> GpuDecoder<'a> {
    /// A decoder without sequences.
    pub fn new(network: &'a mut Network) -> Result<Self, Error> {
        let rotary = network.rotary(network.config.max_position_embeddings.min(1 << 15))?;
        let buffers = StepBuffers::new(network)?;
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
        Ok(GpuDecoder {
            results: [pinned()?, pinned()?],
            network,
            prefill: Workspace::new(Keep::Nothing),
            pages: None,
            slots: Vec::new(),
            next_id: 0,
            last_prefix: None,
            buffers,
            table: None,
            table_width: 0,
            own_at: 0,
            rotary,
            graphs: HashMap::new(),
            flight: None,
            emptied: Vec::new(),
        })
    }

    fn sequences(&self) -> impl Iterator<Item = (usize, &Sequence)> {
        self.slots.iter().enumerate().filter_map(|(slot, sequence)| Some((slot, sequence.as_ref()?)))
    }

    /// How many of the wanted, the first ones, find a slot and pages.
    fn fitting(&self, wanted: &[Admission]) -> usize {
        let Some(pages) = &self.pages else { return 0 };
        let slots = SLOTS - self.active();
        let mut free = pages.free();
        let mut known = self.last_prefix.as_ref().map(|(request, _)| *request);
        let fits = wanted.iter().take(slots).take_while(|admission| {
            let own = admission.max_new_tokens.div_ceil(PAGE);
            let prompt =
                if known == Some(admission.request) { 0 } else { admission.prompt.len().div_ceil(PAGE) };
            known = Some(admission.request);
            let enough = free >= own + prompt;
            free = free.saturating_sub(own + prompt);
            enough
        });
        fits.count()
    }

    /// Reserves pages for the sequences that may be in flight: those of the first call tell how long they
    /// are. No more than three quarters of what is free, or prompts would find no room to be computed.
    fn plan_pages(&mut self, wanted: &[Admission]) -> Result<(), Error> {
        if self.pages.is_some() {
            return Ok(());
        }
        let pages_of = |admission: &Admission| {
            admission.max_new_tokens.div_ceil(PAGE) + admission.prompt.len().div_ceil(PAGE)
        };
        let longest = wanted.iter().map(pages_of).max().unwrap_or(1);
        // Later requests may be longer than the first ones.
        let useful = SLOTS * longest.max(512 / PAGE);
        let (free, _) = self.network.gpu.memory()?;
        let affordable = free / 4 * 3 / Pages::bytes_of_one(&self.network.config);
        self.pages = Some(Pages::new(&self.network.gpu, &self.network.config, useful.min(affordable))?);
        Ok(())
    }

    fn admit_some(&mut self, wanted: &[Admission]) -> Result<usize, Error> {
        if wanted.is_empty() {
            return Ok(0);
        }
        self.plan_pages(wanted)?;
        if self.fitting(&wanted[..1]) == 0 && self.active() == 0 {
            self.forget_last_prefix();
        }
        let count = self.fitting(wanted);
        if count == 0 {
            return if self.active() > 0 { Ok(0) } else { Err(self.too_long(&wanted[0])) };
        }
        self.collect()?;
        let prefixes = self.compute_prefixes(&wanted[..count])?;
        let mut draws: Vec<(usize, Arc<Prefix>)> = Vec::with_capacity(count);
        for (admission, prefix) in wanted.iter().zip(prefixes) {
            let slot = self.empty_slot();
            let own = admission.max_new_tokens.div_ceil(PAGE);
            let pages = self.pages.as_mut().map(|pages| pages.take(own)).unwrap_or_default();
            self.next_id += 1;
            self.slots[slot] = Some(Sequence {
                id: self.next_id,
                sample: Sample {
                    request: admission.request,
                    index: admission.index,
                    tokens: Vec::new(),
                    log_probabilities: Vec::new(),
                    stopped: false,
                },
                prefix: prefix.clone(),
                pages,
                drawing: Drawing::new(&admission.sampling, admission.random),
                max_new_tokens: admission.max_new_tokens,
            });
            draws.push((slot, prefix));
        }
        self.write_slots()?;
        self.draw_first(&draws)?;
        Ok(count)
    }

    fn too_long(&self, admission: &Admission) -> Error {
        let config = &self.network.config;
        let needed = admission.max_new_tokens.div_ceil(PAGE) + admission.prompt.len().div_ceil(PAGE);
        let pages = self.pages.as_ref().map_or(0, Pages::free);
        Error::OutOfMemory {
            what: format!(
                "one sequence of {} prompt and {} new tokens",
                admission.prompt.len(),
                admission.max_new_tokens
            ),
            wanted: needed * Pages::bytes_of_one(config),
            free: pages * Pages::bytes_of_one(config),
            advice: format!("{} tokens would fit: lower max_new_tokens", pages * PAGE),
        }
    }

    fn empty_slot(&mut self) -> usize {
        match self.slots.iter().position(Option::is_none) {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        }
    }

    /// The prompt of each of the wanted, computed where it is not the last one known.
    fn compute_prefixes(&mut self, wanted: &[Admission]) -> Result<Vec<Arc<Prefix>>, Error> {
        let mut known: Vec<(usize, Arc<Prefix>)> = self.last_prefix.take().into_iter().collect();
        let first = known.first().map(|(request, _)| *request);
        let mut new: Vec<&Admission> = wanted.iter().collect();
        new.dedup_by_key(|admission| admission.request);
        new.retain(|admission| Some(admission.request) != first);
        let mut rest = new.as_slice();
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = rest.iter().take_while(|admission| {
                tokens += admission.prompt.len();
                tokens <= PREFILL_TOKENS
            });
            let (group, later) = rest.split_at(fits.count().max(1));
            let prompts: Vec<&[u32]> = group.iter().map(|admission| admission.prompt).collect();
            let computed = self.compute_group(&prompts)?;
            known.extend(group.iter().map(|admission| admission.request).zip(computed));
            rest = later;
        }
        let mut at = 0;
        let found = wanted.iter().map(|admission| {
            while known[at].0 != admission.request {
                at += 1;
            }
            known[at].1.clone()
        });
        let found: Vec<Arc<Prefix>> = found.collect();
        self.last_prefix = known.pop();
        // The one known before may have had its last sample.
        if let (Some(pages), Some((_, old))) = (&mut self.pages, known.into_iter().next()) {
            pages.release(old);
        }
        Ok(found)
    }

    fn compute_group(&mut self, prompts: &[&[u32]]) -> Result<Vec<Arc<Prefix>>, Error> {
        let GpuDecoder { network, prefill, pages, .. } = self;
        let Some(pages) = pages else { return Ok(Vec::new()) };
        let (gpu, ops, config) = (network.gpu.clone(), network.ops.clone(), network.config.clone());
        let mut batch = PackedBatch::default();
        let (mut page_of, mut place_of, mut last_rows, mut taken) = (vec![], vec![], vec![], vec![]);
        for prompt in prompts {
            let rows = batch.push_sequence(prompt);
            last_rows.push(rows.end as i32 - 1);
            let own = pages.take(prompt.len().div_ceil(PAGE));
            page_of.extend((0..prompt.len()).map(|at| own[at / PAGE] as i32));
            place_of.extend((0..prompt.len()).map(|at| (at % PAGE) as i32));
            taken.push(own);
        }
        let rows = batch.rows();
        let numbers = gpu.upload(&[page_of, place_of, last_rows].concat(), "prompts")?;
        let (heads, key_heads) = (config.num_attention_heads as i32, config.num_key_value_heads as i32);
        network.forward(&batch, prefill, &mut |layer, qkv| {
            let warps = rows * key_heads as usize;
            launch!(
                ops,
                "store_prompt",
                (warps.div_ceil(4), 1),
                128,
                pages.layer(layer),
                qkv,
                numbers.start(),
                numbers.at(rows),
                rows as i32,
                heads,
                key_heads
            )
        })?;
        let (count, width, stride) = (prompts.len(), config.hidden_size, logits_stride(config.vocab_size));
        let gathered = gpu.allocate::<u16>(count * width, "prompts")?;
        let logits = Arc::new(gpu.allocate::<f32>(count * stride, "the logits of prompts")?);
        ops.gather(prefill.hidden(), numbers.at(2 * rows), count, width, gathered.start())?;
        gpu.logits(
            gathered.start(),
            network.output(),
            (count, width, config.vocab_size, stride),
            logits.start(),
        )?;
        let prefixes = taken.into_iter().zip(prompts).enumerate();
        let prefix = |(row, (pages, prompt)): (usize, (Vec<u32>, &&[u32]))| {
            Arc::new(Prefix { pages, length: prompt.len(), logits: logits.clone(), row })
        };
        Ok(prefixes.map(prefix).collect())
    }

    /// Writes everything that the GPU must know of all slots. No step may be in flight.
    fn write_slots(&mut self) -> Result<(), Error> {
        self.emptied.clear();
        while self.slots.last().is_some_and(Option::is_none) {
            self.slots.pop();
        }
        let widest =
            |count: fn(&Sequence) -> usize| self.sequences().map(|(_, s)| count(s)).max().unwrap_or(0);
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
        for (slot, sequence) in self.sequences() {
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

    /// Draws the first token of new sequences from the logits that follow their prompts.
    fn draw_first(&mut self, draws: &[(usize, Arc<Prefix>)]) -> Result<(), Error> {
        let config = self.network.config.clone();
        let stride = logits_stride(config.vocab_size);
        let mut rest = draws;
        while let Some((_, first)) = rest.first() {
            let same =
                rest.iter().take_while(|(_, prefix)| Arc::ptr_eq(&prefix.logits, &first.logits)).count();
            let (group, later) = rest.split_at(same);
            let (gpu, ops, b) = (&self.network.gpu, &self.network.ops, &self.buffers);
            let rows = group.iter().map(|(_, prefix)| prefix.row as i32);
            let numbers: Vec<i32> = rows.chain(group.iter().map(|(slot, _)| *slot as i32)).collect();
            let numbers = gpu.upload(&numbers, "first tokens")?;
            let draw = Draw {
                logits: first.logits.start(),
                rows: numbers.start(),
                slots: numbers.at(same),
                advance: false,
                ..self.draw(first.logits.start())
            };
            ops.draw(&draw, same, config.vocab_size, stride)?;
            let tokens = gpu.read(b.drawn.start(), same)?;
            let log_probabilities = gpu.read(b.log_probabilities.start(), same)?;
            for (((slot, _), token), log_probability) in group.iter().zip(tokens).zip(log_probabilities) {
                if let Some(sequence) = &mut self.slots[*slot] {
                    sequence.sample.tokens.push(token as u32);
                    sequence.sample.log_probabilities.push(log_probability);
                }
            }
            rest = later;
        }
        Ok(())
    }

    fn draw(&self, logits: Address<f32>) -> Draw {
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

    /// Takes in the results of the step in flight, if there is one.
    fn collect(&mut self) -> Result<(), Error> {
        let Some(flight) = self.flight.take() else { return Ok(()) };
        let failed = Error::failed("decoding");
        flight.done.synchronize().map_err(&failed)?;
        let (tokens, log_probabilities) = &self.results[flight.buffer];
        let tokens = tokens.as_slice().map_err(&failed)?;
        let log_probabilities = log_probabilities.as_slice().map_err(&failed)?;
        for (slot, id) in flight.members {
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
            self.network.gpu.write(self.buffers.tokens.at(slot), &[-1])?;
        }
        Ok(())
    }

    fn launch_step(&mut self) -> Result<Flight, Error> {
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
            members: self.sequences().map(|(slot, sequence)| (slot, sequence.id)).collect(),
            done: stream.record_event(None).map_err(&failed)?,
            buffer,
        })
    }

    /// One token for every slot of the batch: the model from top to bottom.
    fn run_step(&self, rows: usize) -> Result<(), Error> {
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

    fn store_and_attend(&self, ops: &Ops, layer: usize, rows: usize) -> Result<(), Error> {
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

    /// Takes a sequence out and gives its pages back.
    fn remove(&mut self, slot: usize) -> Option<Sample> {
        let sequence = self.slots[slot].take()?;
        if let Some(pages) = &mut self.pages {
            pages.give_back(sequence.pages);
            pages.release(sequence.prefix);
        }
        self.emptied.push(slot);
        Some(sequence.sample)
    }

    fn forget_last_prefix(&mut self) {
        if let (Some(pages), Some((_, prefix))) = (&mut self.pages, self.last_prefix.take()) {
            pages.release(prefix);
        }
    }
}

impl Decode for GpuDecoder<'_> {
    fn active(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    fn samples(&self) -> Vec<&Sample> {
        self.sequences().map(|(_, sequence)| &sequence.sample).collect()
    }

    fn retain(&mut self, keep: &dyn Fn(&Sample) -> bool) {
        let leaving = self.sequences().filter(|(_, sequence)| !keep(&sequence.sample));
        for slot in leaving.map(|(slot, _)| slot).collect::<Vec<usize>>() {
            self.remove(slot);
        }
    }

    fn admit(&mut self, wanted: &[Admission]) -> Result<usize, ModelError> {
        Ok(self.admit_some(wanted)?)
    }

    fn take_finished(&mut self, stop: &dyn Fn(&Sample) -> bool) -> Vec<Sample> {
        let ends = &self.network.config.eos_token_ids;
        let ended =
            |sample: &Sample| sample.tokens.last().is_some_and(|last| ends.contains(last)) || stop(sample);
        let done = self.sequences().filter_map(|(slot, sequence)| {
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
