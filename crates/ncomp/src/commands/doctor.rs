//! `ncomp doctor`: what this machine offers.

use crate::recipe::ExecutorRecipe;
use crate::verifier::package;
use anyhow::Result;
use python::{Error, Python, Tier};
use report::table::align;
use serde_json::json;

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

impl Doctor {
    pub(super) fn run(self) -> Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let tiers = Tier::ALL.map(|tier| (tier, self.start(&[], tier)));
        let model = match transformer::Config::load("models/basics".as_ref()) {
            Ok(config) => format!("models/basics, {} parameters", config.parameters()),
            Err(error) => format!("built-in model not found from here: {error}"),
        };
        let mut found = vec![
            ("processors".to_owned(), cores.to_string()),
            ("vector instructions".to_owned(), instructions().to_owned()),
            ("memory".to_owned(), memory()),
            ("python".to_owned(), self.interpreter(&tiers)),
            ("python packages".to_owned(), self.packages(&tiers)),
            ("gpu".to_owned(), crate::device::found().join("; ")),
            ("model".to_owned(), model),
        ];
        let isolation = tiers
            .iter()
            .map(|(tier, tried)| (format!("isolation tier {}", tier.name()), isolation(*tier, tried)));
        found.extend(isolation);
        found.push(("cgroup v2".to_owned(), control_groups()));
        if self.json {
            let fields = found.into_iter().map(|(name, value)| (name, json!(value)));
            outln!("{}", serde_json::Value::Object(fields.collect()));
            return Ok(());
        }
        let lines: Vec<[String; 1]> =
            found.iter().map(|(name, value)| [format!("{name:<22}{value}")]).collect();
        out!("{}", align(&lines));
        Ok(())
    }

    fn start(&self, packages: &[String], tier: Tier) -> Result<Python, Error> {
        let recipe = ExecutorRecipe {
            python: self.python.clone(),
            packages: packages.to_vec(),
            ..ExecutorRecipe::default()
        };
        Python::at_tier(recipe.python_settings(), tier)
    }

    /// Which Python candidates would run in, or why none.
    fn interpreter(&self, tiers: &[(Tier, Result<Python, Error>)]) -> String {
        let started = tiers.iter().find_map(|(_, tried)| tried.as_ref().ok());
        match (started, tiers.iter().find_map(|(_, tried)| tried.as_ref().err())) {
            (Some(python), _) => format!("'{}' is Python {}", self.python, one_line(python.version())),
            (None, Some(error)) => error.to_string(),
            (None, None) => "unknown".to_owned(),
        }
    }

    /// Which of the packages that were asked for candidates may import.
    fn packages(&self, tiers: &[(Tier, Result<Python, Error>)]) -> String {
        let strongest = tiers.iter().find(|(_, tried)| tried.is_ok()).map(|(tier, _)| *tier);
        let Some(tier) = strongest else { return "unknown".to_owned() };
        if self.packages.is_empty() {
            return "candidates may import the standard library; --packages looks for others".to_owned();
        }
        let of = |name: &String| match self.start(std::slice::from_ref(name), tier) {
            Ok(_) => format!("{name} can be allowed with --packages {name}"),
            Err(Error::Package { message, .. }) => format!("{name} cannot be imported ({message})"),
            Err(error) => format!("{name}: {error}"),
        };
        self.packages.iter().map(of).collect::<Vec<_>>().join("; ")
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
