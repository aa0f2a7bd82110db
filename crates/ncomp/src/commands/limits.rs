//! Limits on candidates, on the command line.

use crate::context::advised;
use anyhow::Result;
use pipeline::recipe::ExecutorRecipe;
use pipeline::verifier::{Verifier, mebibytes, package, seconds, workers};
use python::Tier;
use std::path::Path;

/// How candidates are run.
#[derive(clap::Args)]
pub(super) struct Limits {
    /// Candidates that run at the same time [default: one for each processor]
    #[arg(long, value_parser = workers)]
    workers: Option<usize>,
    /// CPU seconds of a candidate with all its tests; EvalPlus's plus tests have EvalPlus's own limits
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    timeout: f64,
    /// Address space of a candidate in MiB
    #[arg(long, default_value_t = 1024, value_parser = mebibytes)]
    memory: u64,
    /// Python interpreter that runs candidates
    #[arg(long, default_value = "python3")]
    python: String,
    /// Packages of this interpreter that candidates and tests may import besides the standard library,
    /// separated by commas: numpy,scipy
    #[arg(long, value_delimiter = ',', value_parser = package)]
    packages: Vec<String>,
    /// Leave out the imports that the published protocol sets before every candidate (math, re, from
    /// typing import *, …): a program that forgets its own then fails, as it does for EvalPlus
    #[arg(long)]
    no_protocol_imports: bool,
    /// Minimum isolation tier to accept: A, B, C or D (see `ncomp doctor`)
    #[arg(long, default_value = "C")]
    require_tier: Tier,
}

impl Limits {
    /// The interpreter.
    pub(super) fn python(&self) -> &Path {
        Path::new(&self.python)
    }

    /// A verifier with these limits.
    pub(super) fn start(&self) -> Result<Verifier> {
        let recipe = ExecutorRecipe {
            python: self.python.clone(),
            workers: self.workers.unwrap_or(0),
            timeout: self.timeout,
            memory: self.memory,
            require_tier: self.require_tier,
            packages: self.packages.clone(),
            protocol_imports: !self.no_protocol_imports,
        };
        Verifier::start(&recipe).map_err(advised)
    }
}
