//! What a run refuses: each is named, with what to do.

use crate::support::{context, edit, recipe, root, until, whole};
use pipeline::loop_run::{self, plan};
use pipeline::problem_sets::ProblemSets;
use pipeline::recipe::Recipe;
use pipeline::{Context, Error};
use records::jsonl;
use serde_json::Value;
use std::fs;
use std::path::Path;
use transformer::{Cpu, Format};

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

/// What the run refuses, its dry run refuses with the same words.
fn refused_by_both(recipe: &Recipe, run: &Path, context: Context) -> (Error, String) {
    let planned = plan(recipe, run, context).err().expect("the dry run's refusal");
    let error = loop_run::run(recipe, run, context).expect_err("a refusal");
    assert_eq!(planned.to_string(), error.to_string());
    let text = error.to_string();
    (error, text)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("a file").path();
        fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("copied");
    }
}

/// Each input is named that is not what the run began with.
#[test]
fn a_run_goes_on_with_nothing_else_than_it_began_with() {
    let directory = tempfile::tempdir().expect("a directory");
    let [set, critic, run] = ["set.jsonl", "critic", "run"].map(|name| directory.path().join(name));
    let go_on = context(&|| false);
    let own = ProblemSets::of(&recipe(&[]), go_on.hub).expect("problems");
    jsonl::write(&set, &[own.train, own.held_out, own.test].concat()).expect("written");
    copy(&root().join("models/basics-critic"), &critic);
    let mut recipe = recipe(&[]);
    recipe.problems.source = set.display().to_string();
    recipe.critic.start = critic.display().to_string();
    until(&recipe, &run, 1);
    plan(&recipe, &run, go_on).expect("the same inputs");

    let text = fs::read_to_string(&set).expect("a set");
    fs::write(&set, text.replacen("# ", "#  ", 1).replacen("assert", " assert", 1)).expect("changed");
    let (error, message) = refused_by_both(&recipe, &run, go_on);
    assert!(matches!(error, Error::ProblemsChanged { .. }), "{message}");
    assert!(message.contains("problems.source") && message.contains("set.jsonl"), "{message}");
    fs::write(&set, text).expect("brought back");

    let config = critic.join("config.json");
    let text = fs::read_to_string(&config).expect("a shape");
    fs::write(&config, format!("{text}\n")).expect("changed");
    let (error, message) = refused_by_both(&recipe, &run, go_on);
    assert!(matches!(error, Error::ModelChanged { .. }), "{message}");
    assert!(message.contains("critic.start") && message.contains("config.json"), "{message}");
    fs::write(&config, text).expect("brought back");

    let processor = Cpu { format: Format::Q8_0 };
    let (error, message) = refused_by_both(&recipe, &run, Context { device: &processor, ..go_on });
    assert!(matches!(error, Error::OtherWeights { .. }), "{message}");
    assert!(message.contains("as-stored") && message.contains("q8_0"), "{message}");

    let own = run.join("recipe.toml");
    let text = fs::read_to_string(&own).expect("a recipe");
    fs::remove_file(&own).expect("removed");
    let (error, message) = refused_by_both(&recipe, &run, go_on);
    assert!(matches!(error, Error::RecipeMissing { .. }), "{message}");
    assert!(!own.exists(), "a dry run writes nothing, and a refused run neither");
    fs::write(&own, text).expect("brought back");
    plan(&recipe, &run, go_on).expect("the same inputs");
}

/// Before anything is computed: what a stage would stumble over hours later.
#[test]
fn a_dry_run_refuses_what_the_run_would() {
    let directory = tempfile::tempdir().expect("a directory");
    let (go_on, run) = (context(&|| false), directory.path().join("run"));
    let refuse = |change: &dyn Fn(&mut Recipe), word: &str| {
        let mut recipe = recipe(&[]);
        change(&mut recipe);
        let (_, message) = refused_by_both(&recipe, &run, go_on);
        assert!(message.contains(word), "{message}");
        assert!(!run.exists(), "{word}");
    };
    refuse(&|recipe| recipe.problems.source = "nowhere.jsonl".into(), "nowhere.jsonl");
    refuse(&|recipe| recipe.problems.train = 0, "problems.train");
    refuse(&|recipe| recipe.critic.start = "nowhere".into(), "critic's backbone");
    refuse(&|recipe| recipe.model.path = "models/nowhere".into(), "models/nowhere");
    refuse(&|recipe| recipe.executor.packages = vec!["no_such_package".into()], "no_such_package");
    refuse(&|recipe| recipe.model.prompt = problems::prompt::PromptFormat::Chat, "chat_template");
    refuse(
        &|recipe| {
            recipe.grpo.optimizer.lora.rank = 8;
            recipe.grpo.optimizer.lora.target_modules = vec!["no_module".into()];
        },
        "no_module",
    );
    let head = root().join("models/basics-critic").display().to_string();
    refuse(
        &|recipe| {
            recipe.critic.start = head.clone();
            recipe.critic.training.details = 0.5;
        },
        "critic.training.details",
    );
}

#[test]
fn a_run_of_another_model_or_verifier_is_not_continued() {
    let directory = tempfile::tempdir().expect("a directory");
    let (model, run) = (directory.path().join("model"), directory.path().join("run"));
    copy(&root().join("models/basics"), &model);
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
