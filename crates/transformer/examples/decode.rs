//! Times a model on the processor: how fast it reads prompts and how fast it writes.
//!
//! ```text
//! cargo run --release -p transformer --example decode -- MODEL [--weights F] [--prompt N] [--new N] [--sequences 1,8,50] [--piece N]
//! ```
//! `--piece` computes so many tokens of the prompt at a time. `MODEL` is a directory or a GGUF file. All sequences are samples of one prompt of made-up tokens;
//! `RAYON_NUM_THREADS` sets the threads. Prints a JSON object a measurement.

use std::error::Error;
use std::path::Path;
use std::time::Instant;
use transformer::decode::Admission;
use transformer::device::Device;
use transformer::sampling::Sampling;
use transformer::{Checkpoint, Cpu, Format};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str, default: &str| -> String {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).cloned().unwrap_or_else(|| default.to_owned())
    };
    let model = arguments.first().ok_or("expected a model")?;
    let weights = option("--weights", "auto");
    let format = Format::NAMES.into_iter().find(|(name, _)| *name == weights).ok_or("--weights: unknown")?.1;
    let piece: usize = option("--piece", &usize::MAX.to_string()).parse()?;
    let (prompt, new): (usize, usize) = (option("--prompt", "128").parse()?, option("--new", "64").parse()?);
    let started = Instant::now();
    let mut reader = Cpu { format }.open(&Checkpoint::open(Path::new(model))?)?;
    let load = started.elapsed().as_secs_f64();
    let vocabulary = reader.config().vocab_size as u32;
    let tokens: Vec<u32> = (0..prompt as u32).map(|at| (at * 7919 + 13) % vocabulary.min(50_000)).collect();
    for sequences in option("--sequences", "1,8,50").split(',') {
        let sequences: usize = sequences.parse()?;
        let sampling = Sampling { temperature: 0.8, top_p: 0.95, ..Sampling::PLAIN };
        let admission = |index: usize| Admission {
            request: 0,
            index,
            prompt: &tokens,
            sampling,
            adjustments: None,
            max_new_tokens: new + 1,
            random: (7, index as u64),
        };
        let wanted: Vec<Admission> = (0..sequences).map(admission).collect();
        let mut decoder = reader.decoder()?;
        let started = Instant::now();
        let mut waiting = wanted.as_slice();
        while !waiting.is_empty() {
            waiting = &waiting[decoder.admit(waiting, piece)?.samples..];
        }
        let read = started.elapsed().as_secs_f64();
        let started = Instant::now();
        for _ in 0..new {
            decoder.step()?;
        }
        let wrote = started.elapsed().as_secs_f64();
        println!(
            "{{\"model\": {model:?}, \"weights\": \"{weights}\", \"sequences\": {sequences}, \"load_s\": {load:.2}, \
             \"prompt_tokens_per_s\": {:.1}, \"tokens_per_s\": {:.2}, \"peak_gb\": {:.2}}}",
            prompt as f64 / read,
            (new * sequences) as f64 / wrote,
            peak_gigabytes()
        );
    }
    Ok(())
}

/// The most memory that this process has had, as Linux counts it.
fn peak_gigabytes() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.map_or(0.0, |kib| kib * 1024.0 / 1e9)
}
