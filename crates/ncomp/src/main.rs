//! `ncomp`: the command line of the Neural Computer.

#[macro_use]
mod output;

mod commands;
mod context;
mod device;
mod dry_run;
mod launch;
mod learned_parts;
mod progress;
mod prompt;
mod samples;
mod trace;

use clap::Parser;
use commands::Command;
use std::process::ExitCode;

/// A small coding model that gets better by checking its own work.
#[derive(Parser)]
#[command(
    name = "ncomp",
    version,
    after_help = "Exit status: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C; solve also 3 unverified, 4 none found.\n\nNCOMP_LOG=verify=debug,python=debug shows each job of the verifier on stderr: its plan, forks, retries and times."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Where models run: auto, cpu, cuda or cuda:N; auto takes a GPU if there is one
    #[arg(long, global = true, env = "NCOMP_DEVICE", default_value = "auto")]
    device: device::Choice,
    /// Form in which the processor keeps a model's weights: auto, f32, bf16, q8_0 or as-stored; auto is
    /// as its file has them
    #[arg(long, global = true, env = "NCOMP_WEIGHTS", default_value = "auto", value_parser = device::format_named)]
    weights: transformer::Format,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(error) = trace::start() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    progress::watch_for_interrupt();
    device::choose(arguments.device, arguments.weights);
    let advice = arguments.command.advice_on_templates();
    match arguments.command.run() {
        Ok(status) => status,
        Err(error) => {
            let advice = match () {
                () if prompt::is_about_template(&error) => advice,
                () if device::lacks_memory(&error) => {
                    Some("a smaller form of the weights is chosen by --weights")
                }
                () => None,
            };
            let advice = advice.map(|advice| format!("; {advice}")).unwrap_or_default();
            eprintln!("error: {}", output::harmless(&format!("{error:#}{advice}")));
            // What was stopped is no failure, whichever way it says that it is not finished.
            if progress::interrupted() { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}
