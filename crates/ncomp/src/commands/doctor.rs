//! `ncomp doctor`: what this machine offers.

use anyhow::Result;
use executor::{Error, Executor, Tier};
use report::table::align;
use serde_json::json;

/// What this machine offers: processors, memory, Python, the isolation of candidates, the model.
#[derive(clap::Args)]
pub struct Doctor {
    /// The interpreter to look at
    #[arg(long, default_value = "python3")]
    python: String,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let settings = executor::Settings { python: self.python.clone().into(), ..Default::default() };
        let tiers = Tier::ALL.map(|tier| (tier, Executor::at_tier(settings.clone(), tier)));
        let python = match tiers.iter().find_map(|(_, tried)| tried.as_ref().err()) {
            Some(error @ (Error::NoPython { .. } | Error::BadPython { .. })) => error.to_string(),
            _ => format!("'{}' runs candidates", self.python),
        };
        let model = match transformer::Config::load("models/basics".as_ref()) {
            Ok(config) => format!("models/basics, {} parameters", config.parameters()),
            Err(error) => format!("built-in model not found from here: {error}"),
        };
        let isolation = tiers.iter().map(|(tier, tried)| (tier, isolation(*tier, tried)));
        let isolation: Vec<(String, String)> =
            isolation.map(|(tier, text)| (format!("isolation, tier {}", tier.name()), text)).collect();
        let mut found = vec![
            ("processors", cores.to_string()),
            ("vector instructions", instructions().to_owned()),
            ("memory", memory()),
            ("python", python),
            ("gpu", crate::device::found().join("; ")),
            ("model", model),
        ];
        found.extend(isolation.iter().map(|(name, text)| (name.as_str(), text.clone())));
        if self.json {
            let fields = found.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
            println!("{}", serde_json::Value::Object(fields.collect()));
            return Ok(());
        }
        let lines: Vec<[String; 1]> =
            found.iter().map(|(name, value)| [format!("{name:<22}{value}")]).collect();
        print!("{}", align(&lines));
        Ok(())
    }
}

/// What became of trying a tier, and what to do about it.
fn isolation(tier: Tier, tried: &Result<Executor, Error>) -> String {
    let advice = match tier {
        Tier::A => {
            "needs user namespaces: containers may forbid them, and so may the settings \
             kernel.apparmor_restrict_unprivileged_userns and user.max_user_namespaces"
        }
        Tier::B => "needs Linux 5.13 with Landlock: add `landlock` to the kernel's lsm= list",
        Tier::C => "needs Linux with seccomp filters; containers may forbid them (seccomp=unconfined)",
        Tier::D => "needs a Unix system",
    };
    match tried {
        Ok(_) if tier == Tier::D => {
            format!("{}; only with --require-tier D: nothing keeps candidates from files", tier.description())
        }
        Ok(_) => format!("{}; withstands the probe's attacks", tier.description()),
        Err(error) => format!("{error}; {advice}"),
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
