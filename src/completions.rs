//! `pointsman completions`: what a shell needs to complete our subcommands and options.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::Pointsman;
use crate::output::print;

/// Print a shell's completion script.
///
/// For bash: pointsman completions bash > /etc/bash_completion.d/pointsman
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub fn run(&self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Pointsman::command(), "pointsman", &mut script);
        print(&String::from_utf8_lossy(&script))
    }
}
