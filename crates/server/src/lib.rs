//! OpenAI's interface with best-of-n behind it.
//!
//! A client that knows nothing of us asks `/v1/chat/completions` and gets the best of n checked
//! candidates; the field `ncomp` of the reply says why to believe it, and the field `ncomp` of a
//! request may give tests, the number of candidates and a budget ([`api`]). Requests share the
//! model's batch, and the verifier's pool, in which each is a client of its own: one whose candidates
//! loop costs others nothing. A disconnecting client releases its slots, and what ran for it is
//! cancelled.
//!
//! ```no_run
//! use assistant::Proposer;
//! use generator::{Engine, Generator};
//! use python::Python;
//! use server::{Limits, Service, serve};
//! use std::sync::Arc;
//! use transformer::Cpu;
//!
//! let engine = Arc::new(Engine::start(Generator::open("models/basics".as_ref(), &Cpu::default())?, 64, 512));
//! let python = Arc::new(Python::start(python::Settings::default())?);
//! let tier = python.tier().name();
//! let pool = verify::Pool::start(vec![python], verify::Settings::default())?;
//! let service = Service::new(engine.clone(), Some(engine), pool, tier, Limits::default());
//! let listener = std::net::TcpListener::bind("127.0.0.1:8080")?;
//! serve(service, listener, std::future::pending())?;
//! # Ok::<(), anyhow::Error>(())
//! ```

pub mod api;
mod chat;
mod completions;
mod error;
mod metrics;
mod page;
mod refused;
mod sampling;
mod service;

pub use error::ApiError;
pub use service::{Limits, Service};

use anyhow::{Context, Result};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that requests under way get after the service was asked to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// Serves until `shutdown` is done, then finishes what is under way.
///
/// # Errors
/// Where the listener cannot be used.
pub fn serve(
    service: Service,
    listener: std::net::TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let service = Arc::new(service);
    let engine = service.engine.clone();
    let stopped = async move {
        shutdown.await;
        // Whoever has seen nothing yet need not be waited for.
        if let Some(engine) = engine {
            engine.stop();
        }
    };
    run(router(service), listener, stopped)
}

/// Serves the page of a finished run: `run_json` is what `/run.json` answers, `report` the run's own
/// report.
///
/// # Errors
/// Where the listener cannot be used.
pub fn view(
    run_json: String,
    report: String,
    listener: std::net::TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let (json, report): (Arc<str>, Arc<str>) = (run_json.into(), report.into());
    let json = move || std::future::ready(([(CONTENT_TYPE, "application/json")], json.to_string()));
    let report = move || std::future::ready(page::report(report.to_string()));
    let router = Router::new().route("/run.json", get(json)).route("/report.html", get(report));
    run(router.merge(page::routes()), listener, shutdown)
}

fn run(
    router: Router,
    listener: std::net::TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async move {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener).context("cannot listen")?;
        let (ending, ended) = tokio::sync::oneshot::channel::<()>();
        let graceful = axum::serve(listener, router).with_graceful_shutdown(async move {
            shutdown.await;
            let _ = ending.send(());
        });
        let deadline = async move {
            let _ = ended.await;
            tokio::time::sleep(SHUTDOWN_GRACE).await;
        };
        tokio::select! {
            result = graceful => result.context("cannot serve"),
            () = deadline => Ok(()),
        }
    });
    // Work that nobody waits for any more must not keep the process alive.
    runtime.shutdown_background();
    served
}

/// The service's paths.
fn router(service: Arc<Service>) -> Router {
    let api = Router::new()
        .route("/v1/chat/completions", post(chat::answer))
        .route("/v1/completions", post(completions::answer))
        .route("/v1/models", get(models))
        .layer(middleware::from_fn_with_state(service.clone(), authorize));
    Router::new()
        .merge(api)
        .route("/health", get(health))
        .route("/metrics", get(metrics::text))
        .merge(page::routes())
        .fallback(async || ApiError::not_found("there is nothing at this path; see /v1/models, /health"))
        .layer(middleware::from_fn_with_state(service.clone(), count))
        .layer(DefaultBodyLimit::max(service.limits.body_bytes))
        .with_state(service)
}

async fn models(State(service): State<Arc<Service>>) -> Json<serde_json::Value> {
    let model = json!({"id": service.model(), "object": "model", "created": 0, "owned_by": "ncomp"});
    Json(json!({"object": "list", "data": [model]}))
}

async fn health(State(service): State<Arc<Service>>) -> Json<serde_json::Value> {
    Json(json!({"status": "ok", "model": service.model(), "isolation": service.isolation()}))
}

/// Lets only those in who have the key, where there is one; and no page of another site, which a
/// browser on this machine would let ask us.
async fn authorize(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    if comes_from_elsewhere(request.headers()) {
        let message = "pages of other sites may not ask this service (the header Origin names another)";
        return ApiError::malformed(StatusCode::FORBIDDEN, message).into_response();
    }
    let given = request.headers().get("authorization").and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    if service.admits(given) {
        return next.run(request).await;
    }
    ApiError::unauthorized("expected the header Authorization: Bearer KEY with this service's key")
        .into_response()
}

/// Whether a page asks that does not come from here.
fn comes_from_elsewhere(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text("origin") else { return false };
    origin.split_once("://").map(|(_, host)| host) != text("host")
}

async fn count(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let (started, path) = (Instant::now(), request.uri().path().to_owned());
    let response = next.run(request).await;
    service.metrics.request(&path, response.status().as_u16(), started.elapsed());
    response
}
