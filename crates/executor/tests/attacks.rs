//! The attack suite: `attacks.py` holds candidates that cheat and honest ones that weaker judges
//! fail, each with its correct verdict. No false pass, no false fail, nothing left behind.

use executor::{Error, Executor, Settings, Task, Tier};
use records::{Problem, Test, Verdict};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const SUITE: &str = include_str!("attacks.py");
const ANSWERS: &str = "assert add(1, 2) == 3\nassert add(-1, 1) == 0\nassert add(10, 5) == 15\n";

struct Attack {
    name: String,
    passes: bool,
    code: String,
}

fn suite(directory: &Path) -> Vec<Attack> {
    let place = |name: &str| directory.join(name).display().to_string();
    let sections = SUITE.split("\n#~ ").skip(1);
    let attacks = sections.map(|section| {
        let (head, code) = section.split_once('\n').expect("a line of code");
        let (verdict, rest) = head.split_once(' ').expect("a verdict and a name");
        let (name, _) = rest.split_once(": ").expect("a name and what it tries");
        let code = code.replace("ANSWERS", &place("answers.py")).replace("SCRATCH", &place("scratch"));
        assert!(["pass", "fail"].contains(&verdict), "{head}");
        Attack { name: name.to_owned(), passes: verdict == "pass", code: code.replace("NULBYTE", "\0") }
    });
    attacks.collect()
}

fn problem() -> Problem {
    let tests = ANSWERS.lines().map(Test::new).collect();
    Problem { id: "add".into(), entry_point: "add".into(), tests, ..Problem::default() }
}

fn judge_suite(tier: Tier) {
    let settings = Settings {
        cpu_seconds: 1.0,
        wall_seconds: 2.5,
        memory_bytes: 512 << 20,
        workers: 2,
        ..Settings::default()
    };
    let executor = match Executor::at_tier(settings, tier) {
        Err(Error::Isolation { message, .. }) => {
            eprintln!("SKIPPED: tier {} is not to be had here: {message}", tier.name());
            return;
        }
        other => other.expect("an executor"),
    };
    let directory = tempfile::tempdir().expect("a directory");
    let (answers, scratch) = (directory.path().join("answers.py"), directory.path().join("scratch"));
    std::fs::write(&answers, ANSWERS).expect("answers");
    std::fs::create_dir(&scratch).expect("a directory");
    for (path, mode) in [(directory.path(), 0o755), (&answers, 0o644), (&scratch, 0o777)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
    }
    let attacks = suite(directory.path());
    assert!(attacks.len() >= 80);
    let problem = problem();
    let tasks: Vec<Task> = attacks
        .iter()
        .enumerate()
        .map(|(index, attack)| Task { problem: &problem, index, code: &attack.code })
        .collect();
    let mut verdicts: Vec<Verdict> = Vec::new();
    executor.judge_all(&tasks, &mut |verdict| {
        verdicts.push(verdict);
        ControlFlow::Continue(())
    });
    assert_eq!(verdicts.len(), attacks.len());
    let mut wrong = Vec::new();
    for verdict in &verdicts {
        let attack = &attacks[verdict.index];
        assert_eq!(verdict.isolation, tier.name());
        let infrastructure = verdict.outcome == records::Outcome::Infrastructure;
        if verdict.passed() != attack.passes || infrastructure {
            wrong.push(format!("{}: {:?} {:?}", attack.name, verdict.outcome, verdict.tests));
        }
    }
    assert!(wrong.is_empty(), "tier {}: {} wrong\n{}", tier.name(), wrong.len(), wrong.join("\n"));
    assert_eq!(std::fs::read_to_string(&answers).expect("answers"), ANSWERS);
    assert_eq!(std::fs::metadata(&answers).expect("answers").permissions().mode() & 0o777, 0o644);
    assert_eq!(std::fs::read_dir(&scratch).expect("scratch").count(), 0, "a file was left behind");
    drop(executor);
    assert_eq!(left_over(), Vec::<String>::new());
}

/// Processes that only an attack can have started, or interpreters whose worker is gone.
fn left_over() -> Vec<String> {
    std::thread::sleep(std::time::Duration::from_millis(200));
    let ours = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let command = |entry: std::fs::DirEntry| {
        let status = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = status.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned();
        let command = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let suspicious = command.contains("sleep\u{0}1000")
            || ([ours.as_str(), "1"].contains(&parent.as_str()) && command.contains("-I\0-S\0-c"));
        suspicious.then(|| command.chars().take(80).collect())
    };
    processes.filter_map(command).collect()
}

/// One after the other: what is left over is looked for among all processes.
#[test]
fn no_attack_gets_through_at_tiers_a_b_and_c() {
    judge_suite(Tier::A);
    judge_suite(Tier::B);
    judge_suite(Tier::C);
}
