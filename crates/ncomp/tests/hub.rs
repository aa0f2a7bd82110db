//! Problem sets by name: through a stand-in for the Hugging Face Hub on loopback, then from the
//! cache alone.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// Serves `datasets/google-research-datasets/mbpp`, and notes each request's path and token.
fn serve() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let log = log.clone();
            std::thread::spawn(move || answer(stream, &log));
        }
    });
    (address, seen)
}

fn answer(mut stream: TcpStream, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
    loop {
        let (mut request, mut token, mut range) = (String::new(), String::new(), None);
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if lower.starts_with("authorization:") {
                token = line.trim().to_owned();
            }
            if let Some(value) = lower.strip_prefix("range: bytes=") {
                let (from, to) = value.trim().split_once('-').expect("a range");
                range = Some((from.parse::<usize>().expect("a number"), to.parse::<usize>().ok()));
            }
        }
        let path = request.split(' ').nth(1).unwrap_or("").to_owned();
        log.lock().expect("a lock").push(format!("{path} {token}"));
        let split = path.rsplit('/').next().and_then(|file| file.strip_suffix("-00000-of-00001.parquet"));
        let known = path.starts_with("/datasets/google-research-datasets/mbpp/resolve/main/full/");
        let body = split
            .filter(|_| known)
            .and_then(|split| std::fs::read(here().join(format!("{split}.parquet"))).ok());
        let reply = match body {
            None => b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec(),
            Some(body) => {
                let (from, to) = range.map_or((0, body.len() - 1), |(from, to)| {
                    (from, to.unwrap_or(body.len() - 1).min(body.len() - 1))
                });
                let head = format!(
                    "HTTP/1.1 206 Partial Content\r\nx-repo-commit: 0123456789abcdef\r\netag: \"{}\"\r\ncontent-range: bytes {from}-{to}/{}\r\ncontent-length: {}\r\n\r\n",
                    split.unwrap_or(""),
                    body.len(),
                    to + 1 - from
                );
                [head.as_bytes(), &body[from..=to]].concat()
            }
        };
        if stream.write_all(&reply).is_err() {
            return;
        }
    }
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hub")
}

fn execute(home: &Path, endpoint: &str, offline: bool, out: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ncomp"));
    command.env("NCOMP_DEVICE", "cpu");
    command.args(["execute", "--problems", "mbpp", "--json", "--out"]).arg(home.join(out));
    command.env("HF_HOME", home).env("HF_ENDPOINT", endpoint).env("HF_TOKEN", "secret-token");
    if offline {
        command.env("HF_HUB_OFFLINE", "1");
    } else {
        command.env_remove("HF_HUB_OFFLINE");
    }
    command.output().expect("ncomp")
}

#[test]
fn a_set_comes_from_the_hub_into_the_cache() {
    let home = tempfile::tempdir().expect("a directory");
    let (endpoint, seen) = serve();

    let nothing = execute(home.path(), &endpoint, true, "a.jsonl");
    let message = String::from_utf8_lossy(&nothing.stderr);
    assert!(!nothing.status.success() && message.contains("HF_HUB_OFFLINE"), "{message}");
    assert!(seen.lock().expect("a lock").is_empty());

    let fetched = execute(home.path(), &endpoint, false, "b.jsonl");
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    let text = String::from_utf8_lossy(&fetched.stdout);
    assert!(text.contains("\"candidates\":4") && text.contains("\"pass@1\":1.0"), "{text}");
    let requests = seen.lock().expect("a lock").clone();
    assert!(requests.iter().any(|request| request.contains("Bearer secret-token")), "{requests:?}");

    let cached = execute(home.path(), "http://127.0.0.1:9", true, "c.jsonl");
    assert!(cached.status.success(), "{}", String::from_utf8_lossy(&cached.stderr));
}

#[test]
fn a_hub_that_does_not_answer_is_named() {
    let home = tempfile::tempdir().expect("a directory");
    let failed = execute(home.path(), "http://127.0.0.1:9", false, "a.jsonl");
    let message = String::from_utf8_lossy(&failed.stderr);
    assert!(message.contains("google-research-datasets/mbpp") && message.contains("local path"), "{message}");
}
