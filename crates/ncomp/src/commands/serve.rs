//! `ncomp serve` and `ncomp view`.

use super::limits::Limits as CandidateLimits;
use super::source::Source;
use crate::context::{advised, watch};
use crate::progress::interrupted;
use anyhow::{Context, Result};
use pipeline::run_view::run_json;
use pipeline::verifier::seconds;
use server::{Limits, Service, serve, view};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

/// OpenAI's interface and a page: every answer is the best of n candidates that were checked.
///
/// POST /v1/chat/completions, /v1/completions; GET /v1/models, /health, /metrics, and / for the page.
/// A request may have a field "ncomp" with tests, candidates, until, budget_seconds and details; the
/// reply's field "ncomp" says why to believe the answer.
#[derive(clap::Args)]
pub struct Serve {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// A ranker's file in place of the built-in one of its level (0 without tests, 3 with)
    #[arg(long = "ranker")]
    rankers: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Key that clients must send as a bearer token
    #[arg(long, env = "NCOMP_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Candidates where a request does not say how many
    #[arg(short = 'n', long, default_value_t = 20)]
    candidates: usize,
    /// Most candidates of a request
    #[arg(long, default_value_t = 200)]
    max_candidates: usize,
    /// Requests under way at once; more are answered with 429
    #[arg(long, default_value_t = 32)]
    max_requests: usize,
    /// Longest completion in tokens
    #[arg(long, default_value_t = 2048)]
    max_tokens: usize,
    /// Longest time for an answer in seconds; then the best so far is the answer
    #[arg(long, default_value_t = 120.0, value_parser = seconds)]
    max_seconds: f64,
    #[command(flatten)]
    limits: CandidateLimits,
}

/// The page of a finished run: its table, curves, problems and candidates.
#[derive(clap::Args)]
pub struct View {
    /// Directory of the run
    run: PathBuf,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

impl Serve {
    pub(super) fn run(self) -> Result<()> {
        let listener = listen(&self.host, self.port)?;
        let verifier = self.limits.start()?;
        let model = self.source.start()?;
        let limits = Limits {
            requests: self.max_requests.max(1),
            candidates: self.max_candidates.max(1),
            default_candidates: self.candidates.clamp(1, self.max_candidates.max(1)),
            max_tokens: self.max_tokens.max(1),
            seconds: self.max_seconds,
            api_key: self.api_key.clone(),
            rankers: model.rankers_after(&self.rankers)?,
            scorer: model.scorer.clone(),
            ..Limits::default()
        };
        let (pool, tier) = (verifier.pool.clone(), verifier.tier().name());
        let service = Service::new(model.proposer, model.engine, pool, tier, limits);
        eprintln!("{} at isolation tier {}", service.model(), service.isolation());
        announce(&listener)?;
        serve(service, listener, until_interrupted())
    }
}

impl View {
    pub(super) fn run(self) -> Result<()> {
        let json = run_json(&self.run, watch()).map_err(advised)?;
        let report = self.run.join("report.html");
        let report =
            std::fs::read_to_string(&report).with_context(|| format!("cannot read {}", report.display()))?;
        let listener = listen(&self.host, self.port)?;
        announce(&listener)?;
        view(json, report, listener, until_interrupted())
    }
}

fn listen(host: &str, port: u16) -> Result<TcpListener> {
    TcpListener::bind((host, port)).with_context(|| {
        format!("cannot listen on {host}:{port}; choose another with --port, or 0 for a free one")
    })
}

fn announce(listener: &TcpListener) -> Result<()> {
    outln!("http://{}", listener.local_addr()?);
    Ok(())
}

/// Done when Ctrl-C or SIGTERM came.
async fn until_interrupted() {
    while !interrupted() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
