//! The last part of `bench route`: a million routes come, change and go while frames cross a VRF by a route that none of this
//! concerns.
//!
//! Routes arrive as a routing daemon's do: through a feed of the engine, in FRR's format, one message a route, as fast as they
//! are taken. That they are in force is asked of the engine itself: what it does with an address of the last one. Frames
//! flow at a rate that the engine takes with ease, and every one is counted.
//!
//! On the testbed's one core the thread that takes the feed and the worker have to share. The receive threads of the devices
//! go before both here, because their rings hold a millisecond; the worker's hold enough for its turn to come. What the
//! engine says it lost, and where, stands beside what did not arrive: the rest was lost outside of it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pointsman_dataplane::control::{PortReport, Reply, Request, Topic, VrfRequest, VrfTopic, ask};
use pointsman_dataplane::fpm::TableId;
use pointsman_dataplane::fpm::frame;
use pointsman_dataplane::fpm::netlink::{RouteType, Target, WireHop, flag, kind, write_route};

use crate::addresses::{MAX_ROUTERS, receiver_ip};
use crate::report::UpdateRow;
use crate::routes::RouteTo;
use crate::traffic::{Load, Station, Trial};

/// Longest wait for routes to be in force.
const PATIENCE: Duration = Duration::from_secs(60);

/// A VRF's control socket and its feed's.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) control: PathBuf,
    pub(crate) feed: PathBuf,
}

/// What a stream of messages makes of each route.
#[derive(Clone, Copy, Debug)]
enum Step {
    Add,
    /// To another gateway.
    Replace,
    Delete,
}

/// Lets `routes` come, change and go, while `load` flows; after each of these `load` alone for as long, so that it can be told
/// what of the loss the changes cost.
///
/// # Errors
/// The engine does not take them, or a signal came.
pub(crate) fn measure(
    sockets: &Sockets,
    routes: &[RouteTo],
    station: &Station<'_>,
    load: &Load,
) -> Result<Vec<UpdateRow>> {
    let mut feed = UnixStream::connect(&sockets.feed).with_context(|| sockets.feed.display().to_string())?;
    let mut rows = Vec::new();
    for (what, step) in [("added", Step::Add), ("replaced", Step::Replace), ("withdrawn", Step::Delete)] {
        let stream = messages(routes, step);
        let done = AtomicBool::new(false);
        let before = lost(&sockets.control)?;
        let (took, trials) = std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                let took = send(&mut feed, &stream, sockets, routes, step);
                done.store(true, Ordering::Release);
                took
            });
            // One trial after another, until the routes are in force.
            let mut trials = Vec::new();
            while !done.load(Ordering::Acquire) {
                match station.run(load) {
                    Ok(trial) => trials.push(trial),
                    Err(why) => return Err(why),
                }
            }
            let took = work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok((took, trials))
        })?;
        let between = lost(&sockets.control)?;
        let alone = trials.iter().map(|_| station.run(load)).collect::<Result<Vec<Trial>>>()?;
        let after = lost(&sockets.control)?;
        rows.push(row(what, routes.len(), Some(took), &trials, since(&before, &between)));
        rows.push(row("nothing", 0, None, &alone, since(&between, &after)));
    }
    Ok(rows)
}

fn row(
    what: &'static str,
    routes: usize,
    took: Option<Duration>,
    trials: &[Trial],
    drops: BTreeMap<String, u64>,
) -> UpdateRow {
    let sum = |of: fn(&Trial) -> &[u64]| trials.iter().flat_map(|trial| of(trial).iter()).sum();
    UpdateRow {
        what,
        routes,
        seconds: took.map(|took| took.as_secs_f64()),
        frames: sum(|trial| &trial.offered),
        arrived: sum(|trial| &trial.delivered),
        unsent: trials.iter().map(|trial| trial.missed).sum(),
        drops,
    }
}

/// Frames that the engine has lost so far, by port and reason.
fn lost(control: &Path) -> Result<BTreeMap<String, u64>> {
    // The kernel's counters are read ten times a second.
    std::thread::sleep(Duration::from_millis(250));
    match ask(control, Request::Show(Topic::Ports))? {
        Reply::Ports(ports) => {
            let of = |port: PortReport| {
                port.drops.into_iter().map(move |(reason, frames)| (format!("{} {reason}", port.name), frames))
            };
            Ok(ports.into_iter().flat_map(of).collect())
        }
        Reply::Error(why) => bail!("the engine: {why}"),
        _ => bail!("the engine answers something else than was asked"),
    }
}

/// What came to it between two readings.
fn since(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let more = |(name, &frames): (&String, &u64)| (name.clone(), frames - before.get(name).copied().unwrap_or(0));
    after.iter().map(more).filter(|&(_, frames)| frames > 0).collect()
}

/// One message for each route, each in a frame of its own as FRR sends them.
fn messages(routes: &[RouteTo], step: Step) -> Vec<u8> {
    let (mut stream, mut message) = (Vec::with_capacity(routes.len() * 64), Vec::new());
    for (n, route) in routes.iter().enumerate() {
        message.clear();
        let to = (route.prefix, Some(20));
        match step {
            Step::Delete => {
                let how = (kind::DELETE_ROUTE, flag::REQUEST);
                write_route(&mut message, how, TableId::MAIN, to, RouteType::Unspecified, Target::Unsaid);
            }
            Step::Add | Step::Replace => {
                let gateway = gateway(n, step);
                let hop = WireHop {
                    gateway: Some(gateway.into()),
                    device: None,
                    weight: 1,
                    encapsulation: None,
                    dead: false,
                };
                let how = (kind::NEW_ROUTE, flag::REQUEST | flag::CREATE | flag::REPLACE);
                write_route(&mut message, how, TableId::MAIN, to, RouteType::Unicast, Target::Hops(&[hop]));
            }
        }
        frame::write(&mut stream, &message);
    }
    stream
}

fn gateway(n: usize, step: Step) -> Ipv4Addr {
    receiver_ip((n + usize::from(matches!(step, Step::Replace))) % MAX_ROUTERS)
}

/// Sends all of it. How long it took until the last one was in force.
fn send(feed: &mut UnixStream, stream: &[u8], sockets: &Sockets, routes: &[RouteTo], step: Step) -> Result<Duration> {
    let last = routes.last().context("no routes")?;
    let wanted = match step {
        Step::Delete => None,
        Step::Add | Step::Replace => Some(IpAddr::from(gateway(routes.len() - 1, step))),
    };
    let begin = Instant::now();
    feed.write_all(stream).context("the engine's feed")?;
    loop {
        if way(&sockets.control, last.prefix.network())? == wanted {
            return Ok(begin.elapsed());
        }
        if begin.elapsed() > PATIENCE {
            bail!("the last of {} routes is not in force after {} s", routes.len(), PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Through which neighbour the engine would send a packet for `address` now.
fn way(control: &Path, address: IpAddr) -> Result<Option<IpAddr>> {
    let request = VrfRequest { vrf: None, what: VrfTopic::Route(address) };
    match ask(control, Request::Vrf(request))? {
        Reply::Route(found) => Ok(found.hops.first().map(|hop| hop.neighbour)),
        Reply::Error(why) => bail!("the engine: {why}"),
        _ => bail!("the engine answers something else than was asked"),
    }
}
