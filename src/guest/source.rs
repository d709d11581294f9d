//! `pointsman guest source`: sends on a ring and says how much it could.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use pointsman_dataplane::guest::source::{Outward, SourceConfig, SourcePort};
use pointsman_dataplane::guest::spec::PortSpec;
use pointsman_dataplane::signals::Signals;
use pointsman_dataplane::units::Nanos;

use super::xen::XenArgs;
use super::{Thread, connect, frame_memory};
use crate::output;

const PORT_HELP: &str = "The interface to send by: SOCKET:ID (with --xen, vif:HANDLE)[,role=client|server][,mac=MAC],address=ADDRESS/LENGTH[,mtu=BYTES]";

/// Send UDP on a memif or a domU's ring, as fast as it takes it, and say how much that was.
///
/// All frames are alike: datagrams of zeros to port 9 (discard) of a neighbour, whose Ethernet address is asked for by ARP
/// before. What comes in is counted and dropped. At its end it prints how many frames the ring took, in which time.
#[derive(Debug, Args)]
pub struct SourceArgs {
    #[arg(long, value_name = "PORT", help = PORT_HELP)]
    port: PortSpec,
    /// The neighbour to send to: an IPv4 address of the port's network
    #[arg(long, value_name = "ADDRESS")]
    to: IpAddr,
    /// The size of a frame with Ethernet header and FCS: 64 to 1518
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: u16,
    /// So many frames a second; otherwise as many as there is room for
    #[arg(long, value_name = "FRAMES_PER_SECOND")]
    rate: Option<u64>,
    /// End so long after the first frame; otherwise on a signal
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    #[command(flatten)]
    xen: XenArgs,
    #[command(flatten)]
    thread: Thread,
}

impl SourceArgs {
    pub fn run(self) -> anyhow::Result<()> {
        let span = self.seconds.map(Duration::try_from_secs_f64).transpose();
        let span = span.context("--seconds: give seconds, as in 10 or 0.5")?;
        let span = span.map(|span| Nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)));
        let PortSpec { memif, interface, names_mac } = self.port;
        let mut config = SourceConfig { interface, to: self.to, size: self.size, rate: self.rate, span };
        config.check()?;
        // Before the first thread: all of them inherit what is blocked.
        let signals = Signals::block().context("blocking signals")?;
        let xen = self.xen.open(1)?;
        if let Some(xen) = xen.as_ref().filter(|_| !names_mac) {
            config.interface.mac = xen.mac(&memif)?;
        }
        let (channel, port) = connect(xen.as_ref(), &memif, "source")?;
        let (port, tally) = SourcePort::new(port, &config)?;
        let forward = Box::new(Outward);
        self.thread.run(frame_memory()?, vec![Box::new(port)], forward, &[channel], &signals, Some(&tally))?;
        let (sent, received) = (tally.sent(), tally.received());
        let seconds = tally.elapsed(Nanos::now()).0 as f64 / 1e9;
        output::print(&format!("sent {sent} frames in {seconds:.3} s, received {received}\n"))?;
        if !tally.is_answered() {
            bail!(
                "{} has not answered ARP, so nothing was sent to it; is it up, and in one network with {memif}?",
                self.to
            );
        }
        Ok(())
    }
}
