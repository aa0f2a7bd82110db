//! Sampling on the CPU.
//!
//! The samples of one prompt share its keys and values, which are computed once. Sequences of
//! different lengths run in one batch; a finished one leaves it and the next takes its place. A
//! sample depends on its seed and index only, not on the batch it ran in: rows of a matrix product
//! do not depend on each other, and every sample draws from a random stream of its own.

use crate::Error;
use crate::adjustments::Adjusting;
use crate::config::Config;
use crate::decode::{Admission, Admitted, Decode, Sample};
use crate::kv_cache::{CacheShape, KvCache, attend};
use crate::model::extend_rotary;
use crate::operations::{Attention, CpuOperations};
use crate::ops::matmul::Packed;
use crate::ops::rope::RotaryTable;
use crate::pass;
use crate::prefill::{Prefill, Prefix};
use crate::products::{Products, Scratch};
use crate::sampling::{Sampling, draw, stream};
use crate::table::Table;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::cell::RefCell;
use std::sync::Arc;

/// Prompt tokens that are computed between two steps: fewer would read the weights too often.
const PIECE: usize = 256;

/// A sample in flight.
pub(crate) struct Sequence {
    sample: Sample,
    prefix: Arc<Prefix>,
    cache: KvCache,
    /// Positions in `cache`.
    length: usize,
    random: ChaCha8Rng,
    sampling: Sampling,
    /// Boxed, since few have any and steps go through all sequences.
    adjusting: Option<Box<Adjusting>>,
    max_new_tokens: usize,
}

/// [`Decode`] on the CPU.
pub struct Decoder<'a> {
    config: &'a Config,
    table: &'a Table,
    products: Products<'a>,
    /// Matrices of single precision, packed once for all steps.
    packed: Option<Vec<Option<Packed>>>,
    active: Vec<Sequence>,
    rotary: RotaryTable,
    prefill: Prefill,
    /// One for each part of a step.
    buffers: Vec<Buffers>,
}

/// What a decoding step of some rows needs.
#[derive(Default)]
struct Buffers {
    pass: Option<pass::Workspace<Vec<f32>, Vec<f32>>>,
    scratch: Scratch,
    logits: Vec<f32>,
}

impl<'a> Decoder<'a> {
    /// A decoder without sequences, for a model in any form.
    pub(crate) fn new(config: &'a Config, table: &'a Table, products: Products<'a>) -> Self {
        let packed = match products {
            Products::Plain(weights) => {
                let tensors = table.tensors().iter().enumerate();
                let pack = |(index, info): (usize, &crate::table::TensorInfo)| {
                    // An embedding that is not the output is never multiplied with.
                    let is_product = info.is_matrix() && (index > 0 || table.output() == 0);
                    is_product.then(|| Packed::weight(weights.tensor(index), info.shape[0], info.shape[1]))
                };
                Some(tensors.map(pack).collect())
            }
            _ => None,
        };
        Decoder {
            config,
            table,
            products,
            packed,
            active: Vec::new(),
            rotary: RotaryTable::default(),
            prefill: Prefill::default(),
            buffers: Vec::new(),
        }
    }

    /// Computes the prompts of new samples and draws their first tokens.
    ///
    /// # Panics
    /// If a prompt is empty or holds a token that is not below the vocabulary's size.
    fn admit_some(&mut self, wanted: &[Admission], limit: usize) -> Admitted {
        let model = (self.config, self.table, self.products);
        let (prefixes, prompt_tokens) = self.prefill.prefixes(model, wanted, limit);
        let samples = prefixes.len();
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
                adjusting: admission
                    .adjustments
                    .map(|rules| Box::new(Adjusting::new(rules, admission.prompt))),
                max_new_tokens: admission.max_new_tokens,
            });
        }
        let first = self.active.len() - samples;
        self.active[first..].par_iter_mut().for_each(|sequence| {
            let mut logits = sequence.prefix.logits.clone();
            sequence.draw(&mut logits);
        });
        let longest = |sequence: &Sequence| sequence.prefix.length + sequence.max_new_tokens;
        let positions = self.active.iter().map(longest).max().unwrap_or(0);
        extend_rotary(&mut self.rotary, self.config, positions);
        Admitted { samples, prompt_tokens }
    }

    fn remove_finished(&mut self, stop: &dyn Fn(&Sample) -> bool) -> Vec<Sample> {
        let mut finished = Vec::new();
        let end_tokens = &self.config.eos_token_ids;
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

    /// One token for each active sequence. Rows do not depend on each other: where all matrices are
    /// packed in single precision, which is for models that a processor's caches hold, every thread
    /// takes some of them through the whole model and none waits for another before the end. Else
    /// weights are read from memory, so all rows go together and threads share each product.
    fn step_all(&mut self) {
        let Decoder { config, table, products, packed, active, rotary, buffers, .. } = self;
        if active.is_empty() {
            return;
        }
        let (products, parts) = match (packed, *products) {
            (Some(packed), Products::Plain(weights)) => {
                (Products::Packed(weights, packed), rayon::current_num_threads())
            }
            (_, products) => (products, 1),
        };
        let part = active.len().div_ceil(parts);
        buffers.resize_with(active.len().div_ceil(part), Buffers::default);
        active.par_chunks_mut(part).zip(buffers).for_each(|(sequences, buffers)| {
            step_rows((config, table, products), rotary, sequences, parts == 1, buffers);
            let draw = |(sequence, logits): (&mut Sequence, &mut [f32])| {
                sequence.length += 1;
                sequence.draw(logits);
            };
            let logits = &mut buffers.logits;
            match parts {
                1 => sequences
                    .par_iter_mut()
                    .zip(logits.par_chunks_exact_mut(config.vocab_size))
                    .for_each(draw),
                _ => sequences.iter_mut().zip(logits.chunks_exact_mut(config.vocab_size)).for_each(draw),
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

    fn retain(&mut self, keep: &dyn Fn(usize) -> bool) {
        self.active.retain(|sequence| keep(sequence.sample.request));
        self.prefill.retain(keep);
    }

    fn piece(&self) -> usize {
        PIECE
    }

    fn admit(&mut self, wanted: &[Admission], limit: usize) -> Result<Admitted, Error> {
        Ok(self.admit_some(wanted, limit))
    }

    fn take_finished(&mut self, stop: &dyn Fn(&Sample) -> bool) -> Vec<Sample> {
        self.remove_finished(stop)
    }

    fn step(&mut self) -> Result<(), Error> {
        self.step_all();
        Ok(())
    }
}

/// The logits that follow each sequence's last token.
fn step_rows(
    (config, table, products): (&Config, &Table, Products),
    rotary: &RotaryTable,
    sequences: &mut [Sequence],
    is_parallel: bool,
    buffers: &mut Buffers,
) {
    let tokens: Vec<u32> = sequences.iter().filter_map(|s| s.sample.tokens.last().copied()).collect();
    let positions: Vec<u32> = sequences.iter().map(|s| (s.prefix.length + s.length) as u32).collect();
    let Buffers { pass, scratch, logits } = buffers;
    let pass = pass.get_or_insert_with(pass::Workspace::for_inference);
    let mut operations = CpuOperations {
        config,
        table,
        products,
        rotary,
        tokens: &tokens,
        positions: &positions,
        attention: Attention::Cache { sequences, is_parallel },
        scratch,
        gradient: None,
    };
    let Ok(()) = pass::forward(&mut operations, pass);
    let rows = tokens.len();
    logits.resize(rows * config.vocab_size, 0.0);
    let hidden = pass.hidden().map_or(&[] as &[f32], |hidden| &hidden[..rows * config.hidden_size]);
    products.multiply(table.output(), hidden, None, rows, logits, scratch);
}

thread_local! {
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Stores each sequence's new key and value, then attends: `qkv` `[rows, qkv_size]`, `out`
/// `[rows, query_size]`.
pub(crate) fn store_and_attend(
    config: &Config,
    layer: usize,
    sequences: &mut [Sequence],
    qkv: &[f32],
    out: &mut [f32],
    is_parallel: bool,
) {
    let (query_size, qkv_size) = (config.query_size(), config.qkv_size());
    let shape = CacheShape::of(config);
    let one = |out: &mut [f32], qkv: &[f32], sequence: &mut Sequence| {
        let (query, new) = qkv.split_at(query_size);
        let (key, value) = new.split_at(config.key_value_size());
        sequence.cache.store(&shape, layer, sequence.length, key, value);
        let parts =
            [(&sequence.prefix.cache, sequence.prefix.length), (&sequence.cache, sequence.length + 1)];
        SCORES.with_borrow_mut(|scores| attend(&shape, layer, &parts, query, scores, out));
    };
    if is_parallel {
        let rows = out.par_chunks_exact_mut(query_size).zip(qkv.par_chunks_exact(qkv_size));
        rows.zip(sequences).for_each(|((out, qkv), sequence)| one(out, qkv, sequence));
    } else {
        let rows = out.chunks_exact_mut(query_size).zip(qkv.chunks_exact(qkv_size));
        rows.zip(sequences).for_each(|((out, qkv), sequence)| one(out, qkv, sequence));
    }
}

impl Sequence {
    fn draw(&mut self, logits: &mut [f32]) {
        let (token, log_probability) = match &mut self.adjusting {
            None => draw(logits, &self.sampling, &mut self.random),
            Some(adjusting) => adjusting.draw(logits, &self.sampling, &mut self.random),
        };
        self.sample.tokens.push(token);
        self.sample.log_probabilities.push(log_probability);
    }

    fn ended(&self, end_tokens: &[u32], stop: &dyn Fn(&Sample) -> bool) -> bool {
        let last = self.sample.tokens.last();
        last.is_some_and(|last| end_tokens.contains(last)) || stop(&self.sample)
    }
}
