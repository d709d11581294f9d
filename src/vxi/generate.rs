//! `pointsman vxi generate`: draws an instance from a seed.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use pointsman_vxi::simulate::generate::{Plan, like, waxman};

use super::simulate::read;
use crate::output::print;

/// Draw an instance (vne-instance/1) from a seed: a Waxman network, or the network of another instance
#[derive(Debug, Args)]
pub struct Generate {
    /// The same seed gives the same instance, everywhere
    #[arg(long)]
    seed: u64,
    /// Hosts of the Waxman network
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    hosts: u32,
    /// How many requests arrive
    #[arg(long, default_value_t = 1000)]
    requests: usize,
    /// Arrivals per unit of time [default: 0.16, or that of --like]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    arrivals: Option<f64>,
    /// Take the network of this instance, its capacities drawn anew
    #[arg(long, value_name = "INSTANCE")]
    like: Option<PathBuf>,
    /// Write to this file [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Generate {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let other = self.like.as_deref().map(read).transpose()?;
        let of_other = other.as_ref().map(|other| other.arrival_lam).filter(|rate| *rate > 0.0);
        let arrivals = self.arrivals.or(of_other).unwrap_or(0.16);
        anyhow::ensure!((1e-6..=1e3).contains(&arrivals), "--arrivals: give a rate from 0.000001 to 1000");
        let plan = Plan { seed: self.seed, hosts: self.hosts as usize, requests: self.requests, arrivals };
        let instance = match &other {
            Some(other) => like(&plan, other),
            None => waxman(&plan),
        };
        let text = serde_json::to_string(&instance).context("writing the instance")? + "\n";
        match &self.out {
            Some(out) => std::fs::write(out, text).with_context(|| out.display().to_string())?,
            None => print(&text)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
