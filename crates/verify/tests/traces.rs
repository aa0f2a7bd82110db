//! What can be seen of a pool from outside.

use records::{Check, Outcome, Problem, Verdict};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use verify::{
    Ask, Domain, Failure, Job, Pool, ProblemError, Reply, Settings, StartError, Task, Verifier, Watch,
};

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

/// Every span's fields, the first span first, and every event's message.
#[derive(Default)]
struct Seen {
    spans: Mutex<Vec<(&'static str, Fields)>>,
    events: Mutex<Vec<String>>,
}

#[derive(Clone)]
struct Collector(Arc<Seen>);

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().starts_with("verify")
    }
    fn new_span(&self, attributes: &Attributes) -> Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let mut spans = self.0.spans.lock().expect("no panic under the lock");
        spans.push((attributes.metadata().name(), fields));
        Id::from_u64(spans.len() as u64)
    }
    fn record(&self, span: &Id, values: &Record) {
        let mut spans = self.0.spans.lock().expect("no panic under the lock");
        values.record(&mut spans[span.into_u64() as usize - 1].1);
    }
    fn event(&self, event: &Event) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_default();
        self.0.events.lock().expect("no panic under the lock").push(message);
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Fails on its first job, and calls every other long.
struct Shaky;

impl Domain for Shaky {
    fn name(&self) -> &'static str {
        "shaky"
    }
    fn fingerprint(&self) -> String {
        String::new()
    }
    fn prepare(&self, _: &Problem) -> Result<(), ProblemError> {
        Ok(())
    }
    fn verifier(&self) -> Result<Box<dyn Verifier>, StartError> {
        static FIRST: Mutex<bool> = Mutex::new(true);
        let mut first = FIRST.lock().expect("no panic under the lock");
        Ok(Box::new(Shaking(std::mem::take(&mut *first))))
    }
    fn extract(&self, _: &Problem, completion: &str) -> String {
        completion.to_owned()
    }
}

struct Shaking(bool);

impl Verifier for Shaking {
    fn run(&mut self, _: &Job, watch: &Watch) -> Result<Reply, Failure> {
        if self.0 {
            return Err(Failure("shaky".to_owned()));
        }
        watch.long_running();
        watch.long_running();
        Ok(Reply::Verdict(Verdict { outcome: Outcome::Failed, ..Verdict::infrastructure("", 0, "") }))
    }
}

#[test]
fn a_job_is_a_span_with_an_attempt_a_try() {
    let seen = Arc::new(Seen::default());
    tracing::subscriber::set_global_default(Collector(Arc::clone(&seen))).expect("the only one");
    let pool = Pool::start(vec![Arc::new(Shaky)], Settings { workers: 1, ..Settings::default() })
        .expect("it starts");
    let check = Check { domain: "shaky".into(), ..Check::default() };
    let problem = Problem { id: "p/1".into(), check, ..Problem::default() };
    let task = Task { problem: &problem, index: 0, solution: "x" };
    pool.client("somebody").judge_all(&[task], &mut |_| ControlFlow::Continue(()));
    let key = pool.key(&task, &Ask::Judge);
    drop(pool);
    let spans = seen.spans.lock().expect("no panic under the lock");
    let names: Vec<_> = spans.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["job", "attempt", "attempt"]);
    let field = |name: &str| spans[0].1.0[name].as_str();
    assert_eq!([field("client"), field("problem"), field("key")], ["somebody", "p/1", &key]);
    assert_eq!(field("outcome"), "\"failed\"");
    assert!(field("milliseconds").parse::<f64>().is_ok_and(|time| time >= 0.0));
    let events = seen.events.lock().expect("no panic under the lock");
    assert_eq!(*events, ["retry on a fresh verifier", "long running", "answered"]);
}
