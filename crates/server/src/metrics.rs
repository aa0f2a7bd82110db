//! Counters in Prometheus' text format (version 0.0.4).

use crate::Service;
use assistant::{Answer, Status};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Upper ends of the buckets of request times, in seconds.
const BUCKETS: [f64; 8] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Paths that are counted by name.
const PATHS: [&str; 6] =
    ["/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/metrics", "/"];

/// What has happened since the start.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), usize>>,
    times: Mutex<Times>,
    answers: [AtomicUsize; 3],
    candidates: AtomicUsize,
}

#[derive(Default)]
struct Times {
    buckets: [usize; BUCKETS.len()],
    sum: f64,
    count: usize,
}

impl Metrics {
    /// Counts a request whose answer has begun.
    pub(crate) fn request(&self, path: &str, status: u16, time: Duration) {
        let path = PATHS.iter().find(|known| **known == path).copied().unwrap_or("other");
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((path, status)).or_default() += 1;
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = time.as_secs_f64();
        times.sum += seconds;
        times.count += 1;
        for (bucket, end) in times.buckets.iter_mut().zip(BUCKETS) {
            *bucket += usize::from(seconds <= end);
        }
    }

    /// Counts an answer.
    pub(crate) fn answer(&self, answer: &Answer) {
        self.answers[answer.status as usize].fetch_add(1, Ordering::Relaxed);
        self.candidates.fetch_add(answer.evidence.candidates, Ordering::Relaxed);
    }
}

pub(crate) async fn text(State(service): State<Arc<Service>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], written(&service)).into_response()
}

fn written(service: &Service) -> String {
    let metrics = &service.metrics;
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (suffix, value) in samples {
            let _ = writeln!(out, "{name}{suffix} {value}");
        }
    };
    let plain = |value: usize| vec![(String::new(), value as f64)];
    let requests = metrics.requests.lock().unwrap_or_else(PoisonError::into_inner);
    let requests = requests
        .iter()
        .map(|((path, status), count)| (format!("{{path=\"{path}\",status=\"{status}\"}}"), *count as f64));
    family("ncomp_requests_total", "counter", "Requests answered.", &requests.collect::<Vec<_>>());
    let times = metrics.times.lock().unwrap_or_else(PoisonError::into_inner);
    let mut samples: Vec<(String, f64)> = BUCKETS
        .iter()
        .zip(times.buckets)
        .map(|(end, count)| (format!("_bucket{{le=\"{end}\"}}"), count as f64))
        .collect();
    samples.push(("_bucket{le=\"+Inf\"}".into(), times.count as f64));
    samples.push(("_sum".into(), times.sum));
    samples.push(("_count".into(), times.count as f64));
    family("ncomp_request_seconds", "histogram", "Seconds until an answer begins.", &samples);
    let statuses = [Status::Verified, Status::Unverified, Status::NoneFound];
    let names = ["verified", "unverified", "none_found"];
    let answers = statuses.into_iter().zip(names).map(|(status, name)| {
        let count = metrics.answers[status as usize].load(Ordering::Relaxed);
        (format!("{{status=\"{name}\"}}"), count as f64)
    });
    family("ncomp_answers_total", "counter", "Questions answered.", &answers.collect::<Vec<_>>());
    family(
        "ncomp_candidates_total",
        "counter",
        "Candidates checked.",
        &plain(metrics.candidates.load(Ordering::Relaxed)),
    );
    family("ncomp_questions", "gauge", "Questions under way.", &plain(service.under_way()));
    if let Some(engine) = &service.engine {
        let load = engine.load();
        family("ncomp_tokens_total", "counter", "Tokens made.", &plain(load.tokens.load(Ordering::Relaxed)));
        family(
            "ncomp_sequences",
            "gauge",
            "Sequences in the batch.",
            &plain(load.active.load(Ordering::Relaxed)),
        );
        family(
            "ncomp_completions",
            "gauge",
            "Completions under way.",
            &plain(load.open.load(Ordering::Relaxed)),
        );
    }
    out
}
