//! A server that answers as the Hub does: a list of files, small files from itself, large ones from a
//! store elsewhere (another port), with ETags, ranges and errors.

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub const COMMIT: &str = "0000000000000000000000000000000000000000";

/// What a request for a file gets instead of the file.
#[derive(Clone)]
pub enum Fault {
    /// As many bytes, then the connection ends.
    CutAfter(usize),
    /// All of it, whatever range was asked for.
    NoRanges,
    /// Other bytes.
    Damage,
    /// An error, with the seconds to wait.
    Status(u16, Option<u32>),
    /// All of it, late.
    Slow,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
}

#[derive(Default)]
struct State {
    commit: String,
    files: HashMap<String, BTreeMap<String, Vec<u8>>>,
    gated: HashSet<String>,
    renamed: HashMap<String, String>,
    faults: VecDeque<Fault>,
    faults_of_small: VecDeque<Fault>,
    requests: Vec<Request>,
    store: String,
}

pub struct StandIn {
    pub endpoint: String,
    state: Arc<Mutex<State>>,
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl StandIn {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State { commit: COMMIT.to_owned(), ..State::default() }));
        let endpoint = listen(&state);
        let store = listen(&state);
        let hub = StandIn { endpoint, state };
        hub.state().store = store;
        hub
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("a lock")
    }

    pub fn add(&self, repository: &str, file: &str, bytes: &[u8]) {
        self.state().files.entry(repository.to_owned()).or_default().insert(file.to_owned(), bytes.to_vec());
    }

    pub fn set_commit(&self, commit: &str) {
        commit.clone_into(&mut self.state().commit);
    }

    pub fn gate(&self, repository: &str) {
        self.state().gated.insert(repository.to_owned());
    }

    pub fn rename(&self, old: &str, new: &str) {
        self.state().renamed.insert(old.to_owned(), new.to_owned());
    }

    /// What the next requests to the store get.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults = faults.into_iter().collect();
    }

    /// What the next requests for small files get.
    pub fn fail_small(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults_of_small = faults.into_iter().collect();
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    pub fn forget_requests(&self) {
        self.state().requests.clear();
    }
}

fn listen(state: &Arc<Mutex<State>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let state = state.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = state.clone();
            std::thread::spawn(move || serve(stream, &state));
        }
    });
    address
}

/// Answers the requests of one connection.
fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
    while let Some(request) = read(&mut reader) {
        state.lock().expect("a lock").requests.push(request.clone());
        let mut reply = answer(&request, &mut state.lock().expect("a lock"));
        std::thread::sleep(reply.delay);
        let mut bytes = format!("HTTP/1.1 {} X\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
        for (name, value) in &reply.headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        bytes.push_str("\r\n");
        let cut = reply.cut.unwrap_or(usize::MAX);
        reply.body.truncate(cut);
        let sent = stream.write_all(&[bytes.as_bytes(), &reply.body].concat());
        if sent.is_err() || reply.cut.is_some() {
            return;
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut request = Request { path, range: None, token: None };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { return Some(request) };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.to_owned()),
            "authorization" => request.token = Some(value.to_owned()),
            _ => {}
        }
    }
}

#[derive(Default)]
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    cut: Option<usize>,
    delay: Duration,
}

fn refuse(status: u16, error: &str) -> Reply {
    Reply { status, headers: vec![("x-error-code", error.to_owned())], ..Reply::default() }
}

fn redirect(status: u16, to: String) -> Reply {
    Reply { status, headers: vec![("location", to)], ..Reply::default() }
}

fn answer(request: &Request, state: &mut State) -> Reply {
    if let Some(hash) = request.path.strip_prefix("/store/") {
        let mut files = state.files.values().flat_map(BTreeMap::values);
        let body = files.find(|bytes| sha256(bytes) == hash).expect("a stored file").clone();
        return with_fault(state.faults.pop_front(), request, body);
    }
    let path = request.path.strip_prefix("/api/models").unwrap_or(&request.path).trim_start_matches('/');
    let is_api = request.path.starts_with("/api/");
    let separator = if is_api { "/revision/main" } else { "/resolve/" };
    let Some((repository, rest)) = path.split_once(separator) else { return refuse(404, "") };
    if let Some(new) = state.renamed.get(repository) {
        return redirect(307, request.path.replacen(repository, new, 1));
    }
    let Some(files) = state.files.get(repository) else {
        // As the Hub does: who has not said who he is does not learn what there is.
        return if request.token.is_none() {
            refuse(401, "RepoNotFound")
        } else {
            refuse(404, "RepoNotFound")
        };
    };
    if is_api {
        let names: Vec<String> = files.keys().map(|name| format!("{{\"rfilename\": \"{name}\"}}")).collect();
        let body = format!("{{\"sha\": \"{}\", \"siblings\": [{}]}}", state.commit, names.join(", "));
        return Reply { status: 200, body: body.into_bytes(), ..Reply::default() };
    }
    if state.gated.contains(repository) && request.token.is_none() {
        return refuse(401, "GatedRepo");
    }
    let (revision, file) = rest.split_once('/').unwrap_or((rest, ""));
    assert!(revision == "main" || revision == state.commit, "{}", request.path);
    let Some(bytes) = files.get(file) else { return refuse(404, "EntryNotFound") };
    let commit = ("x-repo-commit", state.commit.clone());
    if file.ends_with(".gguf") || file.ends_with(".safetensors") {
        let mut reply = redirect(302, format!("{}/store/{}", state.store, sha256(bytes)));
        reply.headers.extend([
            commit,
            ("etag", "\"of the redirect\"".to_owned()),
            ("x-linked-etag", format!("\"{}\"", sha256(bytes))),
            ("x-linked-size", bytes.len().to_string()),
        ]);
        return reply;
    }
    let etag = ("etag", format!("W/\"{}\"", &sha256(bytes)[..40]));
    let mut reply = with_fault(state.faults_of_small.pop_front(), request, bytes.clone());
    reply.headers.extend([commit, etag]);
    reply
}

fn with_fault(fault: Option<Fault>, request: &Request, mut body: Vec<u8>) -> Reply {
    if let Some(Fault::Status(status, pause)) = fault {
        let headers = pause.map(|pause| ("retry-after", pause.to_string())).into_iter().collect();
        return Reply { status, headers, ..Reply::default() };
    }
    let whole = body.len();
    if matches!(fault, Some(Fault::Damage)) {
        body[whole / 2] ^= 1;
    }
    let first = request
        .range
        .as_ref()
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let first: Option<usize> = first.filter(|_| !matches!(fault, Some(Fault::NoRanges)));
    let mut reply = match first {
        None => Reply { status: 200, body, ..Reply::default() },
        Some(first) if first >= whole => Reply { status: 416, ..Reply::default() },
        Some(first) => Reply {
            status: 206,
            headers: vec![("content-range", format!("bytes {first}-{}/{whole}", whole - 1))],
            body: body.split_off(first),
            ..Reply::default()
        },
    };
    match fault {
        Some(Fault::CutAfter(count)) => reply.cut = Some(count),
        Some(Fault::Slow) => reply.delay = Duration::from_millis(200),
        _ => {}
    }
    reply
}
