//! A prompt gives the same bits whatever the pieces in which it is computed, and whatever runs between.

use transformer::decode::{Admission, Decode, Sample};
use transformer::device::{Device, Reader};
use transformer::sampling::Sampling;
use transformer::{Checkpoint, Config, Cpu, Format, Model};

/// Small models in single precision, and in blocks of 8 bits.
fn readers() -> Vec<Box<dyn Reader>> {
    let config = Config {
        hidden_size: 64,
        head_dim: 16,
        intermediate_size: 96,
        eos_token_ids: Vec::new(),
        max_position_embeddings: 2048,
        ..Config::tiny()
    };
    let model = Model::random(config, 5);
    let directory = tempfile::tempdir().expect("a directory");
    model.save(directory.path(), Default::default()).expect("saved");
    let checkpoint = Checkpoint::open(directory.path()).expect("a model");
    let blocks = Format::NAMES.into_iter().find(|(name, _)| *name == "q8_0").expect("a form").1;
    vec![
        Cpu::default().reader(model).expect("a reader"),
        Cpu { format: blocks }.open(&checkpoint).expect("a reader"),
    ]
}

fn prompt(length: u32, seed: u32) -> Vec<u32> {
    (0..length).map(|at| (at * 31 + at * at % 17 + seed) % 64).collect()
}

fn admission(prompt: &[u32], request: usize, index: usize) -> Admission<'_> {
    let sampling = Sampling::PLAIN;
    Admission {
        request,
        index,
        prompt,
        sampling,
        adjustments: None,
        max_new_tokens: 12,
        random: (9, index as u64),
    }
}

fn of_request(decoder: &dyn Decode, request: usize) -> Vec<Sample> {
    let samples = decoder.samples().into_iter().filter(|sample| sample.request == request);
    let mut samples: Vec<Sample> = samples.cloned().collect();
    samples.sort_by_key(|sample| sample.index);
    samples
}

#[test]
fn pieces_change_nothing() {
    for mut reader in readers() {
        let (long, other) = (prompt(700, 3), prompt(9, 1));
        let both = [admission(&long, 0, 0), admission(&long, 0, 1)];
        let mut decoder = reader.decoder().expect("a decoder");
        let admitted = decoder.admit(&both, usize::MAX).expect("admitted");
        assert_eq!((admitted.samples, admitted.prompt_tokens), (2, 700));
        (0..6).for_each(|_| decoder.step().expect("a step"));
        let whole = of_request(&*decoder, 0);
        drop(decoder);
        for limit in [1, 100, 256, 511, 699] {
            let mut decoder = reader.decoder().expect("a decoder");
            decoder.admit(&[admission(&other, 1, 5)], limit.max(9)).expect("admitted");
            let mut computed = 0;
            loop {
                let admitted = decoder.admit(&both, limit).expect("admitted");
                computed += admitted.prompt_tokens;
                assert!(admitted.prompt_tokens <= limit);
                if admitted.samples > 0 {
                    assert_eq!(admitted.samples, 2);
                    break;
                }
                if decoder.samples().first().is_some_and(|sample| sample.tokens.len() < 9) {
                    decoder.step().expect("a step");
                }
            }
            assert_eq!(computed, 700, "pieces of {limit}");
            (0..6).for_each(|_| decoder.step().expect("a step"));
            assert_eq!(of_request(&*decoder, 0), whole, "pieces of {limit}");
        }
    }
}

#[test]
fn prompts_take_turns_and_one_that_is_not_wanted_is_forgotten() {
    let mut reader = readers().remove(0);
    let (first, second) = (prompt(300, 1), prompt(200, 2));
    let mut decoder = reader.decoder().expect("a decoder");
    let none = |admitted: transformer::decode::Admitted, tokens: usize| {
        assert_eq!((admitted.samples, admitted.prompt_tokens), (0, tokens));
    };
    none(decoder.admit(&[admission(&first, 0, 0), admission(&second, 1, 0)], 150).expect("computed"), 150);
    none(decoder.admit(&[admission(&second, 1, 0), admission(&first, 0, 0)], 150).expect("computed"), 150);
    let admitted =
        decoder.admit(&[admission(&second, 1, 0), admission(&first, 0, 0)], 150).expect("computed");
    assert_eq!((admitted.samples, admitted.prompt_tokens), (1, 150));
    decoder.retain(&|request| request != 0);
    let admitted = decoder.admit(&[admission(&first, 0, 0)], 1000).expect("computed");
    assert_eq!((admitted.samples, admitted.prompt_tokens), (1, 300));
}
