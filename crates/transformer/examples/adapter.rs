//! A model with a PEFT adapter beside it: what it predicts, and what the adapter costs.
//!
//! ```text
//! adapter random MODEL OUT             writes an adapter of random numbers, rank 8, in bf16
//! adapter logs MODEL ADAPTER TOKEN…    log-probability of each token after the first, as JSON
//! adapter speed MODEL ADAPTER ROUNDS   CPU time of decoding with and without, in turn
//! ```
//!
//! `bench/with_peft.py` compares the second with PEFT.

use std::ops::ControlFlow;
use std::path::Path;
use transformer::checkpoint::Precision;
use transformer::decode::{Request, Settings, decode};
use transformer::device::{Device, Reader};
use transformer::head::Target;
use transformer::lora::{Adapters, LoraSettings};
use transformer::sampling::Sampling;
use transformer::{Checkpoint, Cpu, Error, Format, PackedBatch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["random", model, out] => random(model, out)?,
        ["logs", model, adapter, ref tokens @ ..] => {
            let tokens: Result<Vec<u32>, _> = tokens.iter().map(|token| token.parse()).collect();
            println!("{:?}", logs(model, adapter, &tokens?)?);
        }
        ["speed", model, adapter, rounds] => speed(model, adapter, rounds.parse()?)?,
        _ => return Err("expected random, logs or speed: see the example's first lines".into()),
    }
    Ok(())
}

fn random(model: &str, out: &str) -> Result<(), Error> {
    let checkpoint = Checkpoint::open(model.as_ref())?;
    let settings = LoraSettings { rank: 8, alpha: 16.0, ..LoraSettings::default() };
    let mut adapters = Adapters::new(checkpoint.config(), &settings, 1)?;
    for adapter in &mut adapters.all {
        adapter.b.iter_mut().enumerate().for_each(|(at, b)| *b = (at as f32).sin() / 50.0);
    }
    adapters.save(out.as_ref(), model, Precision::Bf16)
}

/// The model in the form that NCOMP_WEIGHTS says.
fn open(model: &str) -> Result<Box<dyn Reader>, Error> {
    let name = std::env::var("NCOMP_WEIGHTS").unwrap_or_default();
    let found = Format::NAMES.into_iter().find(|(known, _)| *known == name);
    Cpu { format: found.map_or(Format::Auto, |(_, format)| format) }.open(&Checkpoint::open(model.as_ref())?)
}

fn adapted(base: &dyn Reader, adapter: &str) -> Result<Box<dyn Reader>, Error> {
    base.adapted(&Adapters::load(Path::new(adapter), base.config())?)
}

fn logs(model: &str, adapter: &str, tokens: &[u32]) -> Result<Vec<f32>, Error> {
    let base = open(model)?;
    let mut reader = if adapter == "-" { base } else { adapted(base.as_ref(), adapter)? };
    let mut batch = PackedBatch::default();
    let rows = batch.push_sequence(tokens);
    let targets: Vec<Target> = rows.zip(&tokens[1..]).map(|(row, &token)| Target { row, token }).collect();
    let found = reader.predictions(&batch, &targets)?;
    Ok(found.iter().map(|prediction| prediction.log_probability).collect())
}

/// Seconds that this process computed, all threads together.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

/// CPU and wall seconds of so many sequences of 32 tokens after a prompt of 128.
fn run(reader: &mut dyn Reader, sequences: usize, seed: u64) -> Result<[f64; 4], Error> {
    let sampling = Sampling { temperature: 0.8, top_p: 0.95, ..Sampling::PLAIN };
    let seconds = |tokens: usize, reader: &mut dyn Reader| {
        let settings = Settings { sampling, max_new_tokens: tokens, seed, max_sequences: sequences };
        let prompt = (0..128).map(|at| 1000 + 7 * at).collect();
        let (cpu, wall) = (cpu_seconds(), std::time::Instant::now());
        let mut decoder = reader.decoder()?;
        let request = Request { prompt, samples: sequences, stream: 0 };
        let _ = decode(&mut *decoder, &[request], &settings, &|_| false, &mut |_| ControlFlow::Continue(()))?;
        Ok::<_, Error>([cpu_seconds() - cpu, wall.elapsed().as_secs_f64()])
    };
    let (prompt, all) = (seconds(1, reader)?, seconds(33, reader)?);
    Ok([prompt[0], all[0] - prompt[0], prompt[1], all[1] - prompt[1]])
}

fn speed(model: &str, adapter: &str, rounds: u64) -> Result<(), Error> {
    let mut base = open(model)?;
    let mut with = adapted(base.as_ref(), adapter)?;
    for sequences in [1, 8] {
        let mut all: [Vec<[f64; 4]>; 2] = Default::default();
        for round in 0..rounds {
            all[0].push(run(base.as_mut(), sequences, round)?);
            all[1].push(run(with.as_mut(), sequences, round)?);
        }
        let median = |runs: &[[f64; 4]], what: usize| {
            let mut values: Vec<f64> = runs.iter().map(|run| run[what]).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        for (name, runs) in ["base", "with the adapter"].iter().zip(&all) {
            let tokens = 32.0 * sequences as f64;
            println!(
                "{sequences} sequences, {name}: prompt of 128 {:.2} s of CPU, decoding {:.2} tokens a second of \
                 CPU, {:.2} a second",
                median(runs, 0),
                tokens / median(runs, 1),
                tokens / median(runs, 3),
            );
        }
        let ratios = |what: usize| {
            let mut ratios: Vec<f64> =
                all[0].iter().zip(&all[1]).map(|(base, with)| with[what] / base[what]).collect();
            ratios.sort_by(f64::total_cmp);
            ratios
        };
        println!(
            "{sequences} sequences, CPU time with / without: prompt {:.3?}, decoding {:.3?}",
            ratios(0),
            ratios(1)
        );
    }
    Ok(())
}
