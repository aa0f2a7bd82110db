//! Models whose chat template is somebody else's: what the commands say of it, and what it cannot do.

mod support;

use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::{Running, error, ncomp, root};
use tempfile::TempDir;

/// The built-in model with a chat template.
fn model(template: &str) -> (TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    for entry in std::fs::read_dir(root().join("models/basics")).expect("the model").flatten() {
        std::fs::copy(entry.path(), directory.path().join(entry.file_name())).expect("copied");
    }
    std::fs::write(directory.path().join("chat_template.jinja"), template).expect("written");
    let path = directory.path().display().to_string();
    (directory, path)
}

/// Takes half a minute in few steps.
fn endless() -> String {
    "{{ range(100000)|map('string')|join(',')|length }}".repeat(2000)
}

#[test]
fn a_template_that_cannot_be_used_is_told_with_the_option_that_does_without() {
    for template in ["{% if %}", "{{ raise_exception('no') }}", "{{ [1]|batch(4000000000, 0)|list }}"] {
        let (directory, path) = model(template);
        let out = directory.path().join("out.jsonl").display().to_string();
        let generate = ["generate", "--model", &path, "--limit", "1", "--max-new-tokens", "2", "--out", &out];
        let solve = ["solve", "Add two numbers.", "--model", &path, "-n", "1", "--max-new-tokens", "2"];
        for command in [&generate[..], &solve] {
            let message = error(&ncomp(command).output().expect("ncomp"));
            assert!(message.contains("chat_template.jinja: chat_template: "), "{message}");
            assert!(message.contains("; --prompt comment asks the model in comments"), "{message}");
        }
        let output = ncomp(&[&generate[..], &["--prompt", "comment"]].concat()).output().expect("ncomp");
        assert!(output.status.success(), "{output:?}");
    }
    let message = error(
        &ncomp(&["generate", "--prompt", "chat", "--limit", "1", "--out", "/dev/null"])
            .output()
            .expect("ncomp"),
    );
    assert!(
        message.contains("chat_template: there is none") && message.contains("--prompt comment"),
        "{message}"
    );
}

#[test]
fn a_template_without_end_costs_a_request_its_time_and_nobody_else_any() {
    let (_directory, path) = model(&endless());
    let service = Running::start(&["serve", "--model", &path, "--max-seconds", "2", "-n", "2"]);
    let ask = |ours: Value| {
        let started = Instant::now();
        let body = json!({
            "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "Add two numbers."}],
            "max_tokens": 4, "ncomp": ours,
        });
        (service.post("/v1/chat/completions", &body), started.elapsed())
    };
    std::thread::scope(|scope| {
        let asked = [json!({"candidates": 1}), json!({"candidates": 1}), json!({})]
            .map(|ours| scope.spawn(|| ask(ours)));
        std::thread::sleep(Duration::from_millis(300));
        for _ in 0..5 {
            let started = Instant::now();
            assert_eq!(service.get("/health").0, 200);
            assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        }
        for asked in asked {
            let ((status, reply), elapsed) = asked.join().expect("an answer");
            assert_eq!(status, 502, "{reply}");
            assert!(
                reply["error"]["message"].as_str().is_some_and(|message| message.contains("chat_template"))
            );
            assert!(elapsed < Duration::from_secs(12), "{elapsed:?}");
        }
    });
}

#[test]
fn the_usage_counts_the_conversation_however_many_candidates_there_are() {
    let (_directory, path) =
        model("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:");
    let service = Running::start(&["serve", "--model", &path]);
    let used = |candidates: u32| {
        let body = json!({
            "messages": [{"role": "user", "content": "Return the sum of the list."}],
            "max_tokens": 8, "ncomp": {"candidates": candidates},
        });
        let (status, reply) = service.post("/v1/chat/completions", &body);
        assert_eq!(status, 200, "{reply}");
        reply["usage"]["prompt_tokens"].as_u64().expect("a number")
    };
    let one = used(1);
    assert!(one > 5, "{one}");
    assert_eq!(one, used(2));
}
