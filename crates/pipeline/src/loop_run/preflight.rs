//! What a run refuses before it computes anything. A dry run asks the same.

use super::Stage;
use crate::error::learning;
use crate::problem_sets::ProblemSets;
use crate::recipe::Recipe;
use crate::run_directory::{Inputs, RunDirectory};
use crate::verifier::Verifier;
use crate::{Context, Error, Note, Result, models};
use generator::Generator;
use hub::Hub;
use problems::sets::SetError;
use std::path::{Path, PathBuf};
use transformer::Config;
use transformer::lora::Adapters;
use verify::Domain;

/// What a run would begin with.
pub struct Plan {
    /// Its problems; none where a set is not on this machine yet.
    pub problems: Option<ProblemSets>,
    /// Where its model is, and its shape; none where it is not on this machine yet.
    pub model: Option<(PathBuf, Config)>,
}

/// Looks at all that a run looks at before it begins, fetches nothing and writes nothing.
///
/// # Errors
/// What [`run`](super::run) would refuse.
pub fn plan(recipe: &Recipe, root: &Path, context: Context) -> Result<Plan> {
    let run = RunDirectory::look(root, recipe)?;
    let verifier = Verifier::start(&recipe.executor)?;
    let hub = Hub { is_offline: true, ..context.hub.clone() };
    let problems = match ProblemSets::of(recipe, &hub) {
        Err(Error::ProblemSet(SetError::Hub(hub::Error::Fetch { .. }))) => None,
        problems => Some(problems?),
    };
    let model = models::find_here(&recipe.model.path, context.hub)?;
    let config = check(recipe, &verifier, problems.as_ref(), model.as_deref(), context)?;
    if let (Some(problems), Some(model)) = (&problems, &model) {
        let inputs = inputs(recipe, &verifier, problems, model, context);
        run.check(&inputs, computes(&run))?;
    }
    Ok(Plan { problems, model: model.zip(config) })
}

/// What a run begins with, checked but for what it noted when it began.
pub(super) fn prepare(recipe: &Recipe, context: Context) -> Result<(Verifier, ProblemSets, PathBuf)> {
    let verifier = Verifier::start(&recipe.executor)?;
    let problems = ProblemSets::of(recipe, context.hub)?;
    let model = models::find(&recipe.model.path, context.hub)?;
    check(recipe, &verifier, Some(&problems), Some(&model), context)?;
    Ok((verifier, problems, model))
}

/// What a run's numbers depend on.
pub(super) fn inputs<'a>(
    recipe: &'a Recipe,
    verifier: &Verifier,
    problems: &'a ProblemSets,
    model: &'a Path,
    context: Context,
) -> Inputs<'a> {
    let critic = Some(recipe.critic.start.as_str()).filter(|start| !start.is_empty());
    Inputs {
        model,
        verifier: verifier.python.fingerprint(),
        weights: context.device.weights(),
        critic: critic.map(Path::new),
        problems: &problems.digests,
    }
}

/// Whether models have yet something to do in a run.
pub(super) fn computes(run: &RunDirectory) -> bool {
    !run.is_finished(Stage::CriticScore.name())
}

/// Refuses what cannot be learned from, judged or run; of what is not there yet nothing is said.
fn check(
    recipe: &Recipe,
    verifier: &Verifier,
    problems: Option<&ProblemSets>,
    model: Option<&Path>,
    context: Context,
) -> Result<Option<Config>> {
    if let Some(problems) = problems {
        problems.check_training(recipe)?;
        for source in &problems.unused {
            context.watch.note(&Note::NothingToLearn { source: source.clone() });
        }
        verifier.pool.prepare(problems.all())?;
    }
    let config = model.map(|model| Generator::check(model, recipe.model.prompt, context.device));
    let config = config.transpose().map_err(learning)?;
    if let Some(config) = &config {
        check_adapters(recipe, config)?;
    }
    let (start, settings) = (&recipe.critic.start, &recipe.critic.training);
    if !start.is_empty() {
        settings.check_head(critic::check(start.as_ref()).map_err(learning)?).map_err(learning)?;
    }
    Ok(config)
}

/// Refuses adapters that the model has no place for.
fn check_adapters(recipe: &Recipe, config: &Config) -> Result<()> {
    let (grpo, critic) = (&recipe.grpo.optimizer.lora, &recipe.critic.training.optimizer.lora);
    for lora in [(recipe.grpo.steps > 0).then_some(grpo), Some(critic)].into_iter().flatten() {
        if lora.rank > 0 {
            Adapters::new(config, lora, 0)?;
        }
    }
    Ok(())
}
