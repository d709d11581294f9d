//! `pointsman demo`: four virtual routers on this machine, with traffic and a live view.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use pointsman_bench::peers::GuestKind;
use pointsman_bench::{Demo as Wanted, demo};

/// Run four virtual routers in namespaces on this machine, with traffic, and watch the engine at work.
///
/// Ctrl-C or q ends it. Nothing is left behind.
#[derive(Debug, Args)]
pub struct Demo {
    /// What the virtual routers are
    #[arg(long, value_enum, default_value = "router")]
    guests: Guests,
    /// Frames of 64 bytes a second to each router
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// End by itself after so many seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Guests {
    /// `pointsman guest router`
    Router,
    /// `pointsman guest tap` and a Linux router behind it
    Tap,
}

impl Demo {
    pub fn run(&self) -> anyhow::Result<()> {
        demo(&Wanted {
            command: std::env::current_exe().context("finding the pointsman command itself")?,
            guests: match self.guests {
                Guests::Router => GuestKind::Router,
                Guests::Tap => GuestKind::Tap,
            },
            rate: self.rate,
            duration: self.seconds.map(Duration::from_secs),
        })
    }
}
