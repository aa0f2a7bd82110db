//! One self-contained page: no outside requests, light and dark, readable on a phone.

use crate::svg::{Plot, escape};
use crate::table::Row;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Everything that a report says; `report.json` is this, and `report.html` shows it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The run's name.
    pub title: String,
    /// One line on what was run.
    pub summary: String,
    /// The table.
    pub rows: Vec<Row>,
    /// Named single numbers: critic accuracy, seconds a stage, …
    pub facts: Vec<Fact>,
    /// Outcomes of the candidates: name and count.
    pub outcomes: Vec<(String, usize)>,
    /// A few problems with candidates.
    pub examples: Vec<Example>,
    /// Plots with their headings; only in the page.
    #[serde(skip)]
    pub plots: Vec<(String, Plot)>,
    /// How the numbers were made: protocol, seeds, isolation, machine.
    pub notes: Vec<String>,
}

/// A named number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fact {
    /// Stable name.
    pub name: String,
    /// What a person reads.
    pub label: String,
    /// The number.
    pub value: f64,
    /// How to write it: `percent`, `seconds`, `count` or `ratio`.
    pub unit: String,
}

/// A problem with some of its candidates.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Example {
    /// Its id.
    pub problem: String,
    /// Its text.
    pub text: String,
    /// Its tests.
    pub tests: Vec<String>,
    /// Why it is shown.
    pub remark: String,
    /// Distinct programs, the critic's favourite first.
    pub candidates: Vec<ExampleCandidate>,
}

/// One program of an example.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExampleCandidate {
    /// The program.
    pub code: String,
    /// How often it was sampled.
    pub count: usize,
    /// The critic's probability.
    pub critic: Option<f64>,
    /// The verdict's outcome.
    pub outcome: String,
    /// The first failing test's detail.
    pub detail: String,
}

impl Fact {
    /// A named number.
    pub fn new(name: &str, label: &str, value: f64, unit: &str) -> Self {
        Fact { name: name.into(), label: label.into(), value, unit: unit.into() }
    }

    /// As a person reads it.
    pub fn text(&self) -> String {
        match self.unit.as_str() {
            "percent" => format!("{:.1} %", self.value),
            "seconds" => format!("{:.1} s", self.value),
            "count" => format!("{:.0}", self.value),
            _ => format!("{:.3}", self.value),
        }
    }
}

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1c2127;--soft:#5c6773;--line:#d8dee4;--card:#f6f8fa;--accent:#0072b2;--good:#0a7d55;--bad:#c4420e}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa7b3;--line:#30363d;--card:#161b22;--accent:#58a6ff;--good:#3fb950;--bad:#ff7b55}}
*{box-sizing:border-box}body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);max-width:66rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.7rem;margin:0 0 .2rem}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}p.lead{color:var(--soft);margin:0 0 1.4rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.42rem .6rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}th:first-child,td:first-child{text-align:left}
th{color:var(--soft);font-weight:500;font-size:.86rem}tr.key td{font-weight:600}tr.group td{color:var(--soft);font-weight:600;padding-top:1.1rem}tr.under td:first-child{padding-left:1.4rem}
.bar{position:relative;width:7rem;height:.8rem;background:var(--card);border:1px solid var(--line);border-radius:3px}
.bar i{position:absolute;top:0;bottom:0;background:var(--accent);opacity:.32}.bar b{position:absolute;top:-2px;bottom:-2px;width:2px;background:var(--accent)}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(11rem,1fr));gap:.6rem}.facts div{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.5rem .7rem}
.facts strong{display:block;font-size:1.15rem}.facts span{color:var(--soft);font-size:.84rem}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1.2rem}figure{margin:0}figcaption{font-weight:600;font-size:.95rem}
svg{width:100%;height:auto}svg text{fill:var(--soft);font-size:11px}.grid{stroke:var(--line)}.diagonal{stroke:var(--soft);stroke-dasharray:4 4}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.84rem;color:var(--soft)}.legend i{display:inline-block;width:.8rem;height:.8rem;border-radius:2px;margin-right:.35rem;vertical-align:-1px}
details{border:1px solid var(--line);border-radius:6px;margin:.6rem 0;padding:.5rem .8rem}summary{cursor:pointer}summary em{color:var(--soft);font-style:normal}
pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem;overflow-x:auto;font:13px/1.45 ui-monospace,monospace;margin:.3rem 0}
.candidate{margin:.9rem 0}.tag{display:inline-block;border-radius:3px;padding:0 .45rem;font-size:.84rem;font-weight:600;border:1px solid}
.passed{color:var(--good)}.failed{color:var(--bad)}small{color:var(--soft)}";

impl Report {
    /// The page.
    pub fn to_html(&self) -> String {
        let mut page = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{0}</title><style>{STYLE}</style></head><body><h1>{0}</h1><p class=\"lead\">{1}</p>",
            escape(&self.title),
            escape(&self.summary)
        );
        self.write_table(&mut page);
        self.write_facts(&mut page);
        if !self.plots.is_empty() {
            page.push_str("<h2>Curves</h2><div class=\"plots\">");
            for (title, plot) in &self.plots {
                let _ = write!(
                    page,
                    "<figure><figcaption>{}</figcaption>{}</figure>",
                    escape(title),
                    plot.render()
                );
            }
            page.push_str("</div>");
        }
        self.write_outcomes(&mut page);
        self.write_examples(&mut page);
        if !self.notes.is_empty() {
            page.push_str("<h2>How these numbers were made</h2><ul>");
            for note in &self.notes {
                let _ = write!(page, "<li>{}</li>", escape(note));
            }
            page.push_str("</ul>");
        }
        page.push_str("</body></html>\n");
        page
    }

    fn write_table(&self, page: &mut String) {
        page.push_str("<h2>Problems solved</h2><div class=\"scroll\"><table><thead><tr><th></th><th>solved</th><th>95 % interval</th><th></th><th>against baseline</th><th>gap recovered</th></tr></thead><tbody>");
        let mut group = "";
        for row in &self.rows {
            if row.group != group {
                group = &row.group;
                let _ = write!(page, "<tr class=\"group\"><td colspan=\"6\">{}</td></tr>", escape(group));
            }
            let name = row.name.rsplit('/').next().unwrap_or(&row.name);
            let is_key = ["baseline", "grpo"].contains(&name) || name.contains("combined");
            let mut classes: Vec<&str> = if is_key { vec!["key"] } else { Vec::new() };
            classes.extend((!row.group.is_empty()).then_some("under"));
            let difference = row
                .against_baseline
                .map(|d| format!("{:+.1} <small>[{:+.1}, {:+.1}]</small>", d.value, d.low, d.high));
            let _ = write!(
                page,
                "<tr class=\"{}\"><td>{}</td><td>{:.1} %</td><td>{}</td><td><div class=\"bar\"><i style=\"left:{:.1}%;width:{:.1}%\"></i><b style=\"left:{:.1}%\"></b></div></td><td>{}</td><td>{}</td></tr>",
                classes.join(" "),
                escape(&row.label),
                row.value,
                row.interval(),
                row.low,
                row.high - row.low,
                row.value,
                difference.unwrap_or_default(),
                row.gap_recovered.map(|gap| format!("{gap:.0} %")).unwrap_or_default(),
            );
        }
        page.push_str("</tbody></table></div>");
    }

    fn write_facts(&self, page: &mut String) {
        if self.facts.is_empty() {
            return;
        }
        page.push_str("<h2>Facts</h2><div class=\"facts\">");
        let (times, facts): (Vec<&Fact>, Vec<&Fact>) =
            self.facts.iter().partition(|fact| fact.name.starts_with("seconds/"));
        for fact in facts {
            let _ = write!(
                page,
                "<div><strong>{}</strong><span>{}</span></div>",
                fact.text(),
                escape(&fact.label)
            );
        }
        page.push_str("</div>");
        if !times.is_empty() {
            page.push_str(
                "<details><summary>Time of each stage</summary><div class=\"scroll\"><table><tbody>",
            );
            for time in times {
                let _ = write!(page, "<tr><td>{}</td><td>{}</td></tr>", escape(&time.label), time.text());
            }
            page.push_str("</tbody></table></div></details>");
        }
    }

    fn write_outcomes(&self, page: &mut String) {
        if self.outcomes.is_empty() {
            return;
        }
        let total: usize = self.outcomes.iter().map(|(_, count)| count).sum();
        page.push_str("<h2>What became of the candidates</h2><div class=\"scroll\"><table><tbody>");
        for (name, count) in &self.outcomes {
            let share = 100.0 * *count as f64 / total.max(1) as f64;
            let _ = write!(
                page,
                "<tr><td>{}</td><td>{count}</td><td>{share:.1} %</td></tr>",
                escape(&name.replace('_', " "))
            );
        }
        page.push_str("</tbody></table></div>");
    }

    fn write_examples(&self, page: &mut String) {
        if self.examples.is_empty() {
            return;
        }
        page.push_str("<h2>Some problems</h2>");
        for (index, example) in self.examples.iter().enumerate() {
            let _ = write!(
                page,
                "<details{}><summary>{} <em>— {}</em></summary><pre>{}</pre>",
                if index == 0 { " open" } else { "" },
                escape(&example.text),
                escape(&example.remark),
                escape(&example.tests.join("\n")),
            );
            for candidate in &example.candidates {
                let class = if candidate.outcome == "passed" { "passed" } else { "failed" };
                let score =
                    candidate.critic.map(|p| format!("critic {:.0} %", 100.0 * p)).unwrap_or_default();
                let _ = write!(
                    page,
                    "<div class=\"candidate\"><span class=\"tag {class}\">{}</span> {score} <small>sampled {} time{} {}</small><pre>{}</pre></div>",
                    escape(&candidate.outcome.replace('_', " ")),
                    candidate.count,
                    if candidate.count == 1 { "" } else { "s" },
                    escape(&candidate.detail),
                    escape(&candidate.code),
                );
            }
            page.push_str("</details>");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_programs_stay_text_and_nothing_is_loaded() {
        let hostile = "</pre><script>alert(1)</script><img src=http://x onerror=y>";
        let report = Report {
            title: hostile.into(),
            examples: vec![Example {
                problem: "p".into(),
                text: hostile.into(),
                tests: vec![hostile.into()],
                remark: hostile.into(),
                candidates: vec![ExampleCandidate {
                    code: hostile.into(),
                    count: 1,
                    critic: Some(0.5),
                    outcome: hostile.into(),
                    detail: hostile.into(),
                }],
            }],
            ..Report::default()
        };
        let page = report.to_html();
        assert!(!page.contains("<script") && !page.contains("<img"));
        assert!(!page.contains("src=\"http") && !page.contains("@import"));
    }
}
