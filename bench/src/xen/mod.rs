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
mod program;
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
    /// `netback + bridge`, `pointsman xen-vif`, `pointsman xen-ring` with a program on the ring, or `pointsman xen-ring/veth`
    /// with the guest's Linux behind it.
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

/// What was measured once.
#[derive(Clone, Debug)]
struct Figure {
    /// As in [`XenRow`].
    backend: &'static str,
    what: String,
    unit: &'static str,
    value: f64,
}

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
    let rows: Vec<XenRow> = measured.iter().flat_map(|(_, turns)| rows(turns)).collect();
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
    /// As tables name its guests' Linux.
    const fn label(&self) -> &'static str {
        if self.agent { "pointsman xen-ring/veth" } else { self.backend.label() }
    }

    fn figure(&self, what: impl Into<String>, unit: &'static str, value: f64) -> Figure {
        Figure { backend: self.label(), what: what.into(), unit, value }
    }

    /// What a guest's Linux calls its first vif.
    const fn device(&self) -> &'static str {
        if self.agent { "ring0" } else { "eth0" }
    }
}

/// Medians over the turns.
fn rows(turns: &[Vec<Figure>]) -> Vec<XenRow> {
    let Some(first) = turns.first() else { return Vec::new() };
    let figures = first.iter().enumerate().map(|(i, Figure { backend, what, unit, .. })| {
        let values: Vec<f64> = turns.iter().filter_map(|turn| turn.get(i)).map(|figure| figure.value).collect();
        XenRow { backend, what: what.clone(), unit, value: median(&values), spread: spread(&values) }
    });
    figures.collect()
}

/// Everything measured once.
fn take_turn(machine: &Machine, contender: &Contender, window: Duration) -> Result<Vec<Figure>> {
    with_guests(machine, contender, |guests| {
        let mut figures = measure(contender, guests, window)?;
        figures.extend(measure_routing(contender, window)?);
        if contender.agent {
            figures.extend(program::measure(machine, guests, window)?);
        }
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
            // Its shell answers through the first of its interfaces, which may be there before the second.
            let add = format!("ip route add 10.7.{n}.0/24 via {}", Network::Out.address(1));
            guest.run(&format!("n=0; until {add}; do n=$((n+1)); [ $n -lt 100 ] || exit 1; usleep 100000; done"))?;
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
fn measure(contender: &Contender, guests: &[Domain], window: Duration) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut note = |what: String, unit, value| figures.push(contender.figure(what, unit, value));
    let (first, second) = (&guests[0], &guests[1]);
    for frame in FrameSize::BOTH {
        let label = frame.label();
        let to = arriving(first, contender.device(), || {
            let begin = Instant::now();
            offered(&[first.address()], frame, || interrupt::sleep(window * LONGER))?;
            Ok(begin.elapsed().as_secs_f64())
        })?;
        note(format!("to a guest, {label} B"), "frames/s", to);
        let blast = |target: &str, seconds: f64| {
            first.shell()?.start(&format!("blast {target} 9 {} {seconds}", frame.in_memory()))?.begun(PATIENCE)
        };
        let sending = blast(&Network::Lan.address(1), 2.0 + window.as_secs_f64())?;
        note(format!("from a guest, {label} B"), "frames/s", rate_here(Network::Lan, window)?);
        sending.finish(PATIENCE)?;
        let between = arriving(second, contender.device(), || {
            let said = blast(&second.address(), (window * LONGER).as_secs_f64())?.finish(PATIENCE)?;
            let seconds = said.split_whitespace().nth(1).with_context(|| format!("blast said {said:?}"))?;
            Ok(seconds.parse()?)
        })?;
        note(format!("guest to guest, {label} B"), "frames/s", between);
    }
    let seconds = window.as_secs().max(2);
    let here = |arguments: &str| -> Result<f64> {
        let command = format!("-J -c {} -p {} -t {seconds} {arguments}", first.address(), first.serve_iperf3()?);
        let words: Vec<&str> = command.split_whitespace().collect();
        tcp::received(&run("iperf3", &words)?).map(|r| r.megabits)
    };
    note("TCP to a guest".into(), "Mbit/s", here("")?);
    note("TCP from a guest".into(), "Mbit/s", here("-R")?);
    let port = first.serve_iperf3()?;
    let between = second.run(&format!("iperf3 -J -c {} -p {port} -t {seconds}", first.address()))?;
    note("TCP guest to guest".into(), "Mbit/s", tcp::received(&between)?.megabits);
    let ping = run("ping", &["-q", "-c", "40", "-i", "0.05", &first.address()])?;
    note("ping to a guest".into(), "ms", average(&ping)?);
    let ping = second.run(&format!("ping -q -c 20 -i 0.1 {}", first.address()))?;
    note("ping guest to guest".into(), "ms", average(&ping)?);
    Ok(figures)
}

/// The paper's Table I.
fn measure_routing(contender: &Contender, window: Duration) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for frame in FrameSize::BOTH {
        for routing in ROUTING {
            let each = routed(routing, frame, window)?;
            figures.push(contender.figure(format!("routed, each of {routing}, {} B", frame.label()), "frames/s", each));
        }
    }
    Ok(figures)
}

/// Frames a second that come through each of the first so many routers.
fn routed(routers: usize, frame: FrameSize, window: Duration) -> Result<f64> {
    let total = offered(&behind(routers), frame, || rate_here(Network::Out, window))?;
    Ok(total / routers as f64)
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
    fn rows_are_medians_of_the_same_figure() {
        let contender = Contender { backend: Backend::Netback, agent: true };
        let turn = |value| vec![contender.figure("ping", "ms", value), contender.figure("TCP", "Mbit/s", 2.0 * value)];
        let rows = rows(&[turn(1.0), turn(4.0), turn(2.0)]);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[1].what.as_str(), rows[1].value, rows[1].spread), ("TCP", 4.0, Some(1.5)));
        assert_eq!(rows[1].backend, "pointsman xen-ring/veth");
    }
}
