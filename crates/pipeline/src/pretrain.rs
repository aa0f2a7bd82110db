//! Makes a small model from nothing: a tokenizer and a generator, trained on programs of the built-in
//! world (the built-in model is made so) or on samples.

use crate::error::learning;
use crate::problem_sets::problem_set;
use crate::recipe::{PretrainRecipe, Recipe};
use crate::recorder::Recorder;
use crate::run_directory::RunDirectory;
use crate::{Context, Done, Note, Result};
use learning::Trainer;
use learning::supervised::{self, Example};
use problems::basics::{Program, World};
use problems::prompt::{PromptTests, comment_prompt, comment_prompt_of};
use problems::samples;
use records::jsonl;
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;
use transformer::checkpoint::Precision;
use transformer::{Config, Model, Tokenizer};

/// The token that ends a program; it is token 0.
const END: &str = "<|endoftext|>";

/// Trains the model of a recipe into `root/model`. Where it was stopped the next call resumes.
///
/// # Errors
/// Where the directory cannot be written or training fails.
pub fn run(recipe: &Recipe, pretrain: &PretrainRecipe, root: &Path, context: Context) -> Result<Done> {
    let mut run = RunDirectory::open(root, recipe)?;
    if run.is_finished("pretrain") {
        return Ok(Done::Whole);
    }
    let started = Instant::now();
    let watch = context.watch;
    let texts = texts(recipe, pretrain, &context)?;
    let all = texts.iter().flat_map(|(prompt, program)| [prompt.as_str(), program.as_str()]);
    let tokenizer = Tokenizer::train(all, pretrain.vocab_size, &[END])?;
    let examples = texts.iter().map(|(prompt, program)| {
        let mut completion = tokenizer.encode(program);
        completion.push(0);
        Example { prompt: tokenizer.encode(prompt), completion }
    });
    let examples: Vec<Example> = examples.collect();
    let config = config(pretrain, tokenizer.vocab_size());
    watch.note(&Note::Pretraining { parameters: config.parameters(), programs: examples.len() });
    let settings = &pretrain.training;
    let state = run.path("states/pretrain.safetensors");
    let model = Model::random(config, recipe.seed);
    let trainer = match state.exists() {
        true => Trainer::load_state(model, &settings.optimizer, &state, context.device),
        false => Trainer::new(model, &settings.optimizer, context.device),
    };
    let mut trainer = trainer.map_err(learning)?;
    trainer.save_regularly(&state);
    let total = settings.total_steps(examples.len());
    let (metrics, steps) = (run.path("metrics"), (trainer.step(), total));
    let mut recorder = Recorder::open(watch, (&metrics, "pretrain"), ("pretraining", "loss"), steps)?;
    let mut on_step = |report: &_| recorder.step(report);
    supervised::train(&mut trainer, &examples, settings, recipe.seed, &mut on_step).map_err(learning)?;
    recorder.finish()?;
    if trainer.step() < total {
        trainer.save_state(&state).map_err(learning)?;
        run.interrupt("pretrain", started.elapsed().as_secs_f64())?;
        return Ok(Done::Interrupted);
    }
    let directory = run.path("model");
    let model = trainer.model().map_err(learning)?;
    model.save(&directory, Precision::Bf16)?;
    tokenizer.save(&directory)?;
    let tokenizer_config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": END,
        "add_prefix_space": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": model.config.max_position_embeddings,
    });
    let text = serde_json::to_string_pretty(&tokenizer_config)? + "\n";
    jsonl::write_atomically(&directory.join("tokenizer_config.json"), |file| {
        file.write_all(text.as_bytes())
    })?;
    run.finish("pretrain", started.elapsed().as_secs_f64())?;
    let _ = std::fs::remove_file(state);
    Ok(Done::Whole)
}

/// Prompts and the programs that follow them.
fn texts(recipe: &Recipe, pretrain: &PretrainRecipe, context: &Context) -> Result<Vec<(String, String)>> {
    if pretrain.samples.is_empty() {
        let programs = World::new().programs(pretrain.programs, recipe.seed);
        let prompt = |p: &Program| comment_prompt_of(&p.text, std::iter::once(p.test.as_str()));
        return Ok(programs.into_iter().map(|program| (prompt(&program), program.code)).collect());
    }
    let problems = problem_set(&recipe.problems.source, context.hub)?;
    let prompts: HashMap<&str, String> = problems
        .iter()
        .map(|problem| (problem.id.as_str(), comment_prompt(&problem.shown, PromptTests::Visible)))
        .collect();
    let samples = samples::read(Path::new(&pretrain.samples), &problems)?;
    samples.notes.into_iter().for_each(|note| context.watch.note(&Note::Samples(note)));
    let programs = samples.candidates.into_iter().filter(|candidate| !candidate.code.trim().is_empty());
    Ok(programs.map(|program| (prompts[program.problem.as_str()].clone(), program.code)).collect())
}

fn config(pretrain: &PretrainRecipe, vocab_size: usize) -> Config {
    Config {
        vocab_size,
        hidden_size: pretrain.hidden_size,
        intermediate_size: pretrain.intermediate_size,
        num_hidden_layers: pretrain.layers,
        num_attention_heads: pretrain.heads,
        num_key_value_heads: pretrain.key_value_heads,
        head_dim: pretrain.hidden_size / pretrain.heads.max(1),
        rms_norm_eps: 1e-6,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        max_position_embeddings: 1024,
        eos_token_ids: vec![0],
        ..Config::tiny()
    }
}
