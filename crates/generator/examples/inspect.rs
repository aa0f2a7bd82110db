//! A model on the processor, asked line by line: for comparisons with other programs (`bench/real_models.py`).
//!
//! ```text
//! cargo run --release -p generator --example inspect -- MODEL [FORMAT] < requests.jsonl > answers.jsonl
//! ```
//! `MODEL` is a directory or a GGUF file, `FORMAT` what `--weights` takes. A request is one of
//! - `{"shown": {"statement": …, "examples": […], "opening": …}}`: the protocol's prompt, and its tokens;
//! - `{"text": …}`: its tokens, and those that it has as the beginning of a sequence;
//! - `{"tokens": […], "targets": [[row, token], …]}`: the log-probability of each target;
//! - `{"tokens": […], "greedy": n}`: the n most probable next tokens, one after the other.

use problems::prompt::{ChatTemplate, PromptTests};
use serde_json::{Value, json};
use std::error::Error;
use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::Path;
use transformer::decode::{Request, Settings, decode};
use transformer::device::{Device, Reader};
use transformer::head::Target;
use transformer::sampling::Sampling;
use transformer::tokenizer::gguf::settings;
use transformer::{Checkpoint, Cpu, Format, PackedBatch, Tokenizer};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("expected a model")?;
    let weights = arguments.next().unwrap_or_else(|| "auto".to_owned());
    let format = Format::NAMES.into_iter().find(|(name, _)| *name == weights).ok_or("unknown format")?.1;
    let checkpoint = Checkpoint::open(Path::new(&model))?;
    let tokenizer = Tokenizer::of(&checkpoint)?;
    let template = match checkpoint.gguf() {
        Some(file) => ChatTemplate::of(Path::new(&model), &settings(file)?)?,
        None => ChatTemplate::load(Path::new(&model))?,
    };
    let template = template.ok_or("the model has no chat template")?;
    let mut reader = Cpu { format }.open(&checkpoint)?;
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let answer = match request.get("shown") {
            None if request["text"].is_string() => {
                let text = request["text"].as_str().unwrap_or_default();
                json!({ "tokens": tokenizer.encode(text), "whole": tokenizer.encode_whole(text) })
            }
            Some(shown) => {
                let prompt = template.protocol_prompt(
                    &serde_json::from_value(shown.clone())?,
                    PromptTests::All,
                    &|| false,
                )?;
                json!({ "tokens": tokenizer.encode(&prompt), "text": prompt })
            }
            None => of_tokens(&mut *reader, &request)?,
        };
        println!("{answer}");
    }
    Ok(())
}

fn of_tokens(reader: &mut dyn Reader, request: &Value) -> Result<Value, Box<dyn Error>> {
    let tokens: Vec<u32> = serde_json::from_value(request["tokens"].clone())?;
    if let Some(count) = request["greedy"].as_u64() {
        let request = Request { prompt: tokens, samples: 1, stream: 0 };
        let settings = Settings {
            sampling: Sampling::GREEDY,
            max_new_tokens: count as usize,
            seed: 0,
            max_sequences: 1,
        };
        let mut found = Vec::new();
        let mut decoder = reader.decoder()?;
        let _ = decode(&mut *decoder, &[request], &settings, &|_| false, &mut |sample| {
            found = sample.tokens;
            ControlFlow::Continue(())
        })?;
        return Ok(json!({ "tokens": found }));
    }
    let mut batch = PackedBatch::default();
    batch.push_sequence(&tokens);
    let targets: Vec<(usize, u32)> = serde_json::from_value(request["targets"].clone())?;
    let targets: Vec<Target> = targets.into_iter().map(|(row, token)| Target { row, token }).collect();
    let found = reader.predictions(&batch, &targets)?;
    let found: Vec<f32> = found.iter().map(|prediction| prediction.log_probability).collect();
    Ok(json!({ "log_probabilities": found }))
}
