//! Tables, statistics, plots and the HTML report.
//!
//! [`statistics`] has the estimators with their sources, [`table`] the rows that every report is
//! made of, [`html`] one self-contained page.
//!
//! ```
//! use report::statistics::{bootstrap_interval, pass_at_k};
//!
//! assert!((pass_at_k(10, 3, 1) - 0.3).abs() < 1e-12);
//! let (low, high) = bootstrap_interval(&[1.0, 0.0, 1.0, 1.0], 0);
//! assert!(low < 0.75 && high > 0.75);
//! ```

pub mod html;
pub mod statistics;
pub mod svg;
pub mod table;
