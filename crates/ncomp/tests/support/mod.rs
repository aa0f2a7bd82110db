//! A service under test, and another server that answers as a test wants.

#![allow(dead_code, reason = "each test file uses some of it")]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// `ncomp`, in the repository; on the processor, whatever the machine has, so that what it draws is
/// always the same.
pub fn ncomp(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ncomp"));
    command.args(arguments).current_dir(root()).env("NCOMP_DEVICE", "cpu");
    command
}

/// What it printed to stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What it printed to stdout, as JSON.
pub fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What it printed to stderr when it failed.
pub fn error(output: &Output) -> String {
    assert!(!output.status.success(), "it did not fail");
    stderr(output)
}

/// Names and values of a table's rows.
pub fn rows(report: &Value) -> Vec<(String, f64)> {
    let row = |row: &Value| {
        (row["name"].as_str().expect("a name").to_owned(), row["value"].as_f64().expect("a value"))
    };
    report["rows"].as_array().expect("rows").iter().map(row).collect()
}

/// `ncomp serve` or `view` on a free port; ends with its owner.
pub struct Running {
    /// The process.
    pub child: Child,
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub url: String,
}

impl Running {
    /// Starts it and waits until it listens.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = ncomp(&[arguments, &["--port", "0"]].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("ncomp");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        assert!(line.starts_with("http://"), "it does not listen: {line:?}");
        Running { child, url: line.trim().to_owned() }
    }

    /// Its host and port.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Asks, and returns status and body.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.post_text(path, &body.to_string());
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Asks, and returns status and body as it came.
    pub fn post_text(&self, path: &str, body: &str) -> (u16, String) {
        let request = agent().post(format!("{}{path}", self.url));
        let mut response = request.send(body).unwrap_or_else(|error| panic!("{path}: {error}"));
        (response.status().as_u16(), response.body_mut().read_to_string().expect("a body"))
    }

    /// Fetches.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut response = agent().get(format!("{}{path}", self.url)).call().expect("an answer");
        (response.status().as_u16(), response.body_mut().read_to_string().expect("a body"))
    }

    /// A number among the metrics.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").1;
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).expect("a metric");
        line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that takes every status for an answer.
pub fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build();
    config.into()
}

/// Waits until something is so.
pub fn wait_until(what: &str, so: impl Fn() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the other server does with a request for completions.
pub enum Reply {
    /// Answers with these texts.
    Texts(Vec<String>),
    /// Answers with a status.
    Status(u16),
    /// Breaks off in the middle of its answer.
    BreakOff,
    /// Waits before it answers with these texts.
    Slow(Duration, Vec<String>),
}

/// Another server with OpenAI's interface; `reply` is asked for every chat request.
pub fn other_server(reply: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let reply = Arc::new(reply);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let reply = reply.clone();
            std::thread::spawn(move || answer(stream, reply.as_ref()));
        }
    });
    url
}

fn answer(mut stream: TcpStream, reply: &dyn Fn(&Value) -> Reply) {
    let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
    let (mut first, mut length) = (String::new(), 0);
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return;
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let mut send = |status: u16, body: &Value, whole: bool| {
        let text = body.to_string();
        let shown = if whole { &text } else { &text[..text.len() / 2] };
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
        let _ = stream.write_all((head + shown).as_bytes());
    };
    let choices = |texts: Vec<String>| {
        let choice = |text: String| json!({"message": {"content": text}, "finish_reason": "stop"});
        json!({"choices": texts.into_iter().map(choice).collect::<Vec<_>>()})
    };
    if first.starts_with("GET") {
        return send(200, &json!({"data": [{"id": "other"}]}), true);
    }
    match reply(&serde_json::from_slice(&body).expect("JSON")) {
        Reply::Texts(texts) => send(200, &choices(texts), true),
        Reply::Status(status) => send(status, &json!({"error": "no"}), true),
        Reply::BreakOff => send(200, &choices(vec!["def f(): return 1".into()]), false),
        Reply::Slow(time, texts) => {
            std::thread::sleep(time);
            send(200, &choices(texts), true);
        }
    }
}

/// A program in a fence, as chat models write it.
pub fn fenced(code: &str) -> String {
    format!("Here it is:\n```python\n{code}\n```\nIt works.")
}

/// Processes below one, at any depth.
pub fn descendants(of: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let below = |mut pid: u32| {
        while let Some(up) = parent(pid).filter(|&up| up > 1) {
            if up == of {
                return true;
            }
            pid = up;
        }
        false
    };
    ids.filter(|&pid| below(pid)).collect()
}

/// Says that a test skips because something is not here; where all must be here, fails instead.
pub fn skip(what: &str) {
    assert!(std::env::var("NCOMP_TEST_CLIENTS").as_deref() != Ok("require"), "{what} is not here");
    eprintln!("SKIPPED: {what} is not here");
}
