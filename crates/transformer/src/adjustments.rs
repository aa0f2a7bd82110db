//! What changes a row of logits before a token is drawn from it: a bias, and penalties for repetition.
//!
//! Each sample has its own counts, so what it is does not depend on the samples beside it. With a logit l
//! of a token, c times in the answer so far, the logit that is drawn from is made in the order of vLLM:
//!
//! 1. l + bias
//! 2. l / repetition if l > 0, l × repetition otherwise, where prompt or answer has the token (Keskar et
//!    al., 2019, CTRL)
//! 3. l - frequency × c - presence × (1 if c > 0, otherwise 0), OpenAI's definition
//!
//! Temperature and what is cut off come after. Log-probabilities that are reported are the model's own.

use crate::ops::elementwise::sum_of_exponentials;
use crate::sampling::{Sampling, draw};
use rand_chacha::ChaCha8Rng;
use std::collections::HashMap;
use std::sync::Arc;

/// How logits are changed before tokens are drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Adjustments {
    /// Added to the logits of these tokens, each named once, [`MOST_BIASES`](Self::MOST_BIASES) at most;
    /// none of them is beyond the vocabulary.
    pub bias: Vec<(u32, f32)>,
    /// More than 1 makes tokens of prompt and answer less likely; 1 changes nothing.
    pub repetition: f32,
    /// Taken from a logit for every time that the answer has the token.
    pub frequency: f32,
    /// Taken from a logit if the answer has the token.
    pub presence: f32,
}

impl Default for Adjustments {
    fn default() -> Self {
        Adjustments { bias: Vec::new(), repetition: 1.0, frequency: 0.0, presence: 0.0 }
    }
}

impl Adjustments {
    /// Tokens that can have a bias.
    pub const MOST_BIASES: usize = 1024;

    /// Whether they change nothing.
    pub fn is_neutral(&self) -> bool {
        *self == Adjustments::default()
    }
}

/// The adjustments of one sample, and its tokens so far.
pub(crate) struct Adjusting {
    rules: Arc<Adjustments>,
    /// How often the answer has a token; 0 if only the prompt has it.
    counts: HashMap<u32, u32>,
}

impl Adjusting {
    pub(crate) fn new(rules: &Arc<Adjustments>, prompt: &[u32]) -> Self {
        let of_prompt = if rules.repetition == 1.0 { &[] } else { prompt };
        Adjusting { rules: rules.clone(), counts: of_prompt.iter().map(|&token| (token, 0)).collect() }
    }

    /// As [`draw`], from adjusted logits; the log-probability is that of the logits as they came.
    pub(crate) fn draw(
        &mut self,
        logits: &mut [f32],
        sampling: &Sampling,
        random: &mut ChaCha8Rng,
    ) -> (u32, f32) {
        let (max, sum) = sum_of_exponentials(logits);
        let original = logits.to_vec();
        self.apply(logits);
        let (token, _) = draw(logits, sampling, random);
        *self.counts.entry(token).or_default() += 1;
        (token, original[token as usize] - max - sum.ln())
    }

    /// Every logit is changed by itself, so the order of a map's entries does not matter.
    fn apply(&self, logits: &mut [f32]) {
        let Adjustments { bias, repetition, frequency, presence } = &*self.rules;
        for &(token, bias) in bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        for (&token, &count) in &self.counts {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            *logit = if *logit > 0.0 { *logit / repetition } else { *logit * repetition };
            *logit -= frequency * count as f32 + if count > 0 { *presence } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::stream;

    const LOGITS: [f32; 6] = [2.0, 1.0, 0.0, -1.0, 1.0, -0.5];

    fn some() -> Adjustments {
        Adjustments { bias: vec![(4, -1.5), (3, 2.0)], repetition: 1.3, frequency: 0.4, presence: 0.25 }
    }

    /// By the definitions, in double precision.
    fn probabilities(rules: &Adjustments, prompt: &[u32], answer: &[u32]) -> Vec<f64> {
        let adjusted = |(token, &logit): (usize, &f32)| {
            let bias = rules.bias.iter().find(|(of, _)| *of as usize == token);
            let logit = f64::from(logit) + bias.map_or(0.0, |(_, bias)| f64::from(*bias));
            let count = answer.iter().filter(|&&of| of as usize == token).count() as f64;
            let is_known = count > 0.0 || prompt.contains(&(token as u32));
            let repetition = f64::from(rules.repetition);
            let logit = match logit > 0.0 {
                _ if !is_known => logit,
                true => logit / repetition,
                false => logit * repetition,
            };
            let presence = if count > 0.0 { f64::from(rules.presence) } else { 0.0 };
            (logit - f64::from(rules.frequency) * count - presence).exp()
        };
        let weights: Vec<f64> = LOGITS.iter().enumerate().map(adjusted).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }

    fn after(rules: &Adjustments, prompt: &[u32], answer: &[u32]) -> Adjusting {
        let mut adjusting = Adjusting::new(&Arc::new(rules.clone()), prompt);
        answer.iter().for_each(|&token| *adjusting.counts.entry(token).or_default() += 1);
        adjusting
    }

    #[test]
    fn tokens_come_as_often_as_the_definitions_say() {
        let neutral = Adjustments::default();
        let cases = [
            neutral.clone(),
            Adjustments { bias: vec![(5, 3.0)], ..neutral.clone() },
            Adjustments { repetition: 1.5, ..neutral.clone() },
            Adjustments { frequency: 0.7, ..neutral.clone() },
            Adjustments { presence: 1.2, ..neutral.clone() },
            Adjustments { frequency: -0.5, presence: -1.0, ..neutral },
            some(),
        ];
        let (prompt, answer) = ([1, 3, 3], [0, 0, 2, 4]);
        for rules in cases {
            let mut counts = [0.0; LOGITS.len()];
            for index in 0..20_000 {
                let mut adjusting = after(&rules, &prompt, &answer);
                let (token, log_probability) =
                    adjusting.draw(&mut LOGITS.clone(), &Sampling::PLAIN, &mut stream(3, index));
                counts[token as usize] += 1.0 / 20_000.0;
                // The model's own, whatever is drawn from.
                let sum: f32 = LOGITS.iter().map(|logit| logit.exp()).sum();
                assert!((log_probability - (LOGITS[token as usize] - sum.ln())).abs() < 1e-5);
            }
            for (found, expected) in counts.iter().zip(probabilities(&rules, &prompt, &answer)) {
                assert!((found - expected).abs() < 0.012, "{rules:?}: {found} {expected}");
            }
        }
    }

    #[test]
    fn adjusted_logits_are_those_of_the_definitions() {
        let mut random = stream(5, 5);
        for _ in 0..200 {
            let mut number = |scale: f32| (rand::Rng::random::<f32>(&mut random) - 0.5) * 2.0 * scale;
            let rules = Adjustments {
                bias: vec![(1, number(100.0)), (5, number(3.0))],
                repetition: 1.0 + number(0.9),
                frequency: number(2.0),
                presence: number(2.0),
            };
            let mut tokens =
                |count: usize| (0..count).map(|_| number(3.0).abs() as u32 * 2).collect::<Vec<_>>();
            let (prompt, answer) = (tokens(3), tokens(7));
            let mut logits = LOGITS;
            after(&rules, &prompt, &answer).apply(&mut logits);
            let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
            for (logit, expected) in logits.iter().zip(probabilities(&rules, &prompt, &answer)) {
                let found = f64::from(*logit).exp() / sum;
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{rules:?} {prompt:?} {answer:?}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn a_bias_of_a_hundred_forbids_or_forces_and_a_greedy_answer_does_not_repeat_itself() {
        let ban = Adjustments { bias: vec![(0, -100.0)], ..Adjustments::default() };
        let force = Adjustments { bias: vec![(3, 100.0)], ..Adjustments::default() };
        for index in 0..200 {
            let first = |rules: &Adjustments| {
                after(rules, &[], &[]).draw(&mut LOGITS.clone(), &Sampling::PLAIN, &mut stream(1, index)).0
            };
            assert_ne!(first(&ban), 0);
            assert_eq!(first(&force), 3);
        }
        let mut adjusting = after(&Adjustments { presence: 2.0, ..Adjustments::default() }, &[], &[]);
        let mut greedy = || adjusting.draw(&mut LOGITS.clone(), &Sampling::GREEDY, &mut stream(1, 1)).0;
        // What it had comes after the others: 2 is 0 then, as late as the 0 that was there.
        assert_eq!([greedy(), greedy(), greedy(), greedy()], [0, 1, 4, 0]);
    }
}
