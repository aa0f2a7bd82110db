//! Samples with penalties and biases beside samples without, in one batch.

use std::sync::Arc;
use transformer::adjustments::Adjustments;
use transformer::decode::{Admission, Decode, Sample};
use transformer::device::{Device, Reader};
use transformer::sampling::Sampling;
use transformer::{Config, Cpu, Model};

fn reader() -> Box<dyn Reader> {
    let config = Config { eos_token_ids: Vec::new(), ..Config::tiny() };
    Cpu::default().reader(Model::random(config, 5)).expect("a reader")
}

fn admission<'a>(prompt: &'a [u32], request: usize, rules: Option<&'a Arc<Adjustments>>) -> Admission<'a> {
    Admission {
        request,
        index: 0,
        prompt,
        sampling: Sampling { temperature: 0.9, ..Sampling::PLAIN },
        adjustments: rules,
        max_new_tokens: 30,
        random: (9, request as u64),
    }
}

fn all(decoder: &mut dyn Decode, wanted: &[Admission]) -> Vec<Sample> {
    decoder.admit(wanted, usize::MAX).expect("admitted");
    let mut finished = Vec::new();
    while decoder.active() > 0 {
        finished.extend(decoder.take_finished(&|_| false));
        decoder.step().expect("a step");
    }
    finished.sort_by_key(|sample| sample.request);
    finished
}

#[test]
fn a_sample_does_not_depend_on_the_adjustments_of_others() {
    let (short, long) = ([3, 1, 4], [2; 20]);
    let rules = Adjustments { frequency: 0.8, presence: 0.4, repetition: 1.2, bias: vec![(7, 3.0)] };
    let [strong, other] = [rules.clone(), Adjustments { bias: vec![(9, -100.0)], ..rules }].map(Arc::new);
    let wanted = [
        admission(&short, 0, None),
        admission(&short, 1, Some(&strong)),
        admission(&short, 2, Some(&other)),
        admission(&long, 3, Some(&strong)),
        admission(&long, 4, None),
    ];
    let mut reader = reader();
    let together = all(&mut *reader.decoder().expect("a decoder"), &wanted);
    for (sample, wanted) in together.iter().zip(wanted) {
        assert_eq!(*sample, all(&mut *reader.decoder().expect("a decoder"), &[wanted])[0]);
    }
    // With the same random numbers, adjustments make another sample; neutral ones make the same.
    let same = |rules| {
        let other = Admission { request: 0, ..admission(&short, 0, rules) };
        all(&mut *reader.decoder().expect("a decoder"), &[other])[0].tokens == together[0].tokens
    };
    let mut same = same;
    assert!(!same(Some(&strong)));
    assert!(same(Some(&Arc::new(Adjustments::default()))));
}

#[test]
fn a_strong_penalty_leaves_no_token_twice() {
    let rules = Arc::new(Adjustments { presence: 1000.0, ..Adjustments::default() });
    let mut reader = reader();
    let sample = &all(&mut *reader.decoder().expect("a decoder"), &[admission(&[5; 4], 0, Some(&rules))])[0];
    let mut tokens = sample.tokens.clone();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 30);
}
