//! Supervised training of a recipe's model on prompts and completions.

use crate::error::learning;
use crate::recipe::Recipe;
use crate::recorder::Recorder;
use crate::{Context, Done, Error, Result, models};
use generator::Generator;
use learning::Trainer;
use learning::supervised::{self, Example};
use records::jsonl;
use serde::Deserialize;
use std::path::Path;
use transformer::Checkpoint;

#[derive(Deserialize)]
struct Pair {
    prompt: String,
    completion: String,
}

/// Trains a recipe's model by its `[pretrain.training]` on JSON lines with `prompt` and `completion`. The
/// model goes to `target`; none where another of several processes writes it. One that was stopped leaves
/// nothing but metrics.
///
/// # Errors
/// Where the model or the examples cannot be read, one of them is empty, or a file cannot be written.
pub fn train(
    recipe: &Recipe,
    data: &Path,
    metrics: &Path,
    target: Option<&Path>,
    context: &Context,
) -> Result<Done> {
    let settings = recipe.pretrain.clone().unwrap_or_default().training;
    let base = models::find(&recipe.model.path, context.hub)?;
    let generator = Generator::load(&base, recipe.model.prompt, context.device).map_err(learning)?;
    let examples = examples(&generator, data)?;
    let model = generator.model().map_err(learning)?;
    let mut trainer = Trainer::new(model, &settings.optimizer, context.device).map_err(learning)?;
    let (watch, steps) = (context.watch, (0, settings.total_steps(examples.len())));
    let mut recorder = Recorder::open(watch, (metrics, "sft"), ("supervised training", "loss"), steps)?;
    let mut on_step = |report: &_| recorder.step(report);
    supervised::train(&mut trainer, &examples, &settings, recipe.seed, &mut on_step).map_err(learning)?;
    recorder.finish()?;
    if watch.interrupted() {
        return Ok(Done::Interrupted);
    }
    let Some(target) = target else { return Ok(Done::Whole) };
    trainer.model().map_err(learning)?.save(target, recipe.critic.precision)?;
    if let Some(adapters) = trainer.learner.adapters() {
        adapters.save(&target.join("adapter"), &recipe.model.path, recipe.critic.precision)?;
    }
    conversion::write_tokenizer(&Checkpoint::open(&base)?, target)?;
    Ok(Done::Whole)
}

fn examples(generator: &Generator, data: &Path) -> Result<Vec<Example>> {
    let pairs: Vec<Pair> = jsonl::read(data)?;
    let end = generator.config().eos_token_ids.first().copied();
    let example = |(index, pair): (usize, Pair)| {
        let mut completion = generator.tokenizer.encode(&pair.completion);
        completion.extend(end);
        let example = Example { prompt: generator.prompt_tokens(&pair.prompt), completion };
        match example.prompt.is_empty() || example.completion.is_empty() {
            true => Err(Error::EmptyExample { path: data.to_owned(), number: index + 1 }),
            false => Ok(example),
        }
    };
    pairs.into_iter().enumerate().map(example).collect()
}
