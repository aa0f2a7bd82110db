//! New sequences: room for them, their prompts, their first tokens.

use super::{GpuDecoder, SLOTS, Sequence, check_number};
use crate::Error;
use crate::adjusting::{AdjustedRow, AdjustedRows};
use crate::kernels::PAGE;
use crate::linear::logits_stride;
use crate::pages::{Pages, Prefix};
use crate::sampler::{Draw, Drawing};
use std::sync::Arc;
use transformer::decode::{Admission, Admitted, Decode, Sample, share_prompts};
use transformer::{Error as ModelError, PackedBatch};

/// Prompt tokens that are computed at once.
pub(super) const PREFILL_TOKENS: usize = 8192;

impl GpuDecoder<'_> {
    /// How many of the wanted, the first ones, find a slot and pages.
    pub(super) fn fitting(&self, wanted: &[Admission]) -> usize {
        let Some(pages) = &self.pages else { return 0 };
        let slots = SLOTS - self.active();
        let mut free = pages.free();
        let mut known = self.last_prefix.as_ref().map(|known| known.tokens.as_slice());
        let fits = wanted.iter().take(slots).take_while(|admission| {
            let own = admission.max_new_tokens.div_ceil(PAGE);
            let prompt =
                if known == Some(admission.prompt) { 0 } else { admission.prompt.len().div_ceil(PAGE) };
            known = Some(admission.prompt);
            let enough = free >= own + prompt;
            free = free.saturating_sub(own + prompt);
            enough
        });
        fits.count()
    }

    /// Reserves pages for the sequences that may be in flight: those of the first call tell how long they
    /// are. No more than three quarters of what is free, or prompts would find no room to be computed.
    pub(super) fn plan_pages(&mut self, wanted: &[Admission]) -> Result<(), Error> {
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

    /// How many of the wanted, the first ones, have new prompts of so many tokens together, and how many
    /// tokens these have: one at least, though its prompt is longer.
    fn within(&self, wanted: &[Admission], limit: usize) -> Admitted {
        let mut known = self.last_prefix.as_ref().map(|known| known.tokens.as_slice());
        let mut taken = Admitted::default();
        for admission in wanted {
            let new = if known == Some(admission.prompt) { 0 } else { admission.prompt.len() };
            if taken.samples > 0 && taken.prompt_tokens.saturating_add(new) > limit {
                break;
            }
            known = Some(admission.prompt);
            taken.samples += 1;
            taken.prompt_tokens += new;
        }
        taken
    }

    pub(super) fn admit_some(&mut self, wanted: &[Admission], limit: usize) -> Result<Admitted, ModelError> {
        if wanted.is_empty() {
            return Ok(Admitted::default());
        }
        self.plan_pages(wanted)?;
        if self.fitting(&wanted[..1]) == 0 && self.active() == 0 {
            self.forget_last_prefix();
        }
        let count = self.fitting(wanted);
        if count == 0 {
            let is_busy = self.active() > 0;
            return if is_busy { Ok(Admitted::default()) } else { Err(self.too_long(&wanted[0]).into()) };
        }
        let admitted = self.within(&wanted[..count], limit);
        let count = admitted.samples;
        self.collect()?;
        self.make_adjusted_rows(&wanted[..count])?;
        let prefixes = self.compute_prefixes(&wanted[..count])?;
        let mut draws: Vec<(usize, Arc<Prefix>)> = Vec::with_capacity(count);
        for (admission, prefix) in wanted.iter().zip(prefixes) {
            let adjusted = self.adjust(admission)?;
            let slot = self.empty_slot();
            let own = admission.max_new_tokens.div_ceil(PAGE);
            let pages = self.pages.as_mut().map(|pages| pages.take(own)).unwrap_or_default();
            self.next_id += 1;
            let drawing = Drawing::new(&admission.sampling, admission.random);
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
                drawing: match &adjusted {
                    Some(of) => drawing.adjusted(of.row, &of.rules),
                    None => drawing,
                },
                adjusted,
                max_new_tokens: admission.max_new_tokens,
            });
            draws.push((slot, prefix));
        }
        self.write_slots()?;
        self.draw_first(&draws)?;
        Ok(admitted)
    }

    /// Makes room for what new sequences need whose logits are changed. No step may be in flight.
    fn make_adjusted_rows(&mut self, wanted: &[Admission]) -> Result<(), Error> {
        let new = wanted.iter().filter(|admission| admission.adjustments.is_some()).count();
        let (all, free) = self.adjusted.as_ref().map_or((0, 0), |rows| (rows.len(), rows.free()));
        if new <= free {
            return Ok(());
        }
        let ops = &self.network.ops;
        let rows = (all - free + new).next_power_of_two();
        let mut grown = AdjustedRows::new(&ops.gpu, self.network.config.vocab_size, rows)?;
        let mut taken = Vec::new();
        for (slot, sequence) in self.slots.iter().enumerate() {
            let Some((sequence, before)) = sequence.as_ref().and_then(|s| Some((s, s.adjusted.as_ref()?)))
            else {
                continue;
            };
            let Some(row) = grown.take() else { break };
            let now = AdjustedRow { row, rules: before.rules.clone(), prompt: before.prompt.clone() };
            grown.fill(ops, &now, &sequence.sample.tokens)?;
            taken.push((slot, now));
        }
        // Nothing has changed before all is there.
        for (slot, now) in taken {
            if let Some(sequence) = &mut self.slots[slot] {
                sequence.drawing = sequence.drawing.adjusted(now.row, &now.rules);
                sequence.adjusted = Some(now);
            }
        }
        self.adjusted = Some(grown);
        // Graphs hold its address, and slots the rows.
        self.graphs.clear();
        self.write_slots()
    }

    /// A row for a new sequence, if its logits are changed.
    fn adjust(&mut self, admission: &Admission) -> Result<Option<AdjustedRow>, Error> {
        let (Some(rows), Some(rules)) = (&mut self.adjusted, admission.adjustments) else { return Ok(None) };
        let Some(row) = rows.take() else { return Ok(None) };
        let adjusted = AdjustedRow { row, rules: rules.clone(), prompt: admission.prompt.to_vec() };
        rows.fill(&self.network.ops, &adjusted, &[])?;
        Ok(Some(adjusted))
    }

    pub(super) fn too_long(&self, admission: &Admission) -> Error {
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

    pub(super) fn empty_slot(&mut self) -> usize {
        match self.slots.iter().position(Option::is_none) {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        }
    }

    /// The prompt of each of the wanted, computed where it is not the last one known.
    pub(super) fn compute_prefixes(&mut self, wanted: &[Admission]) -> Result<Vec<Arc<Prefix>>, ModelError> {
        let last = self.last_prefix.take();
        let before = last.as_ref().map(|known| known.prompt.clone());
        let mut compute = |prompts: &[&[u32]]| Ok(self.compute_group(prompts)?);
        let shared = share_prompts(wanted, last, PREFILL_TOKENS, &mut compute);
        let found = shared.map(|(found, last)| {
            self.last_prefix = last;
            found
        });
        // The one known before may have had its last sample.
        if let (Some(pages), Some(before)) = (&mut self.pages, before) {
            pages.release(before);
        }
        found
    }

    pub(super) fn compute_group(&mut self, prompts: &[&[u32]]) -> Result<Vec<Arc<Prefix>>, Error> {
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
        network.forward(&batch, prefill, &mut |layer, qkv| {
            let places = (numbers.view(), numbers.view().after(rows));
            ops.store_prompt(pages.layer(layer), qkv, places, rows)
        })?;
        let (count, width, stride) = (prompts.len(), config.hidden_size, logits_stride(config.vocab_size));
        let gathered = gpu.allocate::<u16>(count * width, "prompts")?;
        let logits = Arc::new(gpu.allocate::<f32>(count * stride, "the logits of prompts")?);
        ops.gather(prefill.hidden()?, numbers.view().after(2 * rows), count, width, gathered.view())?;
        gpu.logits(
            gathered.view(),
            network.output(),
            (count, width, config.vocab_size, stride),
            logits.view(),
        )?;
        let prefixes = taken.into_iter().zip(prompts).enumerate();
        let prefix = |(row, (pages, prompt)): (usize, (Vec<u32>, &&[u32]))| {
            Arc::new(Prefix { pages, length: prompt.len(), logits: logits.clone(), row })
        };
        Ok(prefixes.map(prefix).collect())
    }

    /// Draws the first token of new sequences from the logits that follow their prompts.
    pub(super) fn draw_first(&mut self, draws: &[(usize, Arc<Prefix>)]) -> Result<(), Error> {
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
                logits: first.logits.view(),
                rows: Some(numbers.view()),
                slots: Some(numbers.view().after(same)),
                advance: false,
                adjusted: self.adjusted.as_ref(),
                ..b.draw(first.logits.view())
            };
            ops.draw(&draw, same, config.vocab_size, stride)?;
            let tokens = gpu.read(b.drawn.part(0..same))?;
            let log_probabilities = gpu.read(b.log_probabilities.part(0..same))?;
            for (((slot, _), token), log_probability) in group.iter().zip(tokens).zip(log_probabilities) {
                check_number(log_probability)?;
                if let Some(sequence) = &mut self.slots[*slot] {
                    sequence.sample.tokens.push(token as u32);
                    sequence.sample.log_probabilities.push(log_probability);
                }
            }
            rest = later;
        }
        Ok(())
    }

    pub(super) fn forget_last_prefix(&mut self) {
        if let (Some(pages), Some(known)) = (&mut self.pages, self.last_prefix.take()) {
            pages.release(known.prompt);
        }
    }
}
