//! Many tasks at once: equal ones run once.

use crate::job::{Ask, Job, JobKey, Question, Reply};
use crate::pool::{Client, Task};
use crate::queue::Answer;
use records::{Observation, Problem, Verdict};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Takes a task's place and what it gave on each input; none if the verifier failed.
pub type OnObserved<'a> = dyn FnMut(usize, Option<&[Observation]>) -> ControlFlow<()> + 'a;

/// A problem with what is asked about it.
struct Asked {
    question: Question,
    problem: Arc<Problem>,
    ask: Ask,
}

/// Tasks of one key.
struct Group<'a> {
    asked: usize,
    solution: &'a str,
    key: JobKey,
    places: Vec<usize>,
}

/// Tasks by what they ask, in the order in which they first come.
struct Batch<'a> {
    asked: Vec<Asked>,
    groups: Vec<Group<'a>>,
}

impl<'a> Batch<'a> {
    fn new(client: &Client, tasks: &[Task<'a>], ask: &dyn Fn(&Problem) -> Ask) -> Self {
        let mut batch = Batch { asked: Vec::new(), groups: Vec::new() };
        let mut asked_of = HashMap::new();
        let mut group_of = HashMap::new();
        for (place, task) in tasks.iter().enumerate() {
            // By address: a problem is copied once, not once a task, and its text is read once.
            let asked = *asked_of.entry(std::ptr::from_ref(task.problem)).or_insert_with(|| {
                let ask = ask(task.problem);
                let question = client.pool().question(task.problem, &ask);
                batch.asked.push(Asked { question, problem: Arc::new(task.problem.clone()), ask });
                batch.asked.len() - 1
            });
            let key = batch.asked[asked].question.key(task.solution);
            match group_of.entry(key) {
                Entry::Occupied(group) => {
                    let group: &mut Group = &mut batch.groups[*group.get()];
                    group.places.push(place);
                }
                Entry::Vacant(group) => {
                    let key = group.key().clone();
                    group.insert(batch.groups.len());
                    batch.groups.push(Group { asked, solution: task.solution, key, places: vec![place] });
                }
            }
        }
        batch
    }

    fn job(&self, group: &Group) -> Job {
        let Asked { problem, ask, .. } = &self.asked[group.asked];
        Job { problem: Arc::clone(problem), solution: group.solution.into(), ask: ask.clone() }
    }

    /// Hands over every group with its answer, until `on_answer` breaks off.
    fn run(&self, client: &Client, on_answer: &mut dyn FnMut(&Group, &Answer) -> ControlFlow<()>) {
        let mut replies = client.open(None);
        let mut left = self.groups.iter();
        loop {
            while replies.shared.has_room(replies.submission) {
                let Some(group) = left.next() else {
                    replies.shared.end_of_jobs(replies.submission, None);
                    break;
                };
                replies.shared.push(replies.submission, self.job(group), Some(group.key.clone()));
            }
            let Some((place, answer)) = replies.next() else { return };
            if on_answer(&self.groups[place], &answer).is_break() {
                return;
            }
        }
    }
}

impl Client {
    /// Judges every task; equal solutions of one problem are run once. `on_verdict` takes verdicts as
    /// they come, in any order, and may break off. A task that the verifier failed on every time gets
    /// [`records::Outcome::Infrastructure`], as does one whose domain the pool lacks.
    ///
    /// Each verdict has its task's index, its problem's id, and the [key](crate::Pool::key) of what was
    /// judged as its fingerprint.
    pub fn judge_all(&self, tasks: &[Task], on_verdict: &mut dyn FnMut(Verdict) -> ControlFlow<()>) {
        self.judge(tasks, &Ask::Judge, on_verdict);
    }

    /// As [`judge_all`](Self::judge_all), by the tests that a prompt shows alone.
    pub fn judge_visible(&self, tasks: &[Task], on_verdict: &mut dyn FnMut(Verdict) -> ControlFlow<()>) {
        self.judge(tasks, &Ask::JudgeVisible, on_verdict);
    }

    fn judge(&self, tasks: &[Task], ask: &Ask, on_verdict: &mut dyn FnMut(Verdict) -> ControlFlow<()>) {
        let batch = Batch::new(self, tasks, &|_| ask.clone());
        batch.run(self, &mut |group, answer| {
            for task in group.places.iter().map(|&place| &tasks[place]) {
                on_verdict(verdict(task, &group.key, answer))?;
            }
            ControlFlow::Continue(())
        });
    }

    /// What every task's solution gives on its problem's inputs, which `inputs` is asked for once a
    /// problem. Equal solutions of one problem are run once; `on_observed` takes a task's place in
    /// `tasks` and what was seen, in any order, and may break off.
    pub fn observe_all(
        &self,
        tasks: &[Task],
        inputs: &dyn Fn(&Problem) -> Arc<[String]>,
        on_observed: &mut OnObserved,
    ) {
        let batch = Batch::new(self, tasks, &|problem| Ask::Observe(inputs(problem)));
        batch.run(self, &mut |group, answer| {
            let seen = match answer {
                Ok(Reply::Observations(seen)) => Some(seen.as_slice()),
                _ => None,
            };
            for &place in &group.places {
                on_observed(place, seen)?;
            }
            ControlFlow::Continue(())
        });
    }
}

/// A task's verdict, of its job's answer.
pub(crate) fn verdict(task: &Task, key: &JobKey, answer: &Answer) -> Verdict {
    let id = &task.problem.id;
    let mut verdict = match answer {
        Ok(Reply::Verdict(verdict)) => verdict.clone(),
        // The workers let no such answer through.
        Ok(Reply::Observations(_)) => Verdict::infrastructure(id, task.index, "expected a verdict"),
        Err(failure) => Verdict::infrastructure(id, task.index, failure.to_string()),
    };
    verdict.problem.clone_from(id);
    verdict.index = task.index;
    verdict.fingerprint.clone_from(&key.0);
    verdict
}
