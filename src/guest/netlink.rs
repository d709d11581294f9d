//! `pointsman guest netlink`: mirrors the routes of a namespace's or domU's kernel to an engine.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use pointsman_dataplane::fpm::agent::{Agent, AgentConfig};
use pointsman_dataplane::fpm::{Place, TableId};
use pointsman_dataplane::signals::Signals;

/// Mirror the kernel's routes to an engine, whoever put them there: BIRD, `ip route`, a DHCP client.
#[derive(Debug, Args)]
pub struct NetlinkArgs {
    /// The engine's feed: ADDRESS:PORT, or the path of its socket
    #[arg(long, value_name = "PLACE")]
    feed: Place,
    /// A routing table of the kernel; repeat for each
    #[arg(long = "table", value_name = "N", default_values_t = [TableId::MAIN.0])]
    tables: Vec<u32>,
    /// The namespace of the routes, if it is not our own
    #[arg(long, value_name = "NAMESPACE")]
    netns: Option<PathBuf>,
}

impl NetlinkArgs {
    pub fn run(self) -> anyhow::Result<()> {
        // Before the first thread: all of them inherit what is blocked.
        let signals = Signals::block().context("blocking signals")?;
        let tables = self.tables.into_iter().map(TableId).collect();
        let _agent = Agent::start(AgentConfig { feed: self.feed, tables, netns: self.netns })?;
        signals.wait();
        Ok(())
    }
}
