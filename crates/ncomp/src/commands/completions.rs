//! `ncomp completions`: what a shell needs to complete this program's arguments.

use crate::Arguments;
use anyhow::Result;
use clap::CommandFactory;

/// Completions for a shell, to stdout: `ncomp completions bash > ~/.local/share/bash-completion/completions/ncomp`.
#[derive(clap::Args)]
pub struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<()> {
        clap_complete::generate(self.shell, &mut Arguments::command(), "ncomp", &mut std::io::stdout());
        Ok(())
    }
}
