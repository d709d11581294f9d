//! `pointsman vxi plan`: what `apply` would do.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use pointsman_vxi::lease::{Store, plan};

use super::ask::{Wishes, print_plan, tell_refusal};

/// Show what would change: steps in order, each of which leaves everything that is leased in its place or in a new one.
///
/// Exit status: 0 when nothing would change, 1 when there is no way or something is wrong, 2 when something would change.
#[derive(Debug, Args)]
pub struct Plan {
    /// The file with the substrate and the leases on it; need not be there yet
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    #[command(flatten)]
    wishes: Wishes,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

impl Plan {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let Ok(asked) = self.wishes.read(self.json)? else { return Ok(ExitCode::FAILURE) };
        let state = Store::at(&self.state).read()?;
        match plan(state.as_ref(), &asked) {
            Ok(planned) => {
                print_plan(&planned.plan, self.json, None)?;
                Ok(if planned.plan.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
            }
            Err(error) => tell_refusal(&error, self.json),
        }
    }
}
