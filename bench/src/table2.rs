//! `bench table2`: the paper's Table II, with today's figures.
//!
//! Probes cross router 0, while the other routers are idle, or each carry one connection of TCP that takes what it can
//! get. A probe says when it was sent, so what is measured is one way, sender to receiver, by one clock
//! (see [`crate::traffic`]). A row `cable` has no router and nothing under test: the same probes from one end of a
//! cable to the other. It is what the measurement itself takes, and is in all other rows.
//!
//! Stressed, there are two cases. Over a link of 1 Gb/s, as the paper has it, TCP fills the queue in front of the link, and
//! latency is mostly how long that queue is. Without a link TCP fills the CPU, and latency is how the device under test
//! shares it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::addresses::{PREFIX, receiver_ip, router_out_ip, sender_ip};
use crate::cpu::{self, Cores};
use crate::figures::loss;
use crate::peers::{self, Path, Peer, Setup};
use crate::report::{self, Figure};
use crate::run::{self, Item, Options, Shortfalls, take_turns};
use crate::tcp::{self, Streams};
use crate::testbed::{Testbed, await_napi_threads};
use crate::traffic::{Latency, Probes, Programs, probe};
use crate::{interrupt, paper};

/// How long to wait for a path to come up.
const PATIENCE: Duration = Duration::from_secs(15);

/// Until TCP has filled what there is to fill.
const RAMP: Duration = Duration::from_millis(400);

/// How much time to spend.
#[derive(Clone, Copy, Debug)]
struct Effort {
    repeats: usize,
    /// Probes a second.
    rate: f64,
    window: Duration,
}

impl Effort {
    const fn of(quick: bool) -> Self {
        if quick {
            Self { repeats: 1, rate: 4_000.0, window: Duration::from_millis(400) }
        } else {
            Self { repeats: 5, rate: 5_000.0, window: Duration::from_millis(1_000) }
        }
    }
}

/// What the other routers do, and over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    Idle,
    Stressed,
    StressedOverLink,
}

impl Others {
    const ALL: [Self; 3] = [Self::Idle, Self::Stressed, Self::StressedOverLink];

    const fn label(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Stressed => "stressed",
            Self::StressedOverLink => "stressed, 1 Gb/s",
        }
    }
}

/// One run of one row.
#[derive(Clone, Debug)]
struct Sample {
    sent: u64,
    latency: Latency,
    /// Mbit/s of all that stressed.
    stress: f64,
}

/// One path with one number of routers; None is the cable alone.
#[derive(Clone, Debug)]
struct Arrangement {
    path: Option<Path>,
    routers: usize,
    link: bool,
    /// One for each run, by what the others did.
    samples: Vec<(Others, Sample)>,
    note: Option<String>,
}

impl Item for Arrangement {
    fn name(&self) -> String {
        let (path, guest) = self.names();
        let link = if self.link { ", 1 Gb/s" } else { "" };
        format!("Table II: {}, {} routers{link}", report::contender(path, guest), self.routers)
    }

    fn failed(&mut self, why: &str) {
        self.note = Some(why.to_owned());
    }
}

/// Runs it, prints it, writes it.
///
/// # Errors
/// Not root, a program is missing, a signal came, or a measurement failed; then the others are still printed.
pub fn table2(options: &Options) -> Result<()> {
    let (cores, machine) = run::begin(options)?;
    let mut shortfalls = Shortfalls::default();
    let figures = run(options, cores, &mut shortfalls)?;
    println!("{}", report::table2(&figures));
    if let Some(path) = &options.json {
        report::write(path, &machine, &figures)?;
    }
    shortfalls.conclude()
}

/// Measures all of it.
pub(crate) fn run(options: &Options, cores: Cores, shortfalls: &mut Shortfalls) -> Result<Vec<Figure>> {
    let effort = Effort::of(options.quick);
    let new = |path, routers, link| Arrangement { path, routers, link, samples: Vec::new(), note: None };
    let mut items = vec![new(None, 0, false)];
    let paths = peers::available(&peers::ROUTED, options, shortfalls);
    for &routers in options.routers() {
        for &path in paths.iter().filter(|path| path.carries(routers)) {
            items.push(new(Some(path), routers, false));
            if routers > 1 {
                items.push(new(Some(path), routers, true));
            }
        }
    }
    take_turns(effort.repeats, &mut items, shortfalls, |item, _| item.measure(options, cores, &effort))?;
    Ok(items.iter().flat_map(Arrangement::figures).collect())
}

impl Arrangement {
    fn names(&self) -> (&'static str, &'static str) {
        self.path.map_or(("cable", "none"), |path| (path.label(), path.guest()))
    }

    /// Builds the path once and measures it in every case that it stands for.
    fn measure(&mut self, options: &Options, cores: Cores, effort: &Effort) -> Result<()> {
        let bed = Testbed::build(cores)?;
        let programs = Arc::new(Programs::load(peers::time_to_live(self.routers))?);
        let _sink = programs.attach_sink(&bed.receivers, &bed.sink_device())?;
        for thread in await_napi_threads(&bed.sink_device())? {
            cpu::pin(thread, cores.traffic).context("pinning the sink's receive thread")?;
            cpu::before_all_others(thread).context("raising the sink's receive thread")?;
        }
        let Some(path) = self.path else {
            bed.host.ip(&format!("address add {}/{PREFIX} dev {}\n", router_out_ip(0), bed.out_device()))?;
            let probing = |window| probe(&programs, &bed.host, cores, probes(router_out_ip(0), effort.rate, window));
            probing(Duration::from_millis(20))?;
            let (sent, latency) = probing(effort.window)?;
            self.samples.push((Others::Idle, Sample { sent, latency, stress: 0.0 }));
            return Ok(());
        };
        tcp::prepare(&bed, self.routers)?;
        let setup = Setup { routers: self.routers, link: self.link.then_some(paper::LINK) };
        let mut peer = peers::start(path, setup, &bed, &programs, &options.command)?;
        let probing = |rate, window| probe(&programs, &bed.senders, cores, probes(sender_ip(0), rate, window));
        await_path(peer.as_mut(), || Ok(probing(200.0, Duration::from_millis(40))?.1.frames()))?;
        if !self.link {
            let (sent, latency) = probing(effort.rate, effort.window)?;
            self.samples.push((Others::Idle, Sample { sent, latency, stress: 0.0 }));
        }
        if self.routers > 1 {
            let seconds = (RAMP + effort.window).as_secs() as u32 + 1;
            let mut streams = Streams::start(&bed, 1..self.routers, seconds)?;
            interrupt::sleep(RAMP)?;
            let (sent, latency) = probing(effort.rate, effort.window)?;
            streams.check().context("a connection that was to stress")?;
            let stress = streams.finish(|| peer.check())?.iter().map(|r| r.megabits).sum();
            let others = if self.link { Others::StressedOverLink } else { Others::Stressed };
            self.samples.push((others, Sample { sent, latency, stress }));
        }
        peer.check()
    }

    fn figures(&self) -> Vec<Figure> {
        let (path, guest) = self.names();
        let mut figures = Vec::new();
        for others in Others::ALL {
            let samples: Vec<&Sample> = self.samples.iter().filter(|s| s.0 == others).map(|s| &s.1).collect();
            let expected = match others {
                Others::Idle => !self.link,
                Others::Stressed => !self.link && self.routers > 1,
                Others::StressedOverLink => self.link,
            };
            if !expected {
                continue;
            }
            let mut add = |what, unit, of: &dyn Fn(&Sample) -> f64| {
                figures.push(Figure {
                    part: "table2",
                    path,
                    guest,
                    routers: self.routers,
                    load: others.label().into(),
                    share: None,
                    at: None,
                    what,
                    unit,
                    values: samples.iter().map(|s| of(s)).collect(),
                    note: self.note.clone(),
                });
            };
            let micros = |span: Duration| span.as_secs_f64() * 1e6;
            add("mean", "us", &|s| micros(s.latency.mean()));
            for (what, part) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
                add(what, "us", &|s| micros(s.latency.quantile(part)));
            }
            add("max", "us", &|s| micros(s.latency.longest()));
            add("loss", "part", &|s| loss(s.sent, s.latency.frames()));
            if others != Others::Idle {
                add("stress", "Mbit/s", &|s| s.stress);
            }
        }
        figures
    }
}

fn probes(from: std::net::Ipv4Addr, rate: f64, window: Duration) -> Probes {
    Probes { from, to: receiver_ip(0), rate, warm_up: Duration::from_millis(20), window }
}

/// Probes again and again until some arrive.
fn await_path(peer: &mut dyn Peer, mut arrived: impl FnMut() -> Result<u64>) -> Result<()> {
    let begin = std::time::Instant::now();
    while arrived()? == 0 {
        peer.check()?;
        if begin.elapsed() > PATIENCE {
            bail!("no probe came through in {:.0} s", PATIENCE.as_secs_f64());
        }
    }
    Ok(())
}
