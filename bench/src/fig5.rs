//! `bench fig5`: the paper's Figure 5, with today's figures: what UDP and TCP reach with frames of 1500 bytes through 1, 2,
//! 4 and 8 virtual routers over a link of 1 Gb/s, router by router and all together.
//!
//! UDP is offered at the paper's load, one flow a router. TCP is one connection of iperf3 a router, all at once. Figures are
//! what the receivers get without headers, in Mbit/s: of UDP the link carries 957, of TCP 941.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cpu::Cores;
use crate::figures::{FrameSize, jain};
use crate::peers::{self, Path, Setup};
use crate::report::{self, Figure};
use crate::run::{self, Item, Options, Shortfalls, take_turns};
use crate::tcp::{self, Streams};
use crate::testbed::Testbed;
use crate::traffic::{Load, Programs, Station};
use crate::{interrupt, paper};

/// How long to wait for a path to come up.
const PATIENCE: Duration = Duration::from_secs(15);

/// What queues hold after an overload has left by then.
const REST: Duration = Duration::from_millis(100);

/// Bits of a frame of 1500 bytes that are the user's: without Ethernet's, IP's and UDP's headers.
pub(crate) const UDP_BITS: f64 = (FrameSize::B1500.in_memory() - 42) as f64 * 8.0;

/// One run: what every router carried.
#[derive(Clone, Debug)]
struct Sample {
    routers: Vec<f64>,
    /// Of UDP the part that did not arrive, of TCP the part that was sent again.
    loss: f64,
}

/// One path with one number of routers.
#[derive(Clone, Debug)]
struct Arrangement {
    path: Path,
    routers: usize,
    udp: Vec<Sample>,
    tcp: Vec<Sample>,
    note: Option<String>,
}

impl Item for Arrangement {
    fn name(&self) -> String {
        format!("Figure 5: {}, {} routers", report::contender(self.path.label(), self.path.guest()), self.routers)
    }

    fn failed(&mut self, why: &str) {
        self.note = Some(why.to_owned());
    }
}

/// Runs it, prints it, writes it.
///
/// # Errors
/// Not root, a program is missing, a signal came, or a measurement failed; then the others are still printed.
pub fn fig5(options: &Options) -> Result<()> {
    let (cores, machine) = run::begin(options)?;
    let mut shortfalls = Shortfalls::default();
    let figures = run(options, cores, &mut shortfalls)?;
    println!("{}", report::fig5(&figures));
    if let Some(path) = &options.json {
        report::write(path, &machine, &figures)?;
    }
    shortfalls.conclude()
}

/// Measures all of it.
pub(crate) fn run(options: &Options, cores: Cores, shortfalls: &mut Shortfalls) -> Result<Vec<Figure>> {
    let (repeats, window, seconds) = if options.quick { (1, 300, 1) } else { (5, 1000, 2) };
    let paths = peers::available(&peers::ROUTED, options, shortfalls);
    let mut items = Vec::new();
    for &routers in options.routers() {
        for &path in paths.iter().filter(|path| path.carries(routers)) {
            items.push(Arrangement { path, routers, udp: Vec::new(), tcp: Vec::new(), note: None });
        }
    }
    take_turns(repeats, &mut items, shortfalls, |item, _| {
        item.measure(options, cores, Duration::from_millis(window), seconds)
    })?;
    Ok(items.iter().flat_map(Arrangement::figures).collect())
}

impl Arrangement {
    fn measure(&mut self, options: &Options, cores: Cores, window: Duration, seconds: u32) -> Result<()> {
        let bed = Testbed::build(cores)?;
        tcp::prepare(&bed, self.routers)?;
        let programs = Arc::new(Programs::load(peers::time_to_live(self.routers))?);
        let setup = Setup { routers: self.routers, link: Some(paper::LINK) };
        let mut peer = peers::start(self.path, setup, &bed, &programs, &options.command)?;
        let (from, to) = (bed.generator_device(), bed.sink_device());
        let station = Station::new(programs, (&bed.senders, &from), (&bed.receivers, &to), cores)?;
        let flows = peers::flows(self.routers);
        bed.announce()?;
        station.await_path(&flows, PATIENCE, || peer.check())?;
        let trial = station.run(&Load {
            flows,
            length: FrameSize::B1500.in_memory(),
            rate: FrameSize::B1500.paper_load() * self.routers as f64,
            warm_up: Duration::from_millis(50),
            window,
        })?;
        peer.check()?;
        let routers = trial.flow_pps().iter().map(|pps| pps * UDP_BITS / 1e6).collect();
        self.udp.push(Sample { routers, loss: trial.loss() });
        interrupt::sleep(REST)?;

        let received = Streams::start(&bed, 0..self.routers, seconds)?.finish(|| peer.check()).context("TCP")?;
        let repeated = received.iter().map(|r| r.repeated).sum::<f64>() / received.len() as f64;
        self.tcp.push(Sample { routers: received.iter().map(|r| r.megabits).collect(), loss: repeated });
        peer.check()
    }

    fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (load, samples) in [("udp", &self.udp), ("tcp", &self.tcp)] {
            let mut add = |what, unit, of: &dyn Fn(&Sample) -> f64| {
                figures.push(Figure {
                    part: "fig5",
                    path: self.path.label(),
                    guest: self.path.guest(),
                    routers: self.routers,
                    load: load.into(),
                    share: None,
                    at: None,
                    what,
                    unit,
                    values: samples.iter().map(of).collect(),
                    note: self.note.clone(),
                });
            };
            add("total", "Mbit/s", &|s| s.routers.iter().sum());
            add("per router", "Mbit/s", &|s| s.routers.iter().sum::<f64>() / s.routers.len() as f64);
            add("slowest router", "Mbit/s", &|s| s.routers.iter().copied().fold(f64::INFINITY, f64::min));
            add("fastest router", "Mbit/s", &|s| s.routers.iter().copied().fold(0.0, f64::max));
            add("jain", "index", &|s| jain(&s.routers));
            add("loss", "part", &|s| s.loss);
        }
        figures
    }
}
