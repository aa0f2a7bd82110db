//! Time from a question to its verified answer, with the built-in model: candidates run while others
//! are written, and only after the last. The problems are the built-in set's test problems, their
//! tests those of the question. Prints JSON; `bench/service.sh` shows it.

use assistant::{Question, Settings, Status, solve};
use generator::{Engine, Generator};
use problems::basics::World;
use python::Python;
use records::Split;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use transformer::Cpu;

/// Problems asked.
const PROBLEMS: usize = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::start(Generator::open("models/basics".as_ref(), &Cpu::default())?, 64, 512);
    let python = Arc::new(Python::start(python::Settings::default())?);
    let client = verify::Pool::start(vec![python], verify::Settings::default())?.client("answers");
    let problems = World::new().problems(Split::Test, PROBLEMS, 21);
    let mut found = serde_json::Map::new();
    // In turns, so that both meet the machine in the same moods.
    let mut results = [(true, Vec::new(), 0), (false, Vec::new(), 0)];
    for problem in &problems {
        let question =
            Question { text: problem.shown.statement.clone(), tests: problem.shown.examples.clone() };
        for (streaming, seconds, verified) in &mut results {
            let settings = Settings { streaming: *streaming, ..Settings::default() };
            let started = Instant::now();
            let answer = solve(&question, &engine, &client, &settings, &AtomicBool::new(false), &mut |_| {})?;
            if answer.status == Status::Verified {
                seconds.push(started.elapsed().as_secs_f64());
                *verified += 1;
            }
        }
    }
    for (streaming, seconds, verified) in &mut results {
        seconds.sort_by(f64::total_cmp);
        let at = |share: f64| -> Value {
            seconds.get((share * (seconds.len().saturating_sub(1)) as f64).round() as usize).copied().into()
        };
        let name = if *streaming { "streaming" } else { "after the last candidate" };
        found.insert(
            name.to_owned(),
            json!({"verified": verified, "of": PROBLEMS, "median_seconds": at(0.5), "p95_seconds": at(0.95)}),
        );
    }
    println!("{}", Value::Object(found));
    Ok(())
}
