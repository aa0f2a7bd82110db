//! The attack suite: `attacks.py` holds candidates that cheat and honest ones that weaker judges
//! fail, each with its correct verdict. They are judged by every kind of test there is, with right
//! siblings and a right reference beside them: no false pass, no false fail, nothing left behind.

mod support;

use python::{Check, PROTOCOL_IMPORTS, Python, Settings, Tier};
use records::{Outcome, Problem, Separation, Verdict};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use verify::{Pool, Task};

const SUITE: &str = include_str!("attacks.py");
const CLASSES: &str = include_str!("attacks_on_classes.py");
const ANSWERS: &str = "assert add(1, 2) == 3\nassert add(-1, 1) == 0\nassert add(10, 5) == 15\n";
const RIGHT: &str = "def add(a, b):\n    return a + b\n";

/// A kind of tests for one problem.
struct Form {
    name: &'static str,
    separation: Separation,
    tests: &'static [&'static str],
}

const FORMS: [Form; 5] = [
    Form {
        name: "literals",
        separation: Separation::Compared,
        tests: &["assert add(1, 2) == 3", "assert add(-1, 1) == 0", "assert add(10, 5) == 15"],
    },
    Form {
        name: "recorded",
        separation: Separation::Compared,
        tests: &[
            "def check(candidate):\n    for a, b, c in [(1, 2, 3), (-1, 1, 0)]:\n        assert candidate(a, b) == c, str(candidate(a, b))\ncheck(add)\n",
            "assert abs(add(10, 5) - 15) < 1e-9 and not add(-1, 1)",
        ],
    },
    Form {
        name: "loop",
        separation: Separation::Proxied,
        tests: &["for a, b, c in [(1, 2, 3), (-1, 1, 0), (10, 5, 15)]:\n    assert [add(a, b)] == [c]"],
    },
    Form {
        name: "tolerance",
        separation: Separation::Proxied,
        tests: &[
            "assert abs(add(1, 2) - 3) < 1e-9",
            "assert abs(add(-1, 1)) < 1e-9\nassert math.isclose(add(10, 5), 15)",
        ],
    },
    Form {
        name: "exceptions",
        separation: Separation::Proxied,
        tests: &[
            "def check(candidate):\n    x = candidate(1, 2)\n    try:\n        candidate(1)\n        assert False\n    except TypeError:\n        pass\n    assert x == 3 and candidate(-1, 1) == 0 and [candidate(10, 5)] == [15]\ncheck(add)",
        ],
    },
];

struct Attack {
    name: String,
    passes: bool,
    /// Forms by which plain Python decides otherwise.
    otherwise: Vec<String>,
    code: String,
}

fn suite(text: &str, directory: &Path) -> Vec<Attack> {
    let place = |name: &str| directory.join(name).display().to_string();
    let sections = text.split("\n#~ ").skip(1);
    let attacks = sections.map(|section| {
        let (head, code) = section.split_once('\n').expect("a line of code");
        let (verdict, rest) = head.split_once(' ').expect("a verdict and a name");
        let (name, _) = rest.split_once(": ").expect("a name and what it tries");
        let code = code.replace("ANSWERS", &place("answers.py")).replace("SCRATCH", &place("scratch"));
        assert!(["pass", "fail"].contains(&verdict), "{head}");
        let mut words = name.split_whitespace();
        let name = words.next().expect("a name").to_owned();
        let otherwise = words.map(|word| word.trim_start_matches('!').to_owned()).collect();
        Attack { name, passes: verdict == "pass", otherwise, code: code.replace("NULBYTE", "\0") }
    });
    attacks.collect()
}

fn problem(form: &Form) -> Problem {
    let check = Check {
        entry_point: "add".into(),
        setup: PROTOCOL_IMPORTS.into(),
        tests: form.tests.iter().map(|test| (*test).to_owned()).collect(),
        ..Check::default()
    };
    support::problem_of("add", check, &[RIGHT])
}

/// A pool at a tier; none, with a word, where the tier is unavailable.
fn pool(tier: Tier, workers: usize) -> Option<Pool> {
    let settings =
        Settings { cpu_seconds: 1.0, wall_seconds: 2.5, memory_bytes: 512 << 20, ..Settings::default() };
    let python = match Python::at_tier(settings, tier) {
        Err(error @ python::Error::Isolation { .. }) => {
            eprintln!("SKIPPED: {error}");
            return None;
        }
        other => other.expect("Python"),
    };
    let settings = verify::Settings { workers, ..verify::Settings::default() };
    Some(Pool::start(vec![Arc::new(python)], settings).expect("a pool"))
}

/// Judges every attack, with a right sibling before and after each.
fn wrong_verdicts(
    pool: &Pool,
    name: &str,
    problem: &Problem,
    right: &str,
    attacks: &[Attack],
    tier: Tier,
) -> Vec<String> {
    let right: Vec<String> = (0..2 * attacks.len()).map(|turn| format!("{right}\nturn = {turn}\n")).collect();
    let tasks: Vec<Task> = attacks
        .iter()
        .enumerate()
        .flat_map(|(index, attack)| {
            [&right[2 * index], &attack.code, &right[2 * index + 1]].map(|solution| Task {
                problem,
                index: if solution == &attack.code { index } else { usize::MAX },
                solution,
            })
        })
        .collect();
    let mut verdicts: Vec<Verdict> = Vec::new();
    pool.client("attacks").judge_all(&tasks, &mut |verdict| {
        verdicts.push(verdict);
        ControlFlow::Continue(())
    });
    assert_eq!(verdicts.len(), tasks.len());
    let wrong = verdicts.iter().filter_map(|verdict| {
        assert_eq!(verdict.isolation, tier.name());
        let attack = attacks.get(verdict.index);
        let passes =
            attack.is_none_or(|attack| attack.passes != attack.otherwise.iter().any(|form| form == name));
        let is_right = verdict.passed() == passes && verdict.outcome != Outcome::Infrastructure;
        let who = attack.map_or("a right sibling", |attack| attack.name.as_str());
        (!is_right).then(|| {
            format!("{name}, {who}: {} {} {:?}", verdict.outcome.name(), verdict.reason, verdict.tests)
        })
    });
    wrong.collect()
}

fn judge_suite(tier: Tier) {
    let Some(pool) = pool(tier, 2) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let (answers, scratch) = (directory.path().join("answers.py"), directory.path().join("scratch"));
    std::fs::write(&answers, ANSWERS).expect("answers");
    std::fs::create_dir(&scratch).expect("a directory");
    for (path, mode) in [(directory.path(), 0o755), (&answers, 0o644), (&scratch, 0o777)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
    }
    let attacks = suite(SUITE, directory.path());
    assert!(attacks.len() >= 150);
    let mut wrong = Vec::new();
    // The tiers differ in what the system refuses, not in how tests run: every form once.
    let forms = if tier == Tier::A { &FORMS[..] } else { &FORMS[2..=2] };
    for form in forms {
        let problem = problem(form);
        wrong.extend(wrong_verdicts(&pool, form.name, &problem, RIGHT, &attacks, tier));
        let mut separation = None;
        let task = Task { problem: &problem, index: 0, solution: RIGHT };
        pool.client("separation").judge_all(&[task], &mut |verdict| {
            separation = verdict.separation;
            ControlFlow::Continue(())
        });
        assert_eq!(separation, Some(form.separation), "{}", form.name);
    }
    let (problem, right) = classes();
    wrong.extend(wrong_verdicts(&pool, "classes", &problem, &right, &suite(CLASSES, directory.path()), tier));
    assert!(wrong.is_empty(), "tier {}: {} wrong\n{}", tier.name(), wrong.len(), wrong.join("\n"));
    assert_eq!(std::fs::read_to_string(&answers).expect("answers"), ANSWERS);
    assert_eq!(std::fs::metadata(&answers).expect("answers").permissions().mode() & 0o777, 0o644);
    assert_eq!(std::fs::read_dir(&scratch).expect("scratch").count(), 0, "a file was left behind");
    drop(pool);
    assert_eq!(left_over(), Vec::<String>::new());
}

/// A problem whose tests make objects of the candidate's class; its reference is the suite's first.
fn classes() -> (Problem, String) {
    let (head, _) = CLASSES.split_once("\n#~ ").expect("attacks");
    let (reference, test) = head.split_once("\n# The test.\n").expect("a test");
    let check = Check {
        entry_point: "total".into(),
        setup: PROTOCOL_IMPORTS.into(),
        tests: vec![test.to_owned()],
        ..Check::default()
    };
    (support::problem_of("classes", check, &[reference]), reference.to_owned())
}

/// Processes that only an attack can have started, or interpreters of this process.
fn left_over() -> Vec<String> {
    std::thread::sleep(std::time::Duration::from_millis(300));
    let ours = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let command = |entry: std::fs::DirEntry| {
        let status = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = status.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned();
        let command = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let suspicious =
            command.contains("sleep\u{0}1000") || (ours == parent && command.contains("-I\0-S\0-c"));
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
