//! `bench cpushare`: the paper's series "TCP(a)" of Figure 5 as a curve. There, TCP rose again when dom0 got a larger share
//! of the CPU, since it moves every frame between all interfaces. Here, the engine (with the receive threads of its
//! devices) is one group, all virtual routers are the other, and the share goes from one end to the other.
//!
//! **One core**: both groups want the same one and have weights, so a group that does not use its share leaves it to the
//! other. **Two cores**: each group has one, and may use the given part of it, and no more.
//!
//! There is no link, so that the CPU decides. UDP is offered at the paper's load of 64 bytes; TCP takes what it gets.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cgroup::{Group, Hierarchy};
use crate::cpu::{self, Core, Cores};
use crate::figures::{FrameSize, median};
use crate::peers::{self, GuestKind, Path, Peer, Setup};
use crate::report::{self, Figure};
use crate::run::{self, Item, Options, Shortfalls, take_turns};
use crate::tcp::{self, Streams};
use crate::testbed::{Testbed, napi_threads};
use crate::traffic::{Load, Programs, Station};

/// Engines are the same; what they serve is not.
const PATHS: [Path; 2] = [Path::Pointsman(GuestKind::Router), Path::Pointsman(GuestKind::Tap)];

/// Virtual routers.
const ROUTERS: usize = 4;

/// The engine's shares, percent.
const SHARES: [u32; 7] = [10, 20, 35, 50, 65, 80, 90];
const FEWER_SHARES: [u32; 5] = [10, 30, 50, 70, 90];

/// How long to wait for a path to come up.
const PATIENCE: Duration = Duration::from_secs(15);

/// Throughput has stopped growing where it is within this part of the best.
const GROWN: f64 = 0.95;

/// Where engine and virtual routers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// On one core, which they share by weight.
    Same,
    /// Each group on a core of its own, of which it may use a part.
    Two,
}

impl Pin {
    const fn label(self) -> &'static str {
        match self {
            Self::Same => "one core",
            Self::Two => "two cores",
        }
    }
}

/// One run at one share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) tcp: bool,
    pub(crate) share: u32,
    /// Frames a second of UDP, Mbit/s of TCP.
    pub(crate) total: f64,
    /// The part that was lost, or sent again.
    pub(crate) loss: f64,
}

/// What was measured of one contender, where the CPU is divided in one way.
#[derive(Debug)]
pub(crate) struct Curves {
    /// As [`Figure`] has them.
    pub(crate) path: &'static str,
    pub(crate) guest: &'static str,
    pub(crate) routers: usize,
    /// How it is divided, for people.
    pub(crate) division: &'static str,
    pub(crate) samples: Vec<Sample>,
    pub(crate) turns: usize,
    pub(crate) note: Option<String>,
}

impl Curves {
    pub(crate) const fn new(path: &'static str, guest: &'static str, routers: usize, division: &'static str) -> Self {
        Self { path, guest, routers, division, samples: Vec::new(), turns: 0, note: None }
    }

    /// The shares of the next turn, every other time from the other end.
    pub(crate) fn next_turn(&mut self, quick: bool) -> Vec<u32> {
        let mut order = shares(quick).to_vec();
        if self.turns % 2 == 1 {
            order.reverse();
        }
        self.turns += 1;
        order
    }

    pub(crate) fn figures(&self, quick: bool) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (tcp, name, unit) in [(false, "udp", "frames/s"), (true, "tcp", "Mbit/s")] {
            for &share in shares(quick) {
                let samples = || self.samples.iter().filter(move |s| s.tcp == tcp && s.share == share);
                let figure = |what, unit, values| Figure {
                    part: "cpushare",
                    path: self.path,
                    guest: self.guest,
                    routers: self.routers,
                    load: format!("{name}, {}", self.division),
                    share: Some(share),
                    at: None,
                    what,
                    unit,
                    values,
                    note: self.note.clone(),
                };
                figures.push(figure("total", unit, samples().map(|s| s.total).collect()));
                figures.push(figure("loss", "part", samples().map(|s| s.loss).collect()));
            }
        }
        figures
    }
}

#[derive(Debug)]
struct Arrangement {
    path: Path,
    pin: Pin,
    curves: Curves,
}

impl Item for Arrangement {
    fn name(&self) -> String {
        format!("CPU shares: {}, {}", report::contender(self.path.label(), self.path.guest()), self.pin.label())
    }

    fn failed(&mut self, why: &str) {
        self.curves.note = Some(why.to_owned());
    }
}

/// Runs it, prints it, writes it.
///
/// # Errors
/// Not root, a program is missing, a signal came, or a measurement failed; then the others are still printed.
pub fn cpushare(options: &Options, pins: &[Pin]) -> Result<()> {
    let (cores, machine) = run::begin(options)?;
    let mut shortfalls = Shortfalls::default();
    let figures = run(options, cores, pins, &mut shortfalls)?;
    tell(&figures);
    if let Some(path) = &options.json {
        report::write(path, &machine, &figures)?;
    }
    shortfalls.conclude()
}

/// Prints the table, and where curves stop growing.
pub(crate) fn tell(figures: &[Figure]) {
    println!("{}", report::cpushare(figures));
    for line in knees(figures) {
        println!("{line}");
    }
}

/// Measures all of it. Without cgroups there is nothing to measure, which is told.
pub(crate) fn run(options: &Options, cores: Cores, pins: &[Pin], shortfalls: &mut Shortfalls) -> Result<Vec<Figure>> {
    let hierarchy = match Hierarchy::find() {
        Ok(hierarchy) => hierarchy,
        Err(why) => {
            shortfalls.skip("CPU shares", &format!("{why:#}"));
            return Ok(Vec::new());
        }
    };
    let turns = if options.quick { 1 } else { 5 };
    let mut items = Vec::new();
    for &pin in pins {
        let beside = pin == Pin::Two && other_core(cores) == cores.traffic;
        let note = beside.then(|| "routers beside the generator, which leaves them little: no third core".to_owned());
        for path in peers::available(&PATHS, options, shortfalls) {
            let curves = Curves::new(path.label(), path.guest(), ROUTERS, pin.label());
            items.push(Arrangement { path, pin, curves: Curves { note: note.clone(), ..curves } });
        }
    }
    take_turns(turns, &mut items, shortfalls, |item, _| item.measure(options, cores, &hierarchy))?;
    Ok(items.iter().flat_map(|item| item.curves.figures(options.quick)).collect())
}

const fn shares(quick: bool) -> &'static [u32] {
    if quick { &FEWER_SHARES } else { &SHARES }
}

impl Arrangement {
    /// Builds it once and goes through all shares, every other time from the other end.
    fn measure(&mut self, options: &Options, cores: Cores, hierarchy: &Hierarchy) -> Result<()> {
        let bed = Testbed::build(cores)?;
        tcp::prepare(&bed, ROUTERS)?;
        let programs = Arc::new(Programs::load(peers::time_to_live(ROUTERS))?);
        let setup = Setup { routers: ROUTERS, link: None };
        // The groups are dropped after the peer, whose processes are then gone.
        let (engine, routers) = (hierarchy.group("engine")?, hierarchy.group("routers")?);
        let mut peer = peers::start(self.path, setup, &bed, &programs, &options.command)?;
        self.divide(peer.as_ref(), &bed, &engine, &routers)?;
        let (from, to) = (bed.generator_device(), bed.sink_device());
        let station = Station::new(programs, (&bed.senders, &from), (&bed.receivers, &to), cores)?;
        let flows = peers::flows(ROUTERS);
        bed.announce()?;
        station.await_path(&flows, PATIENCE, || peer.check())?;
        for share in self.curves.next_turn(options.quick) {
            let part = f64::from(share) / 100.0;
            for (group, part) in [(&engine, part), (&routers, 1.0 - part)] {
                match self.pin {
                    Pin::Same => group.weigh(part)?,
                    Pin::Two => group.limit(Some(part))?,
                }
            }
            let trial = station.run(&Load {
                flows: flows.clone(),
                length: FrameSize::B64.in_memory(),
                rate: FrameSize::B64.paper_load() * ROUTERS as f64,
                warm_up: Duration::from_millis(80),
                window: Duration::from_millis(if options.quick { 250 } else { 800 }),
            })?;
            peer.check()?;
            self.curves.samples.push(Sample { tcp: false, share, total: trial.delivered_pps(), loss: trial.loss() });
            let received =
                Streams::start(&bed, 0..ROUTERS, if options.quick { 1 } else { 2 })?.finish(|| peer.check())?;
            let total = received.iter().map(|r| r.megabits).sum();
            let loss = received.iter().map(|r| r.repeated).sum::<f64>() / received.len() as f64;
            self.curves.samples.push(Sample { tcp: true, share, total, loss });
            peer.check()?;
        }
        Ok(())
    }

    /// Puts everything into its group, and onto its core.
    fn divide(&self, peer: &dyn Peer, bed: &Testbed, engine: &Group, routers: &Group) -> Result<()> {
        let processes = peer.processes().context("this path has no processes of its own to divide")?;
        engine.take(processes.engine)?;
        for device in [bed.in_device(), bed.out_device()] {
            for thread in napi_threads(&device)? {
                engine.take(thread).with_context(|| format!("the receive thread of {device}"))?;
            }
        }
        for &guest in &processes.guests {
            routers.take(guest)?;
            if self.pin == Pin::Two {
                pin_all(guest, other_core(bed.cores))?;
            }
        }
        Ok(())
    }
}

/// For the virtual routers: the third core if there is one, else the traffic's.
fn other_core(cores: Cores) -> Core {
    let third = (0..std::thread::available_parallelism().map_or(2, usize::from))
        .map(Core)
        .find(|&core| core != cores.traffic && core != cores.dut);
    third.unwrap_or(cores.traffic)
}

fn pin_all(process: i32, core: Core) -> Result<()> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        if let Some(thread) = thread?.file_name().to_str().and_then(|id| id.parse().ok()) {
            cpu::pin(thread, core).with_context(|| format!("pinning process {process}"))?;
        }
    }
    Ok(())
}

/// For every curve the share at which it stops growing, in words.
pub(crate) fn knees(figures: &[Figure]) -> Vec<String> {
    let mut curves: Vec<(String, Vec<(u32, f64)>)> = Vec::new();
    for figure in figures.iter().filter(|f| f.part == "cpushare" && f.what == "total") {
        let name = format!("{}, {}", figure.contender(), figure.load);
        let (Some(share), false) = (figure.share, figure.values.is_empty()) else { continue };
        let point = (share, median(&figure.values));
        match curves.iter_mut().find(|c| c.0 == name) {
            Some(curve) => curve.1.push(point),
            None => curves.push((name, vec![point])),
        }
    }
    let said = curves.iter().filter_map(|(name, points)| {
        let share = knee(points)?;
        Some(format!("{name}: grows until the engine has {share} % of the CPU"))
    });
    said.collect()
}

/// The smallest share with nearly the best that any share has.
fn knee(points: &[(u32, f64)]) -> Option<u32> {
    let best = points.iter().map(|p| p.1).fold(0.0, f64::max);
    points.iter().filter(|p| best > 0.0 && p.1 >= GROWN * best).map(|p| p.0).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_stops_growing_where_more_gives_nothing() {
        assert_eq!(knee(&[(10, 1.0), (30, 3.0), (50, 4.9), (70, 5.0), (90, 2.0)]), Some(50));
        assert_eq!(knee(&[(10, 5.0), (30, 5.1)]), Some(10));
        assert_eq!(knee(&[(10, 0.0)]), None);
        assert_eq!(knee(&[]), None);
    }
}
