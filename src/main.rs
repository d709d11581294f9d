//! The `pointsman` command: picks the subcommand, runs it, and says in one line what went wrong.
//!
//! Each subcommand has a file of its own and no logic: that is in the libraries. Exit status: 0, 1 when something is
//! wrong with what was asked for, 2 when it was asked for in a way that is not understood. `vxi` adds its own.

mod bench;
mod check;
mod completions;
mod demo;
mod doctor;
mod guest;
mod man;
mod output;
mod run;
mod set;
mod show;
mod trace;
mod vxi;
mod xen;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pointsman_dataplane::config::ConfigErrors;
use pointsman_vxi::Diagnostics;
use tracing_subscriber::EnvFilter;

/// A userspace forwarding engine for hosts that carry virtual routers.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, propagate_version = true, max_term_width = 120)]
struct Pointsman {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Show(show::Show),
    Trace(trace::Trace),
    Set(set::Set),
    Guest(guest::Guest),
    Demo(demo::Demo),
    Doctor(doctor::Doctor),
    Bench(bench::Bench),
    Vxi(vxi::Vxi),
    Completions(completions::Completions),
    Man(man::Man),
}

fn main() -> ExitCode {
    let asked = match Pointsman::try_parse() {
        Ok(asked) => asked.command,
        Err(error) => return not_understood(&error),
    };
    log();
    let done = match asked {
        Command::Run(run) => run.run(),
        Command::Check(check) => check.run(),
        Command::Show(show) => show.run(),
        Command::Trace(trace) => trace.run(),
        Command::Set(set) => set.run(),
        Command::Guest(guest) => guest.run(),
        Command::Demo(demo) => demo.run(),
        Command::Doctor(doctor) => doctor.run(),
        Command::Bench(bench) => bench.run(),
        Command::Vxi(vxi) => return status(vxi.run()),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    };
    status(done.map(|()| ExitCode::SUCCESS))
}

/// Help and version have status 0, everything else 2; for `vxi plan` 1, because there 2 says that there are changes.
fn not_understood(error: &clap::Error) -> ExitCode {
    // As clap does itself: whoever cannot be told is not told.
    let _ = error.print();
    let plan = std::env::args_os().skip(1).take(2).eq(["vxi", "plan"]);
    match error.exit_code() {
        2 if plan => ExitCode::FAILURE,
        other => ExitCode::from(u8::try_from(other).unwrap_or(1)),
    }
}

/// The exit status, which is 1 with an explanation where there is none.
fn status(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("{}", explain(&error));
        ExitCode::FAILURE
    })
}

/// What happens goes to standard error; `RUST_LOG` chooses how much of it.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}

/// One line with all causes; or the mistakes of a configuration or description, which say themselves where they are.
fn explain(error: &anyhow::Error) -> String {
    let mistakes = error.downcast_ref::<ConfigErrors>().map(ToString::to_string);
    let mistakes = mistakes.or_else(|| error.downcast_ref::<Diagnostics>().map(ToString::to_string));
    mistakes.unwrap_or_else(|| format!("pointsman: {error:#}"))
}
