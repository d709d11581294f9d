//! On what was measured.

use std::fs;
use std::process::{Command, Stdio};

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
    /// The commit that it was built from.
    pub commit: &'static str,
    /// What the processor says it runs at, MHz, and who decides that.
    pub frequency: String,
    /// How the engine had its devices, where it was asked.
    pub nic_mode: Option<String>,
    /// What the programs beside us say they are.
    pub programs: Vec<(&'static str, String)>,
}

/// Programs whose versions matter, and how each is asked. testpmd would start; its package knows.
const PROGRAMS: [(&str, &[&str]); 5] = [
    ("iproute2", &["ip", "-V"]),
    ("ethtool", &["ethtool", "--version"]),
    ("iperf3", &["iperf3", "--version"]),
    ("dpdk", &["dpkg-query", "-W", "-f", "${Package} ${Version}", "dpdk"]),
    ("ovs", &["ovs-vswitchd", "--version"]),
];

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
            commit: env!("POINTSMAN_COMMIT"),
            frequency: format!(
                "{} MHz, governor {}",
                value(&cpuinfo, "cpu MHz", ':').unwrap_or_else(unknown),
                fs::read_to_string("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                    .map_or_else(|_| "not told to this machine".into(), |g| g.trim().to_owned())
            ),
            nic_mode: None,
            programs: PROGRAMS.iter().map(|&(name, words)| (name, version(words))).collect(),
        }
    }

    /// Names and values, for the report.
    pub fn manifest(&self) -> Vec<(String, String)> {
        let mut lines: Vec<(String, String)> = [
            ("processor", format!("{}, {} cores, {}", self.cpu, self.cores, self.frequency)),
            ("memory", format!("{} MiB", self.memory_mib)),
            ("system", format!("{}, Linux {}", self.system, self.kernel)),
            ("devices", format!("veth; the engine's are {}", self.nic_mode.as_deref().unwrap_or("unknown"))),
            ("cores", format!("traffic on core {}, device under test on core {}", self.traffic_core, self.dut_core)),
            ("load before", self.load_at_start.to_string()),
            ("pointsman", format!("{}, commit {}", self.version, self.commit)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        lines.extend(self.programs.iter().map(|(name, version)| ((*name).to_owned(), version.clone())));
        lines
    }

    /// Another: what the programs beside us are.
    pub fn versions(&self) -> String {
        let said: Vec<String> = self.programs.iter().map(|(name, version)| format!("{name}: {version}")).collect();
        format!("commit {}; {}", self.commit, said.join("; "))
    }

    /// Whether others had a good part of a core when the run began.
    pub fn is_busy(&self) -> bool {
        self.load_at_start > 0.5
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

/// The first line of what a program says of itself that has a number in it.
fn version(words: &[&str]) -> String {
    let asked = words.split_first().map(|(program, words)| (Command::new(program), words));
    let Some(Ok(output)) = asked.map(|(mut program, words)| program.args(words).stdin(Stdio::null()).output()) else {
        return "not installed".into();
    };
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|line| line.contains(|c: char| c.is_ascii_digit()));
    line.map_or_else(|| "does not say".into(), |line| line.trim().to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
