//! How a critic is trained: one function, for a run's stage and for files.

use crate::error::learning;
use crate::problem_sets::is_held_out;
use crate::recipe::CriticRecipe;
use crate::recorder::Recorder;
use crate::stages::Prompt;
use crate::{Context, Error, Result};
use critic::{Critic, Head, Question, directory_of};
use generator::Generator;
use learning::critic_training::{self, CriticSettings, CriticTrainer, DETAILS, LabelledQuestion, details};
use problems::prompt::PromptTests;
use records::{Candidate, Outcome, Problem, Verdict, jsonl, paired, same_length};
use report::statistics::{area_under_curve, calibration, calibration_error};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use transformer::Tokenizer;
use transformer::device::Device;

/// Problems that the critic did not learn from.
pub(crate) const HELD_OUT: &str = "metrics/critic-held-out.json";
/// How good it is on them.
pub(crate) const VALIDATION: &str = "metrics/critic-validation.json";
/// The state of a training that was interrupted.
const STATE: &str = "states/critic.safetensors";
/// The examples and settings that this state belongs to.
const STATE_OF: &str = "states/critic.json";

/// Where and how a critic is trained.
#[derive(Clone, Copy)]
pub struct CriticTraining<'a> {
    /// The settings.
    pub recipe: &'a CriticRecipe,
    /// Seed of the split, of the examples' order and of dropout.
    pub seed: u64,
    /// Directory of `metrics/`, and of `states/` while it trains.
    pub root: &'a Path,
    /// Directory for the critic; none where another of several processes writes it.
    pub target: Option<&'a Path>,
}

/// A candidate's problem and program, whether it passed, and what else its verdict says.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    problem: String,
    code: String,
    passed: bool,
    details: [f32; DETAILS],
}

/// A critic that was trained.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// Accuracy, AUC and calibration on problems that it did not learn from, as `critic-validation.json` has
    /// them; none where another process measured.
    pub validation: Option<Value>,
}

/// A critic that has learned nothing yet: a copy of a generator's model and a random head.
///
/// # Errors
/// Where the device has no room for it.
pub fn new_critic(
    generator: &Generator,
    settings: &CriticSettings,
    seed: u64,
    device: &dyn Device,
) -> Result<Critic> {
    let (hidden, outputs) = (generator.config().hidden_size, settings.outputs());
    let head = Head::random(hidden, settings.head_width, outputs, seed);
    let backbone = device.reader(generator.model().map_err(learning)?)?;
    Ok(Critic::new(backbone, head, generator.tokenizer.clone()))
}

/// Joins candidates with their verdicts; what the verifier failed on, or did not judge, is left out. Rollouts
/// repeat indices from step to step, so such files are joined line by line.
///
/// # Errors
/// Where indices repeat and the files do not correspond line by line.
pub fn label(candidates: Vec<Candidate>, verdicts: &[Verdict]) -> Result<Vec<Labelled>> {
    let mut keys = HashSet::new();
    let repeats = candidates.iter().any(|c| !keys.insert((c.problem.as_str(), c.index)));
    let by_key: HashMap<(&str, usize), &Verdict> =
        verdicts.iter().map(|verdict| ((verdict.problem.as_str(), verdict.index), verdict)).collect();
    let mut own = Vec::with_capacity(candidates.len());
    if repeats {
        let mut matching = 0;
        for (candidate, verdict) in paired(&candidates, verdicts, ["candidates", "verdicts"])? {
            matching += usize::from(candidate.problem == verdict.problem && candidate.index == verdict.index);
            own.push(Some(verdict));
        }
        same_length("verdicts in their order", matching, "candidates", candidates.len())?;
    } else {
        let of = |c: &Candidate| by_key.get(&(c.problem.as_str(), c.index)).copied();
        own.extend(candidates.iter().map(of));
    }
    let labelled = paired(candidates, own, ["candidates", "verdicts"])?.filter_map(|(candidate, verdict)| {
        let verdict = verdict.filter(|verdict| verdict.outcome != Outcome::Infrastructure)?;
        let Candidate { problem, code, .. } = candidate;
        Some(Labelled { problem, code, passed: verdict.passed(), details: details(verdict) })
    });
    Ok(labelled.collect())
}

impl CriticTraining<'_> {
    /// Trains as many critics as the recipe says on labelled candidates, each with a seed of its own, measures
    /// them on problems held out, and writes them; `new` gives one of a seed that has learned nothing yet. None
    /// where it was stopped: the next call resumes.
    ///
    /// # Errors
    /// Where there is nothing to learn from, the state of an earlier call is from other examples or settings,
    /// or a file cannot be written.
    pub fn run(
        &self,
        context: &Context,
        new: &dyn Fn(u64) -> Result<Critic>,
        generator: &Generator,
        problems: &[Problem],
        labelled: &[Labelled],
    ) -> Result<Option<Trained>> {
        let prompt =
            |problem: &Problem| generator.prompt(&problem.shown, PromptTests::Visible).map_err(learning);
        let examples = self.digest(generator, labelled)?;
        let (count, finished) = (self.recipe.seeds.max(1), self.finished(&examples)?);
        let mut validation = None;
        for number in finished..count {
            let mut critic = new(self.seed_of(number))?;
            critic.max_tokens = self.recipe.training.max_tokens;
            let questions = labelled_questions(&critic, &prompt, problems, labelled)?;
            let sides = self.sides(questions);
            let ids: Vec<&str> = sides.0.iter().map(|question| question.problem.as_str()).collect();
            self.write(HELD_OUT, &serde_json::to_string(&ids)?)?;
            let Some(trained) = self.train_one(context, number, critic, generator, &sides)? else {
                return Ok(None);
            };
            validation = trained.validation;
            self.note(&examples, number + 1)?;
        }
        if let (Some(target), true) = (self.target, count > 1) {
            let mut critics = Critic::load(target, context.device).map_err(learning)?;
            critics.max_tokens = self.recipe.training.max_tokens;
            let (held_out, training) = self.sides(labelled_questions(&critics, &prompt, problems, labelled)?);
            let measured = validate(&critics, &held_out, training.len())?;
            self.write(VALIDATION, &measured.to_string())?;
            validation = Some(measured);
        }
        let _ = fs::remove_file(self.root.join(STATE_OF));
        // If nothing else is in it.
        let _ = fs::remove_dir(self.root.join("states"));
        Ok(Some(Trained { validation }))
    }

    /// Questions held out, and those to learn from.
    fn sides(&self, questions: Vec<LabelledQuestion>) -> (Vec<LabelledQuestion>, Vec<LabelledQuestion>) {
        let share = self.recipe.validation;
        questions.into_iter().partition(|question| is_held_out(&question.problem, share, self.seed))
    }

    /// The seed of one of the critics: far from the others', for an epoch adds one.
    fn seed_of(&self, number: usize) -> u64 {
        self.seed.wrapping_add(1_000_003 * number as u64)
    }

    /// Trains one of the critics. None where it was stopped.
    fn train_one(
        &self,
        context: &Context,
        number: usize,
        critic: Critic,
        generator: &Generator,
        (held_out, training): &(Vec<LabelledQuestion>, Vec<LabelledQuestion>),
    ) -> Result<Option<Trained>> {
        let (settings, seed) = (&self.recipe.training, self.seed_of(number));
        let state = self.root.join(STATE);
        let (model, head) = (critic.model().map_err(learning)?, critic.head.clone());
        let (tokenizer, max_tokens) = (critic.tokenizer.clone(), critic.max_tokens);
        // Its weights are in training now: the device need not hold them twice.
        drop(critic);
        let trainer = match state.exists() {
            true => CriticTrainer::load_state(model, head, settings, &state, context.device),
            false => CriticTrainer::new(model, head, settings, context.device),
        };
        let mut trainer = trainer.map_err(learning)?;
        trainer.save_regularly(&state, settings);
        let total = settings.total_steps(training.len());
        let (metrics, steps) = (self.root.join("metrics"), (trainer.step(), total));
        let name = match number {
            0 => "critic".to_owned(),
            number => format!("critic-{}", number + 1),
        };
        let mut recorder = Recorder::open(context.watch, (&metrics, &name), (&name, "accuracy"), steps)?;
        let mut on_step = |report: &_| recorder.step(report);
        critic_training::train(&mut trainer, training, settings, seed, &mut on_step).map_err(learning)?;
        recorder.finish()?;
        if trainer.step() < total {
            trainer.save_state(&state).map_err(learning)?;
            return Ok(None);
        }
        let mut validation = None;
        if let Some(target) = self.target {
            let adapters = trainer.learner.adapters().cloned();
            let mut critic = trained_critic(tokenizer, trainer, context.device)?;
            critic.max_tokens = max_tokens;
            if let Some(adapters) = adapters {
                // A critic that runs beside the generator's weights.
                let directory = directory_of(&target.join("adapter"), number);
                let precision = self.recipe.precision;
                critic.save_adapted(&directory, &adapters, &generator.name, precision).map_err(learning)?;
            }
            let measured = validate(&critic, held_out, training.len())?;
            self.write(&format!("metrics/{name}-validation.json"), &measured.to_string())?;
            let directory = directory_of(target, number);
            critic.save(&directory, self.recipe.precision).map_err(learning)?;
            validation = Some(measured);
        }
        let _ = fs::remove_file(state);
        Ok(Some(Trained { validation }))
    }

    /// How many critics earlier calls finished of those that are under way. Refuses a state that was learned
    /// from other examples or with other settings, and notes what a new one will be learned from.
    fn finished(&self, examples: &str) -> Result<usize> {
        let resumes = self.root.join(STATE).exists();
        // A state of an earlier version has no such file.
        let Ok(text) = fs::read_to_string(self.root.join(STATE_OF)) else {
            self.note(examples, 0)?;
            return Ok(0);
        };
        let before: Value = serde_json::from_str(&text).unwrap_or_default();
        if before.get("examples").and_then(Value::as_str) == Some(examples) {
            return Ok(before.get("finished").and_then(Value::as_u64).unwrap_or(0) as usize);
        }
        if resumes {
            return Err(Error::OtherTraining { path: self.root.join(STATE) });
        }
        self.note(examples, 0)?;
        Ok(0)
    }

    /// Notes what is learned from, and how many critics are finished.
    fn note(&self, examples: &str, finished: usize) -> Result<()> {
        self.write(STATE_OF, &json!({ "examples": examples, "finished": finished }).to_string())
    }

    /// What a critic depends on: examples, settings, seed and generator.
    fn digest(&self, generator: &Generator, labelled: &[Labelled]) -> Result<String> {
        let mut digest = Sha256::new();
        let mut part = |text: &str| {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        };
        part(&serde_json::to_string(self.recipe)?);
        part(&self.seed.to_string());
        part(&generator.name);
        for Labelled { problem, code, passed, .. } in labelled {
            [problem.as_str(), code, if *passed { "passed" } else { "failed" }]
                .into_iter()
                .for_each(&mut part);
        }
        Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(jsonl::write_atomically(&self.root.join(name), |file| file.write_all(text.as_bytes()))?)
    }
}

/// The critic as its trainer left it.
fn trained_critic(tokenizer: Tokenizer, trainer: CriticTrainer, device: &dyn Device) -> Result<Critic> {
    let CriticTrainer { learner, head, .. } = trainer;
    let model = learner.model()?.into_owned();
    drop(learner);
    Ok(Critic::new(device.reader(model)?, head, tokenizer))
}

/// One question for each problem with its distinct programs, in tokens.
fn labelled_questions(
    critic: &Critic,
    prompt: &Prompt,
    problems: &[Problem],
    labelled: &[Labelled],
) -> Result<Vec<LabelledQuestion>> {
    let mut by_problem: HashMap<&str, BTreeMap<&str, (&Labelled, usize)>> = HashMap::new();
    for candidate in labelled {
        let programs = by_problem.entry(&candidate.problem).or_default();
        programs.entry(&candidate.code).or_insert((candidate, 0)).1 += 1;
    }
    let mut questions = Vec::new();
    for problem in problems {
        let Some(programs) = by_problem.remove(problem.id.as_str()) else { continue };
        let codes = programs.keys().map(|code| (*code).to_owned()).collect();
        let prompt = prompt(problem)?;
        questions.push(LabelledQuestion {
            problem: problem.id.clone(),
            question: critic.tokenize(&Question { prompt, programs: codes }),
            passed: programs.values().map(|program| program.0.passed).collect(),
            details: programs.values().map(|program| program.0.details).collect(),
            counts: programs.values().map(|program| program.1).collect(),
        });
    }
    Ok(questions)
}

/// Accuracy, AUC and calibration on problems that training never saw; every candidate counts.
fn validate(critic: &Critic, held_out: &[LabelledQuestion], trained_on: usize) -> Result<Value> {
    let tokenized: Vec<_> = held_out.iter().map(|labelled| labelled.question.clone()).collect();
    let logits = critic.logits(&tokenized).map_err(learning)?;
    let (mut scores, mut passed) = (Vec::new(), Vec::new());
    for (labelled, logits) in paired(held_out, logits, ["questions", "lists of logits"])? {
        let labels = paired(&labelled.counts, &labelled.passed, ["programs", "labels"])?;
        for ((&count, &label), logit) in paired(labels, logits, ["programs", "logits"])? {
            scores.extend(std::iter::repeat_n(critic::probability(logit), count));
            passed.extend(std::iter::repeat_n(label, count));
        }
    }
    let right = paired(&scores, &passed, ["scores", "labels"])?;
    let right = right.filter(|(score, passed)| (**score > 0.5) == **passed).count();
    // Of no candidate there is no share.
    let share = |count: usize| (!scores.is_empty()).then(|| count as f64 / scores.len() as f64);
    let error = share(0).map(|_| calibration_error(&calibration(&scores, &passed)));
    Ok(json!({
        "problems": held_out.len(),
        "training_problems": trained_on,
        "candidates": scores.len(),
        "accuracy": share(right),
        "share_passing": share(passed.iter().filter(|&&p| p).count()),
        "auc": area_under_curve(&scores, &passed),
        "calibration_error": error,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(index: usize, code: &str) -> Candidate {
        Candidate { problem: "p".into(), index, code: code.into(), ..Candidate::default() }
    }

    fn verdict(index: usize, outcome: Outcome) -> Verdict {
        Verdict { outcome, ..Verdict::infrastructure("p", index, "") }
    }

    #[test]
    fn verdicts_are_joined_by_index_and_failures_of_the_verifier_left_out() {
        let verdicts =
            [verdict(2, Outcome::Passed), verdict(0, Outcome::Failed), verdict(1, Outcome::Infrastructure)];
        let candidates = vec![candidate(0, "a"), candidate(1, "b"), candidate(2, "c"), candidate(3, "d")];
        let found = label(candidates, &verdicts).expect("labels");
        let found: Vec<(&str, bool)> = found.iter().map(|l| (l.code.as_str(), l.passed)).collect();
        assert_eq!(found, [("a", false), ("c", true)]);
    }

    /// Rollouts have index 0 in every step: joined by index, one step's program would get another's label.
    #[test]
    fn rollouts_are_joined_by_line_and_other_lengths_are_refused() {
        let candidates = || vec![candidate(0, "first"), candidate(0, "second")];
        let both = [verdict(0, Outcome::Passed), verdict(0, Outcome::Failed)];
        let found = label(candidates(), &both).expect("labels");
        assert_eq!(found.iter().map(|l| l.passed).collect::<Vec<_>>(), [true, false]);
        let error = label(candidates(), &both[..1]).expect_err("a verdict is missing").to_string();
        assert_eq!(error, "expected one of the verdicts for each of the 2 candidates, found 1");
        let other = [verdict(0, Outcome::Passed), verdict(1, Outcome::Failed)];
        let error = label(candidates(), &other).expect_err("another order").to_string();
        assert!(error.contains("verdicts in their order"), "{error}");
    }
}
