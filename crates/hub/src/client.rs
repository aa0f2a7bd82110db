//! Requests to the Hub: redirects, repetitions, downloads that resume.

use crate::Hub;
use crate::cache::{self, Cache};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::Response;
use ureq::{Agent, Body};

/// Redirects of one request.
const REDIRECTS: usize = 10;
/// Requests after the first for what failed for now, without progress in between.
const REPETITIONS: u32 = 4;
/// The longest that a server may ask to wait; one that asks for more is given up.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Silence after which a connection counts as broken.
const SILENCE: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(20);

/// Why a request failed.
pub(crate) enum Failure {
    /// The network was not to be used.
    Offline,
    /// The server refuses.
    Status { code: u16, error: String, pause: Option<Duration> },
    /// There is no connection, or it broke.
    Network(ureq::Error),
    /// The answer lacks what the Hub's has.
    NoHub(&'static str),
    /// The body ended early.
    Cut { found: u64, expected: u64 },
    /// What came is not what the Hub has.
    Damaged,
    /// The server does not give the rest of a file.
    NoRange,
    /// The cache cannot be written.
    Disk(io::Error),
}

impl Failure {
    /// Why, and what to do. `{repository}` stands for the repository's name.
    pub(crate) fn message(&self, hub: &Hub) -> String {
        let Hub { endpoint, cache, .. } = hub;
        match self {
            Failure::Offline => format!(
                "HF_HUB_OFFLINE is set and {} does not hold it; unset it, or copy the file there",
                cache.display()
            ),
            Failure::Status { error, code, .. } if error == "GatedRepo" || *code == 403 => format!(
                "its owner grants access to those who ask for it ({code}): ask at {endpoint}/{{repository}} and set HF_TOKEN to a token of yours"
            ),
            Failure::Status { code: 401, .. } if hub.token.is_none() => {
                "there is no such repository, or it is private (401): check the name, or set HF_TOKEN".to_owned()
            }
            Failure::Status { code: 401, .. } => {
                "there is no such repository, or the token does not open it (401): check the name and HF_TOKEN"
                    .to_owned()
            }
            Failure::Status { code: 404, error, .. } if error == "EntryNotFound" => {
                "it has no such file (404)".to_owned()
            }
            Failure::Status { code: 404, .. } => {
                "there is no such repository or file (404): check the name".to_owned()
            }
            Failure::Status { code: 429, pause, .. } => {
                let pause = pause.map_or_else(|| "later".to_owned(), |pause| format!("in {} s", pause.as_secs()));
                format!("too many requests (429): try again {pause}, or set HF_TOKEN, which allows more")
            }
            Failure::Status { code, .. } => {
                format!("{endpoint} answers {code}: try again later, or give a local path")
            }
            Failure::Network(error) => format!(
                "{endpoint} cannot be reached ({error}): check the network, set HF_ENDPOINT to a mirror, or give a local path"
            ),
            Failure::NoHub(what) => format!(
                "{endpoint} does not answer as the Hub does (expected {what}): check HF_ENDPOINT"
            ),
            Failure::Cut { found, expected } => format!(
                "the connection broke after {found} of {expected} bytes; the same command goes on from there"
            ),
            Failure::Damaged => {
                "what came is not what the Hub has (another SHA-256 or length); nothing of it is kept: try again, or use another network or HF_ENDPOINT"
                    .to_owned()
            }
            Failure::NoRange => {
                "the server does not give the rest of the file; nothing of it is kept: try again".to_owned()
            }
            Failure::Disk(error) => format!("{} cannot be written: {error}", cache.display()),
        }
    }

    /// How long to wait before the request is worth repeating, if it ever is.
    fn pause(&self, usual: Duration) -> Option<Duration> {
        match self {
            Failure::Status { code: 429 | 500 | 502 | 503 | 504, pause, .. } => {
                Some(pause.unwrap_or(usual)).filter(|&pause| pause <= LONGEST_PAUSE)
            }
            Failure::Cut { .. } | Failure::NoRange | Failure::Damaged => Some(usual),
            // Who cannot be reached at all is told at once.
            Failure::Network(ureq::Error::Io(error)) if error.kind() != io::ErrorKind::ConnectionRefused => {
                Some(usual)
            }
            _ => None,
        }
    }
}

pub(crate) struct Client<'a> {
    hub: &'a Hub,
    agent: Agent,
}

/// What answered at the end of the Hub's own redirects, and what it said on the way.
struct Reply {
    response: Response<Body>,
    /// Where else the file is.
    elsewhere: Option<String>,
    commit: Option<String>,
    etag: Option<String>,
    size: Option<u64>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(hub: &'a Hub) -> Self {
        // Redirects are followed here: the Hub says on the way what the file is, and must not give the
        // token to others.
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("ncomp/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build();
        Client { hub, agent: agent.into() }
    }

    /// A JSON document.
    pub(crate) fn json<T: DeserializeOwned>(&self, url: &str) -> Result<T, Failure> {
        self.repeated(|_| {
            self.get(url)?.response.body_mut().read_json().map_err(|error| match error {
                ureq::Error::Json(_) => Failure::NoHub("JSON with sha and siblings"),
                error => Failure::Network(error),
            })
        })
    }

    /// Brings a file into the cache, if it is not there. Gives its blob, and the commit that it is of.
    pub(crate) fn download(&self, url: &str, cache: &Cache) -> Result<(PathBuf, Option<String>), Failure> {
        self.repeated(|length| {
            let reply = self.get(url)?;
            let etag =
                reply.etag.clone().filter(|etag| cache::is_name(etag)).ok_or(Failure::NoHub("an ETag"))?;
            let (blob, commit) = (cache.blob(&etag), reply.commit.clone());
            if !blob.is_file() {
                self.complete(url, reply, &blob, length)?;
            }
            Ok((blob, commit))
        })
    }

    /// Repeats what failed for now, as long as it makes progress: `attempt` is given the length that it
    /// reached, to be raised.
    fn repeated<T>(&self, mut attempt: impl FnMut(&mut u64) -> Result<T, Failure>) -> Result<T, Failure> {
        let (mut length, mut longest, mut failures) = (0, 0, 0);
        loop {
            let failure = match attempt(&mut length) {
                Ok(value) => return Ok(value),
                Err(failure) => failure,
            };
            if length > longest {
                (longest, failures) = (length, 0);
            }
            match failure.pause(self.hub.pause * 2u32.pow(failures)) {
                Some(pause) if failures < REPETITIONS => std::thread::sleep(pause),
                _ => return Err(failure),
            }
            failures += 1;
        }
    }

    /// Writes `reply`, or what an earlier download lacks of it, beside `blob` and renames it.
    fn complete(&self, url: &str, reply: Reply, blob: &Path, length: &mut u64) -> Result<(), Failure> {
        let part_path = with_suffix(blob, ".incomplete");
        if let Some(directory) = blob.parent() {
            fs::create_dir_all(directory).map_err(Failure::Disk)?;
        }
        let part = OpenOptions::new().create(true).read(true).append(true).open(&part_path);
        let mut part = part.map_err(Failure::Disk)?;
        // Of two processes one fetches and the other waits. A file system without locks is no reason to
        // refuse.
        let _ = part.lock();
        if blob.is_file() {
            return Ok(());
        }
        let size = reply.size;
        let start = part.metadata().map_err(Failure::Disk)?.len();
        let size = match size.is_some_and(|size| start >= size) {
            true => size,
            false => self.append(url, reply, &mut part, start)?,
        };
        *length = part.metadata().map_err(Failure::Disk)?.len();
        match size {
            Some(expected) if *length < expected => return Err(Failure::Cut { found: *length, expected }),
            size if size.is_some_and(|size| *length > size) || !has_digest(&mut part, blob) => {
                part.set_len(0).map_err(Failure::Disk)?;
                return Err(Failure::Damaged);
            }
            _ => {}
        }
        part.sync_all().map_err(Failure::Disk)?;
        fs::rename(&part_path, blob).map_err(Failure::Disk)
    }

    /// Appends what comes after the `start` bytes that are there, or as much of it as comes. Gives the
    /// length of the whole file, if it is known.
    fn append(
        &self,
        url: &str,
        known: Reply,
        part: &mut File,
        mut start: u64,
    ) -> Result<Option<u64>, Failure> {
        let size = known.size;
        let mut reply = match &known.elsewhere {
            None if start == 0 => known,
            elsewhere => self.follow(elsewhere.as_deref().unwrap_or(url), start, true)?,
        };
        if start > 0 && reply.first_byte() != Some(start) {
            // The server sends all of it again, or something else.
            part.set_len(0).map_err(Failure::Disk)?;
            start = 0;
            if reply.response.status() != 200 {
                return Err(Failure::NoRange);
            }
        }
        let size = size.or_else(|| Some(start + reply.response.body().content_length()?));
        let mut body = reply.response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => return Ok(size),
                Ok(count) => part.write_all(&buffer[..count]).map_err(Failure::Disk)?,
                // What is missing is counted.
                Err(_) if size.is_some() => return Ok(size),
                Err(error) => return Err(Failure::Network(ureq::Error::Io(error))),
            }
        }
    }

    /// Asks the Hub, and follows its redirects as long as they stay there.
    fn get(&self, url: &str) -> Result<Reply, Failure> {
        self.follow(url, 0, false)
    }

    /// Asks for a file, or its bytes from `start` on, and follows redirects, everywhere or on one server.
    fn follow(&self, url: &str, start: u64, everywhere: bool) -> Result<Reply, Failure> {
        let (mut url, mut commit, mut etag, mut size) = (url.to_owned(), None, None, None);
        for _ in 0..=REDIRECTS {
            let mut request = self.agent.get(&url);
            if start > 0 {
                request = request.header("range", format!("bytes={start}-"));
            }
            let is_hub = origin(&url) == origin(&self.hub.endpoint);
            if let Some(token) = self.hub.token.as_ref().filter(|_| is_hub) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(Failure::Network)?;
            let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
            commit = commit.or_else(|| header("x-repo-commit"));
            size = size.or_else(|| header("x-linked-size")?.parse().ok());
            let target = header("location").filter(|_| response.status().is_redirection());
            let target = target.map(|target| match target.starts_with('/') {
                true => format!("{}{target}", origin(&url)),
                false => target,
            });
            // A redirect within the server has the ETag of nothing.
            let stays = target.as_ref().is_some_and(|target| origin(target) == origin(&url));
            let own = || header("etag").filter(|_| !stays).map(|etag| unquoted(&etag));
            etag = etag.or_else(|| Some(unquoted(&header("x-linked-etag")?))).or_else(own);
            if let Some(target) = target {
                if !stays && !everywhere {
                    return Ok(Reply { response, elsewhere: Some(target), commit, etag, size });
                }
                url = target;
                continue;
            }
            let code = response.status().as_u16();
            if !response.status().is_success() && code != 416 {
                let seconds = header("retry-after").and_then(|seconds| seconds.trim().parse().ok());
                let pause = seconds.map(Duration::from_secs);
                return Err(Failure::Status {
                    code,
                    error: header("x-error-code").unwrap_or_default(),
                    pause,
                });
            }
            let length = header("content-length").and_then(|length| length.parse().ok());
            size = size.or(length.filter(|_| code == 200));
            return Ok(Reply { response, elsewhere: None, commit, etag, size });
        }
        Err(Failure::NoHub("an end of its redirects"))
    }
}

impl Reply {
    /// Where a part of a file begins.
    fn first_byte(&self) -> Option<u64> {
        let range = self.response.headers().get("content-range")?.to_str().ok()?;
        let (first, _) = range.strip_prefix("bytes ")?.split_once('-')?;
        first.parse().ok().filter(|_| self.response.status() == 206)
    }
}

/// Whether the file has the SHA-256 that the blob's name is, if it is one.
fn has_digest(file: &mut File, blob: &Path) -> bool {
    let name = blob.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name.len() != 64 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return true;
    }
    let mut digest = Sha256::new();
    let read = file.rewind().and_then(|()| io::copy(file, &mut digest));
    let found: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    read.is_ok() && found == name.to_ascii_lowercase()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn unquoted(etag: &str) -> String {
    etag.trim_start_matches("W/").trim_matches('"').to_owned()
}

/// A URL's scheme, host and port.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |end| &url[..host + end])
}
