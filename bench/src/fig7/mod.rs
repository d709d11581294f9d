//! `bench fig7`: the paper's Figure 7, with today's figures. Two virtual routers share one host and its link; one of them
//! moves to another host, and from then on each has a link of its own.
//!
//! The paper moved the memory of a running Xen guest. Here, a router that moves is one whose state is its configuration and
//! the neighbours that it has met: it is started anew on the other host and stopped where it was (see [`crate::peers`]). So
//! what is compared is what flows see of it, and not how long a memory takes to be copied.
//!
//! A host's link has 200 Mb/s, so that flows have about the paper's 100 before and double after. UDP offers nearly that: two
//! flows are more than one link carries, and one is a little less, so that nothing needs to be lost once the router has moved.
//! TCP is one connection a router, with some probes beside the one that moves, which tell the latency.

mod series;
mod streams;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pointsman_dataplane::units::Nanos;

use self::series::{Window, arrivals, lost, pieces};
use self::streams::{Connection, Datagrams};
use crate::addresses::{receiver_ip, sender_ip};
use crate::cpu::Cores;
use crate::fig5::UDP_BITS;
use crate::figures::{FrameSize, median};
use crate::peers::{self, GuestKind, Mobile, Path, Way};
use crate::process::installed;
use crate::report::{self, Figure, charts};
use crate::run::{self, Item, Options, Shortfalls, take_turns};
use crate::site::{ROUTERS, Site};
use crate::{interrupt, paper};

/// Whose routers move.
const PATHS: [Path; 2] = [Path::Pointsman(GuestKind::Router), Path::LinuxBridge];

/// Their names, as [`Options::only`] has them.
pub const MOBILE_NAMES: [&str; 2] = [PATHS[0].name(), PATHS[1].name()];

/// What a flow of UDP offers, as a part of a host's link.
const OFFERED: f64 = 0.98;

/// The rest of a datagram of 1500 bytes of IP, without IP's and UDP's headers.
const PAYLOAD: usize = FrameSize::B1500.in_memory() - 42;

/// Probes a second beside TCP, and how long they are: the shortest frame.
const PROBES: f64 = 1_000.0;
const PROBE: usize = 18;

/// How long to wait for a path to come up.
const PATIENCE: Duration = Duration::from_secs(15);

/// Until queues have filled, or TCP has found its rate.
const fn ramp(load: Load) -> Duration {
    Duration::from_millis(match load {
        Load::Udp => 150,
        Load::Tcp => 400,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    Udp,
    Tcp,
}

impl Load {
    const fn label(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }
}

/// What is looked at before a move begins, and from then on.
const fn spans(quick: bool, load: Load) -> (Duration, Duration) {
    let (before, after) = match (quick, load) {
        (true, Load::Udp) => (300, 600),
        (true, Load::Tcp) => (300, 1_000),
        (false, Load::Udp) => (600, 1_300),
        (false, Load::Tcp) => (600, 2_000),
    };
    (Duration::from_millis(before), Duration::from_millis(after))
}

/// One move under one load.
#[derive(Clone, Debug)]
struct Sample {
    way: Way,
    load: Load,
    window: Window,
    /// Mbit/s in each bin: of the router that moves, and of the one that stays.
    rates: [Vec<f64>; ROUTERS],
    /// Milliseconds through the router that moves, in each bin.
    latency: Vec<Option<f64>>,
    /// The longest that any datagram took after the move began, ms.
    worst: f64,
    /// The longest time without delivery, ms.
    gap: f64,
    /// Datagrams: within the longest time without delivery of them, and later.
    lost: (usize, usize),
}

/// One path with all ways in which its routers move.
#[derive(Clone, Debug)]
struct Arrangement {
    path: Path,
    samples: Vec<Sample>,
    note: Option<String>,
}

impl Item for Arrangement {
    fn name(&self) -> String {
        format!("Figure 7: {}", report::contender(self.path.label(), self.path.guest()))
    }

    fn failed(&mut self, why: &str) {
        self.note = Some(why.to_owned());
    }
}

/// Runs it, prints it, writes it.
///
/// # Errors
/// Not root, a program is missing, a signal came, or a measurement failed; then the others are still printed.
pub fn fig7(options: &Options) -> Result<()> {
    let (cores, machine) = run::begin(options)?;
    let mut shortfalls = Shortfalls::default();
    let figures = run(options, cores, &mut shortfalls)?;
    println!("{}", report::fig7(&figures));
    println!("{}", paper::MIGRATION);
    if let Some(path) = &options.json {
        report::write(path, &machine, &figures)?;
    }
    if let Some(folder) = &options.plots {
        std::fs::create_dir_all(folder)?;
        for (row, name) in charts::fig7(&figures).iter().zip(["udp", "tcp", "latency"]) {
            let file = folder.join(format!("fig7-{name}.svg"));
            std::fs::write(&file, report::svg(row)).with_context(|| file.display().to_string())?;
        }
    }
    shortfalls.conclude()
}

/// Measures all of it.
pub(crate) fn run(options: &Options, cores: Cores, shortfalls: &mut Shortfalls) -> Result<Vec<Figure>> {
    let turns = if options.quick { 1 } else { 5 };
    let paths = peers::available(&PATHS, options, shortfalls);
    let new = |path| Arrangement { path, samples: Vec::new(), note: None };
    let mut items: Vec<Arrangement> = paths.into_iter().map(new).collect();
    take_turns(turns, &mut items, shortfalls, |item, _| item.measure(options, cores))?;
    Ok(items.iter().flat_map(|item| item.figures(options.quick)).collect())
}

impl Arrangement {
    /// Builds both hosts once, and moves the router in every way under every load, and back again.
    fn measure(&mut self, options: &Options, cores: Cores) -> Result<()> {
        ensure!(installed("ping"), "ping is not installed: apt install iputils-ping");
        let site = Site::build(cores)?;
        let mut peer = peers::start_mobile(self.path, paper::MIGRATION_LINK, &site, &options.command)?;
        await_path(&site, peer.as_mut())?;
        let mut is_away = None;
        for &way in peers::ways(self.path) {
            for load in [Load::Udp, Load::Tcp] {
                if let Some(way) = is_away {
                    peer.change_hosts(way).context("moving the router back")?;
                    await_path(&site, peer.as_mut())?;
                }
                let sample = measure(&site, peer.as_mut(), way, load, options.quick);
                self.samples.push(sample.with_context(|| format!("{}, {}", load.label(), way.label()))?);
                is_away = Some(way);
            }
        }
        peer.check()
    }

    fn figures(&self, quick: bool) -> Vec<Figure> {
        let mut figures = Vec::new();
        for load in [Load::Udp, Load::Tcp] {
            for &way in peers::ways(self.path) {
                let samples: Vec<&Sample> = self.samples.iter().filter(|s| s.way == way && s.load == load).collect();
                let mut add = |what, unit, at, of: &dyn Fn(&Sample) -> Option<f64>| {
                    figures.push(Figure {
                        part: "fig7",
                        path: self.path.label(),
                        guest: self.path.guest(),
                        routers: ROUTERS,
                        load: format!("{}, {}", load.label(), way.label()),
                        share: None,
                        at,
                        what,
                        unit,
                        values: samples.iter().filter_map(|s| of(s)).collect(),
                        note: self.note.clone().filter(|_| at.is_none()),
                    });
                };
                add("moves, before", "Mbit/s", None, &|s| Some(median(&s.window.ends(&s.rates[0]).0)));
                add("moves, after", "Mbit/s", None, &|s| Some(median(&s.window.ends(&s.rates[0]).1)));
                add("stays, before", "Mbit/s", None, &|s| Some(median(&s.window.ends(&s.rates[1]).0)));
                add("stays, after", "Mbit/s", None, &|s| Some(median(&s.window.ends(&s.rates[1]).1)));
                add("latency before", "ms", None, &|s| middle(&s.window.ends(&s.latency).0));
                add("latency most", "ms", None, &|s| Some(s.worst));
                add("latency after", "ms", None, &|s| middle(&s.window.ends(&s.latency).1));
                add("gap", "ms", None, &|s| Some(s.gap));
                add("lost in gap", lost_unit(load), None, &|s| Some(s.lost.0 as f64));
                add("lost later", lost_unit(load), None, &|s| Some(s.lost.1 as f64));
                let (before, after) = spans(quick, load);
                let window = Window { moved: Nanos(0), done: Nanos(0), before, after };
                for bin in 0..window.bins() {
                    let at = Some(window.at(bin));
                    add("moves", "Mbit/s", at, &|s| s.rates[0].get(bin).copied());
                    add("stays", "Mbit/s", at, &|s| s.rates[1].get(bin).copied());
                    add("latency", "ms", at, &|s| s.latency.get(bin).copied().flatten());
                }
            }
        }
        figures
    }
}

const fn lost_unit(load: Load) -> &'static str {
    match load {
        Load::Udp => "frames",
        Load::Tcp => "probes",
    }
}

/// Of those bins in which anything arrived.
fn middle(bins: &[Option<f64>]) -> Option<f64> {
    let values: Vec<f64> = bins.iter().copied().flatten().collect();
    (!values.is_empty()).then(|| median(&values))
}

/// Lets traffic flow, moves the router in the middle of it, and reads what came of it.
fn measure(site: &Site, peer: &mut dyn Mobile, way: Way, load: Load, quick: bool) -> Result<Sample> {
    let (before, after) = spans(quick, load);
    let mut moving = || {
        interrupt::sleep(ramp(load) + before)?;
        peer.check()?;
        let (begin, moved) = (Instant::now(), Nanos::now());
        peer.change_hosts(way).context("moving the router")?;
        let done = Nanos::now();
        interrupt::sleep_until(begin + after)?;
        peer.check()?;
        Ok::<_, anyhow::Error>(Window { moved, done, before, after })
    };
    // What arrived of both flows, when it did of the one that moves, and the datagrams that tell the latency.
    let (window, rates, gap, datagrams) = match load {
        Load::Udp => {
            let rate = OFFERED * FrameSize::B1500.line_rate(paper::MIGRATION_LINK as f64);
            let flow = |i| Datagrams::start(site, i, 0, PAYLOAD, rate);
            let (moves, stays) = (flow(0)?, flow(1)?);
            let window = moving()?;
            let (moves, stays) = (moves.finish()?, stays.finish()?);
            let rates = [&moves, &stays].map(|datagrams| window.rates(arrivals(datagrams, UDP_BITS)));
            (window, rates, window.gap(arrivals(&moves, 0.0).map(|a| a.0)), moves)
        }
        Load::Tcp => {
            let connection = |i| Connection::start(site, i);
            let (moves, stays) = (connection(0)?, connection(1)?);
            let probes = Datagrams::start(site, 0, 1, PROBE, PROBES)?;
            let window = moving()?;
            let (moves, stays, probes) = (moves.finish()?, stays.finish()?, probes.finish()?);
            let rates = [&moves, &stays].map(|read| window.rates(pieces(read)));
            (window, rates, window.gap(pieces(&moves).map(|a| a.0)), probes)
        }
    };
    let gap_of_datagrams = window.gap(arrivals(&datagrams, 0.0).map(|a| a.0));
    Ok(Sample {
        way,
        load,
        window,
        rates,
        latency: window.latencies(&datagrams),
        worst: window.worst(&datagrams),
        gap: gap.millis(),
        lost: lost(&datagrams, gap_of_datagrams, &window),
    })
}

/// Waits until both routers carry packets, there and back.
fn await_path(site: &Site, peer: &mut dyn Mobile) -> Result<()> {
    for flow in 0..ROUTERS {
        let (from, to) = (sender_ip(flow), receiver_ip(flow));
        interrupt::wait_for(&format!("a way from {from} to {to}"), PATIENCE, || {
            peer.check()?;
            let line = format!("ping -q -c 1 -W 1 -I {from} {to} > /dev/null 2>&1 && echo there || true\n");
            Ok(site.senders.shell(&line)?.contains("there"))
        })?;
    }
    Ok(())
}
