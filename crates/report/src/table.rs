//! The rows that every report is made of.

use crate::statistics::{bootstrap_interval, mean, paired_interval};
use selection::{Pool, Selector};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One line of a table: a way to answer, and the share of problems it solves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Stable name: `baseline`, `random`, `grpo`, `critic`, `oracle`, …
    pub name: String,
    /// What a person reads.
    pub label: String,
    /// What it stands under, beside rows of the same kind; empty for one that stands alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Share of problems solved, in percent.
    pub value: f64,
    /// Lower end of the 95 % interval over problems; of fewer than two there is none, and this is 0.
    pub low: f64,
    /// Upper end of it; 100 where there is none.
    pub high: f64,
    /// Number of problems.
    pub n: usize,
    /// The run's seed.
    pub seed: u64,
    /// What the selector knows of a problem: 0 the text, 4 all tests.
    pub level: u8,
    /// Share of the way from random to oracle of the same pool, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_recovered: Option<f64>,
    /// Difference to the baseline in points with its paired 95 % interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_baseline: Option<Difference>,
    /// Each problem's result, in the order of the problems.
    #[serde(skip)]
    pub per_problem: Vec<f64>,
}

/// A difference between two rows on the same problems, in points.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Mean.
    pub value: f64,
    /// Lower end of the paired 95 % interval.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
}

impl Row {
    /// A row from each problem's result in 0..1.
    pub fn new(name: &str, label: &str, per_problem: Vec<f64>, level: u8, seed: u64) -> Self {
        // One problem says nothing of others.
        let (low, high) = match per_problem.len() {
            0 | 1 => (0.0, 1.0),
            _ => bootstrap_interval(&per_problem, seed),
        };
        Row {
            name: name.to_owned(),
            label: label.to_owned(),
            group: String::new(),
            value: 100.0 * mean(&per_problem),
            low: 100.0 * low,
            high: 100.0 * high,
            n: per_problem.len(),
            seed,
            level,
            gap_recovered: None,
            against_baseline: None,
            per_problem,
        }
    }

    /// The same row under a heading.
    pub fn under(mut self, group: &str) -> Self {
        group.clone_into(&mut self.group);
        self
    }

    /// A selector's row over pools; none if it lacks what it needs for any of them.
    pub fn of_selector(
        selector: Selector,
        name: &str,
        label: &str,
        pools: &[Pool],
        seed: u64,
    ) -> Option<Self> {
        let choices: Option<Vec<Vec<usize>>> = pools.iter().map(|pool| selector.choices(pool)).collect();
        let level = pools.iter().map(|pool| selector.level(pool)).max().unwrap_or(0);
        Some(Row::of_choices(name, label, (level, seed), pools, &choices?))
    }

    /// The row of a selector that takes these candidates of each pool, all equally, with its level of
    /// knowledge and the run's seed. A pool without choices counts as not solved.
    pub fn of_choices(
        name: &str,
        label: &str,
        (level, seed): (u8, u64),
        pools: &[Pool],
        choices: &[Vec<usize>],
    ) -> Self {
        let solved = |(pool, choices): (&Pool, &Vec<usize>)| {
            let passing = choices.iter().filter(|&&at| pool.passed[at]).count();
            passing as f64 / choices.len().max(1) as f64
        };
        let mut row = Row::new(name, label, pools.iter().zip(choices).map(solved).collect(), level, seed);
        let bound = |selector: Selector| -> f64 {
            mean(&pools.iter().filter_map(|pool| selector.accuracy(pool)).collect::<Vec<f64>>())
        };
        let (random, oracle) = (bound(Selector::Random), bound(Selector::Oracle));
        if oracle > random {
            row.gap_recovered = Some(100.0 * (row.value / 100.0 - random) / (oracle - random));
        }
        row
    }

    /// Notes the paired difference to another row of the same problems.
    pub fn compare(&mut self, baseline: &Row) {
        self.against_baseline = self.difference(baseline);
    }

    /// The interval as a person reads it.
    pub fn interval(&self) -> String {
        interval_of(self.n, self.low, self.high)
    }

    /// The paired difference to another row; none if it is not about the same problems, or about one alone.
    pub fn difference(&self, other: &Row) -> Option<Difference> {
        if self.per_problem.len() != other.per_problem.len() || self.per_problem.len() < 2 {
            return None;
        }
        let (low, high) = paired_interval(&self.per_problem, &other.per_problem, self.seed);
        Some(Difference { value: self.value - other.value, low: 100.0 * low, high: 100.0 * high })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:+.1} [{:+.1}, {:+.1}]", self.value, self.low, self.high)
    }
}

/// The rows as aligned text.
pub fn text(rows: &[Row]) -> String {
    let header = ["", "solved", "95 % interval", "against baseline", "gap recovered"];
    let cells = |row: &Row| {
        let difference = row.against_baseline.map(|difference| difference.to_string());
        [
            row.label.clone(),
            format!("{:.1} %", row.value),
            row.interval(),
            difference.unwrap_or_default(),
            row.gap_recovered.map(|gap| format!("{gap:.0} %")).unwrap_or_default(),
        ]
    };
    align(&under_headings(header, rows.iter().map(|row| (row.group.as_str(), cells(row)))))
}

/// The 95 % interval over so many problems, as a person reads it.
pub fn interval_of(problems: usize, low: f64, high: f64) -> String {
    match problems {
        0 => "none: no problem".to_owned(),
        1 => "none: one problem".to_owned(),
        _ => format!("{low:.1} – {high:.1}"),
    }
}

/// Lines of a table: its header, and each row's cells under the heading of its group, where it has one.
pub fn under_headings<'a, const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = (&'a str, [String; N])>,
) -> Vec<[String; N]> {
    let mut lines = vec![header.map(str::to_owned)];
    let mut last = "";
    for (group, mut cells) in rows {
        if group != last {
            last = group;
            let mut heading = [const { String::new() }; N];
            group.clone_into(&mut heading[0]);
            lines.push(heading);
        }
        if !group.is_empty() {
            cells[0].insert_str(0, "  ");
        }
        lines.push(cells);
    }
    lines
}

/// Columns of equal width, the first to the left, the others to the right.
pub fn align<const N: usize>(lines: &[[String; N]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut out = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let joined = cells.collect::<Vec<_>>().join("  ");
        out.push_str(joined.trim_end());
        out.push('\n');
    }
    out
}
