//! The critic's training on files, stopped and resumed.

use crate::support::{context, recipe, root};
use critic::Critic;
use generator::Generator;
use pipeline::critic_training::{CriticTraining, Labelled, Trained, label, new_critic};
use pipeline::problem_sets::ProblemSets;
use pipeline::recipe::Recipe;
use pipeline::{Context, Error};
use records::{Candidate, Outcome, Problem, Verdict};
use std::cell::Cell;
use std::fs;
use std::path::Path;

/// Every problem's reference, which passes, and as many programs that fail.
fn examples(problems: &[Problem]) -> Vec<Labelled> {
    let (mut candidates, mut verdicts) = (Vec::new(), Vec::new());
    for problem in problems {
        let programs = [(problem.references[0].clone(), Outcome::Passed), ("x = 1".into(), Outcome::Failed)];
        for (index, (code, outcome)) in programs.into_iter().enumerate() {
            candidates.push(Candidate { problem: problem.id.clone(), index, code, ..Candidate::default() });
            verdicts.push(Verdict { outcome, ..Verdict::infrastructure(&problem.id, index, "") });
        }
    }
    label(candidates, &verdicts).expect("labels")
}

/// Those that the critic learns from, and those that it is measured on.
fn all_problems(recipe: &Recipe, context: Context) -> Vec<Problem> {
    let sets = ProblemSets::of(recipe, context.hub).expect("problems");
    [sets.train, sets.held_out].concat()
}

fn train(
    recipe: &Recipe,
    directory: &Path,
    examples: &[Labelled],
    context: Context,
) -> Result<Option<Trained>, Error> {
    let problems = all_problems(recipe, context);
    let model = root().join("models/basics");
    let generator = Generator::load(&model, recipe.model.prompt, context.device).expect("the generator");
    let new = |seed: u64| new_critic(&generator, &recipe.critic.training, seed, context.device);
    let (root, target) = (directory, Some(directory));
    let training = CriticTraining { recipe: &recipe.critic, seed: recipe.seed, root, target };
    training.run(&context, &new, &generator, &problems, examples)
}

#[test]
fn a_critic_whose_training_was_stopped_is_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let (recipe, at) = (recipe(&[]), |name: &str| directory.path().join(name));
    let go_on = context(&|| false);
    let examples = examples(&all_problems(&recipe, go_on));
    let whole = train(&recipe, &at("whole"), &examples, go_on).expect("trained").expect("to the end");
    let validation = whole.validation.expect("a measure");
    assert!(validation["auc"].as_f64().is_some(), "{validation}");

    let asked = Cell::new(0);
    let second_step = || {
        asked.set(asked.get() + 1);
        asked.get() > 1
    };
    let stopped = train(&recipe, &at("parts"), &examples, context(&second_step)).expect("a part");
    assert_eq!(stopped, None);
    let metrics = |name: &str| fs::read_to_string(at(name).join("metrics/critic.jsonl")).expect("metrics");
    let steps = metrics("parts").lines().count();
    assert!(steps > 0 && steps < metrics("whole").lines().count(), "{steps} steps");

    // Other examples, or other settings, are no continuation.
    for (recipe, examples) in [(&recipe, &examples[2..]), (&other_settings(&recipe), &examples[..])] {
        let error = train(recipe, &at("parts"), examples, go_on).expect_err("another training");
        assert!(matches!(error, Error::OtherTraining { .. }), "{error}");
        assert!(error.to_string().contains("states/critic.safetensors"), "{error}");
    }

    let resumed = train(&recipe, &at("parts"), &examples, go_on).expect("trained").expect("to the end");
    assert_eq!(resumed.validation, Some(validation));
    assert_eq!(metrics("parts").lines().count(), metrics("whole").lines().count());
    for file in ["model.safetensors", "score_head.safetensors", "metrics/critic-held-out.json"] {
        let read = |name: &str| fs::read(at(name).join(file)).expect(file);
        assert!(read("whole") == read("parts"), "{file} differs");
    }
    assert!(!at("parts").join("states/critic.safetensors").exists());
}

/// Two critics, stopped in the midst of the second: the first is not trained again, and their mean is measured.
#[test]
fn several_critics_are_trained_one_after_another() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut recipe = recipe(&[]);
    recipe.critic.seeds = 2;
    let at = |name: &str| directory.path().join(name);
    let go_on = context(&|| false);
    let examples = examples(&all_problems(&recipe, go_on));
    let whole = train(&recipe, &at("whole"), &examples, go_on).expect("trained").expect("to the end");
    let steps = |name: &str| fs::read_to_string(at("whole").join(name)).expect(name).lines().count();
    assert_eq!(steps("metrics/critic.jsonl"), steps("metrics/critic-2.jsonl"));
    let of_first = steps("metrics/critic.jsonl");

    let asked = Cell::new(0);
    let in_second = || {
        asked.set(asked.get() + 1);
        asked.get() > of_first + 1
    };
    assert_eq!(train(&recipe, &at("parts"), &examples, context(&in_second)).expect("a part"), None);
    let first = at("parts").join("score_head.safetensors");
    let written = fs::metadata(&first).expect("the first critic").modified().expect("a time");
    let resumed = train(&recipe, &at("parts"), &examples, go_on).expect("trained").expect("to the end");
    assert_eq!(fs::metadata(&first).expect("the first critic").modified().expect("a time"), written);
    assert_eq!(whole, resumed);
    let read = |name: &str, file: &str| fs::read(at(name).join(file)).expect(file);
    for file in ["score_head.safetensors", "2/score_head.safetensors", "2/model.safetensors"] {
        assert!(read("whole", file) == read("parts", file), "{file} differs");
    }
    assert!(
        read("whole", "score_head.safetensors") != read("whole", "2/score_head.safetensors"),
        "the same seed"
    );
    let critics = Critic::load(&at("whole"), go_on.device).expect("critics");
    assert_eq!(critics.count(), 2);
    assert!(!at("whole").join("states").exists());
}

fn other_settings(recipe: &Recipe) -> Recipe {
    let mut other = recipe.clone();
    other.critic.training.pairwise = 0.5;
    other
}
