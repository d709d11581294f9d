//! `pointsman vxi apply`: makes a plan and commits it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use pointsman_vxi::lease::{Asked, Store, plan};

use super::ask::{Wishes, print_plan, tell_refusal};

/// Do what `plan` shows, and commit it to the state file: all of it or, if there is no way, nothing.
///
/// What is done for the second time changes nothing. Whenever it is killed, the file is the old state or the new one.
#[derive(Debug, Args)]
pub struct Apply {
    /// The file with the substrate and the leases on it; need not be there yet
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    #[command(flatten)]
    wishes: Wishes,
    #[command(flatten)]
    commit: Commit,
}

/// How a state is changed.
#[derive(Debug, Args)]
pub struct Commit {
    /// Fail at once when another one is changing the state, instead of waiting for it
    #[arg(long)]
    no_wait: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

impl Apply {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let Ok(mut asked) = self.wishes.read(self.commit.json)? else { return Ok(ExitCode::FAILURE) };
        self.commit.run(&self.state, &mut asked, || self.wishes.searching.now())
    }
}

impl Commit {
    /// Plans and commits while nobody else can. Time is read once the lock is had: waiting may have taken a while.
    pub fn run(
        &self,
        state: &Path,
        asked: &mut Asked,
        now: impl Fn() -> pointsman_vxi::model::Timestamp,
    ) -> anyhow::Result<ExitCode> {
        let store = Store::at(state);
        let locked = if self.no_wait {
            store.try_lock()?
        } else {
            store.lock(|| eprintln!("{}: waiting for another pointsman to be done", store.path().display()))?
        };
        asked.now = now();
        let before = locked.read()?;
        let planned = match plan(before.as_ref(), asked) {
            Ok(planned) => planned,
            Err(error) => return tell_refusal(&error, self.json),
        };
        if !planned.plan.is_empty() {
            locked.commit(&planned.state)?;
        }
        print_plan(&planned.plan, self.json, Some(!planned.plan.is_empty()))?;
        Ok(ExitCode::SUCCESS)
    }
}
