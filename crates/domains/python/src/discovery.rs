//! Where an interpreter's files are, found out by asking it.

use crate::{Error, Settings};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What the interpreter says of itself, and, for named packages, where they are. It runs here with
/// `site`, which the judge's interpreters run without. Packages may take seconds to import: that is done
/// here only where some may come from directories that not every candidate should read, and else by the
/// judge's interpreters alone. Any Python 3 can read it. It first says its version, so that one that is
/// too old is named before anything else fails. `PROGRAM`, the judge's own, is set before.
const QUESTIONS: &str = "
import json, sys
print(json.dumps({'version_info': list(sys.version_info[:3])}))
sys.stdout.flush()
import importlib.util, marshal, os, sysconfig
program = marshal.dumps(compile(PROGRAM, '<judge>', 'exec')).hex()
paths = [sys.base_prefix + '/lib', sys.exec_prefix + '/lib', os.path.dirname(os.__file__)] + [path for path in sys.path if path.endswith('lib-dynload')]
missing, places = {}, []
if sys.argv[1:]:
    places = [path for path in sys.path if path.endswith(('site-packages', 'dist-packages')) and os.path.isdir(path)]
elsewhere = [path for path in sys.path if path and os.path.isdir(path) and path not in places and '/lib/python' not in path]
for name in sys.argv[1:]:
    try:
        spec = importlib.util.find_spec(name)
        if spec is None: raise ImportError('no module named ' + name)
        if elsewhere: __import__(name)
    except Exception as error:
        missing[name] = '%s: %s' % (type(error).__name__, error)
for module in list(sys.modules.values()) if places else []:
    file = getattr(module, '__file__', None) or ''
    for path in elsewhere:
        if file.startswith(path + '/') and path not in places: places.append(path)
print(json.dumps({'executable': os.path.realpath(sys.executable), 'libraries': sorted(set(path for path in paths if os.path.isdir(path))),
    'version': sys.version, 'package_paths': places, 'missing': missing, 'program': program}))
";
/// The oldest version that the judge's programs run on.
const OLDEST: [u32; 3] = [3, 9, 0];
/// Time for an interpreter to say its version.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time to import packages, which may be large, and the disk cold.
const IMPORT_PATIENCE: Duration = Duration::from_secs(120);
/// Time for what gave no answer to end.
const ENDING: Duration = Duration::from_secs(1);
/// Longest answer. What is no Python may print for ever.
const LONGEST_ANSWER: u64 = 1 << 22;
/// Longest quotation of what a program said, in characters.
const QUOTED: usize = 160;

/// An interpreter's files.
#[derive(Clone, Debug)]
pub struct Interpreter {
    /// The program itself, where links lead.
    pub executable: PathBuf,
    /// What it reads: its standard library, shared libraries, packages.
    pub readable: Vec<PathBuf>,
    /// What it executes besides itself.
    pub executables: Vec<PathBuf>,
    /// Directories that packages are imported from.
    pub package_paths: Vec<PathBuf>,
    /// Its version as it says it.
    pub version: String,
    /// The program that the judge's interpreters run, compiled: reading it takes a twentieth of the time.
    pub program: Arc<[u8]>,
}

#[derive(Deserialize)]
struct Version {
    version_info: [u32; 3],
}

#[derive(Deserialize)]
struct Answers {
    executable: PathBuf,
    libraries: Vec<PathBuf>,
    version: String,
    package_paths: Vec<PathBuf>,
    missing: std::collections::BTreeMap<String, String>,
    program: String,
}

/// Bytes that are written with two digits each.
fn of_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    bytes.collect::<Option<_>>().filter(|_| rest.is_empty())
}

impl Interpreter {
    /// Asks an interpreter, which also compiles this program.
    ///
    /// # Errors
    /// Where there is none, it is not Python, is too old or hangs, or a package is missing.
    pub fn discover(settings: &Settings, program: &str) -> Result<Self, Error> {
        Self::within(settings, program, PATIENCE)
    }

    fn within(settings: &Settings, program: &str, patience: Duration) -> Result<Self, Error> {
        let python = || settings.python.clone();
        let bad = |message: String| Error::BadPython { python: python(), message };
        let mut asked =
            Asked::start(settings, program).map_err(|source| Error::NoPython { python: python(), source })?;
        let first = asked.line(patience).map_err(bad)?;
        let Ok(Version { version_info }) = serde_json::from_str(&first) else {
            return Err(bad(asked.no_python()));
        };
        if version_info < OLDEST {
            let [major, minor, patch] = version_info;
            return Err(bad(format!("it is Python {major}.{minor}.{patch}")));
        }
        // A package may print something when it is imported.
        let answers: Answers = loop {
            let line = asked.line(patience.max(IMPORT_PATIENCE)).map_err(bad)?;
            if let Ok(answers) = serde_json::from_str(&line) {
                break answers;
            }
        };
        if let Some((name, message)) = answers.missing.into_iter().next() {
            return Err(Error::Package { python: python(), name, message: quoted(&message) });
        }
        let Some(code) = of_hex(&answers.program) else {
            let message = "what it compiled cannot be read".to_owned();
            return Err(Error::BadPython { python: python(), message });
        };
        let mut readable = answers.libraries;
        readable.extend(answers.package_paths.iter().cloned());
        let executables = answers.executable.parent().map(PathBuf::from).into_iter();
        // A shared library of a package is mapped, not executed; the interpreter's own may stand
        // beside it.
        let executables = executables.chain(readable.iter().cloned()).collect();
        Ok(Interpreter {
            executable: answers.executable,
            readable,
            executables,
            package_paths: answers.package_paths,
            version: answers.version,
            program: code.into(),
        })
    }
}

/// A program that was asked what it is. Dropping it kills it.
struct Asked {
    child: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Asked {
    fn start(settings: &Settings, program: &str) -> io::Result<Self> {
        // By standard input: what is no Python would take an argument for a file's name or a text, and
        // repeat it in its error.
        let mut child = Command::new(&settings.python)
            .arg("-I")
            .arg("-")
            .args(&settings.packages)
            .env("OPENBLAS_NUM_THREADS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // What it starts, as a shell script does, ends with it.
            .process_group(0)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A text in JSON is one in Python.
            let questions = format!("PROGRAM = {}\n{QUESTIONS}", serde_json::Value::from(program));
            // More than a pipe takes. Who does not read it says so by another answer, and is ended.
            std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
        }
        let lines = child.stdout.take().map(in_background).unwrap_or_else(|| channel().1);
        let errors = child.stderr.take().map(in_background).unwrap_or_else(|| channel().1);
        Ok(Asked { child, lines, errors })
    }

    /// The next line of its answer, or why there is none.
    fn line(&mut self, patience: Duration) -> Result<String, String> {
        self.lines.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("it gave no answer in {} s", patience.as_secs()),
            RecvTimeoutError::Disconnected => self.no_python(),
        })
    }

    fn no_python(&mut self) -> String {
        format!("it did not answer as Python does{}", self.ending())
    }

    /// How it ended, where that says something, and the last that it said of it.
    fn ending(&mut self) -> String {
        let deadline = Instant::now() + ENDING;
        let mut said = String::new();
        // Until it closes its errors, as its end does.
        while let Ok(line) = self.errors.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if !line.trim().is_empty() {
                said = line;
            }
        }
        let mut status = self.child.try_wait();
        while matches!(status, Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
            status = self.child.try_wait();
        }
        let ended = match status {
            Ok(Some(status)) if !status.success() => status.signal().map_or_else(
                || format!("; it ended with exit status {}", status.code().unwrap_or_default()),
                |signal| format!("; it ended by signal {signal}"),
            ),
            _ => String::new(),
        };
        match said.as_str() {
            "" => ended,
            said => format!("{ended}; it said \u{201c}{}\u{201d}", quoted(said)),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(group) = Pid::from_raw(self.child.id() as i32) {
            // It may have ended already.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// Reads lines on a thread of its own, as many as an answer may have; then takes and forgets the rest.
fn in_background(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        let mut left = LONGEST_ANSWER;
        while let Ok(count @ 1..) = stream.by_ref().take(left).read_until(b'\n', &mut line) {
            left -= count as u64;
            if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    lines
}

/// One line of what a program said, without control characters.
pub(crate) fn quoted(said: &str) -> String {
    let clean = |character: char| if character.is_control() { ' ' } else { character };
    let text: String = said.trim().chars().map(clean).collect();
    match text.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn refused(python: &str) -> String {
        let settings = Settings { python: python.into(), ..Settings::default() };
        let error = Interpreter::within(&settings, "", Duration::from_secs(3)).expect_err(python).to_string();
        for part in ["import", "sys.version", "print(", "\n"] {
            assert!(!error.contains(part), "{python}: {error}");
        }
        error
    }

    #[test]
    fn what_is_no_python_is_told_in_a_sentence() {
        let directory = tempfile::tempdir().expect("a directory");
        let script = |text: &str| {
            let path = directory.path().join(format!("python{}", text.len()));
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
            path.display().to_string()
        };
        let file = directory.path().join("plain").display().to_string();
        std::fs::write(&file, "print(1)").expect("written");
        let empty = directory.path().join("empty").display().to_string();
        std::fs::write(&empty, [0x7f, b'E', b'L', b'F', 0]).expect("written");
        std::fs::set_permissions(&empty, PermissionsExt::from_mode(0o755)).expect("executable");
        let here = directory.path().display().to_string();
        for (python, expected) in [
            ("/nowhere/python3", "there is no such file"),
            ("no-such-python", "there is no such program in PATH"),
            (&file, "it is not executable"),
            (&here, "it is a directory"),
            (&empty, "it is no program for this machine"),
            ("/bin/ls", "it did not answer as Python does"),
            ("/bin/cat", "; it ended with exit status 1; it said “"),
            ("/bin/true", "it did not answer as Python does"),
            (
                &script("echo Unknown option: -I >&2; exit 2"),
                "; it ended with exit status 2; it said “Unknown option: -I”",
            ),
            (&script("echo '{\"version_info\": [3, 7, 1]}'"), "it is Python 3.7.1"),
            (&script("kill -SEGV $$"), "; it ended by signal 11"),
            (&script("yes"), "it did not answer as Python does"),
            (&script("cat"), "it did not answer as Python does"),
            (&script("head -c 3000000 /dev/zero"), "it did not answer as Python does"),
            (&script("sleep 100 # hangs"), "it gave no answer in 3 s"),
            (
                &script("echo '{\"version_info\": [3, 12, 1]}'; echo hello"),
                "it did not answer as Python does",
            ),
        ] {
            let started = Instant::now();
            let error = refused(python);
            assert!(error.contains(expected) && error.contains(python), "{python}: {error}");
            assert!(started.elapsed() < Duration::from_secs(20), "{python}");
        }
    }
}
