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

/// testpmd in mode `mac`, joining pairs of memif ports: what a forwarder without a table does.
#[derive(Debug)]
pub struct Pairs(Running);

impl Pairs {
    /// Starts it as the server of `guests` pairs, on `core`, and waits until it forwards: the client sends its first and
    /// only frames as soon as its links are up.
    pub fn start(guests: usize, core: Core, folder: &Path) -> Result<Self> {
        let mode = ["--forward-mode=mac", "--disable-link-check"];
        let command = command("server", core, &memifs("server", guests, folder), &mode);
        let mut this = start("testpmd-server", None, core, &command, folder).map(Self)?;
        interrupt::wait_for("forwarding by testpmd", Duration::from_secs(15), || {
            this.check()?;
            Ok(this.0.said().contains("forwards packets on"))
        })?;
        Ok(this)
    }

    /// An error with its last words if it has ended.
    pub fn check(&mut self) -> Result<()> {
        self.0.check()
    }
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

/// Lets frames of 64 bytes circulate between a server of memif pairs and testpmd as their client, and returns how many a
/// second the client received: the mean over `seconds`, after a first second that does not count.
///
/// # Errors
/// The client ends, or nothing circulates.
pub fn circulate(
    guests: usize,
    core: Core,
    folder: &Path,
    seconds: usize,
    mut server: impl FnMut() -> Result<()>,
) -> Result<f64> {
    // Frames that leave by one end of a pair are for the other end: a bridge knows where that is.
    let mut devices = memifs("client", guests, folder);
    let mut mode = ["--forward-mode=io", "--tx-first", "--txpkts=64"].map(str::to_owned).to_vec();
    for (i, device) in devices.iter_mut().enumerate() {
        *device += &format!(",mac={}", pair_mac(i / 2, i % 2));
        mode.push(format!("--eth-peer={i},{}", pair_mac(i / 2, 1 - i % 2)));
    }
    let mode: Vec<&str> = mode.iter().map(String::as_str).collect();
    let command = command("client", core, &devices, &mode);
    let mut client = start("testpmd-client", None, core, &command, folder)?;
    // One report a second; the first says nothing, the second holds the start.
    let wanted = seconds + 2;
    interrupt::wait_for("reports of testpmd", Duration::from_secs(20 + wanted as u64), || {
        client.check()?;
        server()?;
        Ok(reports(&client.said(), 2 * guests).len() >= wanted)
    })?;
    let reports = reports(&client.said(), 2 * guests);
    let counted = reports.get(2..wanted).context("reports of testpmd")?;
    let mean = counted.iter().sum::<f64>() / counted.len() as f64;
    if mean == 0.0 {
        bail!("nothing circulates");
    }
    Ok(mean)
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
