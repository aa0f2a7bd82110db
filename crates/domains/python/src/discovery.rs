//! Where an interpreter's files are, found out by asking it.

use crate::{Error, Settings};
use serde::Deserialize;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// What the interpreter says of itself, and, for named packages, where they are. It runs here with
/// `site`, which the judge's interpreters run without.
const QUESTIONS: &str = "
import importlib.util, json, marshal, os, sys, sysconfig
program = marshal.dumps(compile(sys.stdin.buffer.read(), '<judge>', 'exec')).hex()
paths = [sys.base_prefix + '/lib', sys.exec_prefix + '/lib', os.path.dirname(os.__file__)] + [path for path in sys.path if path.endswith('lib-dynload')]
missing, places = {}, []
for name in sys.argv[1:]:
    try:
        spec = importlib.util.find_spec(name)
        if spec is None: raise ImportError('no module named ' + name)
        __import__(name)
    except Exception as error:
        missing[name] = '%s: %s' % (type(error).__name__, error)
if sys.argv[1:]:
    places = [path for path in sys.path if path.endswith(('site-packages', 'dist-packages')) and os.path.isdir(path)]
    for module in list(sys.modules.values()):
        file = getattr(module, '__file__', None) or ''
        for path in sys.path:
            if path and file.startswith(path + '/') and os.path.isdir(path) and path not in places and '/lib/python' not in path: places.append(path)
print(json.dumps({'executable': os.path.realpath(sys.executable), 'libraries': sorted(set(path for path in paths if os.path.isdir(path))),
    'version': sys.version, 'package_paths': places, 'missing': missing, 'program': program}))
";

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
    /// Where there is none, it is not Python, or a package is missing.
    pub fn discover(settings: &Settings, program: &str) -> Result<Self, Error> {
        let python = || settings.python.clone();
        let no_python = |source| Error::NoPython { python: python(), source };
        let mut child = Command::new(&settings.python)
            .arg("-I")
            .arg("-c")
            .arg(QUESTIONS)
            .args(&settings.packages)
            .env("OPENBLAS_NUM_THREADS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(no_python)?;
        if let Some(mut stdin) = child.stdin.take() {
            // What does not read it will not answer either.
            let _ = stdin.write_all(program.as_bytes());
        }
        let output = child.wait_with_output().map_err(no_python)?;
        let answers: Answers = serde_json::from_slice(&output.stdout).map_err(|_| {
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            let message = stderr.trim().lines().last().unwrap_or("it said nothing").to_owned();
            Error::BadPython { python: python(), message }
        })?;
        if let Some((name, message)) = answers.missing.into_iter().next() {
            return Err(Error::Package { python: python(), name, message });
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
