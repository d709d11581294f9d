//! `pointsman doctor`: whether this machine can carry the engine, and what would help.

use anyhow::bail;
use clap::Args;
use pointsman_dataplane::doctor::{Level, Report, examine};

use crate::output::print;

/// Tell what this machine has and lacks for the engine.
///
/// Looks at kernel, privileges, AF_XDP, memory, cores, devices and their offloads; attaches and changes nothing. Exits
/// with 1 when something would keep the engine from running.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Devices to look at; none given: all but loopback
    #[arg(value_name = "DEVICE")]
    devices: Vec<String>,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn run(&self) -> anyhow::Result<()> {
        let report = examine(&self.devices);
        print(&if self.json { serde_json::to_string_pretty(&report)? + "\n" } else { table(&report) })?;
        if !report.ready {
            let problems = report.findings.iter().filter(|finding| finding.level == Level::Problem).count();
            bail!("{problems} of these findings would keep the engine from running");
        }
        Ok(())
    }
}

fn table(report: &Report) -> String {
    let width = report.findings.iter().map(|finding| finding.thing.len()).max().unwrap_or_default();
    let mut text = String::new();
    for finding in &report.findings {
        text += &format!("{:<7}  {:<width$}  {}\n", finding.level, finding.thing, finding.found);
        if let Some(remedy) = &finding.remedy {
            text += &format!("{:<7}  {:<width$}  -> {remedy}\n", "", "");
        }
    }
    text
}
