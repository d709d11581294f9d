//! `bench xen`: network backends of real Xen, on the emulated machine of [`crate::xenlab`].
//!
//! In one boot, contenders take turns: each brings up its backend and four guests, measures everything once, and goes. Each
//! figure is the median over the turns. **Emulation runs one instruction after the other and knows no caches**: figures
//! compare with each other and with nothing else, and what they compare is instructions and hypercalls, not memory.
//!
//! All guests route, so each can be a receiver, a sender, or one of the paper's virtual routers (Table I), whose frames come
//! in by one NIC and leave by the other. What arrives is counted at the receiver's device: a program that counts would cost
//! more, under emulation, than what it counts. More is offered than comes through, as in the paper.

mod load;
mod shares;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::cpu::Cores;
use crate::figures::{FrameSize, median, spread};
use crate::machine::Machine as Host;
use crate::process::{installed, run};
use crate::report;
use crate::run::{Progress, Shortfalls};
use crate::xenlab::{Backend, Domain, Image, Machine, Network, PATIENCE, leave_network};
use crate::{interrupt, tcp, testbed};

use load::{arriving, offered, rate_here};

pub use shares::xen_cpushare;

/// Guests, all of which route.
const GUESTS: u8 = 4;

/// How many windows a flood lasts that a guest counts: what still lies in rings at its end is counted too, up to 500 frames.
const LONGER: u32 = 3;

/// How many of them carry a flow, as in the paper's Table I.
const ROUTING: [usize; 3] = [1, 2, 4];

/// The contenders, as a user names them.
pub const BACKEND_NAMES: [&str; 3] = ["netback", "xen-vif", "xen-ring"];

/// What the user asks of it.
#[derive(Clone, Debug)]
pub struct XenOptions {
    /// The `pointsman` command that is a contender.
    pub command: PathBuf,
    /// Contenders, of [`BACKEND_NAMES`]; none: all of them.
    pub only: Vec<String>,
    /// Turns of each contender.
    pub turns: usize,
    /// How long each rate is measured.
    pub window: Duration,
    /// Where to write the rows as JSON.
    pub json: Option<PathBuf>,
}

/// One figure of one contender.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct XenRow {
    /// `netback + bridge`, `pointsman xen-vif` or `pointsman xen-ring`.
    pub backend: &'static str,
    /// What was measured.
    pub what: String,
    /// `frames/s`, `Mbit/s` or `ms`.
    pub unit: &'static str,
    /// Median over the turns.
    pub value: f64,
    /// How far the turns lie apart: (largest - smallest) / median.
    pub spread: Option<f64>,
}

/// What was measured, with its unit.
type Figure = (String, &'static str, f64);

/// Runs it, prints it, writes it.
///
/// # Errors
/// Not root, no image, a signal came, or a measurement failed; then the others are still printed.
pub fn xen(options: &XenOptions) -> Result<()> {
    let (machine, host, ours) = boot(&options.command)?;
    let contenders = [(Backend::Netback, false), (ours.clone(), false), (ours, true)];
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let contenders = BACKEND_NAMES.into_iter().zip(contenders).filter(|(name, _)| wanted(name));
    let mut measured: Vec<(Contender, Vec<Vec<Figure>>)> =
        contenders.map(|(_, (backend, agent))| (Contender { backend, agent }, Vec::new())).collect();
    let mut shortfalls = Shortfalls::default();
    let mut progress = Progress::new(options.turns * measured.len());
    for turn in 0..options.turns {
        for (contender, turns) in &mut measured {
            progress.doing(contender.label());
            match take_turn(&machine, contender, options.window) {
                Ok(figures) => turns.push(figures),
                Err(why) => {
                    shortfalls.fail(&format!("{}, turn {}", contender.label(), turn + 1), why, &progress)?;
                    eprintln!("{}", machine.evidence());
                }
            }
            interrupt::check()?;
            progress.done();
        }
    }
    drop(progress);
    let rows: Vec<XenRow> = measured.iter().flat_map(|(contender, turns)| rows(contender, turns)).collect();
    println!("{}", report::xen(&rows));
    println!("Emulated, one instruction after the other: these figures compare with each other and with nothing else.");
    if let Some(path) = &options.json {
        report::write(path, &host, &rows)?;
    }
    shortfalls.conclude()
}

/// The emulated machine, with Pointsman on it as a backend that can be started.
fn boot(command: &Path) -> Result<(Machine, Host, Backend)> {
    testbed::require_root()?;
    for (program, package) in [("ip", "iproute2"), ("ping", "iputils-ping"), ("iperf3", "iperf3")] {
        ensure!(installed(program), "{program} is not installed: apt install {package}");
    }
    let image = Image::find()?;
    let host = Host::read(Cores::pick()?);
    interrupt::install();
    eprintln!("{}", host.line());
    leave_network()?;
    let machine = Machine::boot(&image)?;
    let ours = Backend::Pointsman(command.to_owned());
    ours.install(&machine)?;
    Ok((machine, host, ours))
}

/// Who takes turns.
#[derive(Clone, Debug)]
struct Contender {
    backend: Backend,
    /// Our agent runs in the guests.
    agent: bool,
}

impl Contender {
    const fn label(&self) -> &'static str {
        if self.agent { "pointsman xen-ring" } else { self.backend.label() }
    }

    /// What a guest's Linux calls its first vif.
    const fn device(&self) -> &'static str {
        if self.agent { "ring0" } else { "eth0" }
    }
}

/// Medians over the turns.
fn rows(contender: &Contender, turns: &[Vec<Figure>]) -> Vec<XenRow> {
    let Some(first) = turns.first() else { return Vec::new() };
    let figures = first.iter().enumerate().map(|(i, (what, unit, _))| {
        let values: Vec<f64> = turns.iter().filter_map(|turn| turn.get(i)).map(|figure| figure.2).collect();
        let (value, spread) = (median(&values), spread(&values));
        XenRow { backend: contender.label(), what: what.clone(), unit, value, spread }
    });
    figures.collect()
}

/// Everything measured once.
fn take_turn(machine: &Machine, contender: &Contender, window: Duration) -> Result<Vec<Figure>> {
    with_guests(machine, contender, |guests| {
        let mut figures = measure(guests, contender.device(), window)?;
        if contender.agent {
            figures.extend(measure_routing("routed by Linux behind veths", window)?);
            guests.iter().try_for_each(become_router)?;
            figures.extend(measure_router(machine, &guests[0], window)?);
        }
        figures.extend(measure_routing("routed", window)?);
        Ok(figures)
    })
}

/// Backend and guests up, all of it down again, also when what is done in between failed.
fn with_guests<T>(
    machine: &Machine,
    Contender { backend, agent }: &Contender,
    work: impl FnOnce(&[Domain]) -> Result<T>,
) -> Result<T> {
    let guest = |n| Domain { agent: *agent, ..Domain::router(&format!("r{n}"), 10 + n) };
    let guests: Vec<Domain> = (1..=GUESTS).map(guest).collect();
    backend.start(machine)?;
    let result = guests.iter().try_for_each(|guest| guest.create(machine, backend)).and_then(|()| {
        for (n, guest) in guests.iter().enumerate() {
            // Beyond the router is a network that nobody has: what arrives for it is counted and thrown away.
            guest.run(&format!("ip route add 10.7.{n}.0/24 via {}", Network::Out.address(1)))?;
            let (network, gateway) = (format!("10.7.{n}.0/24"), guest.address());
            run("ip", &["route", "replace", &network, "via", &gateway])?;
        }
        work(&guests)
    });
    let names: Vec<&str> = guests.iter().map(|guest| guest.name.as_str()).collect();
    let destroy = format!("for name in {}; do xl destroy $name; done; true", names.join(" "));
    machine.dom0().run(&destroy, PATIENCE)?;
    backend.stop(machine)?;
    result
}

/// Addresses behind the first so many routers.
fn behind(routers: usize) -> Vec<String> {
    (0..routers).map(|n| format!("10.7.{n}.1")).collect()
}

/// Everything, once.
fn measure(guests: &[Domain], device: &str, window: Duration) -> Result<Vec<Figure>> {
    let mut figures: Vec<Figure> = Vec::new();
    let (first, second) = (&guests[0], &guests[1]);
    for frame in FrameSize::BOTH {
        let label = frame.label();
        let to = arriving(first, device, || {
            let begin = Instant::now();
            offered(&[first.address()], frame, || interrupt::sleep(window * LONGER))?;
            Ok(begin.elapsed().as_secs_f64())
        })?;
        figures.push((format!("to a guest, {label} B"), "frames/s", to));
        let blast = |target: &str, seconds: f64| {
            first.shell()?.start(&format!("blast {target} 9 {} {seconds}", frame.in_memory()))?.begun(PATIENCE)
        };
        let sending = blast(&Network::Lan.address(1), 2.0 + window.as_secs_f64())?;
        figures.push((format!("from a guest, {label} B"), "frames/s", rate_here(Network::Lan, window)?));
        sending.finish(PATIENCE)?;
        let between = arriving(second, device, || {
            let said = blast(&second.address(), (window * LONGER).as_secs_f64())?.finish(PATIENCE)?;
            let seconds = said.split_whitespace().nth(1).with_context(|| format!("blast said {said:?}"))?;
            Ok(seconds.parse()?)
        })?;
        figures.push((format!("guest to guest, {label} B"), "frames/s", between));
    }
    let seconds = window.as_secs().max(2);
    let here = |arguments: &str| -> Result<f64> {
        let command = format!("-J -c {} -p {} -t {seconds} {arguments}", first.address(), first.serve_iperf3()?);
        let words: Vec<&str> = command.split_whitespace().collect();
        tcp::received(&run("iperf3", &words)?).map(|r| r.megabits)
    };
    figures.push(("TCP to a guest".into(), "Mbit/s", here("")?));
    figures.push(("TCP from a guest".into(), "Mbit/s", here("-R")?));
    let port = first.serve_iperf3()?;
    let between = second.run(&format!("iperf3 -J -c {} -p {port} -t {seconds}", first.address()))?;
    figures.push(("TCP guest to guest".into(), "Mbit/s", tcp::received(&between)?.megabits));
    let ping = run("ping", &["-q", "-c", "40", "-i", "0.05", &first.address()])?;
    figures.push(("ping to a guest".into(), "ms", average(&ping)?));
    let ping = second.run(&format!("ping -q -c 20 -i 0.1 {}", first.address()))?;
    figures.push(("ping guest to guest".into(), "ms", average(&ping)?));
    Ok(figures)
}

/// The paper's Table I.
fn measure_routing(what: &str, window: Duration) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for frame in FrameSize::BOTH {
        for routing in ROUTING {
            let total = offered(&behind(routing), frame, || rate_here(Network::Out, window))?;
            let what = format!("{what}, each of {routing}, {} B", frame.label());
            figures.push((what, "frames/s", total / routing as f64));
        }
    }
    Ok(figures)
}

/// What a guest's router, of ours, takes of its ring. Nothing in it counts frames that are for nobody, but it is never handed
/// more than it has taken.
fn measure_router(machine: &Machine, guest: &Domain, window: Duration) -> Result<Vec<Figure>> {
    let seconds = window.as_secs_f64();
    let look = "pointsman show ports --json | tr -d '\\n'; echo; cut -d' ' -f1 /proc/uptime";
    let look = format!("sleep 0.7; {look}; sleep {seconds}; {look}");
    let mut figures = Vec::new();
    for frame in FrameSize::BOTH {
        let said = offered(&[guest.address()], frame, || machine.dom0().run(&look, PATIENCE))?;
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        let [before, from, after, to] = lines[..] else { anyhow::bail!("two looks: {said}") };
        let frames = handed_to(after, &guest.name)? - handed_to(before, &guest.name)?;
        let elapsed = to.trim().parse::<f64>()? - from.trim().parse::<f64>()?;
        figures.push((format!("to a guest's router, {} B", frame.label()), "frames/s", frames as f64 / elapsed));
    }
    Ok(figures)
}

/// Frames that left by a guest's first vif, of what `show ports --json` said.
fn handed_to(ports: &str, guest: &str) -> Result<u64> {
    let ports: Vec<serde_json::Value> = serde_json::from_str(ports).context("what the engine says of its ports")?;
    let first = |port: &&serde_json::Value| {
        port["guest"] == guest && port["name"].as_str().is_some_and(|name| name.ends_with(".0"))
    };
    let port = ports.iter().find(first).with_context(|| format!("the engine has no vif of {guest}"))?;
    port["tx_frames"].as_u64().context("the engine counts no frames")
}

/// In place of a guest's Linux, our router takes its vifs: the fastest that a guest with rings can be. It has no shell.
fn become_router(guest: &Domain) -> Result<()> {
    let [left, right] = [Network::Lan, Network::Out].map(|network| network.address(guest.vifs[0].host));
    let router = format!(
        "pointsman guest router --xen --port vif:0,address={left}/24 --port vif:1,address={right}/24 \
         --route 10.7.0.0/16,via={}",
        Network::Out.address(1)
    );
    let wait = "while [ -e /proc/$(cat /run/agent.pid) ]; do usleep 100000; done";
    guest.run(&format!(
        "setsid sh -c 'sleep 1; kill $(cat /run/agent.pid); {wait}; exec {router}' > /tmp/router.log 2>&1 < /dev/null &"
    ))?;
    interrupt::sleep(Duration::from_secs(2))?;
    interrupt::wait_for(&format!("an answer from {}'s router", guest.name), PATIENCE, || {
        Ok(run("ping", &["-q", "-c", "1", "-w", "2", &left]).is_ok())
    })
}

/// The average, milliseconds, of ping's last line: `min/avg/max = 1.0/2.0/3.0 ms`, with a fourth in some.
fn average(said: &str) -> Result<f64> {
    let numbers = said.lines().rev().find_map(|line| line.split_once("min/avg/max")?.1.split_once("= "));
    let average = numbers.and_then(|(_, numbers)| numbers.split('/').nth(1)?.trim().parse().ok());
    average.with_context(|| format!("ping said {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_of_both_pings() {
        let iputils = "4 packets transmitted, 4 received\nrtt min/avg/max/mdev = 1.1/2.25/3.3/0.4 ms\n";
        assert_eq!(average(iputils).unwrap(), 2.25);
        let busybox = "2 packets transmitted\nround-trip min/avg/max = 19.1/29.3/39.4 ms\n";
        assert_eq!(average(busybox).unwrap(), 29.3);
        assert!(average("4 packets transmitted, 0 received").is_err());
    }

    #[test]
    fn frames_of_the_guests_first_vif_are_found() {
        let ports = r#"[{"name":"eth0","guest":null,"tx_frames":9},{"name":"vif3.1","guest":"r1","tx_frames":8},
            {"name":"vif3.0","guest":"r1","tx_frames":7},{"name":"vif4.0","guest":"r2","tx_frames":6}]"#;
        assert_eq!(handed_to(ports, "r1").unwrap(), 7);
        assert!(handed_to(ports, "r3").unwrap_err().to_string().contains("r3"));
    }

    #[test]
    fn rows_are_medians_of_the_same_figure() {
        let turn = |value| vec![("ping".to_owned(), "ms", value), ("TCP".to_owned(), "Mbit/s", 2.0 * value)];
        let contender = Contender { backend: Backend::Netback, agent: false };
        let rows = rows(&contender, &[turn(1.0), turn(4.0), turn(2.0)]);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[1].what.as_str(), rows[1].value, rows[1].spread), ("TCP", 4.0, Some(1.5)));
    }
}
