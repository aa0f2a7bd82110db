//! What can go wrong in a run.

use crate::recipe::RecipeError;
use problems::prompt::TemplateError;
use records::jsonl;
use std::error::Error as StdError;
use std::path::PathBuf;

/// Anything that a library below says.
pub type Source = Box<dyn StdError + Send + Sync>;

/// What can go wrong in a run. Advice that names flags or verbs is the caller's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The recipe cannot be read, or says what makes no sense.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A file of records cannot be read or written.
    #[error(transparent)]
    Records(#[from] jsonl::Error),
    /// A file of records to go on with cannot be opened, or holds something else.
    #[error("{}", advised(.0, "delete the line, and the same command makes again what it held"))]
    Resume(jsonl::Error),
    /// A file is none of verdicts.
    #[error("{}", advised(.0, "expected a verdict: delete the line, or name another file"))]
    Verdicts(jsonl::Error),
    /// A stage failed.
    #[error("in the stage {stage}")]
    Stage {
        /// Its name.
        stage: &'static str,
        /// Why.
        source: Box<Error>,
    },
    /// The directory cannot be used for a run.
    #[error("cannot use {} as the run's directory", root.display())]
    Directory {
        /// The directory.
        root: PathBuf,
        /// Why.
        source: jsonl::Error,
    },
    /// The directory is another recipe's.
    #[error("{} belongs to another recipe: it has `{old}` where this one has `{new}`", root.display())]
    OtherRecipe {
        /// The directory.
        root: PathBuf,
        /// The first line of its recipe that differs.
        old: String,
        /// This recipe's line.
        new: String,
    },
    /// The directory is another model's.
    #[error(
        "{} belongs to another recipe: model.path is `{old}` there and `{new}` here, and one run's numbers are \
         of one model",
        root.display()
    )]
    OtherModel {
        /// The directory.
        root: PathBuf,
        /// The model it was begun with.
        old: String,
        /// The model of this recipe.
        new: String,
    },
    /// A file of the model is not what it was when the run began.
    #[error(
        "{}: {file} of {what} changed since this run began: expected SHA-256 {expected}, found {found}; \
         bring the file back, or begin a new run",
        root.display()
    )]
    ModelChanged {
        /// The run's directory.
        root: PathBuf,
        /// Which model: the recipe's, or the critic to start from.
        what: &'static str,
        /// The model's file.
        file: PathBuf,
        /// Its digest when the run began.
        expected: String,
        /// Its digest now, or that it is missing.
        found: String,
    },
    /// Problems are not what they were when the run began.
    #[error(
        "{}: {what} changed since this run began: expected SHA-256 {expected}, found {found}; bring them back, or \
         begin a new run: what was learned, and what is reported on, would be of two sets",
        root.display()
    )]
    ProblemsChanged {
        /// The run's directory.
        root: PathBuf,
        /// The recipe's field and the set, or the part of the run's problems.
        what: String,
        /// Their digest when the run began.
        expected: String,
        /// Their digest now, or that they are missing.
        found: String,
    },
    /// The run's weights are kept in another form.
    #[error(
        "{}: its models ran with weights kept as {expected}, here they are kept as {found}; go on with that form, \
         or begin a new run: the numbers of two forms cannot be compared",
        root.display()
    )]
    OtherWeights {
        /// The run's directory.
        root: PathBuf,
        /// The form that it was begun with.
        expected: String,
        /// The form on this device.
        found: String,
    },
    /// What was done is there, and the recipe that did it is not.
    #[error(
        "{}: recipe.toml is missing beside state.json: what is there may be another recipe's; bring it back, or \
         begin a new run",
        root.display()
    )]
    RecipeMissing {
        /// The run's directory.
        root: PathBuf,
    },
    /// The run's verdicts were made by another verifier.
    #[error(
        "{}: its verdicts are by another verifier: `{expected}` there, `{found}` here; go on with that version \
         and interpreter, or begin a new run: verdicts of two verifiers cannot be compared",
        root.display()
    )]
    OtherVerifier {
        /// The run's directory.
        root: PathBuf,
        /// The verifier that it was begun with.
        expected: String,
        /// The verifier of this machine and version.
        found: String,
    },
    /// A file of the run is not what the run wrote.
    #[error("{} is damaged; {advice}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}{}", path.display(), expected.map(|it| format!("; expected {it}")).unwrap_or_default())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: Option<&'static str>,
        /// The system's word.
        source: std::io::Error,
    },
    /// There is no such model.
    #[error(
        "no model at '{0}'; expected a directory with config.json, a GGUF file, or owner/name on the Hugging \
         Face Hub, with :Q4_K_M or :FILE.gguf for one of its GGUF files"
    )]
    NoModel(String),
    /// The Hub has no such model, or cannot be reached.
    #[error(transparent)]
    Hub(#[from] hub::Error),
    /// The problem set cannot be had.
    #[error(transparent)]
    ProblemSet(#[from] problems::sets::SetError),
    /// The problem set has nothing for a part of the run.
    #[error("{field}: {message}")]
    Problems {
        /// The recipe's field.
        field: &'static str,
        /// What is missing, and what to do.
        message: String,
    },
    /// A problem cannot be judged.
    #[error(transparent)]
    Problem(#[from] verify::ProblemError),
    /// Candidates are of problems that are not in the set.
    #[error(
        "{count} of the candidates' problems are not in the problem set, {example} for one; give the set they \
         belong to"
    )]
    UnknownProblems {
        /// How many.
        count: usize,
        /// One of them.
        example: String,
    },
    /// A file of samples cannot be read.
    #[error(transparent)]
    Samples(#[from] problems::samples::Error),
    /// Candidates lack the likelihood that a selector needs.
    #[error(
        "{}: candidate {index} of {problem}: log_probabilities: expected one for each of its {tokens} tokens, \
         found {found}: the selector {selector} chooses by them; delete the file and take the \
         stage that writes it out of `finished` in `state.json`; the same command then samples with them",
        path.display()
    )]
    NoLikelihood {
        /// The pool's file.
        path: PathBuf,
        /// The first such candidate's problem.
        problem: String,
        /// Its index.
        index: usize,
        /// Its tokens.
        tokens: usize,
        /// Its log-probabilities.
        found: usize,
        /// The selector.
        selector: &'static str,
    },
    /// A file of choices and the pool are not of one run.
    #[error(
        "choices of {problem} name a candidate that its pool lacks; delete `choices/` and take `selection` out of \
         `state.json`; the same command then chooses again"
    )]
    UnknownChoice {
        /// The problem.
        problem: String,
    },
    /// What is paired by place is not as long.
    #[error(transparent)]
    Unpaired(#[from] records::Unpaired),
    /// A setting of the verifier makes no sense.
    #[error("executor.{field}: {message}")]
    Limit {
        /// The field.
        field: &'static str,
        /// What was expected and found.
        message: String,
    },
    /// The verifier of Python programs does not start.
    #[error(transparent)]
    Python(#[from] python::Error),
    /// The pool does not start.
    #[error(transparent)]
    Verifier(#[from] verify::StartError),
    /// A ranker's file is none.
    #[error("{}: {message}", path.display())]
    Ranker {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// An example teaches nothing.
    #[error("{}: example {number}: expected a prompt and a completion, found one of them empty", path.display())]
    EmptyExample {
        /// The file.
        path: PathBuf,
        /// Which example, from 1.
        number: usize,
    },
    /// What was learned so far is from other examples or settings.
    #[error(
        "{} holds the state of a training on other examples or settings; delete it to begin anew",
        path.display()
    )]
    OtherTraining {
        /// The state's file.
        path: PathBuf,
    },
    /// A model cannot be read, run or written.
    #[error(transparent)]
    Model(#[from] transformer::Error),
    /// A model's tokenizer cannot be written.
    #[error(transparent)]
    Conversion(#[from] conversion::Error),
    /// A model's chat template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A generator, a critic or their training fails.
    #[error(transparent)]
    Learning(Source),
    /// Something cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// What the loop's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Takes what the generator, the critic and their training say, whose errors have no type of their own.
pub(crate) fn learning(error: impl Into<anyhow::Error>) -> Error {
    match error.into().downcast::<TemplateError>() {
        Ok(error) => Error::Template(error),
        Err(error) => Error::Learning(error.into()),
    }
}

/// What to do is told of a line that is wrong; other errors of a file speak for themselves.
fn advised(error: &jsonl::Error, advice: &str) -> String {
    match error {
        jsonl::Error::Malformed { .. } => format!("{error}; {advice}"),
        _ => error.to_string(),
    }
}
