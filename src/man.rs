//! `pointsman man`: the manual, one page a subcommand.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};

use crate::Pointsman;

/// Write the manual's pages into a directory.
///
/// For all users: pointsman man /usr/local/share/man/man1
#[derive(Debug, Args)]
pub struct Man {
    /// The directory; it is created if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub fn run(&self) -> anyhow::Result<()> {
        let directory = self.directory.display();
        std::fs::create_dir_all(&self.directory).with_context(|| format!("creating {directory}"))?;
        clap_mangen::generate_to(Pointsman::command(), &self.directory)
            .with_context(|| format!("writing pages into {directory}"))
    }
}
