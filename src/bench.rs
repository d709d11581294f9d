//! `pointsman bench`: the paper's tables with today's figures, beside other forwarders in the same run.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use pointsman_bench::{Options, XenOptions, memif, netdev, table1, xen};

/// Measure Pointsman beside other forwarders, in the same run.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The paper's Table I: loss and rate through 1, 2, 4 and 8 virtual routers
    Table1(Table1),
    /// Frames that circulate between two processes over memif, beside DPDK's testpmd
    Memif(Common),
    /// Device to device, beside Linux bridge, in-kernel XDP redirect and testpmd
    Netdev(Common),
    /// Backends of real Xen on an emulated machine: kernel netback and bridge beside Pointsman (run tests/xen/build.sh first)
    Xen(Xen),
}

#[derive(Debug, Args)]
struct Xen {
    /// Turns of each backend: figures are medians over them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=50))]
    turns: u8,
    /// Seconds that each rate is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=60))]
    window: u8,
    /// Write the rows to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Common {
    /// End within 90 seconds, with fewer repeats and shorter windows
    #[arg(long)]
    quick: bool,
    /// Write the rows to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Table1 {
    #[command(flatten)]
    common: Common,
    /// Write a plot of each table (SVG) to this folder
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    plots: PathBuf,
}

impl Bench {
    pub fn run(&self) -> anyhow::Result<()> {
        match &self.what {
            What::Table1(wanted) => table1(&wanted.common.options(Some(wanted.plots.clone()))?),
            What::Memif(common) => memif(&common.options(None)?),
            What::Netdev(common) => netdev(&common.options(None)?),
            What::Xen(wanted) => xen(&XenOptions {
                command: this_command()?,
                turns: wanted.turns.into(),
                window: Duration::from_secs(wanted.window.into()),
                json: wanted.json.clone(),
            }),
        }
    }
}

impl Common {
    fn options(&self, plots: Option<PathBuf>) -> anyhow::Result<Options> {
        Ok(Options { command: this_command()?, quick: self.quick, json: self.json.clone(), plots })
    }
}

/// The contender is what runs.
fn this_command() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("finding the pointsman command itself")
}
