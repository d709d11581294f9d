//! `pointsman run`: the engine, until a signal ends it.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use pointsman_dataplane::config::Config;
use pointsman_dataplane::engine::Engine;
use pointsman_dataplane::signals::Signals;

use crate::xen::Xen;

/// Forward frames as a configuration says, until SIGINT or SIGTERM.
#[derive(Debug, Args)]
pub struct Run {
    /// The configuration (TOML); `pointsman check FILE` tells whether it is sound.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    xen: Xen,
}

impl Run {
    pub fn run(&self) -> anyhow::Result<()> {
        let mut config = Config::load(&self.config)?;
        config.seats = self.xen.seats(config.seats);
        let signals = Signals::block().context("blocking signals")?;
        let engine = Engine::start(&config)?;
        for line in engine.describe() {
            tracing::info!("{line}");
        }
        // Goes first: guests stay connected, for the next engine to find.
        let _guests = self.xen.start(engine.seats())?;
        tracing::info!("running; control socket {}", config.control.display());
        signals.wait();
        tracing::info!("ending");
        Ok(())
    }
}
