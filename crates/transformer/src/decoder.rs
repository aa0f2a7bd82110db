//! Sampling on the CPU.
//!
//! The samples of one prompt share its keys and values, which are computed once. Sequences of
//! different lengths run in one batch; a finished one leaves it and the next takes its place. A
//! sample depends on its seed and index only, not on the batch it ran in: rows of a matrix product
//! do not depend on each other, and every sample draws from a random stream of its own.

use crate::Error;
use crate::batch::PackedBatch;
use crate::config::Config;
use crate::decode::{Admission, Decode, Sample, share_prompts};
use crate::kv_cache::{CacheShape, KvCache, attend};
use crate::model::{Model, Workspace, embed};
use crate::ops::elementwise::{add, swiglu};
use crate::ops::matmul::{Packed, linear_packed};
use crate::ops::norm::rms_norm;
use crate::ops::rope::RotaryTable;
use crate::sampling::{Sampling, draw, stream};
use crate::weights::Layer;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Prompt tokens that are computed at once.
const PREFILL_TOKENS: usize = 4096;

/// The prompt's part of the cache, and the logits that follow it.
struct Prefix {
    cache: KvCache,
    length: usize,
    logits: Vec<f32>,
}

struct Sequence {
    sample: Sample,
    prefix: Arc<Prefix>,
    cache: KvCache,
    /// Positions in `cache`.
    length: usize,
    random: ChaCha8Rng,
    sampling: Sampling,
    max_new_tokens: usize,
}

/// [`Decode`] on the CPU.
pub struct Decoder<'a> {
    model: &'a Model,
    active: Vec<Sequence>,
    /// The last prompt admitted: its other samples may still be waiting.
    last_prefix: Option<(usize, Arc<Prefix>)>,
    rotary: RotaryTable,
    prefill: Workspace,
    /// One for each thread.
    buffers: Vec<Buffers>,
    packed: PackedWeights,
}

/// The model's matrices, packed once for all steps.
struct PackedWeights {
    layers: Vec<PackedLayer>,
    output: Packed,
}

struct PackedLayer {
    qkv: Packed,
    attention_out: Packed,
    gate_up: Packed,
    down: Packed,
}

impl PackedWeights {
    fn of(model: &Model) -> Self {
        let c = &model.config;
        let layer = |w: &Layer| PackedLayer {
            qkv: Packed::weight(&w.qkv, c.qkv_size(), c.hidden_size),
            attention_out: Packed::weight(&w.attention_out, c.hidden_size, c.query_size()),
            gate_up: Packed::weight(&w.gate_up, 2 * c.intermediate_size, c.hidden_size),
            down: Packed::weight(&w.down, c.hidden_size, c.intermediate_size),
        };
        PackedWeights {
            layers: model.weights.layers.iter().map(layer).collect(),
            output: Packed::weight(model.weights.output_matrix(), c.vocab_size, c.hidden_size),
        }
    }
}

/// Rows of one decoding step on one thread.
#[derive(Default)]
struct Buffers {
    residual: Vec<f32>,
    normed: Vec<f32>,
    scale: Vec<f32>,
    qkv: Vec<f32>,
    scores: Vec<f32>,
    attended: Vec<f32>,
    projected: Vec<f32>,
    gate_up: Vec<f32>,
    activated: Vec<f32>,
    logits: Vec<f32>,
}

impl<'a> Decoder<'a> {
    /// A decoder without sequences.
    pub fn new(model: &'a Model) -> Self {
        Decoder {
            model,
            active: Vec::new(),
            last_prefix: None,
            rotary: RotaryTable::default(),
            prefill: Workspace::for_inference(),
            buffers: Vec::new(),
            packed: PackedWeights::of(model),
        }
    }

    /// Computes the prompts of new samples and draws their first tokens.
    ///
    /// # Panics
    /// If a prompt is empty or holds a token that is not below the vocabulary's size.
    fn admit_all(&mut self, wanted: &[Admission]) -> Result<(), Error> {
        let last = self.last_prefix.take();
        let mut compute = |prompts: &[&[u32]]| Ok(self.compute_prefixes(prompts));
        let (prefixes, last) = share_prompts(wanted, last, PREFILL_TOKENS, &mut compute)?;
        self.last_prefix = last;
        for (admission, prefix) in wanted.iter().zip(prefixes) {
            self.active.push(Sequence {
                sample: Sample {
                    request: admission.request,
                    index: admission.index,
                    tokens: Vec::new(),
                    log_probabilities: Vec::new(),
                    stopped: false,
                },
                prefix,
                cache: KvCache::default(),
                length: 0,
                random: stream(admission.random.0, admission.random.1),
                sampling: admission.sampling,
                max_new_tokens: admission.max_new_tokens,
            });
        }
        let first = self.active.len() - wanted.len();
        self.active[first..].par_iter_mut().for_each(|sequence| {
            let mut logits = sequence.prefix.logits.clone();
            sequence.draw(&mut logits);
        });
        let longest = |sequence: &Sequence| sequence.prefix.length + sequence.max_new_tokens;
        let positions = self.active.iter().map(longest).max().unwrap_or(0);
        if self.rotary.positions() < positions {
            let config = &self.model.config;
            self.rotary = RotaryTable::new(config.head_dim, config.rope_theta, positions);
        }
        Ok(())
    }

    fn compute_prefixes(&mut self, prompts: &[&[u32]]) -> Vec<Arc<Prefix>> {
        let config = &self.model.config;
        let shape = CacheShape::of(config);
        let mut batch = PackedBatch::default();
        let rows = prompts.iter().map(|prompt| batch.push_sequence(prompt));
        let rows: Vec<Range<usize>> = rows.collect();
        let mut caches = vec![KvCache::default(); prompts.len()];
        let (query, key_value, width) = (config.query_size(), config.key_value_size(), config.qkv_size());
        let hidden = self.model.forward_layers(&batch, &mut self.prefill, &mut |layer, qkv| {
            caches.par_iter_mut().zip(&rows).for_each(|(cache, rows)| {
                for (position, row) in rows.clone().enumerate() {
                    let row = &qkv[row * width + query..(row + 1) * width];
                    let (key, value) = row.split_at(key_value);
                    cache.store(&shape, layer, position, key, value);
                }
            });
        });
        let size = config.hidden_size;
        let last = rows.iter().flat_map(|rows| &hidden[(rows.end - 1) * size..rows.end * size]);
        let logits = self.model.logits(&last.copied().collect::<Vec<f32>>());
        let prefixes = caches.into_iter().zip(&rows).zip(logits.chunks_exact(config.vocab_size));
        prefixes
            .map(|((cache, rows), logits)| {
                Arc::new(Prefix { cache, length: rows.len(), logits: logits.to_vec() })
            })
            .collect()
    }

    fn remove_finished(&mut self, stop: &dyn Fn(&Sample) -> bool) -> Vec<Sample> {
        let mut finished = Vec::new();
        let end_tokens = &self.model.config.eos_token_ids;
        let (done, active): (Vec<Sequence>, Vec<Sequence>) =
            std::mem::take(&mut self.active).into_iter().partition(|sequence| {
                let full = sequence.sample.tokens.len() >= sequence.max_new_tokens;
                full || sequence.ended(end_tokens, stop)
            });
        self.active = active;
        for mut sequence in done {
            sequence.sample.stopped = sequence.ended(end_tokens, stop);
            finished.push(sequence.sample);
        }
        finished
    }

    /// One token for each active sequence. Rows do not depend on each other, so every thread takes
    /// some of them through the whole model and none waits for another before the end.
    fn step_all(&mut self) {
        let Decoder { model, active, rotary, buffers, packed, .. } = self;
        if active.is_empty() {
            return;
        }
        let part = active.len().div_ceil(rayon::current_num_threads());
        buffers.resize_with(active.len().div_ceil(part), Buffers::default);
        active.par_chunks_mut(part).zip(buffers).for_each(|(sequences, buffers)| {
            step_rows(model, packed, rotary, sequences, buffers);
            let logits = buffers.logits.chunks_exact_mut(model.config.vocab_size);
            for (sequence, logits) in sequences.iter_mut().zip(logits) {
                sequence.length += 1;
                sequence.draw(logits);
            }
        });
    }
}

impl Decode for Decoder<'_> {
    fn active(&self) -> usize {
        self.active.len()
    }

    fn sequences(&self) -> usize {
        256
    }

    fn samples(&self) -> Vec<&Sample> {
        self.active.iter().map(|sequence| &sequence.sample).collect()
    }

    fn retain(&mut self, keep: &dyn Fn(&Sample) -> bool) {
        self.active.retain(|sequence| keep(&sequence.sample));
    }

    fn admit(&mut self, wanted: &[Admission]) -> Result<usize, Error> {
        self.admit_all(wanted)?;
        Ok(wanted.len())
    }

    fn take_finished(&mut self, stop: &dyn Fn(&Sample) -> bool) -> Vec<Sample> {
        self.remove_finished(stop)
    }

    fn step(&mut self) -> Result<(), Error> {
        self.step_all();
        Ok(())
    }
}

/// The logits that follow each sequence's last token, on one thread.
fn step_rows(
    model: &Model,
    packed: &PackedWeights,
    rotary: &RotaryTable,
    sequences: &mut [Sequence],
    b: &mut Buffers,
) {
    let config = &model.config;
    let tokens: Vec<u32> = sequences.iter().filter_map(|s| s.sample.tokens.last().copied()).collect();
    let positions: Vec<u32> = sequences.iter().map(|s| (s.prefix.length + s.length) as u32).collect();
    b.resize(config, sequences.len());
    embed(&model.weights.embedding, &tokens, config.hidden_size, &mut b.residual);
    for (layer, (weights, packed)) in model.weights.layers.iter().zip(&packed.layers).enumerate() {
        rms_norm(&b.residual, &weights.input_norm, config.rms_norm_eps, &mut b.normed, &mut b.scale);
        linear_packed(&b.normed, &packed.qkv, Some(&weights.qkv_bias), &mut b.qkv);
        let rotated = config.num_attention_heads + config.num_key_value_heads;
        rotary.rotate(&mut b.qkv, config.qkv_size(), rotated, &positions, false);
        store_and_attend(config, layer, sequences, &b.qkv, &mut b.scores, &mut b.attended);
        linear_packed(&b.attended, &packed.attention_out, None, &mut b.projected);
        add(&b.projected, &mut b.residual);
        let norm = &weights.feed_forward_norm;
        rms_norm(&b.residual, norm, config.rms_norm_eps, &mut b.normed, &mut b.scale);
        linear_packed(&b.normed, &packed.gate_up, None, &mut b.gate_up);
        swiglu(&b.gate_up, config.intermediate_size, &mut b.activated);
        linear_packed(&b.activated, &packed.down, None, &mut b.projected);
        add(&b.projected, &mut b.residual);
    }
    rms_norm(&b.residual, &model.weights.final_norm, config.rms_norm_eps, &mut b.normed, &mut b.scale);
    linear_packed(&b.normed, &packed.output, None, &mut b.logits);
}

/// Stores each sequence's new key and value, then attends: `qkv` `[rows, qkv_size]`, `out`
/// `[rows, query_size]`.
fn store_and_attend(
    config: &Config,
    layer: usize,
    sequences: &mut [Sequence],
    qkv: &[f32],
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let shape = CacheShape::of(config);
    let rows = out.chunks_exact_mut(config.query_size()).zip(qkv.chunks_exact(config.qkv_size()));
    for ((out, qkv), sequence) in rows.zip(sequences) {
        let (query, new) = qkv.split_at(config.query_size());
        let (key, value) = new.split_at(config.key_value_size());
        sequence.cache.store(&shape, layer, sequence.length, key, value);
        let parts =
            [(&sequence.prefix.cache, sequence.prefix.length), (&sequence.cache, sequence.length + 1)];
        attend(&shape, layer, &parts, query, scores, out);
    }
}

impl Buffers {
    fn resize(&mut self, config: &Config, rows: usize) {
        self.residual.resize(rows * config.hidden_size, 0.0);
        self.normed.resize(rows * config.hidden_size, 0.0);
        self.scale.resize(rows, 0.0);
        self.qkv.resize(rows * config.qkv_size(), 0.0);
        self.attended.resize(rows * config.query_size(), 0.0);
        self.projected.resize(rows * config.hidden_size, 0.0);
        self.gate_up.resize(rows * 2 * config.intermediate_size, 0.0);
        self.activated.resize(rows * config.intermediate_size, 0.0);
        self.logits.resize(rows * config.vocab_size, 0.0);
    }
}

impl Sequence {
    fn draw(&mut self, logits: &mut [f32]) {
        let (token, log_probability) = draw(logits, &self.sampling, &mut self.random);
        self.sample.tokens.push(token);
        self.sample.log_probabilities.push(log_probability);
    }

    fn ended(&self, end_tokens: &[u32], stop: &dyn Fn(&Sample) -> bool) -> bool {
        let last = self.sample.tokens.last();
        last.is_some_and(|last| end_tokens.contains(last)) || stop(&self.sample)
    }
}
