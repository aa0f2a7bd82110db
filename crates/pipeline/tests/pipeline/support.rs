//! A tiny recipe of the built-in world, and what a run left in its directory.

use hub::Hub;
use pipeline::recipe::Recipe;
use pipeline::{Context, Error, Silence, Watch, loop_run};
use report::html::Report;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;
use transformer::Cpu;

const RECIPE: &str = r#"
name = "tiny"
seed = 3
[model]
path = "MODEL"
[problems]
train = 16
test = 6
[greedy]
max_new_tokens = 64
[pool]
samples = 4
max_new_tokens = 64
[executor]
workers = 2
[grpo]
steps = 2
prompts_per_step = 4
group_size = 4
max_new_tokens = 64
kl_coefficient = 0.01
[critic]
problems = 10
samples = 3
base_samples = 1
validation = 0.5
[critic.training]
epochs = 2
problems_per_step = 4
"#;

static DEVICE: LazyLock<Cpu> = LazyLock::new(Cpu::default);
static HUB: LazyLock<Hub> = LazyLock::new(|| Hub {
    endpoint: "http://127.0.0.1:9".into(),
    cache: "/nonexistent".into(),
    token: None,
    is_offline: true,
    pause: Duration::ZERO,
});

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The tiny recipe on the built-in model, with some of its text replaced.
pub fn recipe(changes: &[(&str, &str)]) -> Recipe {
    let text = RECIPE.replace("MODEL", &root().join("models/basics").display().to_string());
    let change = |text: String, (from, to): &(&str, &str)| {
        assert!(text.contains(from), "the recipe has no {from}");
        text.replace(from, to)
    };
    Recipe::parse(&changes.iter().fold(text, change)).expect("a recipe")
}

/// The processor, no Hub, nobody who watches.
pub fn context(interrupted: &dyn Fn() -> bool) -> Context<'_> {
    Context { device: &*DEVICE, hub: &HUB, watch: Watch { progress: &Silence, interrupted } }
}

/// Runs to the end.
pub fn whole(recipe: &Recipe, directory: &Path) -> Result<Report, Error> {
    Ok(loop_run::run(recipe, directory, context(&|| false))?.expect("nobody stopped it"))
}

/// Runs until so many stages are finished.
pub fn until(recipe: &Recipe, directory: &Path, stages: usize) {
    let stopped = loop_run::run(recipe, directory, context(&|| finished(directory) >= stages));
    assert!(stopped.expect("a run").is_none(), "it was not stopped after {stages} stages");
    assert_eq!(finished(directory), stages);
}

/// How many stages are finished.
pub fn finished(directory: &Path) -> usize {
    let text = fs::read_to_string(directory.join("state.json")).unwrap_or_default();
    let state: Value = serde_json::from_str(&text).unwrap_or_default();
    state["finished"].as_object().map_or(0, |stages| stages.len())
}

/// Changes a file's text.
pub fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    fs::write(path, change(text)).expect("written");
}

/// Each file of a finished run, without times and in an order that does not depend on them.
pub fn contents(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let names = [
        "recipe.toml",
        "problems/train.jsonl",
        "problems/test.jsonl",
        "grpo/config.json",
        "grpo/model.safetensors",
        "grpo/tokenizer.json",
        "critic/config.json",
        "critic/model.safetensors",
        "critic/score_head.safetensors",
        "metrics/critic-held-out.json",
        "metrics/critic-validation.json",
        "scores/base-pool.jsonl",
        "scores/pool.jsonl",
        "choices/base-pool-level-1.jsonl",
        "choices/pool-level-1.jsonl",
    ];
    for name in names {
        let bytes = fs::read(run.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        found.insert(name.to_owned(), bytes);
    }
    let ranker = "rankers/pool-level-1.json";
    found.insert(ranker.to_owned(), fs::read(run.join(ranker)).unwrap_or_default());
    for directory in ["generated", "verdicts", "metrics"] {
        for entry in fs::read_dir(run.join(directory)).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "jsonl") {
                let name = format!("{directory}/{}", path.file_name().expect("a name").display());
                found.insert(name, lines(&path).join("\n").into_bytes());
            }
        }
    }
    let states: Vec<_> = fs::read_dir(run.join("states")).into_iter().flatten().collect();
    assert!(states.is_empty(), "left behind: {states:?}");
    found
}

/// A file's records without times, sorted.
fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("read");
    let line = |line: &str| {
        let mut record: Value = serde_json::from_str(line).expect("a record");
        let fields = record.as_object_mut().expect("an object");
        fields.retain(|name, _| {
            !name.starts_with("time/")
                && name != "step_time"
                && !name.contains("milliseconds")
                && name != "peak_memory_kib"
        });
        record.to_string()
    };
    let mut lines: Vec<String> = text.lines().map(line).collect();
    lines.sort();
    lines
}

/// Fails where a file differs, and names it.
pub fn assert_same(expected: &BTreeMap<String, Vec<u8>>, found: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (name, bytes) in expected {
        assert!(found[name] == *bytes, "{name} differs");
    }
}
