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

use anyhow::Result;

use crate::cpu::Cores;
use crate::figures::{FrameSize, jain, loss_floor, median, spread};
use crate::peers::{self, GuestKind, Path, Setup};
use crate::report::{self, Row};
use crate::run::{self, Options, Progress, QUICK, Shortfalls};
use crate::search::Search;
use crate::testbed::Testbed;
use crate::traffic::{Flow, Load, Programs, Station, Trial};
use crate::{interrupt, paper};

/// The paths, in the order in which they take turns.
const PATHS: [Path; 3] = [Path::LinuxBridge, Path::Pointsman(GuestKind::Router), Path::Pointsman(GuestKind::Tap)];

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
    /// The whole run ends by then, with fewer trials if it must.
    deadline: Option<Duration>,
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
                deadline: Some(QUICK),
            }
        } else {
            Self {
                repeats: 3,
                warm_up: Duration::from_millis(50),
                paper_window: Duration::from_millis(1000),
                search_window: Duration::from_millis(250),
                trials: 24,
                resolution: 1.02,
                deadline: None,
            }
        }
    }

    /// What a trial of the search takes, with what comes before and after its window.
    fn trial(&self) -> Duration {
        self.warm_up + self.search_window + Duration::from_millis(45)
    }
}

/// A row in the making: one path with one number of routers under one load with one frame size.
#[derive(Clone, Debug)]
struct Cell {
    path: Path,
    kind: Kind,
    frame: FrameSize,
    routers: usize,
    /// One for each repeat.
    trials: Vec<Trial>,
}

/// Runs it, prints it, writes it.
///
/// # Errors
/// Not root, a program is missing, a signal came, or a measurement failed; then the others are still printed.
pub fn table1(options: &Options) -> Result<()> {
    let (cores, machine) = run::begin(options)?;
    let effort = Effort::of(options.quick);
    let mut shortfalls = Shortfalls::default();
    let mut paths = Vec::new();
    for path in PATHS {
        match peers::unavailable(path, &options.command) {
            None => paths.push(path),
            Some(why) => shortfalls.skip(&format!("{} / {}", path.label(), path.guest()), &why),
        }
    }
    let mut cells = Vec::new();
    for frame in FrameSize::BOTH {
        for kind in [Kind::Paper, Kind::Max] {
            for routers in paper::ROUTERS {
                cells.extend(paths.iter().map(|&path| Cell { path, kind, frame, routers, trials: Vec::new() }));
            }
        }
    }
    let mut progress = Progress::new(effort.repeats * cells.len() / FrameSize::BOTH.len());
    for repeat in 0..effort.repeats {
        for routers in paper::ROUTERS {
            for kind in [Kind::Paper, Kind::Max] {
                for &path in &paths {
                    let what = format!("{} / {}, {routers} routers, {} load", path.label(), path.guest(), kind.label());
                    progress.doing(&what);
                    let mut mine: Vec<&mut Cell> =
                        cells.iter_mut().filter(|c| c.path == path && c.kind == kind && c.routers == routers).collect();
                    let result = measure(&mut mine, options, cores, &effort, &progress);
                    if let Err(why) = result {
                        shortfalls.fail(&format!("{what}, repeat {}", repeat + 1), why, &progress)?;
                    }
                    progress.done();
                }
            }
        }
    }
    drop(progress);
    let measured: Vec<&Cell> = cells.iter().filter(|c| !c.trials.is_empty()).collect();
    let rows: Vec<Row> = measured.iter().map(|c| c.row()).collect();
    let spreads: Vec<Option<f64>> = measured.iter().map(|c| c.spread()).collect();
    for frame in FrameSize::BOTH {
        println!("{}", report::table1(frame, &rows, &spreads));
    }
    if let Some(path) = &options.json {
        report::write(path, &machine, &rows)?;
    }
    if let Some(folder) = &options.plots {
        std::fs::create_dir_all(folder)?;
        for frame in FrameSize::BOTH {
            report::plot_table1(&folder.join(format!("table1-{}.svg", frame.label())), frame, &rows)?;
        }
    }
    shortfalls.conclude()
}

/// Builds a path once and measures the cells that belong to it, one for each frame size.
fn measure(
    cells: &mut [&mut Cell],
    options: &Options,
    cores: Cores,
    effort: &Effort,
    progress: &Progress,
) -> Result<()> {
    let Some(first) = cells.first() else { return Ok(()) };
    let (path, kind, routers) = (first.path, first.kind, first.routers);
    let bed = Testbed::build(cores)?;
    let programs = Arc::new(Programs::load(peers::time_to_live(routers))?);
    let setup = Setup { routers, link: (kind == Kind::Paper).then_some(paper::LINK) };
    let mut peer = peers::start(path, setup, &bed, &programs, &options.command)?;
    let station =
        Station::new(programs, (&bed.senders, &bed.generator_device()), (&bed.receivers, &bed.sink_device()), cores)?;
    let flows = peers::flows(routers);
    bed.announce()?;
    station.await_path(&flows, PATIENCE, || peer.check())?;
    let share = effort.deadline.map(|end| end.saturating_sub(progress.elapsed()) / progress.left() as u32);
    let frames = cells.len() as u32;
    for cell in cells {
        let trial = match kind {
            Kind::Paper => station.run(&Load {
                length: cell.frame.in_memory(),
                rate: cell.frame.paper_load() * routers as f64,
                warm_up: effort.warm_up,
                window: effort.paper_window,
                flows: flows.clone(),
            })?,
            Kind::Max => {
                // A set-up takes about half a second of its share.
                let budget = share.map(|s| s.saturating_sub(Duration::from_millis(500)).max(s / 2) * 2 / frames);
                let affordable =
                    budget.map_or(effort.trials, |b| (b.as_millis() / effort.trial().as_millis()) as usize);
                let trials = effort.trials.min(affordable).max(4);
                highest(cell, &station, &flows, effort, trials)?
            }
        };
        interrupt::check()?;
        peer.check()?;
        cell.trials.push(trial);
    }
    Ok(())
}

/// Searches the highest rate without loss, from where the last repeat found it, else from what comes through when far
/// too much is offered.
fn highest(cell: &Cell, station: &Station<'_>, flows: &[Flow], effort: &Effort, trials: usize) -> Result<Trial> {
    let load = |rate, window| Load {
        flows: flows.to_vec(),
        length: cell.frame.in_memory(),
        rate,
        warm_up: effort.warm_up,
        window,
    };
    let (begin, step) = match cell.trials.last() {
        Some(last) => (last.offered_pps(), 1.04),
        None => (0.75 * station.run(&load(SATURATING, Duration::from_millis(100)))?.delivered_pps(), 1.2),
    };
    let search =
        Search { begin: begin.max(10_000.0), step, resolution: effort.resolution, ceiling: SATURATING, trials };
    let found = search.run(|rate| station.run(&load(rate, effort.search_window)))?;
    found.ok_or_else(|| anyhow::anyhow!("no time for a single trial"))
}

impl Cell {
    /// Medians over the repeats.
    fn row(&self) -> Row {
        let median_of = |f: &dyn Fn(&Trial) -> f64| median(&self.trials.iter().map(f).collect::<Vec<_>>());
        let offered = median_of(&Trial::offered_pps);
        let line = (self.kind == Kind::Paper).then(|| self.frame.line_rate(paper::LINK as f64));
        Row {
            path: self.path.label(),
            guest: self.path.guest(),
            load: self.kind.label(),
            frame: self.frame.label(),
            routers: self.routers,
            offered_pps: offered,
            router_pps: (0..self.routers)
                .map(|i| median_of(&|t| t.flow_pps().get(i).copied().unwrap_or(0.0)))
                .collect(),
            loss: median_of(&Trial::loss),
            loss_floor: loss_floor(offered, line),
            jain: median_of(&|t| jain(&t.flow_pps())),
            cpu_ns_per_frame: median_of(&|t| t.cpu_ns_per_frame().unwrap_or(0.0)),
        }
    }

    /// How far the repeats lie apart.
    fn spread(&self) -> Option<f64> {
        spread(&self.trials.iter().map(Trial::delivered_pps).collect::<Vec<_>>())
    }
}
