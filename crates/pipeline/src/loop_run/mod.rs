//! The whole loop of a recipe: greedy baseline → pool → GRPO → pool → critic → selection → report.

mod choose_step;
mod examples;
mod learn;
mod preflight;
mod results;
mod rows;
mod school;
mod select;

pub use preflight::{Plan, plan};

use crate::error::learning;
use crate::problem_sets::ProblemSets;
use crate::recipe::Recipe;
use crate::run_directory::RunDirectory;
use crate::verdicts::{self, StoredVerdict};
use crate::verifier::Verifier;
use crate::{Context, Done, Error, Result, stages};
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
    RankerData,
    CriticScore,
    Ranker,
    Selection,
}

impl Stage {
    /// The loop's stages in their order.
    pub const ALL: [Stage; 15] = [
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
        Stage::RankerData,
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
            Stage::RankerData => "ranker-data",
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
        RunDirectory::look(root, recipe)?;
        let (verifier, problems, model) = preflight::prepare(recipe, context)?;
        let client = verifier.client("run");
        let mut run = RunDirectory::open(root, recipe)?;
        if !run.has_origin() {
            check_unnoted(&run, &problems.test, &client, &verifier)?;
        }
        let inputs = preflight::inputs(recipe, &verifier, &problems, &model, context);
        run.check(&inputs, preflight::computes(&run))?;
        let base = Generator::load(&model, recipe.model.prompt, context.device).map_err(learning)?;
        run.begin(&inputs)?;
        let parts = [
            ("train", &problems.train),
            ("held-out", &problems.held_out),
            ("validation", &problems.validation),
            ("test", &problems.test),
        ];
        for (split, problems) in parts.into_iter().filter(|(_, problems)| !problems.is_empty()) {
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
            Stage::BaselineGenerate => self.generate_greedy("baseline", PoolName::Before),
            Stage::BaselineExecute => self.execute_test("baseline"),
            Stage::BasePoolGenerate => self.generate_pool(PoolName::Before),
            Stage::BasePoolExecute => self.execute_pool(PoolName::Before),
            Stage::Grpo => self.reinforce(),
            Stage::GrpoGenerate => self.generate_greedy("grpo", PoolName::After),
            Stage::GrpoExecute => self.execute_test("grpo"),
            Stage::PoolGenerate => self.generate_pool(PoolName::After),
            Stage::PoolExecute => self.execute_pool(PoolName::After),
            Stage::CriticData => self.critic_data(),
            Stage::Critic => self.train_critic(),
            Stage::RankerData => self.ranker_data(),
            Stage::CriticScore => self.score_candidates(),
            Stage::Ranker => self.train_rankers(),
            Stage::Selection => self.choose(),
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
                let mut tuned = Generator::load(&path, self.recipe.model.prompt, device).map_err(learning)?;
                // Not by its directory, which is called alike in all runs.
                tuned.name = format!("{}+{}", self.base.name, self.recipe.name);
                tuned
            }
        };
        Ok(self.tuned.insert(tuned))
    }

    /// The generator that a pool is from.
    fn generator(&mut self, pool: PoolName) -> Result<&Generator> {
        match pool {
            PoolName::Before => Ok(&self.base),
            PoolName::After => self.tuned(),
        }
    }

    fn generate_greedy(&mut self, name: &str, pool: PoolName) -> Result<Done> {
        let greedy = &self.recipe.greedy;
        let request = Request {
            samples: 1,
            sampling: Sampling::GREEDY,
            max_new_tokens: greedy.max_new_tokens,
            max_sequences: self.recipe.pool.max_sequences,
            seed: self.recipe.seed,
            tests: greedy.tests,
        };
        self.generate_test(name, pool, &request, "greedy answers")
    }

    fn generate_pool(&mut self, pool: PoolName) -> Result<Done> {
        let request = self.pool_request();
        self.generate_test(pool.file(), pool, &request, "candidates")
    }

    /// What is asked of a generator for each problem of a pool.
    fn pool_request(&self) -> Request {
        let pool = &self.recipe.pool;
        Request {
            samples: pool.samples,
            sampling: Sampling {
                temperature: pool.temperature as f32,
                top_p: pool.top_p as f32,
                top_k: pool.top_k,
                ..Sampling::PLAIN
            },
            max_new_tokens: pool.max_new_tokens,
            max_sequences: pool.max_sequences,
            seed: self.recipe.seed,
            tests: pool.tests,
        }
    }

    fn generate_test(&mut self, name: &str, pool: PoolName, request: &Request, what: &str) -> Result<Done> {
        let path = self.run.path(&format!("generated/{name}.jsonl"));
        let label = format!("{what} {}", pool.words());
        let (watch, problems) = (self.context.watch, self.problems.test.clone());
        stages::generate(watch, &label, self.generator(pool)?, &problems, request, &path)
    }

    fn execute_test(&mut self, name: &str) -> Result<Done> {
        let candidates = self.candidates(name)?;
        self.execute(name, &self.problems.test, &candidates)
    }

    /// As [`execute_test`](Self::execute_test), for candidates that selectors will choose from.
    fn execute_pool(&mut self, pool: PoolName) -> Result<Done> {
        let candidates = self.candidates(pool.file())?;
        self.check_likelihoods(pool.file(), &candidates)?;
        self.execute(pool.file(), &self.problems.test, &candidates)
    }

    fn execute(&self, name: &str, problems: &[Problem], candidates: &[Candidate]) -> Result<Done> {
        let path = self.run.path(&format!("verdicts/{name}.jsonl"));
        let label = format!("verdicts on {name}");
        stages::execute(self.context.watch, &label, &self.client, problems, candidates, &path)
    }
}

/// The two pools of a run: of the generator before GRPO, and of the one after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PoolName {
    Before,
    After,
}

impl PoolName {
    const ALL: [PoolName; 2] = [PoolName::Before, PoolName::After];

    /// The name of its files.
    fn file(self) -> &'static str {
        match self {
            PoolName::Before => "base-pool",
            PoolName::After => "pool",
        }
    }

    fn words(self) -> &'static str {
        match self {
            PoolName::Before => "before GRPO",
            PoolName::After => "after GRPO",
        }
    }
}
