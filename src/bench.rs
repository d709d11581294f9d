//! `pointsman bench`: the paper's tables with today's figures, beside other forwarders in the same run.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use pointsman_bench::{Options, memif, netdev, table1};

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
        }
    }
}

impl Common {
    fn options(&self, plots: Option<PathBuf>) -> anyhow::Result<Options> {
        let command = std::env::current_exe().context("finding the pointsman command itself")?;
        Ok(Options { command, quick: self.quick, json: self.json.clone(), plots })
    }
}
