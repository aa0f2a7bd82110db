//! `ncomp run` and `ncomp report`.

use crate::loop_run::{self, ProblemSets, model_directory};
use crate::pretrain;
use crate::recipe::Recipe;
use anyhow::{Context, Result};
use records::jsonl;
use report::table::{align, text};
use serde_json::json;
use std::path::{Path, PathBuf};
use transformer::Config;

/// The whole loop of a recipe. A finished stage is never redone; Ctrl-C stops, and the same command
/// goes on.
#[derive(clap::Args)]
pub struct Run {
    /// The recipe, a TOML file
    recipe: PathBuf,
    /// Directory of the run [default: runs/NAME]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Generator instead of the recipe's: a directory, or owner/name on the Hub
    #[arg(long)]
    model: Option<String>,
    /// Problem set instead of the recipe's: a name or a file
    #[arg(long)]
    problems: Option<String>,
    /// Print what would be done and the memory it needs, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// The table of a finished run.
#[derive(clap::Args)]
pub struct Report {
    /// The run's directory
    run: PathBuf,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl Run {
    pub(super) fn run(self) -> Result<()> {
        let mut recipe = Recipe::load(&self.recipe)?;
        if let Some(model) = self.model {
            recipe.model.path = model;
        }
        if let Some(problems) = self.problems {
            recipe.problems.source = problems;
        }
        let root = self.out.unwrap_or_else(|| PathBuf::from("runs").join(&recipe.name));
        if self.dry_run {
            return dry_run(&recipe, &root, self.json);
        }
        if let Some(settings) = &recipe.pretrain {
            if pretrain::run(&recipe, settings, &root)? {
                println!("{}", root.join("model").display());
            }
            return Ok(());
        }
        if let Some(report) = loop_run::run(&recipe, &root)? {
            print_report(&report, &root, self.json)?;
        }
        Ok(())
    }
}

impl Report {
    pub(super) fn run(self) -> Result<()> {
        let path = self.run.join("report.json");
        let text = jsonl::read_text(&path)
            .context("the run has no report; finish it with the command that began it")?;
        let report = serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
        print_report(&report, &self.run, self.json)
    }
}

/// The table and the critic's numbers, or everything as JSON.
pub fn print_report(report: &report::html::Report, root: &Path, as_json: bool) -> Result<()> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    println!("\n{}\n\n{}", report.summary, text(&report.rows));
    for fact in report.facts.iter().filter(|fact| !fact.name.starts_with("seconds/")) {
        println!("{}: {}", fact.label, fact.text());
    }
    println!("\n{}", root.join("report.html").display());
    Ok(())
}

fn dry_run(recipe: &Recipe, root: &Path, as_json: bool) -> Result<()> {
    let (config, model_note) = match model_directory(&recipe.model.path).and_then(|d| Ok(Config::load(&d)?)) {
        Ok(config) => (Some(config), "present"),
        Err(_) => {
            (known_shape(&recipe.model.path), "not on this machine yet: fetched from the Hub when it runs")
        }
    };
    let sets = ProblemSets::of(recipe).ok();
    let counts = sets.map(|sets| (sets.train.len(), sets.test.len()));
    let mut lines = vec![["step".to_owned(), "what".into(), "memory".into()]];
    let mut push = |step: &str, what: String, memory: Option<f64>| {
        lines.push([
            step.into(),
            what,
            memory.map_or("unknown".into(), |bytes| format!("{:.2} GiB", bytes / (1u64 << 30) as f64)),
        ]);
    };
    if let Some(pretrain) = &recipe.pretrain {
        push(
            "pretrain",
            format!(
                "{} programs, {} layers of width {}",
                pretrain.programs, pretrain.layers, pretrain.hidden_size
            ),
            None,
        );
    } else {
        let (train, test) =
            counts.map_or(("all".into(), "all".into()), |(a, b)| (a.to_string(), b.to_string()));
        let memory = |part: fn(&Config, &Recipe) -> f64| config.as_ref().map(|config| part(config, recipe));
        let n = recipe.pool.samples;
        push(
            "baseline",
            format!("{test} greedy answers"),
            memory(|c, r| weights(c) + cache(c, 1.0, r.greedy.max_new_tokens)),
        );
        push("base-pool", format!("{test} x {n} candidates, executed"), memory(pool_memory));
        let grpo = &recipe.grpo;
        push(
            "grpo",
            format!(
                "{} steps of {} prompts x {} on {train} problems",
                grpo.steps, grpo.prompts_per_step, grpo.group_size
            ),
            memory(grpo_memory),
        );
        push("pool", format!("{test} x {n} candidates, executed"), memory(pool_memory));
        push(
            "critic",
            format!(
                "{} epochs on {} problems and the rollouts",
                recipe.critic.training.epochs, recipe.critic.problems
            ),
            memory(critic_memory),
        );
        push("report", root.join("report.html").display().to_string(), Some(0.0));
    }
    if as_json {
        let steps: Vec<_> =
            lines[1..].iter().map(|l| json!({"step": l[0], "what": l[1], "memory": l[2]})).collect();
        println!(
            "{}",
            json!({"recipe": recipe.name, "model": recipe.model.path, "model_note": model_note, "steps": steps})
        );
        return Ok(());
    }
    println!(
        "recipe {}, model {} ({model_note}), problems {}, run in {}",
        recipe.name,
        recipe.model.path,
        recipe.problems.source,
        root.display()
    );
    print!("{}", align(&lines));
    Ok(())
}

/// Bytes of the weights in memory: f32.
fn weights(config: &Config) -> f64 {
    4.0 * config.parameters() as f64
}

/// Bytes of keys and values for so many sequences.
fn cache(config: &Config, sequences: f64, tokens: usize) -> f64 {
    sequences * (tokens + 256) as f64 * (8 * config.num_hidden_layers * config.key_value_size()) as f64
}

/// Bytes that one row of a batch leaves for the backward pass.
fn activations(config: &Config, rows: f64) -> f64 {
    let row = 6 * config.hidden_size + config.qkv_size() + config.query_size() + 3 * config.intermediate_size;
    4.0 * rows * (config.num_hidden_layers * row) as f64
}

fn pool_memory(config: &Config, recipe: &Recipe) -> f64 {
    2.0 * weights(config)
        + cache(config, recipe.pool.max_sequences.max(256) as f64, recipe.pool.max_new_tokens)
}

fn grpo_memory(config: &Config, recipe: &Recipe) -> f64 {
    let grpo = &recipe.grpo;
    // Base, model, gradient and two moments; with a KL term the frozen reference too.
    let copies = if grpo.kl_coefficient > 0.0 { 6.0 } else { 5.0 };
    let rows = (256 + grpo.group_size * grpo.max_new_tokens).max(6144) as f64;
    copies * weights(config) + activations(config, rows) + cache(config, 256.0, grpo.max_new_tokens)
}

fn critic_memory(config: &Config, recipe: &Recipe) -> f64 {
    let training = &recipe.critic.training;
    let rows = (training.problems_per_step * training.max_tokens * 4) as f64;
    let trained = training.trainable_layers.min(config.num_hidden_layers) * config.layer_parameters();
    3.0 * weights(config) + 8.0 * trained as f64 + activations(config, rows)
}

/// Shapes of published models, so that a dry run needs no download.
fn known_shape(name: &str) -> Option<Config> {
    (name == "Qwen/Qwen2.5-Coder-1.5B-Instruct").then(|| Config {
        vocab_size: 151_936,
        hidden_size: 1536,
        intermediate_size: 8960,
        num_hidden_layers: 28,
        num_attention_heads: 12,
        num_key_value_heads: 2,
        head_dim: 128,
        rms_norm_eps: 1e-6,
        rope_theta: 1e6,
        tie_word_embeddings: true,
        max_position_embeddings: 32_768,
        eos_token_ids: vec![151_645, 151_643],
    })
}
