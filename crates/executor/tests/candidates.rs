//! Whatever a candidate does, the loop gets a verdict and goes on.

use executor::{Error, Executor, Settings, Task, Tier};
use records::{JudgeMode, Outcome, Problem, Test, Verdict};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

fn problem() -> Problem {
    let tests = ["assert add(1, 2) == 3", "assert add(-1, 1) == 0", "assert add(10, 5) == 15"];
    Problem {
        id: "add".into(),
        entry_point: "add".into(),
        tests: tests.map(Test::new).to_vec(),
        ..Problem::default()
    }
}

fn settings() -> Settings {
    Settings {
        cpu_seconds: 1.0,
        wall_seconds: 3.0,
        memory_bytes: 512 << 20,
        workers: 2,
        ..Settings::default()
    }
}

fn judge(problem: &Problem, codes: &[&str]) -> Vec<Verdict> {
    judge_by(&Executor::start(settings()).expect("Python"), problem, codes)
}

fn judge_by(executor: &Executor, problem: &Problem, codes: &[&str]) -> Vec<Verdict> {
    let tasks: Vec<Task> =
        codes.iter().enumerate().map(|(index, code)| Task { problem, index, code }).collect();
    let mut verdicts = Vec::new();
    executor.judge_all(&tasks, &mut |verdict| {
        verdicts.push(verdict);
        ControlFlow::Continue(())
    });
    verdicts.sort_by_key(|verdict| verdict.index);
    verdicts
}

const RIGHT: &str = "def add(a, b): return a + b";

#[test]
fn every_kind_of_end_has_its_outcome() {
    let cases = [
        (RIGHT, Outcome::Passed),
        ("def add(a, b): return float(a + b)", Outcome::Passed),
        ("def add(a, b): return a - b", Outcome::WrongAnswer),
        ("def add(a, b): return [1] if a == 1 else a + b", Outcome::WrongAnswer),
        ("def add(a, b): raise KeyError(a)", Outcome::Exception),
        ("def sum2(a, b): return a + b", Outcome::Exception),
        ("def add(a, b: return", Outcome::SyntaxError),
        ("import no_such_module", Outcome::LoadError),
        ("import sys; sys.exit(0)", Outcome::LoadError),
        ("def add(a, b):\n  while True: pass", Outcome::Timeout),
        ("import time\ndef add(a, b): time.sleep(100)", Outcome::Timeout),
        ("while True: pass", Outcome::Timeout),
        ("def add(a, b): return 'x' * (4 << 30)", Outcome::OutOfMemory),
        ("x = [0] * (1 << 30)", Outcome::OutOfMemory),
        ("import os\ndef add(a, b): os._exit(0)", Outcome::Crash),
        ("import os\ndef add(a, b): os.kill(os.getpid(), 11)", Outcome::Forbidden),
        ("open('/tmp/x', 'w')", Outcome::Forbidden),
        ("import socket\nsocket.socket()", Outcome::Forbidden),
        ("import ctypes\ndef add(a, b): ctypes.string_at(0)", Outcome::Crash),
        ("def add(a, b): return lambda: 3", Outcome::NotPlainData),
        (
            "class Always(int):\n  def __eq__(self, other): return True\ndef add(a, b): return Always(7)",
            Outcome::WrongAnswer,
        ),
        ("def add(a, b):\n  x = []\n  for _ in range(100000): x = [x]\n  return x", Outcome::NotPlainData),
        ("def add(a, b): return 'x' * 3000000", Outcome::OutputLimit),
        ("import sys\nsys.setrecursionlimit(10**9)\ndef add(a, b): return add(a, b)", Outcome::Crash),
        (
            "print('x' * 5000000)\nimport sys\nsys.stdin.read()\ndef add(a, b): print(a); return a + b",
            Outcome::Passed,
        ),
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\ndef add(a, b): return a + b",
            Outcome::Passed,
        ),
        ("if __name__ == '__main__':\n  raise SystemExit\ndef add(a, b): return a + b", Outcome::Passed),
    ];
    let codes: Vec<&str> = cases.iter().map(|case| case.0).collect();
    for (verdict, (code, expected)) in judge(&problem(), &codes).into_iter().zip(cases) {
        // How deep recursion ends depends on the interpreter: by a crash, an exception or memory.
        let deep = code.contains("setrecursionlimit") && !verdict.passed();
        assert!(deep || verdict.outcome == expected, "{code}: {:?}", verdict);
        assert_eq!(verdict.mode, JudgeMode::Compared);
    }
}

#[test]
fn a_verdict_has_a_result_for_every_test() {
    let code = "def add(a, b):\n  if a < 0: raise ValueError('no')\n  return 3";
    let verdict = judge(&problem(), &[code]).remove(0);
    let outcomes: Vec<Outcome> = verdict.tests.iter().map(|test| test.outcome).collect();
    assert_eq!(outcomes, [Outcome::Passed, Outcome::Exception, Outcome::WrongAnswer]);
    assert_eq!(verdict.tests[1].detail, "ValueError: no");
    assert_eq!(verdict.tests[2].detail, "3");
}

/// A candidate that kills its own interpreter, or everything of its user's that it can reach,
/// costs nobody else a verdict.
#[test]
fn killing_the_interpreter_loses_no_other_candidate() {
    let kill_parent = "import os\nos.kill(os.getppid(), 9)\ndef add(a, b): return a + b";
    let codes = [kill_parent, RIGHT, kill_parent, "def add(a, b): return b + a", "def add(a, b): return 0"];
    let verdicts = judge(&problem(), &codes);
    assert_eq!(verdicts.len(), codes.len());
    assert!(!verdicts[0].passed());
    let outcomes: Vec<Outcome> = verdicts.iter().map(|verdict| verdict.outcome).collect();
    assert_eq!(outcomes[1], Outcome::Passed);
    assert_eq!(outcomes[3], Outcome::Passed);
    assert_eq!(outcomes[4], Outcome::WrongAnswer);
}

/// In a world of its own there is nothing to find.
#[test]
fn at_tier_a_there_is_python_and_nothing_else() {
    let executor = match Executor::at_tier(settings(), Tier::A) {
        Err(Error::Isolation { message, .. }) => {
            eprintln!("SKIPPED: tier A is not to be had here: {message}");
            return;
        }
        other => other.expect("an executor"),
    };
    let looks = [
        ("os.getuid()", "65534"),
        ("os.getppid()", "1"),
        ("[name for name in ('/etc', '/home', '/proc', '/sys', '/tmp') if os.path.exists(name)]", "[]"),
        ("__import__('fractions').Fraction(2, 4).denominator", "2"),
        // Not among those loaded before.
        ("__import__('colorsys').rgb_to_hsv(0, 0, 0)[2]", "0"),
    ];
    for (look, expected) in looks {
        let tests = vec![Test::new(format!("assert look() == {expected}"))];
        let problem = Problem { id: "look".into(), entry_point: "look".into(), tests, ..Problem::default() };
        let code = format!("import os\ndef look(): return {look}");
        let verdict = judge_by(&executor, &problem, &[&code]).remove(0);
        assert_eq!(verdict.outcome, Outcome::Passed, "{look}: {:?}", verdict.tests);
    }
}

/// What is only a little too slow may have been held up: it is run again, alone, and that counts.
/// What never ends counts at once.
#[test]
fn a_near_miss_of_the_time_limit_is_run_again() {
    let spin = |seconds: &str| {
        format!("import time\ndef add(a, b):\n  while time.process_time() < {seconds}: pass\n  return a + b")
    };
    let (quick, slow, endless) = (spin("0.5"), spin("1.4"), spin("100"));
    // Time enough for all of them, however much else runs.
    let executor = Executor::start(Settings { wall_seconds: 60.0, ..settings() }).expect("Python");
    let verdicts = judge_by(&executor, &problem(), &[&quick, &slow, &endless]);
    let outcomes: Vec<Outcome> = verdicts.iter().map(|verdict| verdict.outcome).collect();
    assert_eq!(outcomes, [Outcome::Passed, Outcome::Timeout, Outcome::Timeout]);
    let (slow, endless) = (verdicts[1].cpu_milliseconds, verdicts[2].cpu_milliseconds);
    assert!((900.0..1300.0).contains(&slow), "the second run ends at the limit of 1 s: {slow} ms");
    assert!(endless > 1500.0, "the only run ends at the limit and its grace: {endless} ms");
}

/// A child that others keep from running has not failed: it is run again, alone.
#[test]
fn a_stopped_child_is_not_a_timeout() {
    let stop_once = std::thread::spawn(|| {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(5) {
            if let Some(child) = sleeping_candidate() {
                return Command::new("sh").args(["-c", &format!("kill -STOP {child}")]).status().is_ok();
            }
        }
        false
    });
    let code = "import time\ndef add(a, b):\n  time.sleep(0.3)\n  return a + b";
    let verdicts = judge(&problem(), &[code]);
    assert!(stop_once.join().expect("a thread"), "there was no child to stop");
    assert!(verdicts[0].passed(), "{:?}", verdicts[0]);
}

/// A process that descends from this test by one or two interpreters and that has come to sleep in a candidate.
fn sleeping_candidate() -> Option<String> {
    let parent = |pid: &str| -> Option<String> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some(stat.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned())
    };
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let ids = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let ours = std::process::id().to_string();
    let sleeps = |pid: &String| {
        std::fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|at| at.contains("nanosleep"))
    };
    let descends = |pid: &String| {
        let ancestors = std::iter::successors(parent(pid), |above| parent(above));
        ancestors.skip(1).take(2).any(|above| above == ours)
    };
    ids.filter(descends).find(sleeps)
}

#[test]
fn nothing_is_left_running() {
    let mark = format!("ncomp-left-{}", std::process::id());
    let code = format!(
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    open('/proc/self/comm', 'w').write('{}')\n    time.sleep(60)\n  os._exit(0)\ntime.sleep(0.2)\ndef add(a, b): return a + b",
        &mark[..15]
    );
    judge(&problem(), &[&code]);
    let deadline = Instant::now() + Duration::from_secs(5);
    let alive = || {
        let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
        let names = processes.filter_map(|process| std::fs::read_to_string(process.path().join("comm")).ok());
        names.filter(|name| name.trim() == &mark[..15]).count()
    };
    while alive() > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(alive(), 0);
}

#[test]
fn tests_that_are_more_than_a_comparison_run_apart_from_the_candidate() {
    let tests = [
        "assert abs(add(1, 2) - 3) < 1e-9",
        "assert add(1, 2) == 3",
        "for i in range(5):\n    assert add(i, i) == 2 * i",
        "try:\n    add('a', 1)\nexcept TypeError:\n    pass\nelse:\n    assert False",
    ];
    let problem = Problem { tests: tests.map(Test::new).to_vec(), ..problem() };
    // The last cheat would pass a test that ran beside it.
    let cheat = "import builtins\nbuiltins.abs = lambda x: 0\nclass E(int):\n  __sub__ = lambda s, o: 0\ndef add(a, b): return E(7)";
    let verdicts = judge(&problem, &[RIGHT, "def add(a, b): return a", cheat]);
    assert!(verdicts[0].passed(), "{:?}", verdicts[0]);
    assert!(verdicts.iter().all(|verdict| verdict.mode == JudgeMode::Proxied));
    assert_eq!(verdicts[0].tests.len(), 4);
    assert_eq!(verdicts[1].tests[0].outcome, Outcome::WrongAnswer);
    assert!(!verdicts[2].passed());
}

/// A candidate that leaves, or answers with what is not data, in the middle of a test does not
/// disturb the next one's.
#[test]
fn a_test_without_answers_ends() {
    let stubborn = "while True:\n    try:\n        assert add(1, 2) + 0 == 3\n        break\n    except ValueError:\n        pass";
    let problem = Problem { tests: vec![Test::new(stubborn)], ..problem() };
    let codes = [
        "import os\ndef add(a, b): os._exit(0)",
        RIGHT,
        "def add(a, b): return lambda: 3",
        "def add(a, b): return a + b + 0",
        "def add(a, b): raise ValueError",
        "def add(a, b): return 3",
    ];
    let started = Instant::now();
    let verdicts = judge(&problem, &codes);
    let outcomes: Vec<Outcome> = verdicts.iter().map(|verdict| verdict.outcome).collect();
    use Outcome::{Crash, NotPlainData, Passed, Timeout};
    assert_eq!(outcomes, [Crash, Passed, NotPlainData, Passed, Timeout, Passed]);
    // The one that ran out of time ran twice; no other waited for anything.
    assert!(started.elapsed() < Duration::from_secs(9));
}

#[test]
fn tests_that_need_the_candidates_classes_run_beside_it_and_say_so() {
    let code = "class Pair:\n  def __init__(self, a): self.a = a\ndef first(p): return p.a";
    let with_reference = Problem {
        entry_point: "first".into(),
        tests: vec![Test::new("assert first(Pair(3)) == 3")],
        references: vec![code.to_owned()],
        ..problem()
    };
    let without = Problem { references: Vec::new(), ..with_reference.clone() };
    let wrong = code.replace("return p.a", "return 4");
    let verdicts = judge(&with_reference, &[code, &wrong]);
    assert!(verdicts[0].passed() && !verdicts[1].passed());
    assert_eq!(verdicts[0].mode, JudgeMode::InProcess);
    // What a candidate returns is data: without a reference, that shows only by running it.
    assert!(!judge(&without, &[&wrong])[0].passed());
}

#[test]
fn a_check_function_becomes_one_test_for_each_comparison() {
    let check = "METADATA = {}\n\ndef check(candidate):\n    assert candidate(1, 2) == 3, 'small'\n    assert candidate(2, 2) == (\n        4)\n    assert True\n    for i in range(3):\n        assert candidate(i, 1) == i + 1\n\ncheck(add)";
    let problem = Problem { tests: vec![Test::new(check)], ..problem() };
    let verdicts = judge(&problem, &[RIGHT, "def add(a, b): return 3", "def add(a, b): return 0"]);
    assert!(verdicts[0].passed(), "{:?}", verdicts[0]);
    let outcomes = |n: usize| -> Vec<Outcome> { verdicts[n].tests.iter().map(|test| test.outcome).collect() };
    assert_eq!(outcomes(1), [Outcome::Passed, Outcome::WrongAnswer, Outcome::WrongAnswer]);
    assert_eq!(outcomes(2), [Outcome::WrongAnswer; 3]);
}

#[test]
fn a_test_that_is_not_python_is_named() {
    let executor = Executor::start(settings()).expect("Python");
    let broken =
        Problem { tests: vec![Test::new("assert add(1, 2) == 3"), Test::new("assert add(1,")], ..problem() };
    let error = executor.check_tests([&problem(), &broken]).expect_err("an error").to_string();
    assert!(error.contains("test 2 of add") && error.contains("line 1"), "{error}");
    assert!(executor.check_tests([&problem()]).is_ok());
}

#[test]
fn without_tests_nothing_passes() {
    let problem = Problem { tests: Vec::new(), ..problem() };
    assert!(!judge(&problem, &[RIGHT])[0].passed());
}

#[test]
fn a_missing_or_false_python_is_named() {
    let start = |python: &str| Executor::start(Settings { python: python.into(), ..settings() }).err();
    let missing = start("/no/such/python").expect("an error");
    assert!(matches!(missing, Error::NoPython { .. }));
    assert!(missing.to_string().contains("/no/such/python") && missing.to_string().contains("--python"));
    let path = std::env::temp_dir().join(format!("ncomp-false-python-{}", std::process::id()));
    std::fs::write(&path, "#!/bin/sh\necho wrong >&2\n").expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let wrong = start(path.to_str().expect("a path")).expect("an error");
    let _ = std::fs::remove_file(&path);
    assert!(wrong.to_string().contains("did not start as a Python"), "{wrong}");
}

#[test]
fn equal_programs_are_run_once_and_each_gets_its_verdict() {
    let problem = problem();
    let codes = vec![RIGHT; 200];
    let verdicts = judge(&problem, &codes);
    assert_eq!(verdicts.len(), 200);
    let times: HashMap<u64, usize> = verdicts.iter().fold(HashMap::new(), |mut times, verdict| {
        *times.entry(verdict.wall_milliseconds.to_bits()).or_default() += 1;
        times
    });
    assert_eq!(times.len(), 1);
}
