//! The whole loop of a recipe: greedy baseline → pool → GRPO → pool → critic → selection → report.

mod learn;
mod results;
mod select;

pub(crate) use learn::{label, labelled_questions, new_critic, split, trained_critic, validate};

use crate::device::device;
use crate::progress::interrupted;
use crate::recipe::Recipe;
use crate::run_directory::RunDirectory;
use crate::stages::{self, Done};
use crate::verdicts;
use crate::verifier::Verifier;
use anyhow::{Context, Result, ensure};
use generator::{Generator, Request, Sampling};
use hub::Hub;
use problems::basics::World;
use records::{Candidate, Problem, Split, Verdict, jsonl};
use report::html::Report;
use std::path::{Path, PathBuf};
use std::time::Instant;
use verify::Client;

/// The problems of a run.
pub struct ProblemSets {
    /// To learn from.
    pub train: Vec<Problem>,
    /// To report on.
    pub test: Vec<Problem>,
}

impl ProblemSets {
    /// The problems that a recipe asks for.
    ///
    /// # Errors
    /// Where the set cannot be had, or holds fewer.
    pub fn of(recipe: &Recipe) -> Result<Self> {
        let wanted = &recipe.problems;
        if wanted.source == "basics" {
            ensure!(wanted.test > 0, "problems.test: expected the number of test problems to make");
            let world = World::new();
            return Ok(ProblemSets {
                train: world.problems(Split::Train, wanted.train, wanted.seed),
                test: world.problems(wanted.report_on, wanted.test, wanted.seed),
            });
        }
        let all = problems::sets::load(&wanted.source)?;
        let part = |split: Split, limit: usize| -> Vec<Problem> {
            let some = all.iter().filter(|problem| problem.split == split);
            some.take(if limit == 0 { usize::MAX } else { limit }).cloned().collect()
        };
        let sets = ProblemSets {
            train: part(Split::Train, wanted.train),
            test: part(wanted.report_on, wanted.test),
        };
        let split = wanted.report_on.name();
        ensure!(!sets.test.is_empty(), "problems.source: {} has no {split} problems", wanted.source);
        Ok(sets)
    }
}

/// Where a model is: a directory or a GGUF file, named by its path or as `owner/name` on the Hub, with
/// `:Q4_K_M`, `:FILE.gguf` or `/FILE.gguf` for one of several GGUF files. It is downloaded if need be.
///
/// # Errors
/// Where there is none.
pub fn model_path(name: &str) -> Result<PathBuf> {
    model_path_by(name, &Hub::from_env())
}

/// As [`model_path`], without a word to the Hub: None where its cache lacks the model.
///
/// # Errors
/// Where the name is neither a model here nor one of the Hub's.
pub(crate) fn model_path_here(name: &str) -> Result<Option<PathBuf>> {
    match model_path_by(name, &Hub { is_offline: true, ..Hub::from_env() }) {
        Ok(path) => Ok(Some(path)),
        Err(error) if matches!(error.downcast_ref(), Some(hub::Error::Fetch { .. })) => Ok(None),
        Err(error) => Err(error),
    }
}

fn model_path_by(name: &str, hub: &Hub) -> Result<PathBuf> {
    let local = Path::new(name);
    if local.exists() {
        return Ok(local.to_owned());
    }
    // A mistyped path is no name on the Hub.
    let names_a_file = name.to_lowercase().ends_with(".gguf") && !name.contains(':');
    let first = local.components().next().map(|first| Path::new(first.as_os_str()));
    let is_path = name.starts_with("models/")
        || names_a_file && (name.split('/').count() < 3 || first.is_some_and(Path::exists));
    if !is_path {
        match hub.model(name) {
            Err(hub::Error::Name(_)) => {}
            found => return Ok(found?),
        }
    }
    anyhow::bail!(
        "no model at '{name}'; expected a directory with config.json, a GGUF file, or owner/name on the \
         Hugging Face Hub, with :Q4_K_M or :FILE.gguf for one of its GGUF files"
    )
}

/// A run under way.
pub(crate) struct Loop<'a> {
    recipe: &'a Recipe,
    run: RunDirectory,
    problems: ProblemSets,
    verifier: Verifier,
    client: Client,
    base: Generator,
    /// The generator after GRPO, once that is finished.
    tuned: Option<Generator>,
}

/// Runs a recipe's loop in a directory. None if Ctrl-C stopped it; the next call resumes.
///
/// # Errors
/// Where an input is unusable or a file cannot be written. Finished stages are kept.
pub fn run(recipe: &Recipe, root: &Path) -> Result<Option<Report>> {
    let mut state = Loop::open(recipe, root)?;
    if state.stages(&STAGES)? == Done::Interrupted {
        eprintln!("stopped; the same command resumes from here ({})", state.run.root().display());
        return Ok(None);
    }
    Ok(Some(state.results()?))
}

/// Runs the GRPO stage of a recipe alone.
///
/// # Errors
/// As [`run`].
pub fn reinforce_only(recipe: &Recipe, root: &Path) -> Result<()> {
    let mut state = Loop::open(recipe, root)?;
    let grpo: Vec<Stage> = STAGES.into_iter().filter(|stage| stage.0 == "grpo").collect();
    match state.stages(&grpo)? {
        // Of several processes the first one tells.
        Done::Whole if crate::device::rank() > 0 => {}
        Done::Whole => outln!("{}", state.run.path("grpo").display()),
        Done::Interrupted => eprintln!("stopped; the same command resumes from here"),
    }
    Ok(())
}

type Stage = (&'static str, fn(&mut Loop) -> Result<Done>);

/// The loop's stages in their order.
const STAGES: [Stage; 14] = [
    ("baseline-generate", |s| s.generate_greedy("baseline", false)),
    ("baseline-execute", |s| s.execute_test("baseline")),
    ("base-pool-generate", |s| s.generate_pool("base-pool", false)),
    ("base-pool-execute", |s| s.execute_test("base-pool")),
    ("grpo", |s| s.reinforce()),
    ("grpo-generate", |s| s.generate_greedy("grpo", true)),
    ("grpo-execute", |s| s.execute_test("grpo")),
    ("pool-generate", |s| s.generate_pool("pool", true)),
    ("pool-execute", |s| s.execute_test("pool")),
    ("critic-data", |s| s.critic_data()),
    ("critic", |s| s.train_critic()),
    ("critic-score", |s| s.score_pools()),
    ("ranker", |s| s.train_ranker()),
    ("selection", |s| s.observe_pool()),
];

impl<'a> Loop<'a> {
    fn open(recipe: &'a Recipe, root: &Path) -> Result<Self> {
        let run = RunDirectory::open(root, recipe)?;
        let verifier = Verifier::start(&recipe.executor)?;
        let client = verifier.client("run");
        let problems = ProblemSets::of(recipe)?;
        verifier.pool.prepare(problems.train.iter().chain(&problems.test))?;
        let directory = model_path(&recipe.model.path)?;
        let base = Generator::load(&directory, recipe.model.prompt, device()?)?;
        for (split, problems) in [("train", &problems.train), ("test", &problems.test)] {
            let path = run.path(&format!("problems/{split}.jsonl"));
            if !path.exists() {
                jsonl::write(&path, problems)?;
            }
        }
        Ok(Loop { recipe, run, problems, verifier, client, base, tuned: None })
    }
}

impl Loop<'_> {
    fn stages(&mut self, stages: &[Stage]) -> Result<Done> {
        for &(name, part) in stages {
            if self.run.is_finished(name) {
                continue;
            }
            let started = Instant::now();
            let done = part(self).with_context(|| format!("in the stage {name}"))?;
            let seconds = started.elapsed().as_secs_f64();
            match done {
                Done::Whole if !interrupted() => self.run.finish(name, seconds)?,
                _ => {
                    self.run.interrupt(name, seconds)?;
                    return Ok(Done::Interrupted);
                }
            }
        }
        Ok(Done::Whole)
    }

    fn candidates(&self, name: &str) -> Result<Vec<Candidate>> {
        Ok(jsonl::read(&self.run.path(&format!("generated/{name}.jsonl")))?)
    }

    fn verdicts(&self, name: &str) -> Result<Vec<Verdict>> {
        verdicts::read(&self.run.path(&format!("verdicts/{name}.jsonl")))
    }

    /// The generator after GRPO; without steps of GRPO, the one before.
    fn tuned(&mut self) -> Result<&Generator> {
        if self.recipe.grpo.steps == 0 {
            return Ok(&self.base);
        }
        let tuned = match self.tuned.take() {
            Some(tuned) => tuned,
            None => Generator::load(&self.run.path("grpo"), self.recipe.model.prompt, device()?)?,
        };
        Ok(self.tuned.insert(tuned))
    }

    fn generate_greedy(&mut self, name: &str, tuned: bool) -> Result<Done> {
        let greedy = &self.recipe.greedy;
        let request = Request {
            samples: 1,
            sampling: Sampling::GREEDY,
            max_new_tokens: greedy.max_new_tokens,
            max_sequences: self.recipe.pool.max_sequences,
            seed: self.recipe.seed,
            tests: greedy.tests,
        };
        self.generate_test(name, tuned, &request, "greedy answers")
    }

    fn generate_pool(&mut self, name: &str, tuned: bool) -> Result<Done> {
        let pool = &self.recipe.pool;
        let request = Request {
            samples: pool.samples,
            sampling: self.pool_sampling(),
            max_new_tokens: pool.max_new_tokens,
            max_sequences: pool.max_sequences,
            seed: self.recipe.seed,
            tests: pool.tests,
        };
        self.generate_test(name, tuned, &request, "candidates")
    }

    fn pool_sampling(&self) -> Sampling {
        let pool = &self.recipe.pool;
        Sampling { temperature: pool.temperature as f32, top_p: pool.top_p as f32, top_k: pool.top_k }
    }

    fn generate_test(&mut self, name: &str, tuned: bool, request: &Request, what: &str) -> Result<Done> {
        let path = self.run.path(&format!("generated/{name}.jsonl"));
        let label = format!("{what} {} GRPO", if tuned { "after" } else { "before" });
        if tuned {
            self.tuned()?;
        }
        let generator = self.tuned.as_ref().filter(|_| tuned).unwrap_or(&self.base);
        stages::generate(&label, generator, &self.problems.test, request, &path)
    }

    fn execute_test(&mut self, name: &str) -> Result<Done> {
        let candidates = self.candidates(name)?;
        let path = self.run.path(&format!("verdicts/{name}.jsonl"));
        stages::execute(&format!("verdicts on {name}"), &self.client, &self.problems.test, &candidates, &path)
    }

    fn score_pools(&mut self) -> Result<Done> {
        let critic = critic::Critic::load(&self.run.path("critic"), device()?)?;
        for name in ["base-pool", "pool"] {
            let candidates = self.candidates(name)?;
            let path = self.run.path(&format!("scores/{name}.jsonl"));
            let label = format!("critic's scores of {name}");
            if stages::score(&label, &critic, &self.base, &self.problems.test, &candidates, &path)?
                == Done::Interrupted
            {
                return Ok(Done::Interrupted);
            }
        }
        Ok(Done::Whole)
    }
}
