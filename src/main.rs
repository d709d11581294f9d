//! The `pointsman` command: picks the subcommand, runs it, and says in one line what went wrong.
//!
//! Each subcommand has a file of its own and no logic: that is in the libraries. Exit status: 0, 1 when something is
//! wrong with what was asked for, 2 when it was asked for in a way that is not understood.

mod check;
mod completions;
mod doctor;
mod man;
mod output;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pointsman_dataplane::config::ConfigErrors;

/// A userspace forwarding engine for hosts that carry virtual routers.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, propagate_version = true, max_term_width = 120)]
struct Pointsman {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Check),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Man(man::Man),
}

fn main() -> ExitCode {
    let asked = Pointsman::parse().command;
    let done = match asked {
        Command::Check(check) => check.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// One line with all causes; or the mistakes of a configuration, which say themselves where they are.
fn explain(error: &anyhow::Error) -> String {
    match error.downcast_ref::<ConfigErrors>() {
        Some(mistakes) => mistakes.to_string(),
        None => format!("pointsman: {error:#}"),
    }
}
