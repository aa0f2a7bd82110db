//! The whole loop of a recipe: greedy baseline → pool → GRPO → pool → critic → selection → report.

mod learn;
mod results;
mod select;

use crate::error::learning;
use crate::problem_sets::ProblemSets;
use crate::recipe::Recipe;
use crate::run_directory::RunDirectory;
use crate::verdicts::{self, StoredVerdict};
use crate::verifier::Verifier;
use crate::{Context, Done, Error, Result, models, stages};
use generator::{Generator, Request, Sampling};
use records::{Candidate, Problem, Verdict, jsonl};
use report::html::Report;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use verify::{Ask, Client, Domain, Task};

/// A run under way.
struct Loop<'a> {
    recipe: &'a Recipe,
    context: Context<'a>,
    run: RunDirectory,
    problems: ProblemSets,
    /// Where the base's files are.
    model: PathBuf,
    verifier: Verifier,
    client: Client,
    base: Generator,
    /// The generator after GRPO, once that is finished.
    tuned: Option<Generator>,
}

/// One part of the loop; what a finished one wrote is never made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "their names in `state.json` say what they do")]
pub enum Stage {
    BaselineGenerate,
    BaselineExecute,
    BasePoolGenerate,
    BasePoolExecute,
    Grpo,
    GrpoGenerate,
    GrpoExecute,
    PoolGenerate,
    PoolExecute,
    CriticData,
    Critic,
    CriticScore,
    Ranker,
    Selection,
}

impl Stage {
    /// The loop's stages in their order.
    pub const ALL: [Stage; 14] = [
        Stage::BaselineGenerate,
        Stage::BaselineExecute,
        Stage::BasePoolGenerate,
        Stage::BasePoolExecute,
        Stage::Grpo,
        Stage::GrpoGenerate,
        Stage::GrpoExecute,
        Stage::PoolGenerate,
        Stage::PoolExecute,
        Stage::CriticData,
        Stage::Critic,
        Stage::CriticScore,
        Stage::Ranker,
        Stage::Selection,
    ];

    /// Its name in `state.json`, messages and the report.
    pub fn name(self) -> &'static str {
        match self {
            Stage::BaselineGenerate => "baseline-generate",
            Stage::BaselineExecute => "baseline-execute",
            Stage::BasePoolGenerate => "base-pool-generate",
            Stage::BasePoolExecute => "base-pool-execute",
            Stage::Grpo => "grpo",
            Stage::GrpoGenerate => "grpo-generate",
            Stage::GrpoExecute => "grpo-execute",
            Stage::PoolGenerate => "pool-generate",
            Stage::PoolExecute => "pool-execute",
            Stage::CriticData => "critic-data",
            Stage::Critic => "critic",
            Stage::CriticScore => "critic-score",
            Stage::Ranker => "ranker",
            Stage::Selection => "selection",
        }
    }
}

/// Runs a recipe's loop in a directory, and writes and returns its report. None if it was stopped: the next
/// call resumes.
///
/// # Errors
/// Where an input is unusable, the directory is another run's, or a file cannot be written. Finished stages
/// are kept.
pub fn run(recipe: &Recipe, root: &Path, context: Context) -> Result<Option<Report>> {
    let mut state = Loop::open(recipe, root, context)?;
    match state.stages(&Stage::ALL)? {
        Done::Interrupted => Ok(None),
        Done::Whole => Ok(Some(state.results()?)),
    }
}

/// Runs the GRPO stage of a recipe alone; the model lands in the directory's `grpo/`.
///
/// # Errors
/// As [`run`].
pub fn reinforce_only(recipe: &Recipe, root: &Path, context: Context) -> Result<Done> {
    Loop::open(recipe, root, context)?.stages(&[Stage::Grpo])
}

impl<'a> Loop<'a> {
    fn open(recipe: &'a Recipe, root: &Path, context: Context<'a>) -> Result<Self> {
        let mut run = RunDirectory::open(root, recipe)?;
        let verifier = Verifier::start(&recipe.executor)?;
        let client = verifier.client("run");
        let problems = ProblemSets::of(recipe, context.hub)?;
        problems.check_training(recipe)?;
        verifier.pool.prepare(problems.train.iter().chain(&problems.test))?;
        let model = models::find(&recipe.model.path, context.hub)?;
        let base = Generator::load(&model, recipe.model.prompt, context.device).map_err(learning)?;
        if !run.has_origin() {
            check_unnoted(&run, &problems.test, &client, &verifier)?;
        }
        run.begin(&model, &verifier.python.fingerprint())?;
        for (split, problems) in [("train", &problems.train), ("test", &problems.test)] {
            let path = run.path(&format!("problems/{split}.jsonl"));
            if !path.exists() {
                jsonl::write(&path, problems)?;
            }
        }
        Ok(Loop { recipe, context, run, problems, model, verifier, client, base, tuned: None })
    }
}

/// Refuses the run of a version that did not note its verifier where its first verdicts are not on what this
/// one would judge.
fn check_unnoted(
    run: &RunDirectory,
    problems: &[Problem],
    client: &Client,
    verifier: &Verifier,
) -> Result<()> {
    if !run.is_finished(Stage::BaselineExecute.name()) {
        return Ok(());
    }
    let candidates: Vec<Candidate> = jsonl::read(&run.path("generated/baseline.jsonl"))?;
    let verdicts: Vec<StoredVerdict> =
        jsonl::read(&run.path("verdicts/baseline.jsonl")).map_err(Error::Verdicts)?;
    let by_id: HashMap<&str, &Problem> = problems.iter().map(|p| (p.id.as_str(), p)).collect();
    let keys = candidates.iter().filter_map(|candidate| {
        let problem = by_id.get(candidate.problem.as_str())?;
        let task = Task { problem, index: candidate.index, solution: &candidate.code };
        Some(((candidate.problem.as_str(), candidate.index), client.pool().key(&task, &Ask::Judge)))
    });
    let keys: HashMap<(&str, usize), String> = keys.collect();
    let differs = |stored: &&StoredVerdict| {
        let verdict = &stored.verdict;
        let wanted = keys.get(&(verdict.problem.as_str(), verdict.index));
        stored.is_old || wanted.is_some_and(|wanted| *wanted != verdict.fingerprint)
    };
    match verdicts.iter().find(differs) {
        None => Ok(()),
        Some(_) => Err(Error::OtherVerifier {
            root: run.root().to_owned(),
            expected: "one of another version, interpreter or limits".to_owned(),
            found: verifier.python.fingerprint(),
        }),
    }
}

impl Loop<'_> {
    fn stages(&mut self, stages: &[Stage]) -> Result<Done> {
        for &stage in stages {
            let name = stage.name();
            if self.run.is_finished(name) {
                continue;
            }
            if self.context.watch.interrupted() {
                return Ok(Done::Interrupted);
            }
            let started = Instant::now();
            let done = self.work(stage);
            let done = done.map_err(|source| Error::Stage { stage: name, source: Box::new(source) })?;
            let seconds = started.elapsed().as_secs_f64();
            match done {
                Done::Whole => self.run.finish(name, seconds)?,
                Done::Interrupted => {
                    self.run.interrupt(name, seconds)?;
                    return Ok(Done::Interrupted);
                }
            }
        }
        Ok(Done::now(self.context.watch))
    }

    fn work(&mut self, stage: Stage) -> Result<Done> {
        match stage {
            Stage::BaselineGenerate => self.generate_greedy("baseline", false),
            Stage::BaselineExecute => self.execute_test("baseline"),
            Stage::BasePoolGenerate => self.generate_pool("base-pool", false),
            Stage::BasePoolExecute => self.execute_pool("base-pool"),
            Stage::Grpo => self.reinforce(),
            Stage::GrpoGenerate => self.generate_greedy("grpo", true),
            Stage::GrpoExecute => self.execute_test("grpo"),
            Stage::PoolGenerate => self.generate_pool("pool", true),
            Stage::PoolExecute => self.execute_pool("pool"),
            Stage::CriticData => self.critic_data(),
            Stage::Critic => self.train_critic(),
            Stage::CriticScore => self.score_pools(),
            Stage::Ranker => self.train_ranker(),
            Stage::Selection => self.observe_pool(),
        }
    }

    fn candidates(&self, name: &str) -> Result<Vec<Candidate>> {
        Ok(jsonl::read(&self.run.path(&format!("generated/{name}.jsonl")))?)
    }

    fn verdicts(&self, name: &str) -> Result<Vec<Verdict>> {
        verdicts::read(&self.run.path(&format!("verdicts/{name}.jsonl")), self.context.watch)
    }

    /// The generator after GRPO; without steps of GRPO, the one before.
    fn tuned(&mut self) -> Result<&Generator> {
        if self.recipe.grpo.steps == 0 {
            return Ok(&self.base);
        }
        let tuned = match self.tuned.take() {
            Some(tuned) => tuned,
            None => {
                let (path, device) = (self.run.path("grpo"), self.context.device);
                Generator::load(&path, self.recipe.model.prompt, device).map_err(learning)?
            }
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
        let watch = self.context.watch;
        stages::generate(watch, &label, generator, &self.problems.test, request, &path)
    }

    fn execute_test(&mut self, name: &str) -> Result<Done> {
        let candidates = self.candidates(name)?;
        self.execute(name, &candidates)
    }

    /// As [`execute_test`](Self::execute_test), for candidates that selectors will choose from.
    fn execute_pool(&mut self, name: &str) -> Result<Done> {
        let candidates = self.candidates(name)?;
        self.check_likelihoods(name, &candidates)?;
        self.execute(name, &candidates)
    }

    fn execute(&mut self, name: &str, candidates: &[Candidate]) -> Result<Done> {
        let path = self.run.path(&format!("verdicts/{name}.jsonl"));
        let label = format!("verdicts on {name}");
        stages::execute(self.context.watch, &label, &self.client, &self.problems.test, candidates, &path)
    }

    fn score_pools(&mut self) -> Result<Done> {
        let critic = critic::Critic::load(&self.run.path("critic"), self.context.device).map_err(learning)?;
        for name in ["base-pool", "pool"] {
            let candidates = self.candidates(name)?;
            let path = self.run.path(&format!("scores/{name}.jsonl"));
            let label = format!("critic's scores of {name}");
            let watch = self.context.watch;
            if stages::score(watch, &label, &critic, &self.base, &self.problems.test, &candidates, &path)?
                == Done::Interrupted
            {
                return Ok(Done::Interrupted);
            }
        }
        Ok(Done::Whole)
    }
}
