//! What each tier refuses, what it lets through, and what is left behind. Tiers that this machine
//! does not have are skipped with a word.

#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

use sandbox::{Error, Limits, Lockdown, PROBE, Policy, Process, Profile, Stdio, Step, Tier, probe, spawn};
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PYTHON: &str = "/usr/bin/python3";

fn argv(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// The tiers that this machine has.
fn tiers(profile: Profile) -> Vec<Tier> {
    let available = |tier: &Tier| match probe(&Policy::new(profile, *tier)) {
        Ok(_) => true,
        Err(error) if error.denies_tier() => {
            println!("skipped: tier {} is unavailable: {error}", tier.name());
            false
        }
        Err(error) => panic!("tier {}: {error}", tier.name()),
    };
    Tier::ALL.into_iter().filter(available).collect()
}

/// A command that may execute what is in `/usr/bin` and `/bin`, its output in pipes.
fn command(tier: Tier) -> Policy {
    Policy {
        executable: vec![PathBuf::from("/bin"), PathBuf::from("/usr/bin")],
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
        stdout: Stdio::Pipe,
        stderr: Stdio::Pipe,
        ..Policy::new(Profile::Command, tier)
    }
}

/// What a process writes until its end, to standard output and error.
fn output(process: &mut Process) -> (String, String) {
    let mut texts = (String::new(), String::new());
    process.stdout.take().unwrap().read_to_string(&mut texts.0).unwrap();
    process.stderr.take().unwrap().read_to_string(&mut texts.1).unwrap();
    texts
}

fn shell(tier: Tier, script: &str) -> (String, String, sandbox::Status) {
    let mut process = spawn(&argv(&["sh", "-c", script]), command(tier)).unwrap();
    let (out, error) = output(&mut process);
    (out, error, process.wait().unwrap())
}

#[test]
fn attacks_are_refused() {
    for profile in [Profile::Interpreter, Profile::Command] {
        for tier in tiers(profile) {
            let through = probe(&Policy::new(profile, tier)).unwrap();
            assert!(through.is_empty(), "{profile:?} {}: {through:?}", tier.name());
        }
    }
}

#[test]
fn named_paths_do_not_open_others() {
    for tier in tiers(Profile::Command) {
        let mut policy = Policy::new(Profile::Command, tier);
        policy.readable = ["/bin", "/etc", "/usr", "/dev/zero"].map(PathBuf::from).to_vec();
        let through = probe(&policy).unwrap();
        assert!(through.is_empty(), "tier {}: {through:?}", tier.name());
    }
}

#[test]
fn candidates_are_refused_attacks_and_nothing_harmless() {
    if !Path::new(PYTHON).exists() {
        return println!("skipped: no {PYTHON}");
    }
    for tier in tiers(Profile::Interpreter).into_iter().filter(|tier| *tier <= Tier::C) {
        let mut lockdown = Lockdown::of(tier, &[], Profile::Interpreter).unwrap();
        let filter = lockdown.child_filter.take().unwrap();
        assert_eq!(filter.pid_offsets.len(), 2, "kill and tgkill");
        let order = serde_json::json!({
            "probe": PROBE,
            "files": tier <= Tier::B,
            "ruleset": lockdown.ruleset.is_some(),
            "filters": lockdown.filters,
            "child_filter": filter.program,
            "pid_offsets": filter.pid_offsets,
        });
        let mut policy = Policy::new(Profile::Interpreter, tier);
        policy.descriptors.extend(lockdown.ruleset.map(|ruleset| (ruleset, 4)));
        (policy.stdin, policy.stdout, policy.stderr) = (Stdio::Pipe, Stdio::Pipe, Stdio::Pipe);
        let program = include_str!("interpreter.py");
        let mut process = spawn(&argv(&[PYTHON, "-I", "-S", "-c", program]), policy).unwrap();
        process.stdin.take().unwrap().write_all(order.to_string().as_bytes()).unwrap();
        let (out, error) = output(&mut process);
        assert_eq!(out, r#"{"through": [], "refused": []}"#, "tier {}: {error}", tier.name());
    }
}

#[test]
fn commands_run() {
    for tier in tiers(Profile::Command) {
        let (out, error, status) = shell(tier, "echo hi; ls /usr/lib > /dev/null && echo listed");
        assert_eq!((out.as_str(), error.as_str()), ("hi\nlisted\n", ""), "tier {}", tier.name());
        assert!(status.success());
        let mut process =
            spawn(&argv(&["/bin/sh", "-c", "exec cat"]), Policy { stdin: Stdio::Pipe, ..command(tier) })
                .unwrap();
        process.stdin.take().unwrap().write_all(b"through a pipe").unwrap();
        assert_eq!(output(&mut process).0, "through a pipe");
        if Path::new(PYTHON).exists() {
            let program = "import subprocess, sys; print(subprocess.run(['echo', 'child'], capture_output=True).stdout)";
            let mut process = spawn(&argv(&[PYTHON, "-I", "-S", "-c", program]), command(tier)).unwrap();
            assert_eq!(
                output(&mut process),
                ("b'child\\n'\n".to_owned(), String::new()),
                "tier {}",
                tier.name()
            );
        }
    }
}

#[test]
fn files_are_read_and_executed_where_named() {
    let home = tempfile::tempdir_in("/tmp").unwrap();
    let link = home.path().join("link");
    fs::create_dir(home.path().join("named")).unwrap();
    fs::write(home.path().join("named/file"), "text").unwrap();
    fs::write(home.path().join("secret"), "hidden").unwrap();
    std::os::unix::fs::symlink("named/file", &link).unwrap();
    for tier in tiers(Profile::Command).into_iter().filter(|tier| *tier <= Tier::B) {
        let script = format!(
            "cd {0}; cat link; cat secret; echo x > named/file; echo x > new; /usr/bin/env true; mkdir d; rm named/file",
            home.path().display()
        );
        let mut policy = command(tier);
        policy.readable = vec![link.clone()];
        policy.executable = vec![PathBuf::from("/bin/cat")];
        policy.directory = home.path().to_owned();
        let mut process = spawn(&argv(&["/bin/sh", "-c", &script]), policy).unwrap();
        let (out, error) = output(&mut process);
        assert_eq!(out, "text", "tier {}: {error}", tier.name());
        assert_eq!(error.lines().count(), 6, "all but two are refused: {error}");
        assert_eq!(fs::read_to_string(&link).unwrap(), "text");
    }
}

#[test]
fn scratch_is_writable_and_bounded() {
    for tier in tiers(Profile::Command).into_iter().filter(|tier| *tier == Tier::A) {
        let script =
            "echo x > /tmp/x && cat /tmp/x; echo y > /y; head -c 3000000 /dev/zero > /tmp/z; wc -c < /tmp/z";
        let policy = Policy { scratch_bytes: 1 << 20, ..command(tier) };
        let mut process = spawn(&argv(&["sh", "-c", script]), policy).unwrap();
        let (out, error) = output(&mut process);
        assert!(out.starts_with("x\n"), "{out} {error}");
        assert!(out.lines().last().unwrap().trim().parse::<u64>().unwrap() <= 1 << 20, "{out} {error}");
        assert!(error.contains("Read-only"), "{error}");
    }
    assert!(!Path::new("/y").exists());
}

#[test]
fn environment_and_directory_are_exact() {
    for tier in tiers(Profile::Command) {
        let mut policy = command(tier);
        policy.environment.push(("ONE".into(), "1 = one".into()));
        policy.directory = PathBuf::from("/usr/lib");
        let mut process = spawn(&argv(&["env"]), policy).unwrap();
        assert_eq!(output(&mut process).0, "PATH=/usr/bin:/bin\nONE=1 = one\n");
        let mut policy = command(tier);
        policy.directory = PathBuf::from("/usr/lib");
        let mut process = spawn(&argv(&["sh", "-c", "pwd"]), policy).unwrap();
        assert_eq!(output(&mut process).0, "/usr/lib\n", "tier {}", tier.name());
    }
}

/// Its descriptors can be seen without `/proc`: copying one that is not there fails.
#[test]
fn descriptors_are_not_inherited() {
    let secret = fs::File::open("/etc/passwd").unwrap();
    // SAFETY: the number is that of an open file of this test's; only its flag changes.
    unsafe { libc::fcntl(secret.as_raw_fd(), libc::F_SETFD, 0) };
    // SAFETY: a new descriptor with a high number, which stays open on purpose.
    assert!(unsafe { libc::dup2(secret.as_raw_fd(), 200) } == 200);
    for tier in tiers(Profile::Command) {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut policy = command(tier);
        policy.descriptors = vec![(writer.into(), 7)];
        let script = "import os, errno\nleft = []\nfor number in range(300):\n  try: os.fstat(number); left.append(number)\n  except OSError: pass\nos.write(7, repr(left).encode())";
        let mut process = spawn(&argv(&[PYTHON, "-I", "-S", "-c", script]), policy).unwrap();
        let (_, error) = output(&mut process);
        let mut text = String::new();
        BufReader::new(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "[0, 1, 2, 7]", "tier {}: {error}", tier.name());
    }
}

/// A flag that one process sets on its `/dev/null` does not reach the next.
#[test]
fn null_is_opened_for_each() {
    for tier in tiers(Profile::Command) {
        let script = "import fcntl, os\nold = fcntl.fcntl(0, fcntl.F_GETFL)\nfcntl.fcntl(0, fcntl.F_SETFL, old | os.O_NONBLOCK | os.O_APPEND)\nprint(old & (os.O_NONBLOCK | os.O_APPEND))";
        for _ in 0..2 {
            let mut process = spawn(&argv(&[PYTHON, "-I", "-S", "-c", script]), command(tier)).unwrap();
            assert_eq!(output(&mut process), ("0\n".to_owned(), String::new()));
        }
    }
}

#[test]
fn limits_hold() {
    for tier in tiers(Profile::Command) {
        let run = |script: &str, limits: Limits| {
            let policy = Policy { limits, ..command(tier) };
            let mut process = spawn(&argv(&[PYTHON, "-I", "-S", "-c", script]), policy).unwrap();
            let (out, error) = output(&mut process);
            (out, error, process.wait().unwrap())
        };
        let (_, _, status) = run("while True: pass", Limits { cpu_seconds: Some(1), ..Limits::default() });
        assert!(matches!(status.signal, Some(libc::SIGXCPU | libc::SIGKILL)), "{status:?}");
        assert!(
            status.cpu >= Duration::from_millis(500) && status.cpu < Duration::from_secs(4),
            "{status:?}"
        );
        let memory = Limits { address_space: Some(256 << 20), ..Limits::default() };
        assert!(run("b'x' * (1 << 30)", memory).1.contains("MemoryError"));
        let files = Limits { open_files: Some(16), ..Limits::default() };
        assert!(run("import os\nfor _ in range(20): os.dup(0)", files).1.contains("Too many open files"));
        let stack = Limits { stack: Some(32 << 20), ..Limits::default() };
        let (out, ..) = run("import resource\nprint(resource.getrlimit(3)[0], resource.getrlimit(4))", stack);
        assert_eq!(out, format!("{} (0, 0)\n", 32 << 20));
        if tier == Tier::A {
            let size = Limits { file_size: Some(1000), ..Limits::default() };
            let script = "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nwith open('/tmp/x', 'wb') as file: file.write(b'x' * 50000)";
            let (out, error, status) = run(script, size);
            assert!(error.contains("File too large"), "{out} {error} {status:?}");
            // SAFETY: geteuid takes nothing.
            if unsafe { libc::geteuid() } != 0 {
                let processes = Limits { processes: Some(3), ..Limits::default() };
                let script = "import os\nfor _ in range(9):\n  if os.fork() == 0: import time; time.sleep(9)";
                assert!(run(script, processes).1.contains("Resource temporarily unavailable"));
            }
        }
    }
}

#[test]
fn errors_are_typed() {
    let start = |program: &str, change: &dyn Fn(&mut Policy)| {
        let mut policy = command(Tier::D);
        change(&mut policy);
        spawn(&argv(&[program]), policy).err().unwrap()
    };
    assert!(
        matches!(start("no-such-program", &|_| ()), Error::MissingProgram(name) if name == "no-such-program")
    );
    assert!(matches!(start("/no/such/program", &|_| ()), Error::MissingProgram(_)));
    assert!(matches!(start("./env", &|_| ()), Error::RelativePath(_)));
    assert!(matches!(spawn(&[], command(Tier::D)), Err(Error::NoProgram)));
    let missing = PathBuf::from("/no/such/directory");
    let error = start("env", &|policy| policy.readable = vec![missing.clone()]);
    assert!(matches!(&error, Error::Path { path, .. } if *path == missing), "{error}");
    let error = start("env", &|policy| policy.readable = vec![PathBuf::from("here")]);
    assert!(matches!(error, Error::RelativePath(_)), "{error}");
    let error = start("env", &|policy| policy.environment.push(("A\0B".into(), "".into())));
    assert!(matches!(error, Error::NulByte(_)), "{error}");
    let error = start("env", &|policy| policy.directory = missing.clone());
    assert!(
        matches!(&error, Error::Confine { step: Step::WorkingDirectory, subject: Some(path), .. } if *path == missing)
    );
    let error = start("/etc/passwd", &|_| ());
    assert!(matches!(error, Error::Confine { step: Step::Execute, .. }), "{error}");
    assert_eq!(error.to_string(), "cannot execute /etc/passwd: Permission denied (os error 13)");
    assert!(!error.denies_tier());
    let null = || fs::File::open("/dev/null").unwrap().into();
    let error = start("env", &|policy| policy.descriptors = vec![(null(), 5), (null(), 5)]);
    assert!(matches!(error, Error::DescriptorNumber(5)), "{error}");
}

/// Whether a process runs, zombies aside.
fn lives(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn gone(pid: u32, patience: Duration) -> bool {
    let start = Instant::now();
    while lives(pid) {
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Processes (as seen from here) whose arguments contain a word.
fn with_argument(word: &str) -> Vec<u32> {
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let has = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(word))
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(number).filter(has).collect()
}

#[test]
fn what_a_command_started_ends_with_it() {
    for tier in tiers(Profile::Command) {
        let word = format!("8{}.7{}", std::process::id(), tier as u8);
        let mut process = spawn(
            &argv(&["sh", "-c", &format!("sleep {word} & sleep {word} & echo; exec sleep {word}")]),
            command(tier),
        )
        .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!with_argument(&word).is_empty());
        drop(process);
        let left = with_argument(&word);
        assert!(left.iter().all(|pid| gone(*pid, Duration::from_secs(2))), "tier {}: {left:?}", tier.name());
    }
}

/// Not a test: the program that `a_killed_program_leaves_nothing` kills.
#[test]
#[ignore = "started by another test"]
fn victim() {
    let Ok(tier) = std::env::var("SANDBOX_VICTIM") else { return };
    let tier: Tier = tier.parse().unwrap();
    // From a thread that ends at once: the process must not end with it.
    let word = std::env::var("SANDBOX_WORD").unwrap();
    let script = if tier == Tier::A {
        format!("sleep {word} & sleep {word} & exec sleep {word}")
    } else {
        format!("exec sleep {word}")
    };
    let started = std::thread::spawn(move || spawn(&argv(&["sh", "-c", &script]), command(tier)).unwrap());
    let process = started.join().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    println!("\nstarted {}", process.pid());
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_program_leaves_nothing() {
    for tier in tiers(Profile::Command) {
        let word = format!("9{}.7{}", std::process::id(), tier as u8);
        let mut program = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["victim", "--exact", "--ignored", "--nocapture"])
            .env("SANDBOX_VICTIM", tier.name())
            .env("SANDBOX_WORD", &word)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        let pid =
            lines.map_while(Result::ok).find_map(|line| line.strip_prefix("started ")?.parse::<u32>().ok());
        assert!(lives(pid.unwrap()), "the process outlives the thread that asked for it");
        let running = with_argument(&word);
        assert_eq!(running.len(), if tier == Tier::A { 3 } else { 1 }, "tier {}", tier.name());
        program.kill().unwrap();
        program.wait().unwrap();
        assert!(running.iter().all(|pid| gone(*pid, Duration::from_secs(2))), "tier {}", tier.name());
    }
}

#[test]
fn ends_are_told() {
    for tier in tiers(Profile::Command) {
        assert_eq!(shell(tier, "exit 7").2.code, Some(7));
        let mut process = spawn(&argv(&["sleep", "60"]), command(tier)).unwrap();
        assert_eq!(process.try_wait().unwrap(), None);
        assert_eq!(process.wait_timeout(Duration::from_millis(20)).unwrap(), None);
        process.kill();
        assert_eq!(process.wait().unwrap().signal, Some(libc::SIGKILL));
        assert_eq!(process.wait().unwrap().signal, Some(libc::SIGKILL), "told again");
    }
}

/// Nobody, without capabilities, alone, whoever runs this.
#[test]
fn a_command_is_nobody() {
    for tier in tiers(Profile::Command) {
        let script = "import os\ntry: os.setgroups([]); print('capable')\nexcept PermissionError: print(os.getuid() == 65534, os.getpid())";
        let mut process = spawn(&argv(&[PYTHON, "-I", "-S", "-c", script]), command(tier)).unwrap();
        let (out, error) = output(&mut process);
        let ending = if tier == Tier::A { "True 1\n".to_owned() } else { format!("{}\n", process.pid()) };
        assert!(out.ends_with(&ending) && !out.contains("capable"), "tier {}: {out} {error}", tier.name());
    }
}
