//! On what was measured.

use std::fs;

use serde::Serialize;

use crate::cpu::Cores;

/// What a reader needs to compare figures.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Processors that are online.
    pub cores: usize,
    /// Memory, MiB.
    pub memory_mib: u64,
    /// Kernel release.
    pub kernel: String,
    /// The system's name and version.
    pub system: String,
    /// Core of generator and sink.
    pub traffic_core: usize,
    /// Core of the device under test.
    pub dut_core: usize,
    /// Load of the last minute when the run began: what else ran on the machine.
    pub load_at_start: f64,
    /// Version of the benchmark.
    pub version: String,
}

impl Machine {
    /// Reads what this machine says of itself. What it does not say is "unknown" or zero.
    pub fn read(cores: Cores) -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let value = |text: &str, key: &str, separator| {
            let line = text.lines().find(|l| l.starts_with(key));
            line.and_then(|l| l.split_once(separator)).map(|(_, v)| v.trim().trim_matches('"').to_owned())
        };
        let unknown = || "unknown".to_owned();
        let memory = value(&read("/proc/meminfo"), "MemTotal", ':').unwrap_or_default();
        let kib: u64 = memory.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
        Self {
            cpu: value(&cpuinfo, "model name", ':').unwrap_or_else(unknown),
            cores: cpuinfo.lines().filter(|l| l.starts_with("processor")).count(),
            memory_mib: kib / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: value(&read("/etc/os-release"), "PRETTY_NAME", '=').unwrap_or_else(unknown),
            traffic_core: cores.traffic.0,
            dut_core: cores.dut.0,
            load_at_start: read("/proc/loadavg").split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0.0),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// A line for people.
    pub fn line(&self) -> String {
        format!(
            "{} ({} cores), {} MiB, {}, Linux {}; traffic on core {}, device under test on core {}; load {} before",
            self.cpu,
            self.cores,
            self.memory_mib,
            self.system,
            self.kernel,
            self.traffic_core,
            self.dut_core,
            self.load_at_start
        )
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
