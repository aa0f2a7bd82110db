//! `ncomp doctor`: what this machine offers.

use pipeline::recipe::ExecutorRecipe;
use pipeline::verifier::package;
use python::{Error, Python, Tier, Tried};
use report::table::align;
use serde_json::json;
use std::process::ExitCode;

/// What this machine offers: processors, memory, Python, the isolation of candidates, GPUs, the model.
#[derive(clap::Args)]
pub struct Doctor {
    /// Python interpreter to look at
    #[arg(long, default_value = "python3")]
    python: String,
    /// Packages of this interpreter to look for, separated by commas: numpy,scipy
    #[arg(long, value_delimiter = ',', value_parser = package)]
    packages: Vec<String>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Each isolation tier, tried; or why none can be.
type Tiers = Result<Vec<Tried>, Error>;

impl Doctor {
    /// Prints what there is. The exit status says whether Python programs can be judged.
    pub(super) fn run(self) -> ExitCode {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let tiers = Python::at_each_tier(&self.settings(&[]));
        let model = match transformer::Config::load("models/basics".as_ref()) {
            Ok(config) => format!("models/basics, {} parameters", config.parameters()),
            Err(error) => format!(
                "built-in model not found from here ({error}); run ncomp in its checkout, or name a model with --model"
            ),
        };
        let judging = judging(&tiers);
        let mut found = vec![
            ("judging", judging.clone().unwrap_or_else(|reason| format!("not possible here: {reason}"))),
            ("processors", cores.to_string()),
            ("vector instructions", instructions().to_owned()),
            ("memory", memory()),
            ("python", self.interpreter(&tiers)),
            ("python packages", self.packages(&tiers)),
            ("gpu", crate::device::found().join("; ")),
            ("model", model),
            ("kernel", kernel()),
        ];
        for tier in Tier::ALL {
            let name = match tier {
                Tier::A => "isolation tier A",
                Tier::B => "isolation tier B",
                Tier::C => "isolation tier C",
                Tier::D => "isolation tier D",
            };
            let tried = tiers.as_ref().ok().and_then(|tiers| tiers.iter().find(|(other, _)| *other == tier));
            found.push((
                name,
                tried
                    .map_or_else(|| "unknown without Python".to_owned(), |(_, tried)| isolation(tier, tried)),
            ));
        }
        found.push(("cgroup v2", control_groups()));
        if self.json {
            let ready = [("ready".to_owned(), json!(judging.is_ok()))];
            let fields = found.into_iter().map(|(name, value)| (name.replace(' ', "_"), json!(value)));
            outln!("{}", serde_json::Value::Object(fields.chain(ready).collect()));
        } else {
            let lines: Vec<[String; 1]> =
                found.iter().map(|(name, value)| [format!("{name:<22}{value}")]).collect();
            out!("{}", align(&lines));
        }
        if judging.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn settings(&self, packages: &[String]) -> python::Settings {
        let recipe = ExecutorRecipe {
            python: self.python.clone(),
            packages: packages.to_vec(),
            ..ExecutorRecipe::default()
        };
        recipe.python_settings()
    }

    /// Which Python candidates would run in, or why none.
    fn interpreter(&self, tiers: &Tiers) -> String {
        match tiers {
            Ok(tiers) => match tiers.iter().find_map(|(_, tried)| tried.as_ref().ok()) {
                Some(python) => format!("'{}' is Python {}", self.python, one_line(python.version())),
                None => "unknown: it starts at no isolation tier".to_owned(),
            },
            Err(error) => error.to_string(),
        }
    }

    /// Which of the packages that were asked for candidates may import.
    fn packages(&self, tiers: &Tiers) -> String {
        let Some(tier) = strongest(tiers) else { return "unknown".to_owned() };
        if self.packages.is_empty() {
            return "candidates may import the standard library; --packages looks for others".to_owned();
        }
        let of = |name: &String| match Python::at_tier(self.settings(std::slice::from_ref(name)), tier) {
            Ok(_) => format!("{name} can be allowed with --packages {name}"),
            Err(Error::Package { message, .. }) => format!("{name} cannot be imported ({message})"),
            Err(error) => format!("{name}: {error}"),
        };
        self.packages.iter().map(of).collect::<Vec<_>>().join("; ")
    }
}

fn strongest(tiers: &Tiers) -> Option<Tier> {
    tiers.as_ref().ok()?.iter().find(|(_, tried)| tried.is_ok()).map(|(tier, _)| *tier)
}

/// At which tier programs are judged by default, or what to do so that they can be.
fn judging(tiers: &Tiers) -> Result<String, String> {
    match (tiers, strongest(tiers)) {
        (Ok(_), Some(Tier::D)) => Err("no isolation tier keeps candidates from your files, as said below; \
            --require-tier D accepts limits alone"
            .to_owned()),
        (Ok(_), Some(tier)) => Ok(format!("possible, at isolation tier {}", tier.name())),
        (Ok(_), None) => Err("no isolation tier is available, as said below".to_owned()),
        (Err(_), _) => {
            Err("there is no usable Python, as said below; install Python 3.9 or newer (Debian, Ubuntu: \
            apt install python3), or name one with --python"
                .to_owned())
        }
    }
}

/// The kernel's release, on which isolation depends.
fn kernel() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/osrelease") {
        Ok(release) => format!("Linux {}", release.trim()),
        Err(_) => format!("{}; candidates are isolated on Linux alone", std::env::consts::OS),
    }
}

/// `3.11.2 (main, …) [GCC …]` without its build.
fn one_line(version: &str) -> &str {
    version.split_whitespace().next().unwrap_or(version)
}

/// What became of trying a tier, and what to do about it.
fn isolation(tier: Tier, tried: &Result<Python, Error>) -> String {
    let advice = match tier {
        Tier::A => {
            "needs user namespaces: containers may forbid them, as may the settings \
             kernel.apparmor_restrict_unprivileged_userns and user.max_user_namespaces"
        }
        Tier::B => "needs Linux 5.13 or later with Landlock: add `landlock` to the kernel's lsm= list",
        Tier::C => "needs Linux with seccomp filters; containers may forbid them (seccomp=unconfined)",
        Tier::D => "needs a Unix system",
    };
    match tried {
        Ok(_) if tier == Tier::D => {
            format!("{}; only with --require-tier D: nothing keeps candidates from files", tier.description())
        }
        Ok(_) => format!("{}; withstands the probe's attacks", tier.description()),
        Err(error @ Error::Isolation { .. }) => format!("{error}; {advice}"),
        Err(error) => error.to_string(),
    }
}

/// Whether memory and processes of all children together can be bounded.
fn control_groups() -> String {
    match sandbox::cgroup::find() {
        Ok(_) => "available: memory and processes of all candidates together can be bounded".to_owned(),
        Err(reason) => format!("unavailable, so that each process is bounded by itself: {reason}"),
    }
}

fn instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return "AVX-512";
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return "AVX2";
        }
    }
    "portable"
}

fn memory() -> String {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |name: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    match (kib("MemTotal:"), kib("MemAvailable:")) {
        (Some(total), Some(free)) => format!("{:.1} GiB, {:.1} free", total / 1048576.0, free / 1048576.0),
        _ => "unknown".to_owned(),
    }
}
