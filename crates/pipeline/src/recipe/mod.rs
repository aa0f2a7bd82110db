//! Recipes: TOML files that say what a run does. Every field has a default; an unknown field is an
//! error that names the nearest known one.

mod check;
mod defaults;

use learning::critic_training::CriticSettings;
use learning::grpo::GrpoSettings;
use learning::supervised::SupervisedSettings;
use problems::prompt::{PromptFormat, PromptTests};
use python::Tier;
use records::Split;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use transformer::checkpoint::Precision;

/// What can be wrong with a recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read the recipe {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Something in the file is wrong.
    #[error("in the recipe {}", path.display())]
    In {
        /// The file.
        path: PathBuf,
        /// What.
        source: Box<RecipeError>,
    },
    /// It is no TOML, or a field is unknown or of another type.
    #[error("{message}{}", nearest.as_ref().map(|it| format!("\ndid you mean `{it}`?")).unwrap_or_default())]
    Text {
        /// Line, field, and what was expected.
        message: String,
        /// For an unknown field, the nearest known one.
        nearest: Option<String>,
    },
    /// A field's value makes no sense.
    #[error("{field}: {message}")]
    Field {
        /// The field, with its tables: `pool.top_p`.
        field: String,
        /// What was expected, and what was found.
        message: String,
    },
    /// It cannot be written as TOML.
    #[error("cannot write the recipe")]
    Write(#[from] toml::ser::Error),
}

type Result<T, E = RecipeError> = std::result::Result<T, E>;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// Name of the run; its directory is `runs/NAME` unless another is given.
    pub name: String,
    /// Seed of everything random.
    pub seed: u64,
    /// The generator to start from.
    pub model: ModelRecipe,
    /// What to solve.
    pub problems: ProblemsRecipe,
    /// The baseline: one greedy answer a problem.
    pub greedy: GreedyRecipe,
    /// The candidates to select from.
    pub pool: PoolRecipe,
    /// Limits on candidates.
    pub executor: ExecutorRecipe,
    /// How the generator learns from verdicts.
    pub grpo: GrpoSettings,
    /// The critic and what it learns from.
    pub critic: CriticRecipe,
    /// The choice of one candidate.
    pub selection: SelectionRecipe,
    /// Makes a built-in model instead of running the loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pretrain: Option<PretrainRecipe>,
}

/// The generator to start from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelRecipe {
    /// A directory in Hugging Face layout, a GGUF file, or `owner/name` on the Hub.
    pub path: String,
    /// How it is asked: `comment` or `chat`.
    pub prompt: PromptFormat,
}

/// What to solve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProblemsRecipe {
    /// `basics`, `mbpp`, `mbpp-sanitized`, `humaneval`, or a file. Of its training problems those are left out
    /// that are like a problem to report on or to choose by ([`problems::kept_out`]).
    pub source: String,
    /// Further sets to learn from: their training problems, but for those that the source has, and those like
    /// a problem to report on or to choose by.
    pub also_train: Vec<String>,
    /// Further sets to report on, their test problems; each has rows of its own. Nothing that is like them
    /// is learned from. Where validation problems are reported on these are left alone.
    pub also_report: Vec<String>,
    /// Training problems; 0 takes all that the set has.
    pub train: usize,
    /// Problems to report on; 0 takes all that the set has.
    pub test: usize,
    /// The split to report on: `test`, or `validation` for choosing settings.
    pub report_on: Split,
    /// Seed of the built-in set.
    pub seed: u64,
}

/// The baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GreedyRecipe {
    /// Longest completion.
    pub max_new_tokens: usize,
    /// Tests that the prompt shows.
    pub tests: PromptTests,
}

/// The candidates to select from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolRecipe {
    /// Candidates a problem.
    pub samples: usize,
    /// Divides the logits.
    pub temperature: f64,
    /// Nucleus.
    pub top_p: f64,
    /// Likeliest tokens to keep; 0 keeps all.
    pub top_k: usize,
    /// Longest completion.
    pub max_new_tokens: usize,
    /// Sequences in flight; 0 leaves it to the device.
    pub max_sequences: usize,
    /// Tests that the prompt shows.
    pub tests: PromptTests,
}

/// Limits on candidates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecutorRecipe {
    /// The interpreter.
    pub python: String,
    /// Candidates at the same time; 0 takes one for each processor.
    pub workers: usize,
    /// CPU seconds of a candidate with all its tests; EvalPlus's plus tests have EvalPlus's own limits.
    pub timeout: f64,
    /// Address space of a candidate in MiB.
    pub memory: u64,
    /// Minimum isolation tier to accept: `A`, `B`, `C` or `D`.
    pub require_tier: Tier,
    /// Packages that candidates and tests may import besides Python's standard library.
    pub packages: Vec<String>,
    /// Whether the published protocol's imports (`math`, `re`, `from typing import *`, …) precede a
    /// candidate where its problem's set has them; EvalPlus has none.
    pub protocol_imports: bool,
}

/// The critic and what it learns from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CriticRecipe {
    /// A critic's directory to go on from; empty starts with the tuned generator's backbone.
    pub start: String,
    /// Training problems to sample labelled candidates of, apart from GRPO's rollouts.
    pub problems: usize,
    /// Candidates of each from the generator after GRPO.
    pub samples: usize,
    /// Candidates of each from the generator before GRPO.
    pub base_samples: usize,
    /// Whether GRPO's rollouts are learned from too.
    pub rollouts: bool,
    /// Share of the training problems held out: the critic is measured on them, and rankers learn from them.
    pub validation: f64,
    /// Critics to train on the same examples, each with a seed of its own; their logits are averaged.
    pub seeds: usize,
    /// Form of the numbers on disk: `f32` or `bf16`.
    pub precision: Precision,
    /// The network and its training.
    pub training: CriticSettings,
}

/// The choice of one candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SelectionRecipe {
    /// What selectors may know of a problem's tests, each in rows of its own: 0 nothing, 1 the visible test's
    /// call, 2 the calls of all tests, 3 the visible test with its value.
    pub levels: Vec<u8>,
    /// Inputs that the run makes up, on which a problem's candidates are compared.
    pub own_inputs: usize,
    /// Candidates of each validation problem, and of each training problem held out (`critic.validation`), from
    /// each generator, for rankers to learn from; as many as in a pool tell what is seen there. Validation
    /// problems of `problems.also_train` count too. 0 leaves validation problems to the reader: rankers learn
    /// from the critic's examples of problems held out.
    pub validation_samples: usize,
    /// Whether the training problems held out (`critic.validation`) are kept from GRPO as from the critic: on
    /// problems that it learned from, candidates agree and pass more often than on new ones, and rankers that
    /// learn from them are over-sure.
    pub kept_from_grpo: bool,
}

/// How the built-in model is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainRecipe {
    /// File of programs written for the recipe's problems, as `rank` reads them, to learn from;
    /// empty for programs of the built-in world.
    pub samples: String,
    /// Programs of the built-in world to learn from.
    pub programs: usize,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub key_value_heads: usize,
    /// How it is trained.
    pub training: SupervisedSettings,
}

impl Recipe {
    /// Reads a recipe's file.
    ///
    /// # Errors
    /// Names file, line and field, what was expected, and for an unknown field the nearest one.
    pub fn load(path: &Path) -> Result<Self> {
        let path = || path.to_owned();
        let text =
            std::fs::read_to_string(path()).map_err(|source| RecipeError::Read { path: path(), source })?;
        Self::parse(&text).map_err(|source| RecipeError::In { path: path(), source: Box::new(source) })
    }

    /// Reads a recipe's text.
    ///
    /// # Errors
    /// As [`load`](Self::load), without the file.
    pub fn parse(text: &str) -> Result<Self> {
        let recipe: Recipe = toml::from_str(text).map_err(|error| RecipeError::Text {
            message: error.to_string().trim_end().to_owned(),
            nearest: nearest_field(error.message()),
        })?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The recipe with every default written out.
    ///
    /// # Errors
    /// Where a number is larger than TOML has them.
    pub fn resolved(&self) -> Result<String> {
        Ok(toml::to_string_pretty(self)?)
    }
}

fn wrong(field: impl Into<String>, message: impl Into<String>) -> RecipeError {
    RecipeError::Field { field: field.into(), message: message.into() }
}

/// The known field nearest to the unknown one that an error of serde's tells of.
fn nearest_field(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.starts_with("unknown field").then(|| quoted.next())??;
    let known = quoted.map(|name| (strsim::damerau_levenshtein(unknown, name), name));
    known.min().filter(|(distance, _)| *distance <= 4).map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Recipe::parse(text).expect_err("an error").to_string()
    }

    #[test]
    fn an_unknown_field_names_line_and_nearest() {
        let message = message("name = \"x\"\n[grpo]\ngroup_sise = 4\n");
        assert!(message.contains("line 3") && message.contains("did you mean `group_size`?"), "{message}");
    }

    #[test]
    fn a_wrong_type_or_value_names_the_field() {
        let wrong = message("[pool]\nsamples = \"many\"\n");
        assert!(wrong.contains("line 2") && wrong.contains("samples"), "{wrong}");
        assert!(message("[pool]\ntop_p = 1.5\n").contains("pool.top_p"));
    }

    #[test]
    fn a_reward_that_nobody_gives_is_named() {
        assert!(message("[grpo]\ncritic_reward = 0.5\n").contains("critic.start"));
        assert!(message("[grpo]\nexecution_reward = 0.0\n").contains("grpo.execution_reward"));
        assert!(message("[grpo]\nexecution_reward = -1.0\n").contains("expected 0 to 1000, found -1"));
    }

    #[test]
    fn numbers_with_which_nothing_is_learned_are_named() {
        for (text, field) in [
            ("[grpo.optimizer]\nlearning_rate = nan", "grpo.optimizer.learning_rate: expected 0 to 1"),
            ("[grpo.optimizer]\nlearning_rate = 1e30", "grpo.optimizer.learning_rate"),
            ("[grpo.optimizer]\nbeta2 = 2.0", "grpo.optimizer.beta2"),
            ("[grpo.optimizer.lora]\nrank = 100000", "grpo.optimizer.lora.rank"),
            ("[grpo.optimizer.lora]\ntarget_modules = [\"q_proj\", \"q_proj\"]", "found q_proj twice"),
            ("[grpo]\ntop_p = 7.0", "grpo.top_p"),
            ("[grpo]\niterations = 0", "grpo.iterations: expected at least 1"),
            ("[critic.training]\nhead_width = 0", "critic.training.head_width"),
            ("[critic.training]\nmax_tokens = 0", "critic.training.max_tokens"),
            ("[critic.training]\ncount_power = nan", "critic.training.count_power"),
            ("[problems]\nreport_on = \"train\"", "problems.report_on"),
        ] {
            let message = message(&format!("{text}\n"));
            assert!(message.contains(field), "{text}: {message}");
        }
    }

    #[test]
    fn levels_that_there_are_not_are_named() {
        for (levels, found) in [("[]", "none"), ("[1, 4]", "4"), ("[1, 1]", "1 twice")] {
            let message = message(&format!("[selection]\nlevels = {levels}\n"));
            assert!(
                message.contains("selection.levels") && message.contains(&format!("found {found}")),
                "{message}"
            );
        }
    }

    #[test]
    fn limits_that_make_no_sense_are_named() {
        for (text, field) in [
            ("timeout = nan", "executor.timeout: expected a number of seconds from 0.01"),
            ("timeout = 0", "executor.timeout"),
            ("timeout = -1.0", "executor.timeout"),
            ("timeout = inf", "executor.timeout"),
            ("memory = 0", "executor.memory: expected a number of MiB from 64 to"),
            ("memory = 18446744073709551615", "memory"),
            ("workers = 100000", "executor.workers"),
            ("packages = [\"numpy\", \"os; rm\"]", "executor.packages: expected names"),
            ("require_tier = \"E\"", "require_tier"),
        ] {
            let message = message(&format!("[executor]\n{text}\n"));
            assert!(message.contains(field), "{text}: {message}");
        }
    }

    #[test]
    fn a_resolved_recipe_is_the_same_recipe() {
        let recipe = Recipe::parse("name = \"x\"\n[pretrain]\nlayers = 2\n").expect("a recipe");
        let again = Recipe::parse(&recipe.resolved().expect("text")).expect("a recipe");
        assert_eq!(recipe, again);
    }

    #[test]
    fn the_recipes_that_ship_are_read() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory).expect("recipes") {
            let path = entry.expect("a recipe").path();
            let recipe = Recipe::load(&path).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
            // Its run is found under its file's name.
            assert_eq!(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()), Some(recipe.name));
            names.push(path);
        }
        assert!(names.len() > 8, "{names:?}");
    }

    /// `docs/recipes.md` has every field, with its default.
    #[test]
    fn the_reference_is_whole_and_true() {
        let recipe = Recipe { pretrain: Some(PretrainRecipe::default()), ..Recipe::default() };
        let text = recipe.resolved().expect("text");
        let defaults: toml::Table = text.parse().expect("TOML");
        let reference = include_str!("../../../../docs/recipes.md");
        let mut missing = Vec::new();
        rows(&toml::Value::Table(defaults), "", &mut |row| {
            if !reference.contains(&row) {
                missing.push(row);
            }
        });
        assert!(missing.is_empty(), "docs/recipes.md lacks {missing:#?}");
        let known = reference.lines().filter(|line| line.starts_with("| `")).count();
        let mut count = 0;
        rows(&recipe_value(&recipe), "", &mut |_| count += 1);
        assert_eq!(known, count, "docs/recipes.md has fields that there are not");
    }

    fn recipe_value(recipe: &Recipe) -> toml::Value {
        toml::Value::try_from(recipe).expect("TOML")
    }

    /// The beginning of each field's row in the reference.
    fn rows(value: &toml::Value, path: &str, on_row: &mut dyn FnMut(String)) {
        match value {
            toml::Value::Table(fields) => {
                for (name, value) in fields {
                    let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    rows(value, &path, on_row);
                }
            }
            value => on_row(format!("| `{path}` | `{value}` |")),
        }
    }
}
