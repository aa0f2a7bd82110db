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

fn train(
    recipe: &Recipe,
    directory: &Path,
    examples: &[Labelled],
    context: Context,
) -> Result<Option<Trained>, Error> {
    let problems = ProblemSets::of(recipe, context.hub)?.train;
    let model = root().join("models/basics");
    let generator = Generator::load(&model, recipe.model.prompt, context.device).expect("the generator");
    let critic: Critic = new_critic(&generator, &recipe.critic.training, recipe.seed, context.device)?;
    let (root, target) = (directory, Some(directory));
    let training = CriticTraining { recipe: &recipe.critic, seed: recipe.seed, root, target };
    training.run(&context, critic, &generator, &problems, examples)
}

#[test]
fn a_critic_whose_training_was_stopped_is_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let (recipe, at) = (recipe(&[]), |name: &str| directory.path().join(name));
    let go_on = context(&|| false);
    let problems = ProblemSets::of(&recipe, go_on.hub).expect("problems").train;
    let examples = examples(&problems);
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

fn other_settings(recipe: &Recipe) -> Recipe {
    let mut other = recipe.clone();
    other.critic.training.pairwise = 0.5;
    other
}
