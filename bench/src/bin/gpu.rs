//! Our half of `bench/gpu.sh`: decoding, training and scoring at the shape of Qwen2.5-1.5B, random
//! weights, on one GPU. Cases are the arguments; prints one JSON object a line.

use critic::{Critic, Head};
use cuda::Cuda;
use cuda::learner::GpuLearner;
use cuda::network::Network;
use cuda::reader::GpuReader;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;
use transformer::checkpoint::Precision;
use transformer::decode::{Request, Settings, decode};
use transformer::device::{Learner, Plan, Reader};
use transformer::head::Target;
use transformer::sampling::Sampling;
use transformer::{Config, PackedBatch, Tokenizer};

/// Qwen2.5-1.5B's shape, without an end: every sequence gets its full length.
fn config() -> Config {
    Config { eos_token_ids: Vec::new(), ..Config::qwen2_5_1_5b() }
}

type Outcome = Result<Value, Box<dyn std::error::Error>>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cuda = Cuda::open(0)?;
    let cases: Vec<String> = std::env::args().skip(1).collect();
    for case in cases {
        let parts: Vec<&str> = case.split(':').collect();
        let number = |at: usize| parts.get(at).and_then(|text| text.parse().ok());
        let mut found = match parts[0] {
            "decode" => decoding(&cuda, number(1).unwrap_or(64), number(2).unwrap_or(256))?,
            "train" => training(&cuda, false, number(1).unwrap_or(32), number(2).unwrap_or(512))?,
            "recompute" => training(&cuda, true, number(1).unwrap_or(32), number(2).unwrap_or(512))?,
            "score" => {
                scoring(&cuda, number(1).unwrap_or(257), number(2).unwrap_or(50), number(3).unwrap_or(300))?
            }
            "model" => model(&cuda, parts[1].as_ref(), parts[2].as_ref())?,
            other => {
                return Err(format!("no case '{other}': decode, train, recompute, score or model").into());
            }
        };
        found["case"] = case.clone().into();
        println!("{found}");
    }
    Ok(())
}

/// Tokens that differ from row to row; any will do, the weights are random.
fn tokens(count: usize, seed: usize) -> Vec<u32> {
    (0..count).map(|at| ((at * 7919 + seed * 104_729) % 150_000) as u32).collect()
}

/// Prompts of 150 tokens, shared by groups of 50, temperature 0.8, top-p 0.95; by one decoder, as the
/// service keeps one.
fn decoding(cuda: &Cuda, sequences: usize, new_tokens: usize) -> Outcome {
    let mut reader = GpuReader::new(Network::random(cuda.gpu(), &config(), 1)?);
    let mut decoder = reader.decoder()?;
    let mut run = |new_tokens: usize, seed: u64| -> Result<(usize, f64), Box<dyn std::error::Error>> {
        let requests = (0..sequences.div_ceil(50)).map(|at| Request {
            prompt: tokens(150, at),
            samples: 50.min(sequences - 50 * at),
            stream: 1000 * at as u64,
        });
        let requests: Vec<Request> = requests.collect();
        let sampling = Sampling { temperature: 0.8, top_p: 0.95, ..Sampling::PLAIN };
        let settings = Settings { sampling, max_new_tokens: new_tokens, seed, max_sequences: sequences };
        let (started, mut drawn) = (Instant::now(), 0);
        let _ = decode(&mut *decoder, &requests, &settings, &|_| false, &mut |sample| {
            drawn += sample.tokens.len();
            ControlFlow::Continue(())
        })?;
        Ok((drawn, started.elapsed().as_secs_f64()))
    };
    run(8, 1)?;
    let mut rates = Vec::new();
    for seed in 2..5 {
        let (drawn, seconds) = run(new_tokens, seed)?;
        rates.push(drawn as f64 / seconds);
    }
    // A run of half the length tells what a step costs without prompts and set-up.
    let (fewer, short) = run(new_tokens / 2, 5)?;
    let (more, long) = run(new_tokens, 6)?;
    let step = (long - short) / ((more - fewer) as f64 / sequences as f64);
    Ok(json!({"tokens_per_second": median(rates), "step_milliseconds": 1e3 * step}))
}

/// Whole steps: forward, loss over all tokens, backward, AdamW.
fn training(cuda: &Cuda, recompute: bool, sequences: usize, length: usize) -> Outcome {
    let config = config();
    let plan = Plan { recompute, ..Plan::default() };
    let mut learner = GpuLearner::new(Network::random(cuda.gpu(), &config, 1)?, plan)?;
    let (mut batch, mut targets) = (PackedBatch::default(), Vec::new());
    for at in 0..sequences {
        let text = tokens(length + 1, at);
        let rows = batch.push_sequence(&text[..length]);
        targets.extend(rows.zip(&text[1..]).map(|(row, &token)| Target { row, token }));
    }
    let scale = -1.0 / targets.len() as f32;
    let mut times = Vec::new();
    let mut losses = Vec::new();
    for _ in 0..8 {
        let started = Instant::now();
        let found = learner.add_token_gradient(&batch, &targets, &mut |_, _| scale)?;
        let norm = learner.gradient_square()?.sqrt() as f32;
        learner.update(1e-5, (1.0 / norm).min(1.0))?;
        learner.gradient_square()?;
        times.push(started.elapsed().as_secs_f64());
        losses.push(found.iter().map(|p| f64::from(p.log_probability * scale)).sum::<f64>());
    }
    let seconds = median(times.split_off(2));
    let operations = 6.0 * config.parameters() as f64 * targets.len() as f64;
    let memory = cuda.gpu().memory()?;
    Ok(json!({
        "step_milliseconds": 1e3 * seconds,
        "tflops": operations / seconds / 1e12,
        "losses": losses,
        "gibibytes_in_use": (memory.1 - memory.0) as f64 / (1u64 << 30) as f64,
    }))
}

/// Hidden states of each candidate's last token: `problems` prompts of 150 tokens and `candidates` programs
/// each, so long that prompt and program have `length` tokens.
fn scoring(cuda: &Cuda, problems: usize, candidates: usize, length: usize) -> Outcome {
    let config = config();
    let mut reader = GpuReader::new(Network::random(cuda.gpu(), &config, 1)?);
    let program = length - 150;
    let mut score = |first: usize, count: usize| -> Result<(usize, usize), Box<dyn std::error::Error>> {
        let (mut scored, mut rows_done) = (0, 0);
        for problem in first..first + count {
            let (mut batch, mut last) = (PackedBatch::default(), Vec::new());
            let programs: Vec<Vec<u32>> =
                (0..candidates).map(|at| tokens(program, problem * 64 + at)).collect();
            let rows = batch.push_tree(&tokens(150, problem), programs.iter().map(Vec::as_slice));
            last.extend(rows.into_iter().map(|rows| rows.end - 1));
            let hidden = reader.hidden_rows(&batch, &last)?;
            scored += hidden.len() / config.hidden_size;
            rows_done += batch.rows();
        }
        Ok((scored, rows_done))
    };
    score(0, 3)?;
    let started = Instant::now();
    let (scored, rows) = score(3, problems)?;
    let seconds = started.elapsed().as_secs_f64();
    // The output matrix is not used.
    let weights = (config.parameters() - config.vocab_size * config.hidden_size) as f64;
    Ok(json!({
        "candidates": scored,
        "seconds": seconds,
        "rows": rows,
        "tflops": 2.0 * weights * rows as f64 / seconds / 1e12,
    }))
}

/// Writes a random model with a tokenizer, and a critic of the same model with a random head, to the folders
/// `model` and `critic` of a directory: what `bench/grpo_step.sh` trains.
fn model(cuda: &Cuda, directory: &Path, tokenizer_from: &Path) -> Outcome {
    let tokenizer = Tokenizer::load(tokenizer_from)?;
    let reader = GpuReader::new(Network::random(cuda.gpu(), &config(), 1)?);
    let target = directory.join("model");
    let head = Head::random(config().hidden_size, 1024, 1, 1);
    reader.model()?.save(&target, Precision::Bf16)?;
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"] {
        std::fs::copy(tokenizer_from.join(name), target.join(name))?;
    }
    Critic::new(Box::new(reader), head, tokenizer).save(&directory.join("critic"), Precision::Bf16)?;
    Ok(json!({"model": target}))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
