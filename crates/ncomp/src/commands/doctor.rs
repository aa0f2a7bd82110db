//! `ncomp doctor`: what this machine offers.

use anyhow::Result;
use executor::Executor;
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
        let python = match Executor::start(settings) {
            Ok(_) => format!("'{}' runs candidates", self.python),
            Err(error) => error.to_string(),
        };
        let model = match transformer::Config::load("models/basics".as_ref()) {
            Ok(config) => format!("models/basics, {} parameters", config.parameters()),
            Err(error) => format!("built-in model not found from here: {error}"),
        };
        let found = [
            ("processors", cores.to_string()),
            ("vector instructions", instructions().to_owned()),
            ("memory", memory()),
            ("python", python),
            ("isolation", "limits (time, memory, files, a process each)".to_owned()),
            ("device", "cpu".to_owned()),
            ("model", model),
        ];
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
