//! `pointsman vxi status`: who has what, and what is free.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use pointsman_vxi::lease::{Status as State, Store};
use pointsman_vxi::model::Timestamp;

use super::ask::{instant, now, read_state};
use crate::output::print;

/// Show the leases of a state, and what of its substrate is free, held back and leased.
#[derive(Debug, Args)]
pub struct Status {
    /// The file with the substrate and the leases on it
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// When, such as 2026-03-01T08:00:00Z, if not now
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    at: Option<Timestamp>,
    /// Print it as JSON, with the calendar of every capacity from that instant on
    #[arg(long)]
    json: bool,
}

impl Status {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let state = read_state(&Store::at(&self.state))?;
        let status = State::of(&state, self.at.unwrap_or_else(now))?;
        if self.json {
            print(&format!("{:#}\n", serde_json::to_value(&status)?))?;
        } else {
            print(&text(&status))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text(status: &State) -> String {
    let mut leases = table(&["lease", "phase", "period", "from", "until", "vertices", "links"]);
    for lease in &status.leases {
        leases.add_row([
            lease.lease.clone(),
            lease.phase.to_owned(),
            lease.period.clone().unwrap_or_else(|| "-".to_owned()),
            lease.window.from.to_string(),
            lease.window.until.map_or_else(|| "-".to_owned(), |until| until.to_string()),
            lease.hosts.len().to_string(),
            lease.links.to_string(),
        ]);
    }
    let mut capacities = table(&["component", "kind", "site", "of", "free", "provisioned", "allocated"]);
    for capacity in &status.capacities {
        let Some(now) = capacity.now() else { continue };
        capacities.add_row([
            capacity.component.clone(),
            capacity.kind.to_owned(),
            capacity.site.clone().unwrap_or_else(|| "-".to_owned()),
            capacity.measure.to_owned(),
            capacity.show(now.free),
            capacity.show(now.provisioned),
            capacity.show(now.allocated),
        ]);
    }
    for column in 4..7 {
        if let Some(column) = capacities.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let leases = if status.leases.is_empty() { "no leases".to_owned() } else { leases.to_string() };
    let trimmed = |table: &str| table.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>();
    format!(
        "substrate {} at {}\n\n{}\n{}",
        status.substrate,
        status.at,
        trimmed(&leases),
        trimmed(&capacities.to_string())
    )
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}
