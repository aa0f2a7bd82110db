//! From the records of a finished run to its report.

use super::{Loop, PoolName};
use crate::critic_training::VALIDATION;
use crate::verdicts::outcomes;
use crate::{Error, Result};
use records::{Candidate, Score, jsonl, paired, same_length};
use report::html::{Fact, Report};
use report::statistics::{area_under_curve, calibration, calibration_error, mean, pass_at_k};
use report::svg::{Plot, Series};
use selection::{Pool, Selector, pools};
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use verify::Domain;

impl Loop<'_> {
    /// Makes `report.json` and `report.html` from the run's records.
    pub(super) fn results(&self) -> Result<Report> {
        let (before, after) = (self.pools(PoolName::Before)?, self.pools(PoolName::After)?);
        let mut rows = Vec::new();
        let mut calibrations = Vec::new();
        for set in 0..self.problems.reported.len() {
            let (of_set, facts) = self.rows(set, &before, &after)?;
            rows.extend(of_set);
            calibrations.extend(facts);
        }
        // All that follows is about the source's own problems.
        let own = self.problems.reported[0].1.clone();
        let (before, after) = (&before[own.clone()], &after[own]);
        let (scores, passed) = flatten(after)?;
        let bins = calibration(&scores, &passed);
        let mut facts = self.facts(&scores, &passed, calibration_error(&bins))?;
        facts.extend(calibrations);
        facts.extend(
            self.run
                .seconds()
                .iter()
                .map(|(stage, seconds)| Fact::new(&format!("seconds/{stage}"), stage, *seconds, "seconds")),
        );
        let total: f64 = self.run.seconds().values().sum();
        facts.push(Fact::new("seconds", "all stages", total, "seconds"));
        let own: HashSet<&str> = after.iter().map(|pool| pool.problem.as_str()).collect();
        let candidates = self.candidates("pool")?;
        let mut verdicts = self.verdicts("pool")?;
        verdicts.retain(|verdict| own.contains(verdict.problem.as_str()));
        let report = Report {
            title: format!("The Neural Computer: {}", self.recipe.name),
            summary: self.summary(),
            rows,
            facts,
            outcomes: outcomes(&verdicts),
            examples: self.examples(after, &candidates, &verdicts)?,
            plots: self.plots(before, after, bins)?,
            notes: self.notes(),
        };
        let json = serde_json::to_string_pretty(&report)?;
        jsonl::write_atomically(&self.run.path("report.json"), |file| file.write_all(json.as_bytes()))?;
        let page = report.to_html();
        jsonl::write_atomically(&self.run.path("report.html"), |file| file.write_all(page.as_bytes()))?;
        Ok(report)
    }

    /// Refuses a pool whose candidates lack the likelihoods that the report's selectors choose by.
    pub(super) fn check_likelihoods(&self, name: &str, candidates: &[Candidate]) -> Result<()> {
        let lacking = candidates.iter().find(|candidate| {
            candidate.log_probabilities.is_empty()
                || candidate.log_probabilities.len() != candidate.tokens.len()
        });
        let Some(candidate) = lacking else { return Ok(()) };
        Err(Error::NoLikelihood {
            path: self.run.path(&format!("generated/{name}.jsonl")),
            problem: candidate.problem.clone(),
            index: candidate.index,
            tokens: candidate.tokens.len(),
            found: candidate.log_probabilities.len(),
            selector: Selector::Likelihood.name(),
        })
    }

    /// The pools of all that is reported on, in the problems' order.
    fn pools(&self, pool: PoolName) -> Result<Vec<Pool>> {
        let name = pool.file();
        let candidates = self.candidates(name)?;
        self.check_likelihoods(name, &candidates)?;
        let scores: Vec<Score> = jsonl::read(&self.run.path(&format!("scores/{name}.jsonl")))?;
        let mut found = pools(&self.problems.test, &candidates, &self.verdicts(name)?, &scores);
        let place: HashMap<&str, usize> =
            self.problems.test.iter().enumerate().map(|(at, problem)| (problem.id.as_str(), at)).collect();
        found.sort_by_key(|pool| place.get(pool.problem.as_str()).copied());
        same_length("pools", found.len(), "problems", self.problems.test.len())?;
        Ok(found)
    }

    /// One line on what was run.
    fn summary(&self) -> String {
        let problems = &self.recipe.problems;
        let set = |(name, of): &(String, Range<usize>)| {
            format!("{name} ({} {} problems)", of.len(), problems.report_on.name())
        };
        let sets: Vec<String> = self.problems.reported.iter().map(set).collect();
        format!(
            "{}, {} candidates each; generator {}; seed {}",
            sets.join(", "),
            self.recipe.pool.samples,
            self.base.name,
            self.recipe.seed
        )
    }

    fn facts(&self, scores: &[f64], passed: &[bool], calibration_error: f64) -> Result<Vec<Fact>> {
        let pairs = paired(scores, passed, ["scores", "labels"])?;
        let right = pairs.filter(|(score, passed)| (**score > 0.5) == **passed).count();
        let accuracy = 100.0 * right as f64 / scores.len().max(1) as f64;
        let mut facts =
            vec![Fact::new("critic_accuracy", "critic's accuracy on test candidates", accuracy, "percent")];
        if let Some(area) = area_under_curve(scores, passed) {
            facts.push(Fact::new("critic_auc", "critic's AUC on test candidates", area, "ratio"));
        }
        facts.push(Fact::new(
            "critic_calibration_error",
            "critic's calibration error",
            100.0 * calibration_error,
            "percent",
        ));
        if let Some(step) = self.best_step()? {
            facts.push(Fact::new("grpo_step", "step of GRPO that was kept", step as f64, "count"));
        }
        let validation = std::fs::read_to_string(self.run.path(VALIDATION)).unwrap_or_default();
        if let Ok(Value::Object(fields)) = serde_json::from_str(&validation) {
            let get = |name: &str| fields.get(name).and_then(Value::as_f64);
            if let Some(accuracy) = get("accuracy") {
                let label = "critic's accuracy on held-out training problems";
                facts.push(Fact::new("critic_validation_accuracy", label, 100.0 * accuracy, "percent"));
            }
            if let Some(count) = get("training_problems") {
                facts.push(Fact::new(
                    "critic_training_problems",
                    "problems the critic learned from",
                    count,
                    "count",
                ));
            }
        }
        Ok(facts)
    }

    fn plots(
        &self,
        before: &[Pool],
        after: &[Pool],
        bins: Vec<report::statistics::CalibrationBin>,
    ) -> Result<Vec<(String, Plot)>> {
        let metric = |stage: &str, name: &str, label: &str| -> Series {
            let lines: Vec<Value> =
                jsonl::read(&self.run.path(&format!("metrics/{stage}.jsonl"))).unwrap_or_default();
            let points = lines
                .iter()
                .filter_map(|line| Some((line.get("step")?.as_f64()?, line.get(name)?.as_f64()?)));
            Series { name: label.to_owned(), points: smooth(&points.collect::<Vec<_>>()), marked: false }
        };
        let plot = |x: &str, y: &str, series: Vec<Series>| Plot {
            x_label: x.into(),
            y_label: y.into(),
            series,
            ..Plot::default()
        };
        let mut plots = Vec::new();
        if self.recipe.grpo.steps > 0 {
            plots.push((
                "GRPO: reward".to_owned(),
                plot("step", "share of rollouts that pass", vec![metric("grpo", "reward", "reward")]),
            ));
            plots.push((
                "GRPO: entropy".to_owned(),
                plot("step", "nats a token", vec![metric("grpo", "entropy", "entropy")]),
            ));
        }
        plots.push(("Critic: loss".to_owned(), plot("step", "loss", vec![metric("critic", "loss", "loss")])));
        let calibrated = bins.iter().map(|bin| (bin.predicted, bin.observed)).collect();
        plots.push((
            "Critic: calibration on test candidates".to_owned(),
            Plot {
                x_label: "the critic's probability".into(),
                y_label: "share that passes".into(),
                y_range: Some((0.0, 1.0)),
                diagonal: true,
                series: vec![Series { name: "observed".into(), points: calibrated, marked: true }],
                ..Plot::default()
            },
        ));
        let curve = |name: &str, pools: &[Pool]| Series {
            name: name.into(),
            points: pass_curve(pools),
            marked: true,
        };
        plots.push((
            "pass@k".to_owned(),
            Plot {
                logarithmic: true,
                ..plot(
                    "candidates k",
                    "problems solved by any of k, %",
                    vec![curve("before GRPO", before), curve("after GRPO", after)],
                )
            },
        ));
        Ok(plots)
    }

    fn notes(&self) -> Vec<String> {
        let settings = self.verifier.python.settings();
        let tier = self.verifier.tier();
        let pool = &self.recipe.pool;
        vec![
            format!("Protocol: {} candidates a problem at temperature {}, top-p {}; greedy answers for the baseline.", pool.samples, pool.temperature, pool.top_p),
            "Intervals: 95 %, bootstrap over problems; differences are resampled in pairs of the same problem.".to_owned(),
            "What selectors know: level 0, the problem's text with the tests that its prompt shows; 1, the visible test's call too, which they may run, and calls like it; 2, the calls of all tests; 3, whether the visible test passes; the oracle (4) sees all tests.".to_owned(),
            "Gap recovered: the share of the way from a random pick to the oracle of the same pool.".to_owned(),
            format!("Execution: one process a candidate, {} s of CPU time, {} MiB; isolation tier {} ({}).", settings.cpu_seconds, settings.memory_bytes >> 20, tier.name(), tier.description()),
            format!("Generator: {}, on {}. Verifier: {}.", self.model.display(), self.context.device.describe(), self.verifier.python.fingerprint()),
            format!("Seed {}; the same seed gives the same table on the same machine.", self.recipe.seed),
        ]
    }
}

/// The critic's score of each candidate, and whether it passed.
fn flatten(pools: &[Pool]) -> Result<(Vec<f64>, Vec<bool>)> {
    let (mut all_scores, mut all_passed) = (Vec::new(), Vec::new());
    for pool in pools {
        let Some(scores) = &pool.critic else { continue };
        same_length("scores", scores.len(), "candidates", pool.passed.len())?;
        all_scores.extend(scores);
        all_passed.extend(&pool.passed);
    }
    Ok((all_scores, all_passed))
}

fn pass_curve(pools: &[Pool]) -> Vec<(f64, f64)> {
    let n = pools.iter().map(|pool| pool.passed.len()).min().unwrap_or(0);
    let steps = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100].into_iter().filter(|&k| k <= n);
    let at = |k: usize| {
        let each = pools
            .iter()
            .map(|pool| pass_at_k(pool.passed.len(), pool.passed.iter().filter(|&&p| p).count(), k));
        (k as f64, 100.0 * mean(&each.collect::<Vec<f64>>()))
    };
    steps.map(at).collect()
}

/// Means over windows of a fortieth of the curve.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let window = (points.len() / 40).max(1);
    let centre = |part: &[(f64, f64)]| {
        let (xs, ys): (Vec<f64>, Vec<f64>) = part.iter().copied().unzip();
        (mean(&xs), mean(&ys))
    };
    points.chunks(window).map(centre).collect()
}
