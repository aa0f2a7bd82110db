//! What libraries tell of their work, to stderr: `NCOMP_LOG=verify=debug` shows the verifier's jobs.

use anyhow::{Context, Result};
use std::io::stderr;
use tracing_subscriber::EnvFilter;

/// The variable that says what to show: `TARGET=LEVEL`, separated by commas.
const VARIABLE: &str = "NCOMP_LOG";

/// Shows what `NCOMP_LOG` asks for; nothing without it.
///
/// # Errors
/// Where its value is no filter.
pub fn start() -> Result<()> {
    let Some(filter) = std::env::var_os(VARIABLE).filter(|filter| !filter.is_empty()) else { return Ok(()) };
    let filter = filter.to_string_lossy();
    let filter: EnvFilter = filter.parse().with_context(|| {
        format!("{VARIABLE}: expected targets and levels such as verify=debug,python=trace, found '{filter}'")
    })?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(false).init();
    Ok(())
}
