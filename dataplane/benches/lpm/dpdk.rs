//! DPDK's tables, by its own `dpdk-test-fib`: the same routes and destinations, in a child of its own.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Files that a child reads; gone when this is.
pub struct Dpdk {
    routes: PathBuf,
    destinations: PathBuf,
    args: Vec<String>,
    cycles_per_nano: f64,
    /// On which pages its memory is.
    pub pages: &'static str,
}

fn quads(bits: u32) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from_bits(bits)
}

impl Dpdk {
    /// A table of these routes. Err: why it cannot be measured here.
    pub fn new(routes: &[(u32, u8)], destinations: &[u32]) -> Result<Self, String> {
        let found = Command::new("dpdk-test-fib").arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.map_err(|error| format!("dpdk-test-fib cannot be started ({error}); Debian has it in dpdk-dev"))?;
        let cycles_per_nano = cycles_per_nano().ok_or("its figures are cycles of a clock that only x86-64 has")?;
        let (mut text_routes, mut text_destinations) = (String::new(), String::new());
        for (n, (network, length)) in routes.iter().enumerate() {
            let _ = writeln!(text_routes, "{}/{length} {}", quads(*network), n % 64 + 1);
        }
        for destination in destinations {
            let _ = writeln!(text_destinations, "{}", quads(*destination));
        }
        let file = |name: &str, text: String| {
            let path =
                std::env::temp_dir().join(format!("pointsman-fib-{}-{}-{name}", std::process::id(), routes.len()));
            fs::write(&path, text).map(|()| path.clone()).map_err(|error| format!("{}: {error}", path.display()))
        };
        let free = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let free = free.lines().find_map(|line| line.strip_prefix("HugePages_Free:")?.trim().parse::<u64>().ok());
        let (pages, memory): (_, &[&str]) = match free {
            Some(800..) => ("huge pages", &["--in-memory", "-m", "1536"]),
            _ => ("pages of 4 KiB: /proc/meminfo has no 800 free huge ones", &["--no-huge", "-m", "2048"]),
        };
        let mut args: Vec<String> = ["--no-pci", "--no-telemetry", "-l", "0"].map(String::from).to_vec();
        args.extend(memory.iter().map(|arg| arg.to_string()));
        Ok(Self {
            routes: file("routes", text_routes)?,
            destinations: file("destinations", text_destinations)?,
            args,
            cycles_per_nano,
            pages,
        })
    }

    /// One run: nanoseconds a look-up, and a route added (its mean over the ten parts of the load).
    pub fn run(&self) -> Result<(f64, f64), String> {
        let mut command = Command::new("dpdk-test-fib");
        command.args(&self.args).arg("--").args(["-g", "65535"]);
        command.arg("-f").arg(&self.routes).arg("-t").arg(&self.destinations);
        let out = command.output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        let cycles = |key: &str| -> Vec<f64> {
            text.lines().filter_map(|line| line.strip_prefix(key)?.trim().parse().ok()).collect()
        };
        let (looked_up, added) = (cycles("AVG FIB lookup "), cycles("AVG FIB add "));
        let Some(look_up) = looked_up.first() else {
            let why = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            return Err(format!("{}: {why}", out.status));
        };
        let add = added.iter().sum::<f64>() / added.len().max(1) as f64;
        Ok((look_up / self.cycles_per_nano, add / self.cycles_per_nano))
    }
}

impl Drop for Dpdk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.routes);
        let _ = fs::remove_file(&self.destinations);
    }
}

/// The rate of the clock that DPDK counts by.
fn cycles_per_nano() -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    {
        let now = || {
            // SAFETY: every x86-64 processor has this instruction.
            unsafe { std::arch::x86_64::_rdtsc() }
        };
        let (start, before) = (std::time::Instant::now(), now());
        std::thread::sleep(std::time::Duration::from_millis(50));
        Some((now() - before) as f64 / start.elapsed().as_nanos() as f64)
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}
