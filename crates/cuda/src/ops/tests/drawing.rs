//! Tokens come as often as their probabilities say.

use super::*;
use crate::adjusting::{AdjustedRow, AdjustedRows};
use crate::sampler::{Draw, Drawing};
use transformer::adjustments::Adjustments;
use transformer::sampling::Sampling;

/// Draws each of many slots once and counts.
fn frequencies(ops: &Ops, logits: &[f32], sampling: Sampling) -> Vec<f64> {
    adjusted_frequencies(ops, logits, sampling, None)
}

/// The same where every slot has its row of adjustments, if there are any, and had these tokens.
fn adjusted_frequencies(
    ops: &Ops,
    logits: &[f32],
    sampling: Sampling,
    adjusting: Option<(&Arc<Adjustments>, &[u32], &[u32])>,
) -> Vec<f64> {
    let bench = Bench { ops };
    let (draws, stride) = (20_000, logits.len().next_multiple_of(8));
    let mut row = logits.to_vec();
    row.resize(stride, 50.0);
    let rows = bench.put_integers(&vec![0; draws]);
    let mut all = adjusting.map(|_| AdjustedRows::new(&ops.gpu, logits.len(), draws).expect("room"));
    let drawing = |stream: u64| {
        let plain = Drawing::new(&sampling, (3, stream));
        let (Some(all), Some((rules, prompt, answer))) = (&mut all, adjusting) else { return plain };
        let row = all.take().expect("a row");
        let sequence = AdjustedRow { row, rules: rules.clone(), prompt: prompt.to_vec() };
        all.fill(ops, &sequence, answer).expect("filled");
        plain.adjusted(row, rules)
    };
    let drawings: Vec<Drawing> = (0..draws as u64).map(drawing).collect();
    let drawings = ops.gpu.upload(&drawings, "a test").expect("room");
    let (tokens, lengths) = (bench.put_integers(&vec![0; draws]), bench.put_integers(&vec![4; draws]));
    let (drawn, log_probabilities) = (bench.put_integers(&vec![-7; draws]), bench.poison_floats(draws));
    let logits_there = bench.put_floats(&row);
    let draw = Draw {
        logits: logits_there.view(),
        rows: Some(rows.view()),
        drawings: drawings.view(),
        tokens: tokens.view(),
        lengths: lengths.view(),
        drawn: drawn.view(),
        log_probabilities: log_probabilities.view(),
        slots: None,
        advance: true,
        adjusted: all.as_ref(),
    };
    ops.draw(&draw, draws, logits.len(), stride).expect("runs");
    let total: f32 = logits.iter().map(|logit| logit.exp()).sum();
    let mut counts = vec![0.0; logits.len()];
    let drawn = ops.gpu.read(drawn.view()).expect("tokens");
    for (token, log_probability) in drawn.iter().zip(bench.get_floats(&log_probabilities)) {
        counts[*token as usize] += 1.0 / draws as f64;
        assert!((log_probability - (logits[*token as usize] - total.ln())).abs() < 1e-4);
    }
    assert_eq!(ops.gpu.read(tokens.view()).expect("tokens"), drawn);
    assert!(ops.gpu.read(lengths.view()).expect("lengths").iter().all(|&length| length == 5));
    counts
}

#[test]
fn tokens_come_as_often_as_they_should() {
    let Some(ops) = ops(&Config::tiny()) else { return };
    let expect = |logits: &[f32], sampling: Sampling, weights: &[f64]| {
        let total: f64 = weights.iter().sum();
        let found = frequencies(&ops, logits, sampling);
        let distance: f64 =
            found.iter().zip(weights).map(|(found, weight)| (found - weight / total).abs()).sum();
        // Twenty thousand draws: for a few tokens the sum of deviations stays below a few hundredths.
        let limit = 0.012 * (logits.len() as f64).sqrt();
        assert!(distance < limit, "{sampling:?}: {distance} {found:?}");
    };
    let logits = [2.0f32, 1.0, 0.0, -1.0, 1.0];
    let e = |x: f64| x.exp();
    let plain = Sampling::PLAIN;
    expect(&logits, plain, &[e(2.0), e(1.0), 1.0, e(-1.0), e(1.0)]);
    expect(&logits, Sampling { temperature: 2.0, ..plain }, &[e(1.0), e(0.5), 1.0, e(-0.5), e(0.5)]);
    expect(&logits, Sampling { top_p: 0.6, ..plain }, &[e(2.0), e(1.0), 0.0, 0.0, e(1.0)]);
    expect(&logits, Sampling { top_p: 0.3, ..plain }, &[1.0, 0.0, 0.0, 0.0, 0.0]);
    expect(&logits, Sampling { top_k: 1, ..plain }, &[1.0, 0.0, 0.0, 0.0, 0.0]);
    expect(&logits, Sampling { top_k: 4, ..plain }, &[e(2.0), e(1.0), 1.0, 0.0, e(1.0)]);
    expect(&logits, Sampling { top_k: 4, top_p: 0.6, ..plain }, &[e(2.0), e(1.0), 0.0, 0.0, e(1.0)]);
    expect(&logits, Sampling::GREEDY, &[1.0, 0.0, 0.0, 0.0, 0.0]);
    // More tokens than threads: every one of them can come.
    let many: Vec<f32> = (0..5003).map(|at| if at % 1000 == 7 { 6.0 } else { -6.0 }).collect();
    let weights: Vec<f64> = many.iter().map(|&logit| if logit > 0.0 { 1.0 } else { 0.0 }).collect();
    expect(&many, Sampling { temperature: 0.8, top_p: 0.95, ..Sampling::PLAIN }, &weights);
    let few: Vec<f64> = many.iter().enumerate().map(|(at, _)| f64::from(u8::from(at % 1000 == 7))).collect();
    expect(&many, Sampling { top_k: 6, ..Sampling::PLAIN }, &few);
}

#[test]
fn adjusted_logits_are_those_of_the_definitions() {
    let Some(ops) = ops(&Config::tiny()) else { return };
    let logits = [2.0f32, 1.0, 0.0, -1.0, 1.0, -0.5];
    let (prompt, answer) = ([1, 3, 3], [0, 0, 2, 4]);
    let rules =
        Adjustments { bias: vec![(4, -1.5), (3, 2.0)], repetition: 1.3, frequency: 0.4, presence: 0.25 };
    let neutral = Adjustments::default();
    let e = |x: f64| x.exp();
    let expect = |rules: Adjustments, sampling: Sampling, weights: [f64; 6]| {
        let total: f64 = weights.iter().sum();
        let found = adjusted_frequencies(&ops, &logits, sampling, Some((&Arc::new(rules), &prompt, &answer)));
        for (found, weight) in found.iter().zip(weights) {
            assert!((found - weight / total).abs() < 0.012, "{found} {}", weight / total);
        }
    };
    let plain = Sampling::PLAIN;
    let unchanged = [e(2.0), e(1.0), 1.0, e(-1.0), e(1.0), e(-0.5)];
    expect(neutral.clone(), plain, unchanged);
    // Token 5 is neither in the prompt nor in the answer; 1 and 3 are in the prompt alone.
    let all = [
        e(2.0 / 1.3 - 2.0 * 0.4 - 0.25),
        e(1.0 / 1.3),
        e(-0.4 - 0.25),
        e((2.0 - 1.0) / 1.3),
        e((1.0 - 1.5) * 1.3 - 0.4 - 0.25),
        e(-0.5),
    ];
    expect(rules.clone(), plain, all);
    let greedy = Adjustments { bias: vec![(5, 100.0)], ..neutral.clone() };
    expect(greedy.clone(), Sampling::GREEDY, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    expect(greedy, plain, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    // What is cut off is cut off of the changed logits: 1, 3, 0, 5, 2 and 4 is their order now, 1 and 3 tie.
    expect(rules.clone(), Sampling { top_k: 3, ..plain }, [all[0], all[1], 0.0, all[3], 0.0, 0.0]);
    expect(rules.clone(), Sampling { min_p: 0.99, ..plain }, [0.0, all[1], 0.0, all[3], 0.0, 0.0]);
    expect(rules, Sampling { temperature: 2.0, ..plain }, all.map(f64::sqrt));
}

#[test]
fn tokens_far_below_the_likeliest_are_cut_off() {
    let Some(ops) = ops(&Config::tiny()) else { return };
    let logits = [2.0f32, 1.0, 0.0, -1.0, 1.0];
    let e = |x: f64| x.exp();
    let expect = |sampling: Sampling, weights: [f64; 5]| {
        let total: f64 = weights.iter().sum();
        for (found, weight) in frequencies(&ops, &logits, sampling).iter().zip(weights) {
            assert!((found - weight / total).abs() < 0.012, "{sampling:?}: {found} {}", weight / total);
        }
    };
    let plain = Sampling::PLAIN;
    expect(Sampling { min_p: 0.1, ..plain }, [e(2.0), e(1.0), 1.0, 0.0, e(1.0)]);
    expect(Sampling { min_p: 0.3, ..plain }, [e(2.0), e(1.0), 0.0, 0.0, e(1.0)]);
    expect(Sampling { min_p: 1.0, ..plain }, [1.0, 0.0, 0.0, 0.0, 0.0]);
    expect(Sampling { temperature: 2.0, min_p: 0.3, ..plain }, [e(1.0), e(0.5), 1.0, 0.0, e(0.5)]);
    // The likeliest holds 0.58 of what min_p leaves, and 0.52 of all.
    expect(Sampling { min_p: 0.3, top_p: 0.56, ..plain }, [1.0, 0.0, 0.0, 0.0, 0.0]);
    expect(Sampling { min_p: 0.01, top_p: 0.56, ..plain }, [e(2.0), e(1.0), 0.0, 0.0, e(1.0)]);
}
