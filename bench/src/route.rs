//! `bench route`: routing from device to device, by Linux, by XDP inside the kernel, and by the engine's VRFs.
//!
//! Frames of 64 bytes, each to the next of a mixed list of destinations with one in every route, so that no cache of flows
//! helps anybody and every route is used. With the same tables, made by [`routes`], stand beside each other: Linux, an XDP
//! program that asks Linux's tables, and a VRF. XDP that only redirects is what the devices can do. VRFs in VLANs of both
//! devices, one and a hundred, tell what many of them cost.
//!
//! All contenders are built first, each in a testbed of its own, stay, and take turns: a million routes are loaded once. The
//! figure is the highest rate that came through over a series of offered rates (see [`crate::forwarders`] for why).

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::addresses::{receiver_ip, router_in_mac, sender_ip, sender_mac};
use crate::cpu::Cores;
use crate::figures::{FrameSize, beside, median, spread};
use crate::peers::{self, Path, Peer, Routed};
use crate::report::{self, RouteFigure, RouteRow, UpdateRow};
use crate::route_updates::{self, Sockets};
use crate::routes::{self, MILLION};
use crate::run::{self, Item, Options, Progress, Shortfalls, take_turns};
use crate::testbed::Testbed;
use crate::traffic::{Flow, Load, Programs, Station, Trial};

/// VRFs beside one.
const MANY: usize = 100;

/// Who routes, with how many routes, in how many VLANs (0: without).
type Arrangement = (Path, usize, usize);

const ARRANGEMENTS: [Arrangement; 12] = [
    (Path::XdpRedirect, 1, 0),
    (Path::LinuxRoute, 1, 0),
    (Path::XdpRoute, 1, 0),
    (Path::PointsmanVrf, 1, 0),
    (Path::LinuxRoute, 1_000, 0),
    (Path::XdpRoute, 1_000, 0),
    (Path::PointsmanVrf, 1_000, 0),
    (Path::LinuxRoute, MILLION, 0),
    (Path::XdpRoute, MILLION, 0),
    (Path::PointsmanVrf, MILLION, 0),
    (Path::PointsmanVrf, 1, 1),
    (Path::PointsmanVrf, 1, MANY),
];

/// The VRF into which a feed brings a million routes.
const FEW: Arrangement = (Path::PointsmanVrf, 1, 0);

/// Frames a second meanwhile: the engine has its core to itself for a third of the time.
const UPDATE_RATE: f64 = 200_000.0;

/// A contender in its testbed. Fields are dropped in order: the peer goes before its devices.
struct Contender {
    arrangement: Arrangement,
    peer: Box<dyn Peer>,
    programs: Arc<Programs>,
    bed: Testbed,
    /// From the start until it forwarded, with its routes.
    ready: Duration,
    /// The best of each turn.
    best: Vec<Trial>,
}

impl Item for Contender {
    fn name(&self) -> String {
        name(self.arrangement)
    }
}

fn name((path, routes, vlans): Arrangement) -> String {
    let label = path.label();
    match vlans {
        0 => format!("{label}, {routes} routes"),
        n => format!("{label}, {n} VRFs in VLANs"),
    }
}

/// Paths that `bench route` measures, as [`Options::only`] has them.
pub const ROUTE_NAMES: [&str; 4] =
    [Path::XdpRedirect.label(), Path::LinuxRoute.label(), Path::XdpRoute.label(), Path::PointsmanVrf.label()];

/// Measures it, prints it, writes it; with tables of these sizes only, if there are any.
///
/// # Errors
/// Not root, a program is missing, a signal came, or a measurement failed; then the others are still printed.
pub fn route(options: &Options, sizes: &[usize]) -> Result<()> {
    let (cores, machine) = run::begin(options)?;
    let (turns, window) = if options.quick { (1, 100) } else { (5, 200) };
    let mut shortfalls = Shortfalls::default();
    let tables: Vec<_> = [1, 1_000, MILLION].map(routes::table).into();
    let mut field = Vec::new();
    let wanted = |(_, routes, _): &Arrangement| sizes.is_empty() || sizes.contains(routes);
    let arrangements: Vec<Arrangement> = ARRANGEMENTS.into_iter().filter(wanted).collect();
    let mut progress = Progress::new(arrangements.len());
    for arrangement in arrangements {
        progress.doing(&format!("building: {}", name(arrangement)));
        if !peers::available(&[arrangement.0], options, &mut shortfalls).is_empty() {
            match Contender::build(arrangement, &tables, options, cores) {
                Ok(contender) => field.push(contender),
                Err(why) => shortfalls.fail(&name(arrangement), why, &progress)?,
            }
        }
        progress.done();
    }
    drop(progress);
    take_turns(turns, &mut field, &mut shortfalls, |contender, _| {
        let found = contender.turn(cores, Duration::from_millis(window))?;
        contender.best.push(found);
        Ok(())
    })?;
    field.retain(|contender| !contender.best.is_empty());
    let rows: Vec<RouteRow> = field.iter().map(Contender::row).collect();
    println!("{}", report::route(&rows));
    for line in ratios(&field) {
        println!("{line}");
    }
    let mut figures: Vec<RouteFigure> = rows.into_iter().map(RouteFigure::Through).collect();
    if let (Some(few), Some(table)) = (field.iter_mut().find(|c| c.arrangement == FEW), tables.last()) {
        let progress = Progress::new(1);
        progress.doing("routes come, change and go");
        match few.updates(cores, table) {
            Ok(rows) => {
                println!("{}", report::updates(UPDATE_RATE, &rows));
                figures.extend(rows.into_iter().map(RouteFigure::Update));
            }
            Err(why) => shortfalls.fail("updates of routes", why, &progress)?,
        }
    }
    if let Some(path) = &options.json {
        report::write(path, &machine, &figures)?;
    }
    shortfalls.conclude()
}

impl Contender {
    fn build(
        arrangement: Arrangement,
        tables: &[Vec<routes::RouteTo>],
        options: &Options,
        cores: Cores,
    ) -> Result<Self> {
        let (path, number, vlans) = arrangement;
        let table = tables.iter().find(|table| table.len() == number).context("no such table")?;
        let targets = routes::targets(table);
        let targets = match (vlans, targets.first()) {
            (1.., Some(target)) => routes::in_vlans(target.to, vlans),
            _ => targets,
        };
        let bed = Testbed::build(cores)?;
        let ttl = peers::time_to_live(usize::from(path != Path::XdpRedirect));
        let programs = Arc::new(Programs::load_with(ttl, &targets)?);
        let begin = Instant::now();
        let routed = Routed { vlans, routers: 1, routes: table, link: None };
        let peer = peers::start_routing(path, &routed, &bed, &programs, &options.command)?;
        let ready = peer.ready().unwrap_or_else(|| begin.elapsed());
        let mut this = Self { arrangement, peer, programs, bed, ready, best: Vec::new() };
        // Everybody asks for the neighbours now.
        let station = this.station(cores)?;
        this.bed.announce()?;
        station.await_path(&[flow()], Duration::from_secs(15), || Ok(()))?;
        drop(station);
        this.peer.check()?;
        Ok(this)
    }

    fn station(&self, cores: Cores) -> Result<Station<'_>> {
        let bed = &self.bed;
        let (from, to) = (bed.generator_device(), bed.sink_device());
        Station::new(Arc::clone(&self.programs), (&bed.senders, &from), (&bed.receivers, &to), cores)
    }

    /// The trial of a series in which the most came through.
    fn turn(&mut self, cores: Cores, window: Duration) -> Result<Trial> {
        let station = self.station(cores)?;
        let length = FrameSize::B64.in_memory() + if self.arrangement.2 > 0 { 4 } else { 0 };
        let trial = |rate: f64| {
            let warm_up = Duration::from_millis(30);
            station.run(&Load { flows: vec![flow()], length, rate, warm_up, window })
        };
        let mut best: Option<Trial> = None;
        let mut keep = |trial: Trial| {
            if best.as_ref().is_none_or(|best| trial.delivered_pps() > best.delivered_pps()) {
                best = Some(trial);
            }
        };
        // In steps of a third, from far below to far above; in later turns around what is known already.
        let rates: Vec<f64> = match self.best.last() {
            None => (0..12).map(|i| 300_000.0 * 1.3125_f64.powi(i)).collect(),
            Some(last) => [0.8, 0.95, 1.05, 1.2, 1.45, 2.0].map(|factor| factor * last.delivered_pps()).into(),
        };
        // What idled may have forgotten its neighbours.
        station.run(&Load {
            flows: vec![flow()],
            length,
            rate: 10_000.0,
            warm_up: Duration::ZERO,
            window: Duration::from_millis(50),
        })?;
        for rate in rates {
            keep(trial(rate)?);
        }
        drop(station);
        self.peer.check()?;
        best.context("no trial")
    }

    /// What it costs when `table` comes, changes and goes.
    fn updates(&mut self, cores: Cores, table: &[routes::RouteTo]) -> Result<Vec<UpdateRow>> {
        let sockets = Sockets { control: peers::control_socket(&self.bed), feed: peers::feed_socket(&self.bed) };
        self.bed.receive_first()?;
        // The one route that is there already is not the feed's.
        let theirs = table.get(1..).unwrap_or_default();
        let station = self.station(cores)?;
        let load = Load {
            flows: vec![flow()],
            length: FrameSize::B64.in_memory(),
            rate: UPDATE_RATE,
            warm_up: Duration::from_millis(30),
            window: Duration::from_millis(1000),
        };
        let rows = route_updates::measure(&sockets, theirs, &station, &load)?;
        drop(station);
        self.peer.check()?;
        Ok(rows)
    }

    fn values(&self) -> Vec<f64> {
        self.best.iter().map(Trial::delivered_pps).collect()
    }

    fn row(&self) -> RouteRow {
        let (path, routes, vlans) = self.arrangement;
        let nanos: Vec<f64> = self.best.iter().filter_map(Trial::cpu_ns_per_frame).collect();
        RouteRow {
            path: path.label(),
            routes,
            vrfs: vlans.max(1),
            vlans: vlans > 0,
            pps: median(&self.values()),
            spread: spread(&self.values()),
            strays: self.best.iter().map(|trial| trial.strays).sum(),
            cpu_ns_per_frame: median(&nanos),
            ready_seconds: self.ready.as_secs_f64(),
        }
    }
}

/// To whomever the targets say.
fn flow() -> Flow {
    Flow { source: sender_mac(0), destination: router_in_mac(0), from: sender_ip(0), to: receiver_ip(0) }
}

/// Each beside the other in the same turn.
fn ratios(field: &[Contender]) -> Vec<String> {
    let vrf = |routes| (Path::PointsmanVrf, routes, 0);
    let mut pairs: Vec<(Arrangement, Arrangement)> = Vec::new();
    for routes in [1, 1_000, MILLION] {
        pairs.push((vrf(routes), (Path::LinuxRoute, routes, 0)));
        pairs.push((vrf(routes), (Path::XdpRoute, routes, 0)));
    }
    pairs.push((vrf(1), (Path::XdpRedirect, 1, 0)));
    pairs.push((vrf(MILLION), vrf(1)));
    pairs.push(((Path::PointsmanVrf, 1, MANY), (Path::PointsmanVrf, 1, 1)));
    let find = |wanted| field.iter().find(|contender| contender.arrangement == wanted);
    let line = |(one, other)| {
        let (a, b) = (find(one)?, find(other)?);
        Some(format!("{} / {}: {}", name(one), name(other), beside(&a.values(), &b.values())?))
    };
    pairs.into_iter().filter_map(line).collect()
}
