//! `bench table1`: the paper's Table I, with today's figures.
//!
//! For 1, 2, 4 and 8 virtual routers, every path is built anew in a testbed of its own, measured with both frame sizes,
//! and taken down. Paths take turns and all of it is repeated, so that whatever else the machine does hits all of them
//! alike; a figure is the median over the repeats.
//!
//! **Loads.** *paper*: every flow at the rate the paper's senders reached, over a link of 1 Gb/s behind the device `out`.
//! *max*: no link, the highest rate that loses at most 0.001 % (see [`crate::search`]).
//!
//! **Senders.** The paper has a host for every flow, behind one switch and one gigabit device. Here every flow has a
//! sender's address, and all come in by the one device `in`, which is not held to a line rate. With 8 flows of 64 bytes
//! that is 2.86 million frames a second, where the paper's device could not take in more than 1.49 million: our
//! *paper* load is the harder one, and only the output link makes the floor.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cpu::Cores;
use crate::figures::{FrameSize, jain, loss_floor, median, spread};
use crate::peers::{self, Path, Setup};
use crate::report::{self, Figure, Row};
use crate::run::{self, Item, Options, Progress, QUICK, Shortfalls, take_turns};
use crate::search::Search;
use crate::testbed::Testbed;
use crate::traffic::{Flow, Load, Programs, Station, Trial};
use crate::{interrupt, paper};

/// Beyond what any path does and at the edge of what the generator does, frames a second.
const SATURATING: f64 = 5e6;

/// How long to wait for a path to come up.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Paper,
    Max,
}

impl Kind {
    const fn label(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Max => "max",
        }
    }
}

/// How much time to spend.
#[derive(Clone, Copy, Debug)]
struct Effort {
    repeats: usize,
    warm_up: Duration,
    paper_window: Duration,
    search_window: Duration,
    trials: usize,
    resolution: f64,
}

impl Effort {
    const fn of(quick: bool) -> Self {
        if quick {
            Self {
                repeats: 1,
                warm_up: Duration::from_millis(30),
                paper_window: Duration::from_millis(300),
                search_window: Duration::from_millis(100),
                trials: 12,
                resolution: 1.06,
            }
        } else {
            Self {
                repeats: 5,
                warm_up: Duration::from_millis(50),
                paper_window: Duration::from_millis(1000),
                search_window: Duration::from_millis(250),
                trials: 24,
                resolution: 1.02,
            }
        }
    }

    /// What a trial of the search takes, with what comes before and after its window.
    fn trial(&self) -> Duration {
        self.warm_up + self.search_window + Duration::from_millis(45)
    }
}

/// One path with one number of routers under one load: a set-up, built once a turn.
#[derive(Clone, Debug)]
struct Arrangement {
    path: Path,
    kind: Kind,
    routers: usize,
    /// For each frame size one trial a turn.
    trials: [Vec<Trial>; FrameSize::BOTH.len()],
    /// As [`Outcome::mode`].
    mode: Option<String>,
    note: Option<String>,
}

impl Item for Arrangement {
    fn name(&self) -> String {
        let (path, guest) = (self.path.label(), self.path.guest());
        format!("Table I: {path} / {guest}, {} routers, {} load", self.routers, self.kind.label())
    }

    fn failed(&mut self, why: &str) {
        self.note = Some(why.to_owned());
    }
}

/// What a run found.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rows: Vec<Row>,
    /// `spreads[i]` is how far the repeats of row i lie apart.
    pub(crate) spreads: Vec<Option<f64>>,
    pub(crate) figures: Vec<Figure>,
    /// How the engine had its devices.
    pub(crate) mode: Option<String>,
}

/// Runs it, prints it, writes it.
///
/// # Errors
/// Not root, a program is missing, a signal came, or a measurement failed; then the others are still printed.
pub fn table1(options: &Options) -> Result<()> {
    let (cores, machine) = run::begin(options)?;
    let mut shortfalls = Shortfalls::default();
    let found = run(options, cores, &[], options.quick.then_some(QUICK), &mut shortfalls)?;
    for frame in FrameSize::BOTH {
        println!("{}", report::table1(frame, &found.rows, &found.spreads));
    }
    if let Some(path) = &options.json {
        report::write(path, &machine, &found.rows)?;
    }
    if let Some(folder) = &options.plots {
        std::fs::create_dir_all(folder)?;
        for frame in FrameSize::BOTH {
            let file = folder.join(format!("table1-{}.svg", frame.label()));
            let picture = report::svg(&report::charts::table1(frame, &found.figures));
            std::fs::write(&file, picture).with_context(|| file.display().to_string())?;
        }
    }
    shortfalls.conclude()
}

/// Measures all of it, and some forwarders from device to device; with a deadline in fewer trials, if it must be.
pub(crate) fn run(
    options: &Options,
    cores: Cores,
    devices: &[Path],
    deadline: Option<Duration>,
    shortfalls: &mut Shortfalls,
) -> Result<Outcome> {
    let effort = Effort::of(options.quick);
    let mut items = Vec::new();
    let new =
        |path, kind, routers| Arrangement { path, kind, routers, trials: Default::default(), mode: None, note: None };
    for path in peers::available(&peers::ROUTED, options, shortfalls) {
        for routers in options.routers().iter().copied().filter(|&n| path.carries(n)) {
            items.extend([Kind::Paper, Kind::Max].map(|kind| new(path, kind, routers)));
        }
    }
    for path in peers::available(devices, options, shortfalls) {
        items.push(new(path, Kind::Max, 0));
    }
    // Paths take turns for each number of routers.
    items.sort_by_key(|item| (item.routers, item.kind == Kind::Max));
    take_turns(effort.repeats, &mut items, shortfalls, |item, progress| {
        measure(item, options, cores, &effort, deadline, progress)
    })?;
    let mut outcome = Outcome { mode: items.iter().find_map(|item| item.mode.clone()), ..Outcome::default() };
    for (i, frame) in FrameSize::BOTH.into_iter().enumerate() {
        for kind in [Kind::Paper, Kind::Max] {
            for item in items.iter().filter(|item| item.kind == kind) {
                outcome.figures.extend(item.figures(frame, &item.trials[i]));
                if !item.trials[i].is_empty() {
                    outcome.rows.push(item.row(frame, &item.trials[i]));
                    outcome.spreads.push(spread(&values(&item.trials[i], Trial::delivered_pps)));
                }
            }
        }
    }
    Ok(outcome)
}

/// Builds a path once and measures it with each frame size.
fn measure(
    item: &mut Arrangement,
    options: &Options,
    cores: Cores,
    effort: &Effort,
    deadline: Option<Duration>,
    progress: &Progress,
) -> Result<()> {
    let Arrangement { path, kind, routers, .. } = *item;
    let bed = Testbed::build(cores)?;
    let programs = Arc::new(Programs::load(peers::time_to_live(routers))?);
    let setup = Setup { routers, link: (kind == Kind::Paper).then_some(paper::LINK) };
    let mut peer = peers::start(path, setup, &bed, &programs, &options.command)?;
    let station =
        Station::new(programs, (&bed.senders, &bed.generator_device()), (&bed.receivers, &bed.sink_device()), cores)?;
    let flows = peers::flows(routers);
    bed.announce()?;
    station.await_path(&flows, PATIENCE, || peer.check())?;
    item.mode = item.mode.take().or_else(|| peer.mode());
    let share = deadline.map(|end| end.saturating_sub(progress.elapsed()) / progress.left() as u32);
    for (frame, trials) in FrameSize::BOTH.into_iter().zip(&mut item.trials) {
        let trial = match kind {
            Kind::Paper => station.run(&Load {
                length: frame.in_memory(),
                rate: frame.paper_load() * routers as f64,
                warm_up: effort.warm_up,
                window: effort.paper_window,
                flows: flows.clone(),
            })?,
            Kind::Max => {
                // A set-up takes about half a second of its share.
                let budget = share.map(|s| s.saturating_sub(Duration::from_millis(500)).max(s / 2) * 2);
                let affordable = budget.map_or(effort.trials, |b| {
                    (b.as_millis() / FrameSize::BOTH.len() as u128 / effort.trial().as_millis()) as usize
                });
                let affordable = effort.trials.min(affordable).max(4);
                highest(frame, trials.last(), &station, &flows, effort, affordable)?
            }
        };
        interrupt::check()?;
        peer.check()?;
        trials.push(trial);
    }
    Ok(())
}

/// Searches the highest rate without loss, from where the last repeat found it, else from what comes through when far
/// too much is offered.
fn highest(
    frame: FrameSize,
    last: Option<&Trial>,
    station: &Station<'_>,
    flows: &[Flow],
    effort: &Effort,
    trials: usize,
) -> Result<Trial> {
    let load =
        |rate, window| Load { flows: flows.to_vec(), length: frame.in_memory(), rate, warm_up: effort.warm_up, window };
    let (begin, step) = match last {
        Some(last) => (last.offered_pps(), 1.04),
        None => (0.75 * station.run(&load(SATURATING, Duration::from_millis(100)))?.delivered_pps(), 1.2),
    };
    let search =
        Search { begin: begin.max(10_000.0), step, resolution: effort.resolution, ceiling: SATURATING, trials };
    let found = search.run(|rate| station.run(&load(rate, effort.search_window)))?;
    found.ok_or_else(|| anyhow::anyhow!("no time for a single trial"))
}

fn values(trials: &[Trial], of: impl Fn(&Trial) -> f64) -> Vec<f64> {
    trials.iter().map(of).collect()
}

impl Arrangement {
    /// Medians over the repeats.
    fn row(&self, frame: FrameSize, trials: &[Trial]) -> Row {
        let median_of = |f: &dyn Fn(&Trial) -> f64| median(&values(trials, f));
        let offered = median_of(&Trial::offered_pps);
        let line = (self.kind == Kind::Paper).then(|| frame.line_rate(paper::LINK as f64));
        Row {
            path: self.path.label(),
            guest: self.path.guest(),
            load: self.kind.label(),
            frame: frame.label(),
            routers: self.routers,
            offered_pps: offered,
            router_pps: (0..self.routers.max(1))
                .map(|i| median_of(&|t| t.flow_pps().get(i).copied().unwrap_or(0.0)))
                .collect(),
            loss: median_of(&Trial::loss),
            loss_floor: loss_floor(offered, line),
            jain: median_of(&|t| jain(&t.flow_pps())),
            cpu_ns_per_frame: median_of(&|t| t.cpu_ns_per_frame().unwrap_or(0.0)),
        }
    }

    /// Every run's values.
    fn figures(&self, frame: FrameSize, trials: &[Trial]) -> Vec<Figure> {
        let figure = |what, unit, of: &dyn Fn(&Trial) -> f64| Figure {
            part: "table1",
            path: self.path.label(),
            guest: self.path.guest(),
            routers: self.routers,
            load: format!("{} {} B", self.kind.label(), frame.label()),
            share: None,
            at: None,
            what,
            unit,
            values: values(trials, of),
            note: self.note.clone(),
        };
        let nanos = |t: &Trial| t.cpu_ns_per_frame().unwrap_or(0.0);
        vec![
            figure("total", "frames/s", &Trial::delivered_pps),
            figure("loss", "part", &Trial::loss),
            figure("jain", "index", &|t| jain(&t.flow_pps())),
            figure("cpu", "ns/frame", &nanos),
        ]
    }
}
