//! From the records of a finished run to its report.

use super::Loop;
use crate::critic_training::VALIDATION;
use crate::verdicts::{outcomes, tests_of, word};
use crate::{Error, Result};
use records::{Candidate, Problem, Score, Verdict, jsonl, paired, same_length};
use report::html::{Example, ExampleCandidate, Fact, Report};
use report::statistics::{area_under_curve, calibration, calibration_error, mean, pass_at_k};
use report::svg::{Plot, Series};
use report::table::Row;
use selection::{Pool, Selector, pools};
use serde_json::Value;
use std::collections::HashMap;

/// Problems that the report shows with their candidates.
const EXAMPLES: usize = 6;
/// Programs shown of each.
const PROGRAMS: usize = 5;

impl Loop<'_> {
    /// Makes `report.json` and `report.html` from the run's records.
    pub(super) fn results(&self) -> Result<Report> {
        let before = self.pools("base-pool")?;
        let after = self.pools("pool")?;
        let rows = self.rows(&before, &after)?;
        let (scores, passed) = flatten(&after)?;
        let bins = calibration(&scores, &passed);
        let mut facts = self.facts(&scores, &passed, calibration_error(&bins))?;
        facts.extend(
            self.run
                .seconds()
                .iter()
                .map(|(stage, seconds)| Fact::new(&format!("seconds/{stage}"), stage, *seconds, "seconds")),
        );
        let total: f64 = self.run.seconds().values().sum();
        facts.push(Fact::new("seconds", "all stages", total, "seconds"));
        let candidates = self.candidates("pool")?;
        let verdicts = self.verdicts("pool")?;
        let report = Report {
            title: format!("The Neural Computer: {}", self.recipe.name),
            summary: format!(
                "{} of {} {} problems, {} candidates each; generator {}; seed {}",
                self.recipe.problems.source,
                self.problems.test.len(),
                self.recipe.problems.report_on.name(),
                self.recipe.pool.samples,
                self.base.name,
                self.recipe.seed
            ),
            rows,
            facts,
            outcomes: outcomes(&verdicts),
            examples: self.examples(&after, &candidates, &verdicts)?,
            plots: self.plots(&before, &after, bins)?,
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

    fn pools(&self, name: &str) -> Result<Vec<Pool>> {
        let candidates = self.candidates(name)?;
        self.check_likelihoods(name, &candidates)?;
        let scores: Vec<Score> = jsonl::read(&self.run.path(&format!("scores/{name}.jsonl")))?;
        let mut found = pools(&self.problems.test, &candidates, &self.verdicts(name)?, &scores);
        let place: HashMap<&str, usize> =
            self.problems.test.iter().enumerate().map(|(at, problem)| (problem.id.as_str(), at)).collect();
        found.sort_by_key(|pool| place.get(pool.problem.as_str()).copied());
        if name == "pool" {
            self.add_known(&mut found)?;
        }
        Ok(found)
    }

    fn rows(&self, before: &[Pool], after: &[Pool]) -> Result<Vec<Row>> {
        let seed = self.recipe.seed;
        let greedy = |name: &str, label: &str| -> Result<Row> {
            let verdicts = self.verdicts(name)?;
            let passed: HashMap<&str, bool> =
                verdicts.iter().map(|verdict| (verdict.problem.as_str(), verdict.passed())).collect();
            let solved =
                self.problems.test.iter().map(|problem| passed.get(problem.id.as_str()) == Some(&true));
            Ok(Row::new(name, label, solved.map(|solved| f64::from(u8::from(solved))).collect(), 0, seed))
        };
        let n = self.recipe.pool.samples;
        let mut rows = vec![greedy("baseline", "baseline (greedy)")?];
        for (selector, label) in [
            (Selector::Random, "  random pick".to_owned()),
            (Selector::Likelihood, "  likeliest".to_owned()),
            (Selector::Critic, "  critic's pick".to_owned()),
            (Selector::Oracle, "  oracle".to_owned()),
        ] {
            let label = format!("{label} of {n}, before GRPO");
            rows.extend(Row::of_selector(
                selector,
                &format!("base_{}", selector.name()),
                &label,
                before,
                seed,
            ));
        }
        rows.push(greedy("grpo", "+ GRPO (greedy)")?);
        for (selector, label) in [
            (Selector::Random, format!("  random pick of {n}")),
            (Selector::Likelihood, format!("  likeliest of {n}")),
            (Selector::LikelihoodSum, format!("  likeliest of {n}, sum")),
            (Selector::Critic, format!("+ critic's pick of {n}")),
            (Selector::Consensus, format!("+ consensus of {n}, behaviour on one call")),
            (Selector::Combined, format!("+ combined pick of {n}, critic and behaviour")),
            (Selector::Oracle, format!("oracle (any of {n})")),
        ] {
            rows.extend(Row::of_selector(selector, selector.name(), &label, after, seed));
        }
        let (baseline, others) = rows.split_at_mut(1);
        others.iter_mut().for_each(|row| row.compare(&baseline[0]));
        Ok(rows)
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

    /// Problems where choosing mattered: first those where the critic's pick is right and most
    /// candidates are not, then those where it is wrong although some pass.
    fn examples(
        &self,
        pools: &[Pool],
        candidates: &[Candidate],
        verdicts: &[Verdict],
    ) -> Result<Vec<Example>> {
        let by_id: HashMap<&str, &Problem> =
            self.problems.test.iter().map(|problem| (problem.id.as_str(), problem)).collect();
        let verdicts: HashMap<(&str, usize), &Verdict> =
            verdicts.iter().map(|verdict| ((verdict.problem.as_str(), verdict.index), verdict)).collect();
        let share = |pool: &Pool| Selector::Random.accuracy(pool).unwrap_or(0.0);
        let picked = |pool: &Pool| Selector::Critic.accuracy(pool).unwrap_or(0.0);
        let mixed = || pools.iter().filter(|pool| (0.05..0.95).contains(&share(pool)));
        let mut right: Vec<&Pool> = mixed().filter(|pool| picked(pool) > 0.99).collect();
        right.sort_by(|a, b| share(a).total_cmp(&share(b)));
        let wrong = mixed().filter(|pool| picked(pool) < 0.01);
        let chosen = right
            .into_iter()
            .take(EXAMPLES - 2)
            .map(|pool| (pool, true))
            .chain(wrong.take(2).map(|pool| (pool, false)));
        let example = |(pool, right): (&Pool, bool)| {
            let problem = by_id.get(pool.problem.as_str())?;
            let percent = 100.0 * share(pool);
            let remark = match right {
                true => format!("{percent:.0} % of the candidates pass; the critic's pick does"),
                false => format!("{percent:.0} % of the candidates pass; the critic's pick does not"),
            };
            let candidates = match shown_candidates(pool, candidates, &verdicts) {
                Ok(candidates) => candidates,
                Err(error) => return Some(Err(error)),
            };
            Some(Ok(Example {
                problem: problem.id.clone(),
                text: problem.shown.statement.clone(),
                tests: tests_of(problem),
                remark,
                candidates,
            }))
        };
        chosen.filter_map(example).collect()
    }

    fn notes(&self) -> Vec<String> {
        let settings = self.verifier.python.settings();
        let tier = self.verifier.tier();
        let pool = &self.recipe.pool;
        vec![
            format!("Protocol: {} candidates a problem at temperature {}, top-p {}; greedy answers for the baseline.", pool.samples, pool.temperature, pool.top_p),
            "Intervals: 95 %, bootstrap over problems; differences are resampled in pairs of the same problem.".to_owned(),
            "Selectors see the problem's text and one test at most (level 0); the consensus may run the visible test's call, and calls like it, without knowing what they should give (level 1); the oracle sees all tests (level 4).".to_owned(),
            "Gap recovered: the share of the way from a random pick to the oracle of the same pool.".to_owned(),
            format!("Execution: one process a candidate, {} s of CPU time, {} MiB; isolation tier {} ({}).", settings.cpu_seconds, settings.memory_bytes >> 20, tier.name(), tier.description()),
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

fn shown_candidates(
    pool: &Pool,
    candidates: &[Candidate],
    verdicts: &HashMap<(&str, usize), &Verdict>,
) -> Result<Vec<ExampleCandidate>> {
    let mut indices: Vec<usize> =
        candidates.iter().filter(|c| c.problem == pool.problem).map(|c| c.index).collect();
    indices.sort_unstable();
    let mut programs: Vec<ExampleCandidate> = Vec::new();
    let pairs = paired(indices, &pool.codes, ["candidates", "programs"])?;
    for (at, (index, code)) in pairs.enumerate() {
        if let Some(known) = programs.iter_mut().find(|program| program.code == *code) {
            known.count += 1;
            continue;
        }
        let verdict = verdicts.get(&(pool.problem.as_str(), index));
        let failing = verdict.and_then(|verdict| verdict.first_failure());
        programs.push(ExampleCandidate {
            code: code.clone(),
            count: 1,
            critic: pool.critic.as_ref().map(|scores| scores[at]),
            outcome: verdict.map_or("none".to_owned(), |verdict| word(verdict.outcome, &verdict.reason)),
            detail: failing.map(|(_, test)| test.detail.clone()).unwrap_or_default(),
        });
    }
    programs.sort_by(|a, b| b.critic.unwrap_or(0.0).total_cmp(&a.critic.unwrap_or(0.0)));
    programs.truncate(PROGRAMS);
    Ok(programs)
}
