//! The loop in process: whole, stopped and resumed, and what it refuses.

mod behaviour;
mod critic;
mod refusals;
mod runs;
mod support;
