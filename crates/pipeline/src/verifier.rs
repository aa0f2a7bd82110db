//! The verifier of Python programs, with the limits of a recipe.

use crate::recipe::ExecutorRecipe;
use crate::{Error, Result};
use python::{Python, Tier};
use std::ops::RangeInclusive;
use std::sync::Arc;
use verify::{Client, Domain, Pool};

/// Longest CPU time of a candidate, in seconds.
const MOST_SECONDS: f64 = 3600.0;
/// Less than starting a program takes would be no limit on it.
const LEAST_SECONDS: f64 = 0.01;
/// Address space of a candidate in MiB: at least what an interpreter needs, at most 16 TiB.
const MEBIBYTES: RangeInclusive<u64> = 64..=1 << 24;
/// Most candidates at the same time.
const MOST_WORKERS: usize = 1024;

/// A pool that judges Python programs.
pub struct Verifier {
    /// The pool.
    pub pool: Pool,
    /// The domain of Python programs; its settings and isolation tier are those in force.
    pub python: Arc<Python>,
}

impl Verifier {
    /// Starts it.
    ///
    /// # Errors
    /// Where a setting is out of its range, there is no usable Python, a package is missing, or no
    /// isolation tier is strong enough.
    pub fn start(recipe: &ExecutorRecipe) -> Result<Self> {
        recipe.check().map_err(|(field, message)| Error::Limit { field, message })?;
        let python = Arc::new(Python::start(recipe.python_settings())?);
        let pool = Pool::start(vec![python.clone() as Arc<dyn Domain>], recipe.pool_settings())?;
        Ok(Verifier { pool, python })
    }

    /// A new submitter of its pool, named for traces.
    pub fn client(&self, name: &str) -> Client {
        self.pool.client(name)
    }

    /// The isolation tier in force.
    pub fn tier(&self) -> Tier {
        self.python.tier()
    }
}

impl ExecutorRecipe {
    /// How programs are run.
    pub fn python_settings(&self) -> python::Settings {
        python::Settings {
            python: self.python.clone().into(),
            cpu_seconds: self.timeout,
            wall_seconds: 3.0 * self.timeout,
            memory_bytes: self.memory << 20,
            weakest_tier: self.require_tier,
            packages: self.packages.clone(),
            protocol_imports: self.protocol_imports,
            ..python::Settings::default()
        }
    }

    /// How many run at the same time.
    pub fn pool_settings(&self) -> verify::Settings {
        let default = verify::Settings::default();
        if self.workers == 0 {
            return default;
        }
        // As many long-running ones for each worker as by default.
        let most_running = default.most_running.div_ceil(default.workers) * self.workers;
        verify::Settings { workers: self.workers, most_running, ..default }
    }

    /// Looks at the values that a number's type does not bound.
    ///
    /// # Errors
    /// Names the first field that is out of its range, with what it takes.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        check_seconds(self.timeout).map_err(|message| ("timeout", message))?;
        check_mebibytes(self.memory).map_err(|message| ("memory", message))?;
        check_workers(self.workers).map_err(|message| ("workers", message))?;
        for name in &self.packages {
            check_package(name).map_err(|message| ("packages", message))?;
        }
        Ok(())
    }
}

/// A candidate's CPU seconds, as a person writes them.
///
/// # Errors
/// Says what was expected.
pub fn seconds(text: &str) -> Result<f64, String> {
    let value = text.trim().parse().map_err(|_| seconds_expected(text))?;
    check_seconds(value).map(|()| value)
}

fn check_seconds(value: f64) -> Result<(), String> {
    // A NaN is in no range.
    if (LEAST_SECONDS..=MOST_SECONDS).contains(&value) {
        Ok(())
    } else {
        Err(seconds_expected(&value.to_string()))
    }
}

fn seconds_expected(found: &str) -> String {
    format!("expected a number of seconds from {LEAST_SECONDS} to {MOST_SECONDS}, found {found}")
}

/// A candidate's address space in MiB, as a person writes it.
///
/// # Errors
/// Says what was expected.
pub fn mebibytes(text: &str) -> Result<u64, String> {
    let value = text.trim().parse().map_err(|_| mebibytes_expected(text))?;
    check_mebibytes(value).map(|()| value)
}

fn check_mebibytes(value: u64) -> Result<(), String> {
    if MEBIBYTES.contains(&value) { Ok(()) } else { Err(mebibytes_expected(&value.to_string())) }
}

fn mebibytes_expected(found: &str) -> String {
    format!("expected a number of MiB from {} to {}, found {found}", MEBIBYTES.start(), MEBIBYTES.end())
}

/// Candidates at the same time, as a person writes it; 0 takes one for each processor.
///
/// # Errors
/// Says what was expected.
pub fn workers(text: &str) -> Result<usize, String> {
    let value = text.trim().parse().map_err(|_| workers_expected(text))?;
    check_workers(value).map(|()| value)
}

fn check_workers(value: usize) -> Result<(), String> {
    if value <= MOST_WORKERS { Ok(()) } else { Err(workers_expected(&value.to_string())) }
}

fn workers_expected(found: &str) -> String {
    format!("expected a number from 1 to {MOST_WORKERS}, or 0 for one for each processor, found {found}")
}

/// A package that candidates may import, as a person writes it.
///
/// # Errors
/// Says what was expected.
pub fn package(text: &str) -> Result<String, String> {
    let name = text.trim();
    check_package(name).map(|()| name.to_owned())
}

fn check_package(name: &str) -> Result<(), String> {
    let is_name = |part: &str| {
        let starts_well = part.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_');
        starts_well && part.chars().all(|character| character.is_alphanumeric() || character == '_')
    };
    if name.split('.').all(is_name) {
        return Ok(());
    }
    Err(format!("expected names as Python imports them, such as numpy, found '{name}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_say_what_is_expected() {
        assert_eq!((seconds("2"), seconds("0.25"), mebibytes("64")), (Ok(2.0), Ok(0.25), Ok(64)));
        for wrong in ["nan", "0", "-0", "-1", "inf", "1e9", "two", ""] {
            let message = seconds(wrong).expect_err(wrong);
            assert!(message.contains("a number of seconds from 0.01"), "{message}");
        }
        for wrong in ["0", "63", "-1", "1.5", "18446744073709551615", "99999999999999999999"] {
            let message = mebibytes(wrong).expect_err(wrong);
            assert!(message.contains("MiB from 64 to"), "{message}");
        }
        assert!(workers("1025").is_err() && workers("-1").is_err());
        assert_eq!((workers("0"), workers("6")), (Ok(0), Ok(6)));
    }

    #[test]
    fn packages_are_names_that_python_can_import() {
        assert_eq!(package(" numpy"), Ok("numpy".to_owned()));
        assert_eq!(package("scipy.stats"), Ok("scipy.stats".to_owned()));
        for wrong in ["", ".", "a b", "1a", "os; rm", "a..b", "../x"] {
            assert!(package(wrong).is_err(), "{wrong}");
        }
    }
}
