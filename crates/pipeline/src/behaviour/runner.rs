//! Programs that are run where what they give is not known yet.

use super::{Effort, InputsOf, Results, id};
use crate::observations::Observations;
use crate::{Result, Watch};
use records::{Observation, Problem, jsonl};
use std::collections::HashMap;
use std::sync::Arc;
use verify::{Ask, Client, Failure, Job, Reply, Task};

/// Answers after which what was seen is handed to the system, so that a process that is killed loses
/// little.
const FLUSH_EVERY: usize = 100;

/// What running takes, and what it took.
pub(super) struct Runner<'r> {
    pub(super) watch: Watch<'r>,
    pub(super) client: &'r Client,
    pub(super) known: &'r mut Observations,
    pub(super) effort: Effort,
}

/// One program of a problem, and the candidates that are this program.
struct Program<'a> {
    /// Names program, problem and verifier.
    key: String,
    task: Task<'a>,
    indices: Vec<usize>,
}

/// The different programs, in the order in which they first come; `ask` names the question that is
/// asked of each.
fn programs<'a>(client: &Client, tasks: &[Task<'a>], ask: &Ask) -> Vec<Program<'a>> {
    let mut programs: Vec<Program> = Vec::new();
    let mut place_of: HashMap<(&str, &str), usize> = HashMap::new();
    for task in tasks {
        let place = *place_of.entry((id(task), task.solution)).or_insert(programs.len());
        if place == programs.len() {
            let key = client.pool().key(task, ask);
            programs.push(Program { key, task: *task, indices: Vec::new() });
        }
        programs[place].indices.push(task.index);
    }
    programs
}

/// What is asked of one program.
struct Question {
    /// The program's place.
    program: usize,
    /// The inputs that it has to run on.
    missing: Arc<[String]>,
}

/// Takes what is known, a job's place and its answer.
type OnAnswer<'a> = dyn FnMut(
        &mut Observations,
        usize,
        std::result::Result<Reply, Failure>,
    ) -> std::result::Result<(), jsonl::Error>
    + 'a;

impl Runner<'_> {
    /// What every task's solution gives on its problem's inputs. None if it was stopped; what was seen
    /// until then is kept.
    pub(super) fn run<'a>(
        &mut self,
        label: &str,
        tasks: &[Task<'a>],
        inputs: &InputsOf,
    ) -> Result<Option<Results<'a>>> {
        let none: Arc<[String]> = Arc::default();
        let inputs_of = |task: &Task| inputs.get(id(task)).unwrap_or(&none).clone();
        let programs = programs(self.client, tasks, &Ask::Observe(Arc::default()));
        let questions = self.questions(&programs, &inputs_of);
        let mut progress = self.watch.begin(label, programs.len(), programs.len() - questions.len());
        let jobs = jobs(&programs, &questions, |question| Ask::Observe(question.missing.clone()));
        self.ask(jobs, &mut |known, at, answer| {
            let Question { program, missing } = &questions[at];
            // What the verifier itself failed on is not kept, and counts as if nothing came.
            if let Ok(Reply::Observations(seen)) = answer {
                let Program { key, task, .. } = &programs[*program];
                known.keep(key, &inputs_of(task), missing, &seen)?;
            }
            progress.advance(1);
            Ok(())
        })?;
        if self.watch.interrupted() {
            return Ok(None);
        }
        progress.finish();
        let mut results = Results::new();
        for program in &programs {
            self.effort.known += self.known.count_earlier(&program.key, &inputs_of(&program.task));
            let seen = self.known.of(&program.key, &inputs_of(&program.task));
            let row: Vec<Observation> =
                seen.into_iter().map(|seen| seen.cloned().unwrap_or_default()).collect();
            for &index in &program.indices {
                results.insert((id(&program.task), index), row.clone());
            }
        }
        Ok(Some(results))
    }

    /// What has to be asked: of each program the inputs on which it is not known what it gives.
    fn questions(
        &mut self,
        programs: &[Program],
        inputs_of: &dyn Fn(&Task) -> Arc<[String]>,
    ) -> Vec<Question> {
        let mut questions = Vec::new();
        // Most programs of a problem lack the same inputs.
        let mut shared: HashMap<Vec<String>, Arc<[String]>> = HashMap::new();
        for (program, Program { key, task, .. }) in programs.iter().enumerate() {
            let inputs = inputs_of(task);
            let seen = self.known.of(key, &inputs);
            let missing = inputs.iter().zip(&seen).filter(|(_, seen)| seen.is_none());
            let missing: Vec<String> = missing.map(|(input, _)| input.clone()).collect();
            self.effort.calls += missing.len();
            if !missing.is_empty() {
                let missing = match shared.get(&missing) {
                    Some(shared) => shared.clone(),
                    None => {
                        let list: Arc<[String]> = missing.as_slice().into();
                        shared.insert(missing, list.clone());
                        list
                    }
                };
                questions.push(Question { program, missing });
            }
        }
        questions
    }

    /// Whether each candidate passes the tests that a prompt shows. None if it was stopped.
    pub(super) fn visible_passes<'a>(
        &mut self,
        tasks: &[Task<'a>],
    ) -> Result<Option<HashMap<(&'a str, usize), bool>>> {
        let programs = programs(self.client, tasks, &Ask::JudgeVisible);
        let unknown: Vec<Question> = (0..programs.len())
            .filter(|&at| self.known.passes(&programs[at].key).is_none())
            .map(|program| Question { program, missing: Arc::default() })
            .collect();
        self.effort.calls += unknown.len();
        self.effort.known += programs.len() - unknown.len();
        let mut progress = self.watch.begin("visible tests", programs.len(), programs.len() - unknown.len());
        let jobs = jobs(&programs, &unknown, |_| Ask::JudgeVisible);
        self.ask(jobs, &mut |known, at, answer| {
            if let Ok(Reply::Verdict(verdict)) = answer
                && verdict.outcome != records::Outcome::Infrastructure
            {
                known.keep_passes(&programs[unknown[at].program].key, verdict.passed())?;
            }
            progress.advance(1);
            Ok(())
        })?;
        if self.watch.interrupted() {
            return Ok(None);
        }
        progress.finish();
        let mut passes = HashMap::new();
        for program in &programs {
            // What the verifier failed on is not known to pass.
            let passed = self.known.passes(&program.key).unwrap_or(false);
            passes.extend(program.indices.iter().map(|&index| ((id(&program.task), index), passed)));
        }
        Ok(Some(passes))
    }

    /// Submits jobs and hands over each answer with its job's place, until the watch stops it.
    fn ask(&mut self, jobs: Vec<Job>, on_answer: &mut OnAnswer) -> Result<()> {
        for (count, (at, answer)) in self.client.submit(jobs.into_iter()).enumerate() {
            on_answer(self.known, at, answer)?;
            if count % FLUSH_EVERY == 0 {
                self.known.flush()?;
            }
            if self.watch.interrupted() {
                break;
            }
        }
        Ok(self.known.flush()?)
    }
}

/// A job for each question. A problem is copied once, however many programs answer it.
fn jobs(programs: &[Program], questions: &[Question], ask: impl Fn(&Question) -> Ask) -> Vec<Job> {
    let mut problems: HashMap<&str, Arc<Problem>> = HashMap::new();
    let job = |question: &Question| {
        let task = &programs[question.program].task;
        let problem = problems.entry(id(task)).or_insert_with(|| Arc::new(task.problem.clone()));
        Job { problem: problem.clone(), solution: task.solution.into(), ask: ask(question) }
    };
    questions.iter().map(job).collect()
}
