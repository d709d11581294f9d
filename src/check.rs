//! `pointsman check`: whether a configuration is sound, without starting anything.

use std::path::PathBuf;

use clap::Args;
use pointsman_dataplane::config::Config;

use crate::output::print;

/// Check a configuration, and start nothing.
///
/// Every mistake is reported with file, line and what to do. What this machine lacks for it (a device, a core) is told too, but is no mistake: the file may be meant for another.
#[derive(Debug, Args)]
pub struct Check {
    /// The configuration (TOML)
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Check {
    pub fn run(&self) -> anyhow::Result<()> {
        let config = Config::load(&self.file)?;
        for warning in config.warnings() {
            eprintln!("note: {warning}");
        }
        let counts = [
            count(config.workers.len(), "worker"),
            count(config.domains.len(), "domain"),
            count(config.guests.len(), "guest"),
            count(config.ports.len(), "port"),
        ];
        print(&format!("{}: sound: {}\n", self.file.display(), counts.join(", ")))
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
