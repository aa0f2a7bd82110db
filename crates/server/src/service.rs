//! What all requests share.

use crate::ApiError;
use crate::metrics::Metrics;
use assistant::{Proposer, Scorer};
use generator::Engine;
use selection::Ranker;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use verify::Pool;

/// What one client may ask for.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Questions under way at once; more are answered with 429.
    pub requests: usize,
    /// Candidates of one question.
    pub candidates: usize,
    /// Candidates where a request does not say how many.
    pub default_candidates: usize,
    /// Longest completion in tokens.
    pub max_tokens: usize,
    /// Longest request in bytes.
    pub body_bytes: usize,
    /// Longest time for one answer, in seconds.
    pub seconds: f64,
    /// The key that clients must have, if any.
    pub api_key: Option<String>,
    /// Rankers in place of the built-in ones of their levels.
    pub rankers: Vec<Ranker>,
    /// A critic of the model's candidates.
    pub scorer: Option<Scorer>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            requests: 32,
            candidates: 200,
            default_candidates: 20,
            max_tokens: 2048,
            body_bytes: 1 << 20,
            seconds: 120.0,
            api_key: None,
            rankers: Vec::new(),
            scorer: None,
        }
    }
}

/// A model, a verifier and their limits.
pub struct Service {
    /// Who suggests programs.
    pub(crate) proposer: Arc<dyn Proposer>,
    /// The model itself, where it is ours.
    pub(crate) engine: Option<Arc<Engine>>,
    /// Runs candidates; each request is a client of its own.
    pub(crate) pool: Pool,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    under_way: Arc<AtomicUsize>,
    isolation: &'static str,
}

/// A place among the questions under way; dropping it gives it back.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service {
    /// A service of a proposer; `engine` is the model where it is one of ours, for plain completions.
    /// `isolation` names the isolation in force in the pool.
    pub fn new(
        proposer: Arc<dyn Proposer>,
        engine: Option<Arc<Engine>>,
        pool: Pool,
        isolation: &'static str,
        limits: Limits,
    ) -> Self {
        Service {
            proposer,
            engine,
            pool,
            limits,
            metrics: Metrics::default(),
            under_way: Arc::default(),
            isolation,
        }
    }

    /// The model's name.
    pub fn model(&self) -> String {
        self.proposer.name()
    }

    /// The isolation tier in force.
    pub fn isolation(&self) -> &'static str {
        self.isolation
    }

    /// When an answer that is asked for now must be there, if that ever comes.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(Duration::try_from_secs_f64(self.limits.seconds).ok()?)
    }

    /// Questions under way.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// A place for another question.
    pub(crate) fn enter(&self) -> Result<Place, ApiError> {
        let place = Place(self.under_way.clone());
        let before = self.under_way.fetch_add(1, Ordering::SeqCst);
        if before >= self.limits.requests {
            return Err(ApiError::busy(format!("{before} requests are under way already; try again")));
        }
        Ok(place)
    }

    /// Whether a client with this key may ask. Compared in a time that does not tell how much of the
    /// key was right.
    pub(crate) fn admits(&self, given: Option<&str>) -> bool {
        let Some(key) = &self.limits.api_key else { return true };
        let given = given.unwrap_or_default().as_bytes();
        let differences = key.bytes().zip(given.iter().chain(std::iter::repeat(&0)));
        let same = differences.fold(0u8, |all, (a, b)| all | (a ^ b)) == 0;
        same && given.len() == key.len()
    }
}
