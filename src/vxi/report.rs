//! `pointsman vxi report`: draws what `simulate` wrote.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use pointsman_vxi::simulate::{Outcome, chart};

use super::simulate::read;

/// Draw acceptance and utilisation over time (SVG) from what `simulate --json` wrote
#[derive(Debug, Args)]
pub struct Report {
    /// The instance that was served
    instance: PathBuf,
    /// What `simulate --json` wrote
    outcome: PathBuf,
    /// Write the drawing to this file
    #[arg(long, value_name = "FILE")]
    svg: PathBuf,
}

impl Report {
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let instance = read(&self.instance)?;
        let text = std::fs::read_to_string(&self.outcome).with_context(|| self.outcome.display().to_string())?;
        let outcome: Outcome = serde_json::from_str(&text)
            .with_context(|| format!("{}: give what `simulate --json` wrote", self.outcome.display()))?;
        anyhow::ensure!(
            outcome.requests.len() == instance.requests.len(),
            "{}: answers for {} requests, and the instance has {}: give the instance that was served",
            self.outcome.display(),
            outcome.requests.len(),
            instance.requests.len()
        );
        std::fs::write(&self.svg, chart::svg(&instance, &outcome)).with_context(|| self.svg.display().to_string())?;
        Ok(ExitCode::SUCCESS)
    }
}
