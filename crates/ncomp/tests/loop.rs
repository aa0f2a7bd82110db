//! The program as users run it: the whole loop, interrupted and resumed, and what goes wrong.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use support::{descendants, error, report, root, rows};
use transformer::{Config, Model};

const RECIPE: &str = r#"
name = "tiny"
seed = 3
[model]
path = "MODEL"
prompt = "comment"
[problems]
source = "basics"
train = 24
test = 12
[greedy]
max_new_tokens = 96
[pool]
samples = 6
max_new_tokens = 96
[grpo]
steps = 2
prompts_per_step = 6
group_size = 4
max_new_tokens = 96
kl_coefficient = 0.01
minibatches = 2
[grpo.optimizer]
learning_rate = 1e-4
[critic]
problems = 8
samples = 2
base_samples = 2
[critic.training]
epochs = 1
problems_per_step = 4
"#;

fn recipe(directory: &Path, change: (&str, &str)) -> PathBuf {
    let model = root().join("models/basics").display().to_string();
    let path = directory.join("recipe.toml");
    std::fs::write(&path, RECIPE.replace("MODEL", &model).replace(change.0, change.1)).expect("written");
    path
}

fn ncomp(arguments: &[&str]) -> Output {
    support::ncomp(arguments).output().expect("ncomp")
}

fn run(recipe: &Path, out: &Path) -> Output {
    ncomp(&["run", recipe.to_str().expect("a path"), "--out", out.to_str().expect("a path"), "--json"])
}

#[test]
fn the_loop_gives_the_same_table_again_and_after_interruptions() {
    let directory = tempfile::tempdir().expect("a directory");
    let recipe = recipe(directory.path(), ("", ""));
    let first = report(&run(&recipe, &directory.path().join("a")));
    let names: Vec<String> = rows(&first).into_iter().map(|row| row.0).collect();
    for name in ["baseline", "random", "likelihood", "grpo", "critic", "consensus_1", "oracle", "base_critic"]
    {
        assert!(names.iter().any(|found| found == name), "{name} is missing from {names:?}");
    }
    for row in first["rows"].as_array().expect("rows") {
        let [value, low, high] = ["value", "low", "high"].map(|name| row[name].as_f64().expect("a number"));
        assert!(0.0 <= low && low <= value && value <= high && high <= 100.0, "{row}");
        assert_eq!((row["n"].as_u64(), row["seed"].as_u64()), (Some(12), Some(3)));
    }
    for file in [
        "report.html",
        "report.json",
        "recipe.toml",
        "grpo/model.safetensors",
        "critic/score_head.safetensors",
        "metrics/grpo.jsonl",
        "scores/pool.jsonl",
    ] {
        assert!(directory.path().join("a").join(file).exists(), "{file}");
    }

    let out = directory.path().join("b");
    let interrupted = interrupt_until_done(&recipe, &out);
    assert!(interrupted > 0, "the run was too short to be interrupted");
    assert_eq!(rows(&first), rows(&report(&run(&recipe, &out))));
    // Nothing was done twice: the files hold every record once.
    for (file, count) in
        [("generated/pool.jsonl", 72), ("verdicts/pool.jsonl", 72), ("generated/rollouts.jsonl", 48)]
    {
        let text = std::fs::read_to_string(out.join(file)).expect(file);
        assert_eq!(text.lines().count(), count, "{file}");
    }
}

/// Sends Ctrl-C again and again until a call comes to its end; returns how often it took effect.
fn interrupt_until_done(recipe: &Path, out: &Path) -> usize {
    for attempt in 0..40 {
        let mut child = spawn(recipe, out);
        std::thread::sleep(std::time::Duration::from_millis(500 + 150 * attempt));
        interrupt(&child);
        match child.wait().expect("an end").code() {
            Some(0) => return attempt as usize,
            // Stopped by the signal's handler, or before there was one.
            Some(130) | None => {}
            code => panic!("an interrupted run ended with {code:?}"),
        }
    }
    panic!("the run never came to its end");
}

/// Ctrl-C in the middle of a stage that learns: what was learned is kept, and the table is the same.
#[test]
fn a_learning_stage_that_was_interrupted_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let longer =
        recipe(directory.path(), ("[critic.training]\nepochs = 1", "[critic.training]\nepochs = 40"));
    // Long enough to be interrupted after a step.
    let text = std::fs::read_to_string(&longer).expect("the recipe").replace("steps = 2", "steps = 10");
    std::fs::write(&longer, text).expect("the recipe");
    let whole = report(&run(&longer, &directory.path().join("a")));
    let out = directory.path().join("b");
    for (stage, metrics) in [("grpo", "metrics/grpo.jsonl"), ("critic", "metrics/critic.jsonl")] {
        let mut child = spawn(&longer, &out);
        while std::fs::metadata(out.join(metrics)).map_or(0, |file| file.len()) == 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            assert!(child.try_wait().expect("a state").is_none(), "the run ended before {stage}");
        }
        interrupt(&child);
        assert_eq!(child.wait().expect("an end").code(), Some(130), "{stage}");
        let state = out.join(format!("states/{stage}.safetensors"));
        assert!(state.exists(), "{} is missing", state.display());
    }
    assert_eq!(rows(&whole), rows(&report(&run(&longer, &out))));
}

/// A disk that is full in the middle (here: a limit on the size of files) is named, and what was
/// finished before is kept.
#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let recipe = recipe(directory.path(), ("", ""));
    let whole = report(&run(&recipe, &directory.path().join("a")));
    let out = directory.path().join("b");
    // In KiB: in the middle of the candidates' file, then of the tuned model's.
    for (limit, file) in [("64", "generated/base-pool.jsonl"), ("2048", "grpo/model.safetensors")] {
        let limited = Command::new("bash")
            .args(["-c", &format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\""), "bash"])
            .args([env!("CARGO_BIN_EXE_ncomp").as_ref(), "run".as_ref(), recipe.as_os_str()])
            .args(["--out".as_ref(), out.as_os_str()])
            .output()
            .expect("bash");
        let message = error(&limited);
        assert!(message.contains(file) && message.contains("File too large"), "{message}");
    }
    assert!(!out.join("grpo/model.safetensors").exists(), "half a model was taken for whole");
    assert_eq!(rows(&whole), rows(&report(&run(&recipe, &out))));
}

/// Killed without a chance to clean up in the middle of a batch: no process stays, and the same
/// command goes on and judges every candidate once.
#[test]
fn a_killed_execution_leaves_nothing_running_and_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let (problems, samples) =
        (directory.path().join("problems.jsonl"), directory.path().join("samples.jsonl"));
    let out = directory.path().join("verdicts.jsonl");
    let problem =
        r#"{"id":"one","text":"","entry_point":"f","tests":[{"source":"assert f() == 1"}],"split":"test"}"#;
    std::fs::write(&problems, problem).expect("written");
    // Equal programs are judged once, so each has a number in it.
    let code = |n: usize| format!("import time\ndef f():\n  time.sleep(0.02)\n  return {}  # {n}", n % 2);
    let sample = |n: usize| serde_json::json!({ "task_id": "one", "solution": code(n) }).to_string() + "\n";
    std::fs::write(&samples, (0..200).map(sample).collect::<String>()).expect("written");
    let arguments = |verb: &mut Command| {
        verb.arg("execute").arg("--samples").arg(&samples).arg("--problems").arg(&problems);
        verb.arg("--out").arg(&out).arg("--json");
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_ncomp"));
    command.env("NCOMP_DEVICE", "cpu");
    arguments(&mut command);
    let mut child = command.stdout(std::process::Stdio::null()).spawn().expect("ncomp");
    std::thread::sleep(std::time::Duration::from_millis(900));
    let interpreters = descendants(child.id());
    assert!(!interpreters.is_empty(), "the execution was over before it was killed");
    child.kill().expect("killed");
    child.wait().expect("an end");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let left: Vec<&u32> = interpreters.iter().filter(|pid| is_python(**pid)).collect();
    assert!(left.is_empty(), "still running: {left:?}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ncomp"));
    command.env("NCOMP_DEVICE", "cpu");
    arguments(&mut command);
    let output = command.output().expect("ncomp");
    assert_eq!(report(&output)["candidates"].as_u64(), Some(200));
    assert_eq!(report(&output)["outcomes"]["passed"].as_u64(), Some(100), "{}", report(&output));
}

/// A verdict is kept as long as program, tests and limits stay the same, and no longer.
#[test]
fn verdicts_on_something_else_are_made_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
    let problem = |expected: usize| {
        format!(
            r#"{{"id":"one","text":"","entry_point":"f","tests":[{{"source":"assert f() == {expected}"}}],"split":"test"}}"#
        )
    };
    let sample = |value: usize| format!("{{\"task_id\":\"one\",\"solution\":\"def f(): return {value}\"}}\n");
    let execute = |timeout: &str| {
        let (problems, samples) = (path("problems.jsonl"), path("samples.jsonl"));
        let files = ["execute", "--problems", &problems, "--samples", &samples, "--json"];
        let output = ncomp(&[&files[..], &["--timeout", timeout]].concat());
        let anew = String::from_utf8_lossy(&output.stderr).contains("judged anew");
        let outcomes = report(&output)["outcomes"].clone();
        (outcomes["passed"].as_u64().unwrap_or(0), outcomes["wrong_answer"].as_u64().unwrap_or(0), anew)
    };
    write("problems.jsonl", &problem(1));
    write("samples.jsonl", &(sample(1) + &sample(2)));
    assert_eq!(execute("2"), (1, 1, false));
    assert_eq!(execute("2"), (1, 1, false), "nothing has changed");
    write("samples.jsonl", &(sample(1) + &sample(1)));
    assert_eq!(execute("2"), (2, 0, true), "another program");
    write("problems.jsonl", &problem(2));
    assert_eq!(execute("2"), (0, 2, true), "another test");
    assert_eq!(execute("3"), (0, 2, true), "another limit");
    write("samples.jsonl", &sample(1));
    assert_eq!(execute("3"), (0, 1, false), "fewer samples");
}

/// With too few descriptors for its workers, every candidate still gets its verdict.
#[test]
fn a_lack_of_descriptors_loses_no_candidate() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let problem =
        r#"{"id":"one","text":"","entry_point":"f","tests":[{"source":"assert f() == 1"}],"split":"test"}"#;
    std::fs::write(path("problems.jsonl"), problem).expect("written");
    let sample = |n: usize| {
        serde_json::json!({ "task_id": "one", "solution": format!("def f(): return {}  # {n}", n % 2) })
            .to_string()
            + "\n"
    };
    std::fs::write(path("samples.jsonl"), (0..60).map(sample).collect::<String>()).expect("written");
    let output = Command::new("bash")
        .args([
            "-c",
            "ulimit -n 18; exec \"$@\"",
            "bash",
            env!("CARGO_BIN_EXE_ncomp"),
            "execute",
            "--workers",
            "6",
        ])
        .args(["--problems", &path("problems.jsonl"), "--samples", &path("samples.jsonl"), "--json"])
        .output()
        .expect("bash");
    let outcomes = &report(&output)["outcomes"];
    assert_eq!(
        (outcomes["passed"].as_u64(), outcomes["wrong_answer"].as_u64()),
        (Some(30), Some(30)),
        "{outcomes}"
    );
}

fn is_python(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|command| command.contains("-I\0-S\0-c"))
}

fn spawn(recipe: &Path, out: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ncomp"))
        .args(["run".as_ref(), recipe.as_os_str(), "--out".as_ref(), out.as_os_str()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("ncomp")
}

fn interrupt(child: &Child) {
    let _ = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status();
}

#[test]
fn bad_input_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("run");
    let unknown = recipe(directory.path(), ("samples = 6", "sampels = 6"));
    let message = error(&run(&unknown, &out));
    assert!(
        message.contains("recipe.toml")
            && message.contains("line 14")
            && message.contains("did you mean `samples`?"),
        "{message}"
    );
    assert!(!out.exists());

    let no_python = recipe(directory.path(), ("[grpo]\n", "[executor]\npython = \"/no/python\"\n[grpo]\n"));
    let message = error(&run(&no_python, &out));
    assert!(message.contains("/no/python") && message.contains("install Python"), "{message}");

    let no_model = recipe(directory.path(), ("prompt = \"comment\"", "prompt = \"chat\""));
    let message = error(&run(&no_model, &directory.path().join("chat")));
    assert!(message.contains("chat_template") && message.contains("model.prompt = \"comment\""), "{message}");

    // Nothing that was refused left a run behind.
    assert!(!out.exists());
    let own = pipeline::recipe::Recipe::load(&recipe(directory.path(), ("steps = 2", "steps = 2")));
    std::fs::create_dir(&out).expect("made");
    let text = own.expect("a recipe").resolved().expect("TOML");
    std::fs::write(out.join("recipe.toml"), text).expect("written");
    let other = recipe(directory.path(), ("steps = 2", "steps = 5"));
    let message = error(&run(&other, &out));
    assert!(message.contains("belongs to another recipe") && message.contains("--out"), "{message}");

    let blocked = directory.path().join("file");
    std::fs::write(&blocked, "").expect("written");
    let message = error(&run(&no_python, &blocked.join("run")));
    assert!(message.contains("cannot use") && message.contains("file/run"), "{message}");
}

#[test]
fn a_tokenizer_that_does_not_fit_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let model = directory.path().join("model");
    Model::random(Config { vocab_size: 100, ..Config::tiny() }, 1)
        .save(&model, Default::default())
        .expect("saved");
    std::fs::copy(root().join("models/basics/tokenizer.json"), model.join("tokenizer.json")).expect("copied");
    let out = directory.path().join("c.jsonl");
    let message = error(&ncomp(&[
        "generate",
        "--model",
        model.to_str().expect("a path"),
        "--out",
        out.to_str().expect("a path"),
    ]));
    assert!(
        message.contains("tokenizer.json: the tokenizer has a token") && message.contains("is 100"),
        "{message}"
    );
}

/// Every reference solution of the built-in set passes its tests.
#[test]
fn references_of_the_built_in_set_pass() {
    let world = problems::basics::World::new();
    let python = python::Python::start(python::Settings::default()).expect("Python");
    let settings = verify::Settings::default();
    let pool = verify::Pool::start(vec![std::sync::Arc::new(python)], settings).expect("a pool");
    let client = pool.client("references");
    for split in [records::Split::Train, records::Split::Validation, records::Split::Test] {
        let problems = world.problems(split, 400, 11);
        let tasks = problems.iter().flat_map(|problem| {
            let codes = problem.references.iter().enumerate();
            codes.map(move |(index, solution)| verify::Task { problem, index, solution })
        });
        let tasks: Vec<_> = tasks.collect();
        let mut failed = Vec::new();
        client.judge_all(&tasks, &mut |verdict| {
            if !verdict.passed() {
                failed.push(verdict);
            }
            std::ops::ControlFlow::Continue(())
        });
        assert!(failed.is_empty(), "{:?}", failed.first());
    }
}

/// The reference protocol's recipe on real problems, with a tiny random Qwen2 of our own making.
#[test]
fn the_reference_recipe_runs_on_mbpp() {
    let data = root().join("../shared/data");
    if !data.exists() {
        eprintln!("SKIPPED: {} is not here", data.display());
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let model = directory.path().join("tiny-qwen2");
    let config = Config {
        vocab_size: 151_936,
        eos_token_ids: vec![151_645, 151_643],
        hidden_size: 16,
        intermediate_size: 32,
        ..Config::tiny()
    };
    Model::random(config, 1).save(&model, Default::default()).expect("saved");
    for file in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        std::fs::copy(data.join("qwen2.5-coder").join(file), model.join(file)).expect("copied");
    }
    let text =
        std::fs::read_to_string(root().join("recipes/mbpp-qwen2.5-coder-1.5b.toml")).expect("the recipe");
    let small = [
        ("source = \"mbpp-sanitized\"", "source = \"mbpp-sanitized\"\ntrain = 4\ntest = 3"),
        ("max_new_tokens = 512", "max_new_tokens = 12"),
        ("max_new_tokens = 256", "max_new_tokens = 12"),
        ("samples = 50", "samples = 3"),
        ("steps = 75", "steps = 1"),
        ("problems = 120", "problems = 4"),
    ];
    let text = small.into_iter().fold(text, |text, (from, to)| text.replace(from, to));
    let recipe = directory.path().join("recipe.toml");
    std::fs::write(&recipe, text).expect("written");
    let set = data.join("mbpp/sanitized-mbpp.json");
    let arguments = |out: &str| {
        let out = directory.path().join(out);
        [
            "run",
            recipe.to_str().expect("a path"),
            "--model",
            model.to_str().expect("a path"),
            "--problems",
            set.to_str().expect("a path"),
            "--out",
            out.to_str().expect("a path"),
            "--json",
        ]
        .map(str::to_owned)
        .to_vec()
    };
    let mut dry = arguments("dry");
    dry.push("--dry-run".to_owned());
    let dry = ncomp(&dry.iter().map(String::as_str).collect::<Vec<_>>());
    let told = report(&dry);
    for memory in ["memory", "gpu_memory"] {
        assert!(told["steps"][2][memory].as_str().is_some_and(|text| text.ends_with(" GiB")), "{told}");
    }
    assert!(!directory.path().join("dry").exists());
    let whole = arguments("run");
    let report = report(&ncomp(&whole.iter().map(String::as_str).collect::<Vec<_>>()));
    assert_eq!(report["rows"][0]["n"], 3);
}
