//! Our half of `bench/transformer.sh`: one training step and decoding of the 5.05-million-parameter
//! model that `transformer.py` builds in PyTorch. Prints one JSON object.

use serde_json::json;
use std::ops::ControlFlow;
use std::time::Instant;
use transformer::Cpu;
use transformer::decode::{Request, Settings, decode};
use transformer::device::{Device, Plan};
use transformer::head::Target;
use transformer::sampling::Sampling;
use transformer::{Config, Model, PackedBatch};

const REPEATS: usize = 7;

/// 6 layers, width 256, vocabulary 2,048: 5.05 million weights.
fn config() -> Config {
    Config {
        vocab_size: 2048,
        hidden_size: 256,
        intermediate_size: 640,
        num_hidden_layers: 6,
        num_attention_heads: 8,
        num_key_value_heads: 8,
        head_dim: 32,
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        max_position_embeddings: 512,
        eos_token_ids: Vec::new(),
        ..Config::tiny()
    }
}

fn main() {
    let model = Model::random(config(), 1);
    let parameters = model.config.parameters();
    if std::env::args().nth(1).as_deref() == Some("train") {
        for _ in 0..6 {
            println!("{}", training_step(&model));
        }
        return;
    }
    if std::env::args().nth(1).as_deref() == Some("decode") {
        for i in 0..4 {
            println!("{} {}", decoding(&model, 8, i), decoding(&model, 128, i));
        }
        return;
    }
    let step = median((0..REPEATS).map(|_| training_step(&model)).collect());
    let speeds = |prompts: usize| median((0..3).map(|seed| decoding(&model, prompts, seed)).collect());
    let result = json!({
        "parameters": parameters,
        "training_step_seconds": step,
        "decode_tokens_per_second": {"128 prompts": speeds(128), "8 prompts": speeds(8)},
    });
    println!("{result}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn tokens(count: usize, seed: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729 + 13) % 2048) as u32).collect()
}

/// Forward, backward and AdamW on 32 sequences of 160 tokens, after one step to warm up.
fn training_step(model: &Model) -> f64 {
    let (mut batch, mut targets) = (PackedBatch::default(), Vec::new());
    for sequence in 0..32 {
        let tokens = tokens(161, sequence);
        let rows = batch.push_sequence(&tokens[..160]);
        targets.extend(rows.zip(&tokens[1..]).map(|(row, &token)| Target { row, token }));
    }
    // The processor has no room to run out of, and nothing to fail at.
    let mut learner =
        Cpu::default().learner(model.clone(), &Plan::default()).expect("a model on the processor");
    let weight = -1.0 / targets.len() as f32;
    let mut seconds = 0.0;
    for _ in 0..2 {
        let started = Instant::now();
        learner.add_token_gradient(&batch, &targets, &mut |_, _| weight).expect("a gradient");
        learner.update(1e-3, 1.0).expect("a step");
        seconds = started.elapsed().as_secs_f64();
    }
    seconds
}

/// New tokens a second: 128 sequences, 60-token prompts (so many different ones), 100 new tokens.
fn decoding(model: &Model, prompts: usize, seed: u64) -> f64 {
    let request = |prompt: usize| Request {
        prompt: tokens(60, prompt),
        samples: 128 / prompts,
        stream: 1000 * prompt as u64,
    };
    let requests: Vec<Request> = (0..prompts).map(request).collect();
    let settings = Settings {
        sampling: Sampling { temperature: 0.8, top_p: 0.95, ..Sampling::PLAIN },
        max_new_tokens: 100,
        seed,
        max_sequences: 128,
    };
    // The processor has no room to run out of, and nothing to fail at.
    let mut reader = Cpu::default().reader(model.clone()).expect("a model on the processor");
    let started = Instant::now();
    let mut count = 0;
    let mut decoder = reader.decoder().expect("a decoder");
    let _ = decode(&mut *decoder, &requests, &settings, &|_| false, &mut |sample| {
        count += sample.tokens.len();
        ControlFlow::Continue(())
    });
    count as f64 / started.elapsed().as_secs_f64()
}
