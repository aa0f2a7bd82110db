//! Prompts on the processor, some positions at a time.
//!
//! A piece of a prompt attends to the cache, where its own keys and values and those of earlier pieces
//! lie, as a decoding step does. So what is computed for a position does not depend on the pieces: a long
//! prompt can be computed between the steps of others, and gives the same bits.

use crate::batch::split_rows;
use crate::config::Config;
use crate::decode::{Admission, KnownPrompt};
use crate::head::logits;
use crate::kv_cache::{CacheShape, KvCache};
use crate::model::{Workspace, forward_rows};
use crate::operations::Attention;
use crate::ops::attention::softmax_causal;
use crate::ops::matmul::{View, gemm};
use crate::products::Products;
use crate::table::Table;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Prompt tokens that are computed in one pass: what a row of a long prompt cannot see is computed with it and
/// thrown away, and with more rows that is more.
const BATCH: usize = 512;

/// The prompt's part of the cache, and the logits that follow it.
pub(crate) struct Prefix {
    pub(crate) cache: KvCache,
    pub(crate) length: usize,
    pub(crate) logits: Vec<f32>,
}

/// A prompt of which the first positions are computed.
struct Started {
    request: usize,
    tokens: Vec<u32>,
    cache: KvCache,
    length: usize,
}

/// Rows of a pass that are the next positions of a prompt.
pub(crate) struct Piece {
    rows: Range<usize>,
    prompt: Started,
}

/// The prompts that are known, and those that are under way.
#[derive(Default)]
pub(crate) struct Prefill {
    started: Vec<Started>,
    /// The last prompt whose sample was admitted: others of it may still be waiting.
    last: Option<KnownPrompt<Prefix>>,
    workspace: Option<Workspace>,
}

type Model<'a> = (&'a Config, &'a Table, Products<'a>);

impl Prefill {
    /// Forgets what was computed for requests of which this is false.
    pub(crate) fn retain(&mut self, keep: &dyn Fn(usize) -> bool) {
        self.started.retain(|prompt| keep(prompt.request));
    }

    /// The prompts of the first of the wanted, as many as are whole when at most `limit` more tokens have
    /// been computed; and how many have been.
    pub(crate) fn prefixes(
        &mut self,
        model: Model,
        wanted: &[Admission],
        limit: usize,
    ) -> (Vec<Arc<Prefix>>, usize) {
        let mut known: Vec<KnownPrompt<Prefix>> = self.last.take().into_iter().collect();
        let (mut found, mut computed) = (Vec::new(), 0);
        loop {
            while let Some(admission) = wanted.get(found.len()) {
                let whole = known.iter().rev().find(|known| known.tokens == admission.prompt);
                let Some(whole) = whole else { break };
                found.push(whole.prompt.clone());
            }
            let missing = &wanted[found.len()..];
            if missing.is_empty() || computed == limit {
                break;
            }
            let pieces = self.next_pieces(missing, BATCH.min(limit - computed));
            computed += pieces.last().map_or(0, |piece| piece.rows.end);
            known.extend(self.compute(model, pieces));
        }
        let is_last = |known: &KnownPrompt<Prefix>| {
            found.last().is_none_or(|last: &Arc<Prefix>| Arc::ptr_eq(&known.prompt, last))
        };
        self.last = known.into_iter().find(is_last);
        (found, computed)
    }

    /// The next positions of the first prompts that are not whole, `limit` at most.
    fn next_pieces(&mut self, wanted: &[Admission], limit: usize) -> Vec<Piece> {
        let (mut pieces, mut rows): (Vec<Piece>, usize) = (Vec::new(), 0);
        for admission in wanted {
            if pieces.last().is_some_and(|piece| piece.prompt.tokens == admission.prompt) {
                continue;
            }
            if rows == limit {
                break;
            }
            assert!(!admission.prompt.is_empty(), "a prompt without tokens");
            let prompt = match self.started.iter().position(|prompt| prompt.tokens == admission.prompt) {
                Some(at) => Started { request: admission.request, ..self.started.swap_remove(at) },
                None => Started {
                    request: admission.request,
                    tokens: admission.prompt.to_vec(),
                    cache: KvCache::default(),
                    length: 0,
                },
            };
            let end = limit.min(rows + prompt.tokens.len() - prompt.length);
            pieces.push(Piece { rows: rows..end, prompt });
            rows = end;
        }
        pieces
    }

    /// Computes pieces, and gives the prompts that are whole with them.
    fn compute(&mut self, model: Model, mut pieces: Vec<Piece>) -> Vec<KnownPrompt<Prefix>> {
        let (mut tokens, mut positions) = (Vec::new(), Vec::new());
        for Piece { rows, prompt } in &pieces {
            let of_prompt = prompt.length..prompt.length + rows.len();
            tokens.extend_from_slice(&prompt.tokens[of_prompt.clone()]);
            positions.extend(of_prompt.map(|position| position as u32));
        }
        let workspace = self.workspace.get_or_insert_with(Workspace::for_inference);
        let attention = Attention::Prompts { pieces: &mut pieces };
        let hidden = forward_rows(model, (&tokens, &positions), attention, workspace);
        let size = model.0.hidden_size;
        let (mut last, mut whole) = (Vec::new(), Vec::new());
        for Piece { rows, mut prompt } in pieces {
            prompt.length += rows.len();
            match prompt.length == prompt.tokens.len() {
                true => {
                    last.extend_from_slice(&hidden[(rows.end - 1) * size..rows.end * size]);
                    whole.push(prompt);
                }
                false => self.started.push(prompt),
            }
        }
        if whole.is_empty() {
            return Vec::new();
        }
        let logits = logits(model, &last, &mut workspace.scratch);
        let prompts = whole.into_iter().zip(logits.chunks_exact(model.0.vocab_size));
        let prefix = |(prompt, logits): (Started, &[f32])| {
            let prefix = Prefix { cache: prompt.cache, length: prompt.length, logits: logits.to_vec() };
            KnownPrompt { tokens: prompt.tokens, prompt: Arc::new(prefix) }
        };
        prompts.map(prefix).collect()
    }
}

/// Stores each piece's keys and values, then attends: `qkv` `[rows, qkv_size]`, `out`
/// `[rows, query_size]`.
pub(crate) fn store_and_attend_prompts(
    config: &Config,
    layer: usize,
    pieces: &mut [Piece],
    qkv: &[f32],
    out: &mut [f32],
) {
    let (width, query_size) = (config.qkv_size(), config.query_size());
    let outs = split_rows(out, pieces.iter().map(|piece| piece.rows.len()), query_size);
    pieces.par_iter_mut().zip(outs).for_each(|(piece, out)| {
        let qkv = &qkv[piece.rows.start * width..piece.rows.end * width];
        let prompt = &mut piece.prompt;
        let shape = CacheShape::of(config);
        for (row, qkv) in qkv.chunks_exact(width).enumerate() {
            let (key, value) = qkv[query_size..].split_at(config.key_value_size());
            prompt.cache.store(&shape, layer, prompt.length + row, key, value);
        }
        attend(config, layer, prompt, qkv, out);
    });
}

/// The rows `qkv` of a prompt, which are in its cache, attend to all positions up to their own.
fn attend(config: &Config, layer: usize, prompt: &Started, qkv: &[f32], out: &mut [f32]) {
    let (width, size) = (config.qkv_size(), config.head_dim);
    let (rows, shape) = (qkv.len() / width, CacheShape::of(config));
    let end = prompt.length + rows;
    let stored = (0..config.num_key_value_heads).into_par_iter().map(|head| {
        let (mut keys, mut values) = (vec![0.0; size * end], vec![0.0; size * end]);
        prompt.cache.restore(&shape, layer, head, &mut keys, &mut values);
        (keys, values)
    });
    let stored: Vec<(Vec<f32>, Vec<f32>)> = stored.collect();
    let group = config.num_attention_heads / config.num_key_value_heads;
    let factor = 1.0 / (size as f32).sqrt();
    let heads = (0..config.num_attention_heads).into_par_iter().map_init(Vec::new, |scores, head| {
        let (keys, values) = &stored[head / group];
        scores.resize(rows * end, 0.0);
        let query = View::strided(&qkv[head * size..], rows, size, width);
        gemm(factor, query, View::new(keys, size, end), 0.0, scores, end);
        softmax_causal(scores, end, prompt.length, &mut vec![0.0; rows], 1);
        let mut found = vec![0.0; rows * size];
        gemm(1.0, View::new(scores, rows, end), View::new(values, end, size), 0.0, &mut found, size);
        found
    });
    let heads: Vec<Vec<f32>> = heads.collect();
    for (row, out) in out.chunks_exact_mut(config.query_size()).enumerate() {
        for (head, out) in heads.iter().zip(out.chunks_exact_mut(size)) {
            out.copy_from_slice(&head[row * size..(row + 1) * size]);
        }
    }
}
