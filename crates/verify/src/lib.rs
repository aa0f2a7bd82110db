//! Jobs in, verdicts out: one seam for every verifier.
//!
//! A [`Job`] is owned, serialisable and named by its content: a problem, a proposed solution, and
//! what is asked of it. A [`Domain`] (Python programs, mathematics, a command) makes [`Verifier`]s;
//! a [`Pool`] runs them on a few threads behind a queue that is fair between [`Client`]s. Nobody
//! above this crate holds a verifier or waits on a lock.
//!
//! - [`Client::submit`] takes jobs as an iterator and gives [`Replies`] as they come. Only a few jobs
//!   are in the pool at once, so an endless iterator takes no memory. Dropping the replies cancels.
//! - [`Client::judge_all`], [`Client::judge_visible`] and [`Client::observe_all`] take many tasks at
//!   once and run equal ones once.
//! - A verifier that fails or panics is replaced and its job tried again. What fails every time is a
//!   [`Failure`], which is never a verdict on the solution.
//! - A job that outruns its slice ([`Watch::long_running`]) goes on, but no longer keeps others from
//!   starting.
//! - With a `tracing` subscriber, every job is a span `job` (client, problem, key, outcome,
//!   milliseconds) around one `attempt` a try, with events where it runs long, fails or is retried.
//!
//! # A domain
//!
//! Sums, whose payload is the right answer:
//!
//! ```
//! use records::{Check, Outcome, Problem, Verdict};
//! use std::ops::ControlFlow;
//! use std::sync::Arc;
//! use verify::{
//!     Domain, Failure, Job, Pool, ProblemError, Reply, Settings, StartError, Task, Verifier, Watch,
//! };
//!
//! fn answer(problem: &Problem) -> Result<i64, ProblemError> {
//!     serde_json::from_str(problem.check.payload.get()).map_err(|error| ProblemError {
//!         problem: problem.id.clone(),
//!         message: format!("check.payload: {error}"),
//!     })
//! }
//!
//! struct Sums;
//!
//! impl Domain for Sums {
//!     fn name(&self) -> &'static str {
//!         "sums"
//!     }
//!     fn fingerprint(&self) -> String {
//!         "sums 1".to_owned()
//!     }
//!     fn prepare(&self, problem: &Problem) -> Result<(), ProblemError> {
//!         answer(problem).map(drop)
//!     }
//!     fn verifier(&self) -> Result<Box<dyn Verifier>, StartError> {
//!         Ok(Box::new(Adder))
//!     }
//!     fn extract(&self, _: &Problem, completion: &str) -> String {
//!         completion.trim().to_owned()
//!     }
//! }
//!
//! struct Adder;
//!
//! impl Verifier for Adder {
//!     fn run(&mut self, job: &Job, _: &Watch) -> Result<Reply, Failure> {
//!         let right = answer(&job.problem).map_err(|error| Failure(error.to_string()))?;
//!         let outcome = match job.solution.parse::<i64>() {
//!             Ok(given) if given == right => Outcome::Passed,
//!             Ok(_) => Outcome::Failed,
//!             Err(_) => Outcome::Invalid,
//!         };
//!         Ok(Reply::Verdict(Verdict { outcome, ..Verdict::infrastructure("", 0, "") }))
//!     }
//! }
//!
//! let pool = Pool::start(vec![Arc::new(Sums)], Settings::default())?;
//! let check = Check::new("sums", &51)?;
//! let problem = Problem { id: "sums/1".into(), check, ..Problem::default() };
//! pool.prepare([&problem])?;
//! let tasks = ["51", "50", "many"].map(|solution| Task { problem: &problem, index: 0, solution });
//! let mut outcomes = Vec::new();
//! pool.client("example").judge_all(&tasks, &mut |verdict| {
//!     outcomes.push(verdict.outcome);
//!     ControlFlow::Continue(())
//! });
//! outcomes.sort();
//! assert_eq!(outcomes, [Outcome::Passed, Outcome::Failed, Outcome::Invalid]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod batch;
mod job;
mod judging;
mod placement;
mod pool;
mod queue;
mod replies;
mod shared;
mod worker;

#[cfg(test)]
mod tests;

pub use batch::OnObserved;
pub use job::{
    Ask, Domain, Failure, Guess, Inputs, Job, JobKey, ProblemError, Reply, StartError, Verifier, Watch,
};
pub use judging::Judging;
pub use placement::children;
pub use pool::{Client, Pool, Settings, Task, TimedOut};
pub use replies::Replies;
