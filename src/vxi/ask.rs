//! What `embed`, `plan`, `apply` and `release` have in common: what is asked for, and how the answer is printed.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use pointsman_vxi::lease::{Asked, Demand, Plan, PlanError, Search, State, Store};
use pointsman_vxi::model::Timestamp;
use pointsman_vxi::model::time::parse_timestamp;
use pointsman_vxi::substrate::Substrate;
use serde_json::{Value, json};

use crate::output::print;

/// How places are searched for.
#[derive(Debug, Args)]
pub struct Searching {
    /// Prove that each placement is the cheapest, or that there is none; takes longer
    #[arg(long)]
    pub exact: bool,
    /// Let a link have several paths, each for a part of its bandwidth, where one path has no room
    #[arg(long)]
    pub split: bool,
    /// Leave closed what is held back
    #[arg(long)]
    pub no_open: bool,
    /// When it is done, such as 2026-03-01T08:00:00Z, if not now; what is before that instant is over
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    pub at: Option<Timestamp>,
}

/// What a state should become.
#[derive(Debug, Args)]
pub struct Wishes {
    /// The requests, in any syntax that `validate` reads; leases of other names stay as they are
    #[arg(value_name = "REQUEST")]
    pub requests: Vec<PathBuf>,
    /// The substrate, if it is the first or has changed
    #[arg(long, value_name = "FILE")]
    pub substrate: Option<PathBuf>,
    /// A lease to be given back; may be given several times
    #[arg(long, value_name = "LEASE")]
    pub release: Vec<String>,
    /// The most vertices and paths that may move so that a request fits
    #[arg(long, value_name = "M", default_value_t = 3)]
    pub moves: usize,
    #[command(flatten)]
    pub searching: Searching,
}

/// What was asked for could not be understood or had; all of it has been said.
#[derive(Debug)]
pub struct Told;

impl Searching {
    pub fn now(&self) -> Timestamp {
        self.at.unwrap_or_else(now)
    }

    pub fn search(&self) -> Search {
        Search { exact: self.exact, split: self.split }
    }
}

impl Wishes {
    /// Reads all that it names.
    pub fn read(&self, json: bool) -> anyhow::Result<Result<Asked, Told>> {
        let mut mistakes = Vec::new();
        let substrate = self.substrate.as_deref().and_then(|file| substrate(file, &mut mistakes));
        let requests = self.requests.iter().filter_map(|file| demand(file, &mut mistakes)).collect();
        if !mistakes.is_empty() {
            return tell(&mistakes, json).map(Err);
        }
        Ok(Ok(Asked {
            substrate,
            requests,
            release: self.release.clone(),
            moves: self.moves,
            open: !self.searching.no_open,
            search: self.searching.search(),
            now: self.searching.now(),
        }))
    }
}

/// Says what is wrong, each in its line.
pub fn tell(mistakes: &[String], json: bool) -> anyhow::Result<Told> {
    if json {
        print(&format!("{:#}\n", json!({ "errors": mistakes })))?;
    } else {
        mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
    }
    Ok(Told)
}

/// Says why there is no plan.
pub fn tell_refusal(error: &PlanError, json: bool) -> anyhow::Result<ExitCode> {
    match error {
        PlanError::Refused(refused) if json => {
            let said = refused.to_string();
            print(&format!("{:#}\n", json!({ "errors": [said], "refused": refused })))?;
        }
        PlanError::Refused(refused) => eprintln!("refused: {refused}"),
        other => {
            tell(&[if json { other.to_string() } else { format!("pointsman: {other}") }], json)?;
        }
    }
    Ok(ExitCode::FAILURE)
}

/// Prints a plan; `applied` says whether it was done.
pub fn print_plan(plan: &Plan, json: bool, applied: Option<bool>) -> anyhow::Result<()> {
    if !json {
        return print(&plan.to_string());
    }
    let mut value = serde_json::to_value(plan)?;
    if let Value::Object(object) = &mut value {
        object.insert("changes".to_owned(), Value::Bool(!plan.is_empty()));
        object.extend(applied.map(|applied| ("applied".to_owned(), Value::Bool(applied))));
    }
    print(&format!("{value:#}\n"))
}

/// The state in a file: an error if there must be one and is none.
pub fn read_state(store: &Store) -> anyhow::Result<State> {
    let state = store.read()?;
    state.ok_or_else(|| {
        let file = store.path().display();
        anyhow::anyhow!(
            "{file}: there is no state yet; `pointsman vxi apply --state {file} --substrate FILE` begins one"
        )
    })
}

/// A substrate in a file.
pub fn substrate(file: &Path, mistakes: &mut Vec<String>) -> Option<Substrate> {
    read(file, Substrate::from_model, mistakes)
}

/// A request in a file.
pub fn demand(file: &Path, mistakes: &mut Vec<String>) -> Option<Demand> {
    read(file, Demand::from_model, mistakes)
}

fn read<T, E: Display>(
    file: &Path,
    of: impl Fn(&pointsman_vxi::model::VirtualInfrastructure) -> Result<T, Vec<E>>,
    mistakes: &mut Vec<String>,
) -> Option<T> {
    match pointsman_vxi::load(file) {
        Ok(model) => of(&model).map_err(|all| mistakes.extend(all.iter().map(ToString::to_string))).ok(),
        Err(all) => {
            mistakes.push(all.to_string());
            None
        }
    }
}

pub fn instant(text: &str) -> Result<Timestamp, String> {
    parse_timestamp(text).ok_or_else(|| "write it as 2026-03-01T08:00:00Z".to_owned())
}

/// Now; the whole second, as people read it.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Timestamp::from_secs(i64::try_from(since).unwrap_or(i64::MAX))
}
