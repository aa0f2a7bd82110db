//! One module a verb, or a few verbs that belong together.

mod completions;
mod convert;
mod demo;
mod doctor;
mod eval_results;
mod execute;
mod generate;
mod limits;
mod problems;
mod rank;
mod run;
mod seeds;
mod serve;
mod signals;
mod solve;
mod source;
mod train;
mod train_ranker;

use crate::progress::interrupted;
use anyhow::Result;
use clap::Subcommand;
use std::process::ExitCode;

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Write a function, checked, to stdout
    Solve(solve::Solve),
    /// Run the whole loop on the built-in model and problems, trained live
    Demo(demo::Demo),
    /// Run the whole loop of a recipe
    Run(run::Run),
    /// Sample candidates for problems
    Generate(generate::Generate),
    /// Judge candidates in the Python sandbox
    Execute(execute::Execute),
    /// Train a generator, a critic or a ranker
    #[command(subcommand)]
    Train(train::Train),
    /// Choose one candidate a problem and say how good the choices are
    Rank(rank::Rank),
    /// Write the problems of a set to a file, those that can be trusted
    Problems(problems::Problems),
    /// Show the table of a finished run
    Report(run::Report),
    /// Serve OpenAI's interface and a page, with checked answers behind them
    Serve(serve::Serve),
    /// Show a finished run in the browser
    View(serve::View),
    /// Write a GGUF file as a Hugging Face directory, or a directory as a GGUF file
    Convert(convert::Convert),
    /// Say what this machine offers
    Doctor(doctor::Doctor),
    /// Print completions for a shell
    Completions(completions::Completions),
}

impl Command {
    /// What to do where the model's chat template cannot be used.
    pub fn advice_on_templates(&self) -> Option<&'static str> {
        match self {
            Command::Solve(_) | Command::Generate(_) | Command::Serve(_) => {
                Some("--prompt comment asks the model in comments, without its template")
            }
            Command::Run(_) | Command::Train(_) => Some(
                "model.prompt = \"comment\" in the recipe asks the model in comments, without its template",
            ),
            Command::Rank(_) => Some("name a model with a working chat template, or with none, by --model"),
            _ => None,
        }
    }

    /// Does it. What only ends well or with an error has the exit status that this says.
    pub fn run(self) -> Result<ExitCode> {
        match self {
            Command::Solve(solve) => return solve.run(),
            Command::Demo(demo) => demo.run(),
            Command::Run(run) => run.run(),
            Command::Generate(generate) => generate.run(),
            Command::Execute(execute) => execute.run(),
            Command::Train(train) => train.run(),
            Command::Rank(rank) => rank.run(),
            Command::Problems(problems) => problems.run(),
            Command::Report(report) => report.run(),
            // Ctrl-C is how a server is meant to end.
            Command::Serve(serve) => return serve.run().map(|()| ExitCode::SUCCESS),
            Command::View(view) => return view.run().map(|()| ExitCode::SUCCESS),
            Command::Convert(convert) => convert.run(),
            // Whether this machine can judge is what it is asked.
            Command::Doctor(doctor) => return Ok(doctor.run()),
            Command::Completions(completions) => completions.run(),
        }?;
        Ok(if interrupted() { ExitCode::from(130) } else { ExitCode::SUCCESS })
    }
}
