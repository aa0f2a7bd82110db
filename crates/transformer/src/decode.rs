//! Sampling many sequences at once, on any device.
//!
//! Sequences of different lengths run in one batch; a finished one leaves it and the next takes its place.

use crate::Error;
use crate::adjustments::Adjustments;
use crate::batch::split_by_rows;
use crate::sampling::Sampling;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

/// One prompt and the samples wanted of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The prompt's tokens; at least one.
    pub prompt: Vec<u32>,
    /// Number of samples.
    pub samples: usize,
    /// Index of the first sample's random stream; the others follow.
    pub stream: u64,
}

/// What holds for all samples of a call.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Longest completion.
    pub max_new_tokens: usize,
    /// Seed of all random streams.
    pub seed: u64,
    /// Sequences in flight; 0 leaves it to the device.
    pub max_sequences: usize,
}

/// One finished sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Which request it answers.
    pub request: usize,
    /// Which of its samples it is.
    pub index: usize,
    /// Its tokens; the last is the end token where one was drawn.
    pub tokens: Vec<u32>,
    /// Log-probability of each token under the model.
    pub log_probabilities: Vec<f32>,
    /// Whether it ended by itself, not at the length limit.
    pub stopped: bool,
}

impl Sample {
    /// Whether its last token was drawn from numbers. A model whose weights are damaged computes NaN, of
    /// which some token is the likeliest nevertheless.
    pub fn is_finite(&self) -> bool {
        self.log_probabilities.last().is_none_or(|probability| probability.is_finite())
    }
}

/// A sample to be drawn beside others.
#[derive(Clone, Copy, Debug)]
pub struct Admission<'r> {
    /// Which of the requests it belongs to.
    pub request: usize,
    /// Which of the request's samples it is.
    pub index: usize,
    /// The prompt's tokens; at least one.
    pub prompt: &'r [u32],
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// What changes its logits before.
    pub adjustments: Option<&'r Arc<Adjustments>>,
    /// Longest completion.
    pub max_new_tokens: usize,
    /// Seed and index of its random stream.
    pub random: (u64, u64),
}

/// What [`Decode::admit`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// How many samples, the first of the wanted, are in flight now.
    pub samples: usize,
    /// Prompt tokens that were computed.
    pub prompt_tokens: usize,
}

/// The prompt of each of the wanted, by `compute` where it is not the `last` one known; and the last of
/// them, whose other samples may still be waiting. Samples of one prompt must be wanted in a row to share
/// it; at most `limit` tokens are computed at once.
///
/// # Errors
/// What `compute` says.
pub fn share_prompts<P>(
    wanted: &[Admission],
    last: Option<KnownPrompt<P>>,
    limit: usize,
    compute: &mut ComputePrompts<P>,
) -> Result<SharedPrompts<P>, Error> {
    let Some(first) = wanted.first() else { return Ok((Vec::new(), last)) };
    let known = last.filter(|known| known.tokens == first.prompt);
    let mut new: Vec<&[u32]> = wanted.iter().map(|admission| admission.prompt).collect();
    new.dedup();
    new.drain(..usize::from(known.is_some()));
    let mut prompts: Vec<KnownPrompt<P>> = known.into_iter().collect();
    for group in split_by_rows(&new, |prompt| prompt.len(), limit) {
        let computed = group.iter().zip(compute(group)?);
        prompts.extend(computed.map(|(tokens, prompt)| KnownPrompt { tokens: tokens.to_vec(), prompt }));
    }
    let mut at = 0;
    let of_each = wanted.iter().map(|admission| {
        while prompts[at].tokens != admission.prompt {
            at += 1;
        }
        prompts[at].prompt.clone()
    });
    let of_each = of_each.collect();
    Ok((of_each, prompts.pop()))
}

/// A prompt that was computed. It is known by its tokens: numbers of requests begin anew where a decoder
/// serves one batch after the other.
pub struct KnownPrompt<P> {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// What was computed.
    pub prompt: Arc<P>,
}

/// Computes prompts, one after the other.
pub type ComputePrompts<'a, P> = dyn FnMut(&[&[u32]]) -> Result<Vec<Arc<P>>, Error> + 'a;
/// What [`share_prompts`] gives: each sample's prompt, and the last one.
pub type SharedPrompts<P> = (Vec<Arc<P>>, Option<KnownPrompt<P>>);

/// Samples every request; `stop(tokens)` ends a sample early, `on_done` takes each finished one and
/// may break off.
///
/// # Errors
/// Where the device fails, or has no room for a single sample.
///
/// # Panics
/// If a prompt is empty or holds a token that is not below the vocabulary's size.
pub fn decode(
    decoder: &mut dyn Decode,
    requests: &[Request],
    settings: &Settings,
    stop: &(dyn Fn(&[u32]) -> bool + Sync),
    on_done: &mut dyn FnMut(Sample) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Error> {
    let capacity = if settings.max_sequences == 0 { decoder.sequences() } else { settings.max_sequences };
    let wanted = |(request, r): (usize, &Request)| (0..r.samples).map(move |index| (request, index));
    let mut pending: VecDeque<(usize, usize)> = requests.iter().enumerate().flat_map(wanted).collect();
    let admission = |(request, index): (usize, usize)| Admission {
        request,
        index,
        prompt: &requests[request].prompt,
        sampling: settings.sampling,
        adjustments: None,
        max_new_tokens: settings.max_new_tokens,
        random: (settings.seed, requests[request].stream + index as u64),
    };
    loop {
        let room = capacity.saturating_sub(decoder.active());
        if !pending.is_empty() && room >= capacity.div_ceil(4) {
            let next: Vec<Admission> = pending.iter().take(room).copied().map(admission).collect();
            let admitted = decoder.admit(&next, usize::MAX)?;
            pending.drain(..admitted.samples);
        }
        if decoder.samples().into_iter().any(|sample| !sample.is_finite()) {
            return Err(Error::NotFinite);
        }
        for sample in decoder.take_finished(&|sample| stop(&sample.tokens)) {
            if !sample.is_finite() {
                return Err(Error::NotFinite);
            }
            if on_done(sample).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if decoder.active() > 0 {
            decoder.step()?;
        } else if pending.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
    }
}

/// Sequences that are sampled together: any can join or leave between two steps (continuous batching;
/// Yu et al., 2022, Orca).
pub trait Decode {
    /// Number of sequences in flight.
    fn active(&self) -> usize;

    /// Sequences that keep the device busy.
    fn sequences(&self) -> usize;

    /// The samples in flight as they are now, in no particular order.
    fn samples(&self) -> Vec<&Sample>;

    /// Drops the samples, and the prompts under way, of requests of which this is false.
    fn retain(&mut self, keep: &dyn Fn(usize) -> bool);

    /// Prompt tokens that are computed in the time for which samples in flight can wait.
    fn piece(&self) -> usize;

    /// Computes the prompts of new samples and draws their first tokens: of as many as there is room for,
    /// the first ones. Once `limit` prompt tokens have been computed it returns; a prompt that is not whole
    /// by then is kept, and goes on where a later call wants it again. A GPU computes a prompt as a whole,
    /// though it is longer.
    ///
    /// # Errors
    /// Where not even one fits though none is in flight, or the device fails.
    fn admit(&mut self, wanted: &[Admission], limit: usize) -> Result<Admitted, Error>;

    /// Removes the samples that have ended: by an end token, at their length, or where `stop` is true of
    /// them.
    fn take_finished(&mut self, stop: &dyn Fn(&Sample) -> bool) -> Vec<Sample>;

    /// One token for each sequence in flight. A device may run a step ahead of what
    /// [`samples`](Self::samples) shows.
    ///
    /// # Errors
    /// Where the device fails.
    fn step(&mut self) -> Result<(), Error>;
}
