//! What a run refuses: each is named, with what to do.

use crate::support::{edit, recipe, root, until, whole};
use pipeline::Error;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The innermost error, and all of the text.
fn refused(recipe: &pipeline::recipe::Recipe, run: &Path) -> (Error, String) {
    match whole(recipe, run).expect_err("a refusal") {
        Error::Stage { stage, source } => {
            let text = format!("{stage}: {source}");
            (*source, text)
        }
        error => {
            let text = error.to_string();
            (error, text)
        }
    }
}

#[test]
fn a_run_of_another_model_or_verifier_is_not_continued() {
    let directory = tempfile::tempdir().expect("a directory");
    let (model, run) = (directory.path().join("model"), directory.path().join("run"));
    fs::create_dir(&model).expect("made");
    for entry in fs::read_dir(root().join("models/basics")).expect("the model") {
        let path = entry.expect("a file").path();
        fs::copy(&path, model.join(path.file_name().expect("a name"))).expect("copied");
    }
    let mut copied = recipe(&[]);
    copied.model.path = model.display().to_string();
    until(&copied, &run, 2);

    let (error, text) = refused(&recipe(&[]), &run);
    assert!(matches!(error, Error::OtherModel { .. }), "{text}");
    assert!(text.contains(&copied.model.path) && text.contains("model.path"), "{text}");

    let mut seeded = copied.clone();
    seeded.seed = 4;
    let (error, text) = refused(&seeded, &run);
    assert!(matches!(error, Error::OtherRecipe { .. }), "{text}");
    assert!(text.contains("`seed = 3`") && text.contains("`seed = 4`"), "{text}");

    let config = fs::read_to_string(model.join("config.json")).expect("a shape");
    edit(&model.join("config.json"), |text| text + "\n");
    let (error, text) = refused(&copied, &run);
    assert!(matches!(error, Error::ModelChanged { .. }), "{text}");
    assert!(text.contains("config.json") && text.contains("bring the file back"), "{text}");
    fs::write(model.join("config.json"), config).expect("brought back");

    let state = run.join("state.json");
    let noted = fs::read_to_string(&state).expect("a state");
    edit(&state, |text| text.replace("\"verifier\": \"python ", "\"verifier\": \"python 0."));
    let (error, text) = refused(&copied, &run);
    assert!(matches!(error, Error::OtherVerifier { .. }), "{text}");
    assert!(text.contains("`python 0.") && text.contains("begin a new run"), "{text}");

    // A version that noted nothing: its verdicts tell.
    let mut unnoted: Value = serde_json::from_str(&noted).expect("JSON");
    unnoted.as_object_mut().expect("an object").remove("origin").expect("an origin");
    fs::write(&state, unnoted.to_string()).expect("written");
    let verdicts = run.join("verdicts/baseline.jsonl");
    let own = fs::read_to_string(&verdicts).expect("verdicts");
    edit(&verdicts, |text| text.replace("\"fingerprint\":\"", "\"fingerprint\":\"0"));
    let (error, text) = refused(&copied, &run);
    assert!(matches!(error, Error::OtherVerifier { .. }), "{text}");
    fs::write(&verdicts, own).expect("written");
    until(&copied, &run, 3);
    let state = fs::read_to_string(&state).expect("a state");
    assert!(state.contains("\"origin\""), "it is noted now: {state}");
}

#[test]
fn a_pool_without_likelihoods_is_refused_before_it_is_judged() {
    let directory = tempfile::tempdir().expect("a directory");
    let recipe = recipe(&[]);
    until(&recipe, directory.path(), 3);
    let pool = directory.path().join("generated/base-pool.jsonl");
    edit(&pool, |text| {
        let without = |line: &str| {
            let mut record: Value = serde_json::from_str(line).expect("a record");
            record.as_object_mut().expect("an object").remove("log_probabilities");
            record.to_string() + "\n"
        };
        text.lines().map(without).collect()
    });
    let (error, text) = refused(&recipe, directory.path());
    assert!(matches!(error, Error::NoLikelihood { found: 0, .. }), "{text}");
    for part in ["base-pool-execute", "base-pool.jsonl", "log_probabilities", "likelihood", "delete the file"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!directory.path().join("verdicts/base-pool.jsonl").exists());
}

#[test]
fn a_set_without_training_problems_is_refused_where_something_learns() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_, text) = refused(&recipe(&[("train = 16", "train = 0")]), &directory.path().join("a"));
    assert!(text.starts_with("problems.train: ") && text.contains("grpo.steps = 2"), "{text}");
    let set = directory.path().join("set.jsonl");
    let problem =
        r#"{"id":"one","text":"","entry_point":"f","tests":[{"source":"assert f() == 1"}],"split":"test"}"#;
    fs::write(&set, problem).expect("written");
    let mut other = recipe(&[("steps = 2", "steps = 0")]);
    other.problems.source = set.display().to_string();
    let (error, text) = refused(&other, &directory.path().join("b"));
    assert!(matches!(error, Error::Problems { field: "problems.source", .. }), "{text}");
    for part in ["set.jsonl has no training problems", "critic.problems = 10", "split"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// A verdict that is missing would give every later rollout another's label.
#[test]
fn rollouts_and_verdicts_of_different_lengths_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    // Two steps of four prompts of four problems: every index comes twice.
    let changes = [
        ("train = 16", "train = 4"),
        ("\nproblems = 10", "\nproblems = 0"),
        ("validation = 0.5", "validation = 0.0"),
    ];
    let recipe = recipe(&changes);
    until(&recipe, directory.path(), 10);
    edit(&directory.path().join("verdicts/rollouts.jsonl"), |text| {
        let lines: Vec<&str> = text.lines().collect();
        lines[1..].join("\n") + "\n"
    });
    let (error, text) = refused(&recipe, directory.path());
    assert!(matches!(error, Error::Unpaired(_)), "{text}");
    assert_eq!(text, "critic: expected one of the verdicts for each of the 32 candidates, found 31");
}
