//! `ncomp run --dry-run`: what a recipe would do, and the memory it takes on the processor and on a GPU.

use crate::context::{advised, context};
use anyhow::Result;
use learning::OptimizerSettings;
use pipeline::loop_run::{self, Plan};
use pipeline::problem_sets::ProblemSets;
use pipeline::recipe::Recipe;
use report::table::align;
use serde_json::json;
use std::path::Path;
use transformer::{Config, Cpu};

/// Bytes on the processor and on a GPU.
#[derive(Clone, Copy)]
struct Memory {
    processor: f64,
    gpu: f64,
}

/// One step of a run.
struct Step {
    name: &'static str,
    what: String,
    memory: Option<Memory>,
}

/// Prints the steps of a run as a table, or as JSON.
pub fn print(recipe: &Recipe, root: &Path, as_json: bool) -> Result<()> {
    let plan = match &recipe.pretrain {
        Some(_) => Plan { problems: None, model: None },
        None => loop_run::plan(recipe, root, context()?).map_err(advised)?,
    };
    let (config, note) = match plan.model {
        Some((_, config)) => (Some(config), "present"),
        None if recipe.pretrain.is_some() => (None, "made from nothing"),
        None => {
            (known_shape(&recipe.model.path), "not on this machine yet: fetched from the Hub when it runs")
        }
    };
    let steps = steps(recipe, root, config.as_ref(), plan.problems.as_ref());
    if as_json {
        let steps: Vec<_> = steps.iter().map(Step::to_json).collect();
        let whole =
            json!({"recipe": recipe.name, "model": recipe.model.path, "model_note": note, "steps": steps});
        outln!("{whole}");
        return Ok(());
    }
    outln!(
        "recipe {}, model {} ({note}), problems {}, run in {}",
        recipe.name,
        recipe.model.path,
        recipe.problems.source,
        root.display()
    );
    let head = ["step", "what", "memory", "memory of a GPU"].map(str::to_owned);
    let rows = steps.iter().map(|step| {
        let text = |bytes: fn(&Memory) -> f64| {
            step.memory.as_ref().map_or("unknown".into(), |m| gibibytes(bytes(m)))
        };
        [step.name.to_owned(), step.what.clone(), text(|m| m.processor), text(|m| m.gpu)]
    });
    out!("{}", align(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    Ok(())
}

impl Step {
    fn to_json(&self) -> serde_json::Value {
        let text = |bytes: Option<f64>| bytes.map_or("unknown".into(), gibibytes);
        json!({
            "step": self.name,
            "what": self.what,
            "memory": text(self.memory.map(|memory| memory.processor)),
            "gpu_memory": text(self.memory.map(|memory| memory.gpu)),
        })
    }
}

fn gibibytes(bytes: f64) -> String {
    format!("{:.2} GiB", bytes / (1u64 << 30) as f64)
}

fn steps(recipe: &Recipe, root: &Path, config: Option<&Config>, problems: Option<&ProblemSets>) -> Vec<Step> {
    if let Some(pretrain) = &recipe.pretrain {
        let what = format!(
            "{} programs, {} layers of width {}",
            pretrain.programs, pretrain.layers, pretrain.hidden_size
        );
        return vec![Step { name: "pretrain", what, memory: None }];
    }
    let counts = problems.map(|sets| (sets.for_grpo(recipe).len(), sets.test.len()));
    let (train, test) = counts.map_or(("all".into(), "all".into()), |(a, b)| (a.to_string(), b.to_string()));
    let memory = |part: fn(&Config, &Recipe) -> Memory| config.map(|config| part(config, recipe));
    let (grpo, critic) = (&recipe.grpo, &recipe.critic);
    let pool = format!("{test} x {} candidates, executed", recipe.pool.samples);
    let grpo_steps = format!(
        "{} steps of {} prompts x {} on {train} problems",
        grpo.steps, grpo.prompts_per_step, grpo.group_size
    );
    let epochs =
        format!("{} epochs on {} problems and the rollouts", critic.training.epochs, critic.problems);
    let step = |name, what, memory| Step { name, what, memory };
    vec![
        step("baseline", format!("{test} greedy answers"), memory(greedy)),
        step("base-pool", pool.clone(), memory(candidates)),
        step("grpo", grpo_steps, memory(reinforcement)),
        step("pool", pool, memory(candidates)),
        step("critic", epochs, memory(critic_training)),
        step(
            "report",
            root.join("report.html").display().to_string(),
            Some(Memory { processor: 0.0, gpu: 0.0 }),
        ),
    ]
}

/// Bytes of one copy of the weights: f32 on the processor, bf16 on a GPU.
fn weights(config: &Config) -> Memory {
    let count = config.parameters() as f64;
    Memory { processor: 4.0 * count, gpu: 2.0 * count }
}

/// Bytes of keys and values for so many sequences on each device.
fn cache(config: &Config, sequences: (usize, usize), tokens: usize) -> Memory {
    let numbers = (tokens + 256) as f64 * (2 * config.num_hidden_layers * config.key_value_size()) as f64;
    Memory { processor: 4.0 * sequences.0 as f64 * numbers, gpu: 2.0 * sequences.1 as f64 * numbers }
}

/// Bytes that rows of a batch leave for the backward pass, of which `least` cannot be taken apart.
fn activations(config: &Config, rows: usize, least: usize, settings: &OptimizerSettings) -> Memory {
    let gpu_rows = rows.min(cuda::learner::BATCH_ROWS);
    Memory {
        processor: rows.min(Cpu::batch_rows(config).max(least)) as f64 * Cpu::activation_bytes(config) as f64,
        gpu: cuda::network::activation_bytes(config, gpu_rows, settings.recompute) as f64,
    }
}

/// Bytes of weights in training with what their optimiser keeps: a gradient (on the processor of all) and
/// two moments, on a GPU f32 masters too; for adapters the weights without them, and a gradient.
fn learner(config: &Config, trained: f64, settings: &OptimizerSettings) -> Memory {
    let all = weights(config);
    match settings.lora.rank {
        0 => Memory { processor: 2.0 * all.processor + 8.0 * trained, gpu: all.gpu + 16.0 * trained },
        _ => Memory { processor: 3.0 * all.processor, gpu: 2.0 * all.gpu + 4.0 * trained },
    }
}

impl std::ops::Add for Memory {
    type Output = Memory;

    fn add(self, other: Memory) -> Memory {
        Memory { processor: self.processor + other.processor, gpu: self.gpu + other.gpu }
    }
}

fn greedy(config: &Config, recipe: &Recipe) -> Memory {
    weights(config) + cache(config, (1, 1), recipe.greedy.max_new_tokens)
}

fn candidates(config: &Config, recipe: &Recipe) -> Memory {
    let sequences = match recipe.pool.max_sequences {
        0 => (256, cuda::decode::SLOTS),
        count => (count, count),
    };
    // The generators before and after GRPO; on the processor one packs its matrices again.
    weights(config) + weights(config) + cache(config, sequences, recipe.pool.max_new_tokens)
}

fn reinforcement(config: &Config, recipe: &Recipe) -> Memory {
    let grpo = &recipe.grpo;
    let group = 256 + grpo.group_size * grpo.max_new_tokens;
    // The base, which is the reference of the KL term too, and the model in training.
    weights(config)
        + learner(config, config.parameters() as f64, &grpo.optimizer)
        + activations(config, group.max(6144), group, &grpo.optimizer)
        + cache(config, (256, grpo.prompts_per_step * grpo.group_size), grpo.max_new_tokens)
}

fn critic_training(config: &Config, recipe: &Recipe) -> Memory {
    let training = &recipe.critic.training;
    let rows = training.problems_per_step * training.max_tokens * 4;
    let trained = training.trainable_layers.min(config.num_hidden_layers) * config.layer_parameters();
    weights(config)
        + weights(config)
        + learner(config, trained as f64, &training.optimizer)
        + activations(config, rows, 4 * training.max_tokens, &training.optimizer)
}

/// Shapes of published models, so that a dry run needs no download.
fn known_shape(name: &str) -> Option<Config> {
    (name == "Qwen/Qwen2.5-Coder-1.5B-Instruct").then(Config::qwen2_5_1_5b)
}
