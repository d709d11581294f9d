//! `pointsman vxi release`: gives leases back.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use pointsman_vxi::lease::{Asked, Search, Store};

use super::apply::Commit;
use super::ask::{now, read_state};

/// Give leases back: what they held is free at once.
#[derive(Debug, Args)]
pub struct Release {
    /// The leases
    #[arg(value_name = "LEASE", required = true)]
    leases: Vec<String>,
    /// The file with the substrate and the leases on it
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// When it is done, such as 2026-03-01T08:00:00Z, if not now
    #[arg(long, value_name = "INSTANT", value_parser = super::ask::instant)]
    at: Option<pointsman_vxi::model::Timestamp>,
    #[command(flatten)]
    commit: Commit,
}

impl Release {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        // Before a lock file appears beside a state that is not there.
        read_state(&Store::at(&self.state))?;
        let mut asked = Asked {
            substrate: None,
            requests: Vec::new(),
            release: self.leases.clone(),
            moves: 0,
            open: true,
            search: Search::default(),
            now: now(),
        };
        self.commit.run(&self.state, &mut asked, || self.at.unwrap_or_else(now))
    }
}
