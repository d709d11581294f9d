//! DPDK's testpmd: between two devices through AF_XDP, and between two processes through memif.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Peer;
use crate::addresses::pair_mac;
use crate::cpu::Core;
use crate::interrupt;
use crate::process::Running;
use crate::testbed::Testbed;

/// The program.
pub const TESTPMD: &str = "dpdk-testpmd";

/// How to call testpmd so that it runs without huge pages, devices of its own, files left behind, or a terminal. Its main thread sleeps
/// nearly always; it shares the core of the forwarding thread, so that all it uses is counted in one place.
fn command(name: &str, core: Core, devices: &[String], mode: &[&str]) -> Vec<String> {
    let lcores = format!("0@{0},1@{0}", core.0);
    let memory = ["--no-huge", "-m", "1024", "--no-pci", "--no-telemetry", "--lcores", &lcores, "--file-prefix", name];
    let mut words: Vec<String> = std::iter::once(TESTPMD).chain(memory).map(str::to_owned).collect();
    for device in devices {
        words.extend(["--vdev".to_owned(), device.clone()]);
    }
    words.push("--".to_owned());
    words.extend(mode.iter().map(|&w| w.to_owned()));
    words.extend(["--auto-start", "--stats-period", "1", "--total-num-mbufs=65536"].map(str::to_owned));
    words
}

fn start(name: &str, namespace: Option<&str>, core: Core, command: &[String], folder: &Path) -> Result<Running> {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    // DPDK keeps files while it runs, and leaves them behind: they go to our folder, which we remove.
    let runtime = format!("RUNTIME_DIRECTORY={}", folder.display());
    let words = [&["env", &runtime], words.as_slice()].concat();
    Running::start(name, namespace, core, &words, folder).map(Running::polite)
}

/// testpmd in mode `io` with `in` and `out` as AF_XDP ports in copy mode, not busy polling, which on a veth is the faster
/// way.
#[derive(Debug)]
pub(super) struct TwoDevices(Running);

impl TwoDevices {
    pub(super) fn start(bed: &Testbed) -> Result<Self> {
        let devices = [bed.in_device(), bed.out_device()];
        let devices: Vec<String> =
            (0..).zip(devices).map(|(i, d)| format!("net_af_xdp{i},iface={d},busy_budget=0")).collect();
        bed.receive_first()?;
        let command = command("netdev", bed.cores.dut, &devices, &["--forward-mode=io"]);
        start("testpmd", Some(bed.host.name()), bed.cores.dut, &command, bed.folder.path()).map(Self)
    }
}

impl Peer for TwoDevices {
    fn check(&mut self) -> Result<()> {
        self.0.check()
    }
}

/// Starts testpmd in mode `mac` on `core`, as the server of `guests` pairs of memif ports that it joins: what a forwarder without a
/// table does. Waits until it forwards: the client sends its first and only frames as soon as its links are up.
pub(super) fn serve_pairs(guests: usize, core: Core, folder: &Path) -> Result<Running> {
    let mode = ["--forward-mode=mac", "--disable-link-check"];
    let command = command("server", core, &memifs("server", guests, folder), &mode);
    let mut server = start("testpmd-server", None, core, &command, folder)?;
    interrupt::wait_for("forwarding by testpmd", Duration::from_secs(15), || {
        server.check()?;
        Ok(server.said().contains("forwards packets on"))
    })?;
    Ok(server)
}

/// Socket of guest `i` in `folder`. It carries two memifs, with ids 0 and 1.
pub(super) fn socket(folder: &Path, i: usize) -> String {
    format!("{}/g{i}.sock", folder.display())
}

fn memifs(role: &str, guests: usize, folder: &Path) -> Vec<String> {
    (0..2 * guests)
        .map(|i| {
            // A path, not an abstract name: the same for every implementation.
            let socket = socket(folder, i / 2);
            format!("net_memif{i},role={role},id={},socket={socket},socket-abstract=no", i % 2)
        })
        .collect()
}

/// Frames of 64 bytes that circulate between a server of memif pairs and testpmd as their client. They rest but for the
/// windows in which they are counted.
#[derive(Debug)]
pub struct Circulation {
    client: Running,
    ports: usize,
    /// Dropped after the client.
    server: Running,
}

impl Circulation {
    /// Starts the client on `core` and waits until something circulates.
    ///
    /// # Errors
    /// A process ends, or does not get ready.
    pub fn start(guests: usize, core: Core, folder: &Path, server: Running) -> Result<Self> {
        // Frames that leave by one end of a pair are for the other end: a bridge knows where that is.
        let mut devices = memifs("client", guests, folder);
        let mut mode = ["--forward-mode=io", "--tx-first", "--txpkts=64"].map(str::to_owned).to_vec();
        for (i, device) in devices.iter_mut().enumerate() {
            *device += &format!(",mac={}", pair_mac(i / 2, i % 2));
            mode.push(format!("--eth-peer={i},{}", pair_mac(i / 2, 1 - i % 2)));
        }
        let mode: Vec<&str> = mode.iter().map(String::as_str).collect();
        let command = command("client", core, &devices, &mode);
        let client = start("testpmd-client", None, core, &command, folder)?;
        let mut this = Self { client, ports: 2 * guests, server };
        this.await_reports(2)?;
        this.rest();
        Ok(this)
    }

    /// Frames a second that the client receives on all its ports, in one second of an undisturbed run.
    ///
    /// # Errors
    /// A process ends, or nothing circulates.
    pub fn window(&mut self) -> Result<f64> {
        let before = reports(&self.client.said(), self.ports).len();
        self.server.resume();
        self.client.resume();
        // The first report also spans the rest.
        let done = self.await_reports(before + 2);
        self.rest();
        done?;
        let pps = *reports(&self.client.said(), self.ports).get(before + 1).context("reports of testpmd")?;
        if pps == 0.0 {
            bail!("nothing circulates");
        }
        Ok(pps)
    }

    fn rest(&self) {
        self.client.pause();
        self.server.pause();
    }

    fn await_reports(&mut self, wanted: usize) -> Result<()> {
        interrupt::wait_for("reports of testpmd", Duration::from_secs(20), || {
            self.client.check()?;
            self.server.check()?;
            Ok(reports(&self.client.said(), self.ports).len() >= wanted)
        })
    }
}

/// Frames a second received by all ports together, one figure for every complete report.
fn reports(said: &str, ports: usize) -> Vec<f64> {
    let rates: Vec<f64> = said
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("Rx-pps:"))
        .filter_map(|rest| rest.split_whitespace().next()?.parse().ok())
        .collect();
    rates.chunks_exact(ports).map(|report| report.iter().sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_summed_over_ports_and_incomplete_ones_left_out() {
        let said = "\n  ######################## NIC statistics for port 0  ###\n  RX-packets: 1 RX-missed: 0\n\n  \
                    Throughput (since last show)\n  Rx-pps:            10          Rx-bps:            0\n  \
                    Tx-pps:            99          Tx-bps:            0\n  Rx-pps:  20  Rx-bps: 0\n\
                    Rx-pps:  1000  Rx-bps: 0\nRx-pps: 2000 Rx-bps: 0\n Rx-pps: 5";
        assert_eq!(reports(said, 2), [30.0, 3000.0]);
    }
}
