//! Every command in the documentation is run, in its order, as a reader would.

mod support;

use std::process::Command;
use support::{root, skip};

/// The `sh` blocks of a page, as one script.
fn script(page: &str) -> String {
    let mut script = String::from("set -euo pipefail\n");
    let mut inside = false;
    for line in page.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

/// Runs a page's commands in a directory of their own, and gives what they print.
fn run(page: &str, at_least: usize) -> String {
    let page = std::fs::read_to_string(root().join("docs").join(page)).expect("the page");
    let script = script(&page);
    let commands = script.lines().filter(|line| line.contains("ncomp ")).count();
    assert!(commands >= at_least, "{script}");
    let directory = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(root().join("models"), directory.path().join("models")).expect("a link");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_ncomp"));
    let path = format!(
        "{}:{}",
        program.parent().expect("a directory").display(),
        std::env::var("PATH").expect("a path")
    );
    let output = Command::new("bash")
        .arg("-c")
        .arg(&script)
        .env("PATH", path)
        .current_dir(directory.path())
        .output()
        .expect("bash");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn the_commands_of_the_page_on_judging_run() {
    let text = run("judging.md", 4);
    for expected in [
        "pass@1: 75.0 % of 2 problems",
        "own-samples_eval_results.json",
        "\"pass@1\":0.75",
        "piped.verdicts.jsonl",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

#[test]
fn the_tutorials_commands_run() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("curl, which the tutorial uses");
    }
    let text = run("tutorial.md", 9);
    for expected in ["\"status\":\"unverified\"", "pass@1", "calibration error", "own-ranker.json"] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

/// Links between pages lead somewhere.
#[test]
fn links_lead_somewhere() {
    let pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root().join(name));
    let docs = std::fs::read_dir(root().join("docs")).expect("docs").map(|entry| entry.expect("one").path());
    let mut count = 0;
    for page in pages.into_iter().chain(docs) {
        let text = std::fs::read_to_string(&page).expect("a page");
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let file = target.split('#').next().unwrap_or(target);
            let found = page.parent().expect("a directory").join(file);
            assert!(found.exists(), "{}: {target} is not there", page.display());
            count += 1;
        }
    }
    assert!(count > 10);
}
