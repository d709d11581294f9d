//! Traces as they are told: workers say what they saw, and here it gets its names and its reasons.
//!
//! Why a frame went where it went is looked up when it is told, a few milliseconds later, in the tables that decided: a
//! route that changed in between is told as it is now. What happened (by which port, lost for what) is never guessed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::report::Report;
use super::vrf_report::report_route;
use super::vrfs::RunningVrf;
use crate::bridge::{self, Whereabouts};
use crate::config::VrfInterfaceSpec;
use crate::control::{Answer, Reply, TraceEnd, TraceLine, TraceRequest, TraceStep, TracedFrame, is_listening, say};
use crate::fib::Decision;
use crate::rib::InterfaceId;
use crate::trace::{self, Event, Fate, Filter, Protocol, Trace, What};
use crate::units::{Mac, Nanos, PortId};
use crate::wire::ethernet::{Header, Tci};

/// Between two looks at what workers have said, and at whether the client still listens.
const PAUSE: Duration = Duration::from_millis(10);
/// Frames whose story has not ended that are remembered at most.
const UNFINISHED: usize = 1024;

/// Answers a request for a trace.
pub(super) fn answer(report: &Arc<Report>, request: TraceRequest) -> Answer {
    match report.begin_trace(&request) {
        Err(reason) => Reply::Error(reason).into(),
        Ok(trace) => {
            let report = Arc::clone(report);
            Answer::Stream(Box::new(move |stream, stop| {
                // A client that goes is the usual end.
                let _ = follow(&report, &trace, &request, stream, stop);
            }))
        }
    }
}

/// Tells what workers say, until there is enough, the time is over, or nobody listens.
fn follow(
    report: &Report,
    trace: &Trace,
    request: &TraceRequest,
    mut stream: UnixStream,
    stop: &AtomicBool,
) -> io::Result<()> {
    let end = Instant::now().checked_add(Duration::from_millis(request.millis));
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let teller = Teller { report, epoch: since_1970.saturating_sub(Nanos::now().0) };
    say(&mut stream, &TraceLine::Begin(report.port_names()))?;
    let mut unfinished: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    let mut frames = 0;
    let why = 'told: loop {
        // What is said before the time is over is told, even if this thread comes to it late.
        let over = end.is_some_and(|end| Instant::now() >= end);
        while let Some(event) = trace.take() {
            let (number, ends) = (event.frame, matches!(event.what, What::End(fate) if fate != Fate::Held));
            unfinished.entry(number).or_default().push(event);
            if ends && let Some(story) = unfinished.remove(&number) {
                let wanted = !request.drops || is_lost(&story);
                if let Some(told) = teller.tell(frames + 1, &story).filter(|_| wanted) {
                    frames += 1;
                    say(&mut stream, &TraceLine::Frame(told))?;
                }
                if frames >= request.count {
                    break 'told "count";
                }
            }
            if unfinished.len() > UNFINISHED {
                unfinished.pop_first();
            }
        }
        if stop.load(Relaxed) {
            break "engine";
        }
        if over {
            break "time";
        }
        if !is_listening(&mut stream, PAUSE) {
            return Ok(());
        }
    };
    // Those that still wait for a neighbour.
    for story in unfinished.values().filter(|_| why != "count" && !request.drops) {
        if let Some(told) = teller.tell(frames + 1, story).filter(|_| frames < request.count) {
            frames += 1;
            say(&mut stream, &TraceLine::Frame(told))?;
        }
    }
    say(&mut stream, &TraceLine::End(TraceEnd { frames, untold: trace.untold(), why: why.into() }))
}

fn is_lost(story: &[Event]) -> bool {
    story.iter().any(|event| matches!(event.what, What::Lost(..)))
}

impl Report {
    fn begin_trace(&self, request: &TraceRequest) -> Result<Trace, String> {
        let mut filter = Filter { vlan: request.vlan, l4_port: request.l4_port, ..Filter::default() };
        if let Some(name) = &request.port {
            let known = self.config.ports.iter().position(|port| port.name == *name).map(|at| PortId(at as u16));
            let sitting = || self.seats.look(|all| all.iter().find(|port| port.name == *name).map(|port| port.id));
            let Some(port) = known.or_else(sitting) else {
                return Err(format!("there is no port {name:?}; those there are: {}", self.port_names().join(", ")));
            };
            filter.port = Some(port);
        }
        if let Some(text) = &request.mac {
            let Some(mac) = Mac::parse(text) else {
                return Err(format!("{text:?} is no Ethernet address; write one like 02:00:00:00:00:01"));
            };
            filter.mac = Some(mac);
        }
        if let Some(vlan) = request.vlan.filter(|&vlan| vlan > 4094) {
            return Err(format!("there is no VLAN {vlan}; give 1 to 4094, or 0 for frames without a tag"));
        }
        if filter.hosts.try_extend_from_slice(&request.hosts).is_err() {
            let given = request.hosts.len();
            return Err(format!("{given} hosts are given and a packet has two ends; give one host, or two"));
        }
        if let Some(text) = &request.protocol {
            let Some(protocol) = Protocol::parse(text) else {
                return Err(format!("{text:?} is no protocol; give tcp, udp, icmp or a number up to 255"));
            };
            if protocol == Protocol::Icmp && request.l4_port.is_some() {
                return Err("ICMP has no ports; leave out the port, or give tcp or udp".into());
            }
            filter.protocol = Some(protocol);
        }
        if request.count == 0 {
            return Err("a trace of no frames; give a count of at least 1".into());
        }
        let most = if request.drops { u64::MAX } else { request.count };
        self.traces.begin(filter, request.drops, most).map_err(|e| e.to_string())
    }

    fn port_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.config.ports.iter().map(|port| port.name.clone()).collect();
        names.extend(self.seats.look(|all| all.iter().map(|port| port.name.clone()).collect::<Vec<_>>()));
        names
    }

    fn port_name(&self, id: PortId) -> String {
        self.known_port(id).unwrap_or_else(|| format!("port {}", id.0))
    }

    /// The worker that frames for a port leave by.
    fn worker_of(&self, id: PortId) -> Option<usize> {
        let inner = self.inner.iter().find(|inner| inner.station == id).map(|inner| self.vrfs[inner.vrf].worker);
        match self.ports.get(id.index()) {
            Some(port) => port.workers.first().copied(),
            None if inner.is_some() => inner,
            None => self.seats.look(|all| all.iter().find(|port| port.id == id)?.workers.first().copied()),
        }
    }
}

/// What a frame came in for.
enum Place<'a> {
    Bridge,
    Interface(&'a RunningVrf, InterfaceId, &'a VrfInterfaceSpec),
    Stack(&'a RunningVrf, &'a VrfInterfaceSpec),
}

struct Teller<'a> {
    report: &'a Report,
    /// What the engine's clock showed nothing at, in nanoseconds since 1970.
    epoch: u64,
}

fn step(step: &str, text: String) -> TraceStep {
    TraceStep { step: step.into(), text, ..TraceStep::default() }
}

impl Teller<'_> {
    /// Frame number `frame` in words. None: its beginning was not told.
    fn tell(&self, frame: u64, story: &[Event]) -> Option<TracedFrame> {
        let arrival = story.iter().find(|event| event.what == What::In)?;
        let header = Header::parse(&arrival.bytes).ok();
        let port = self.report.port_name(arrival.port);
        let text = format!("{} bytes by {port}, worker {}", arrival.len, arrival.worker);
        let mut steps = vec![shown(step("in", text), arrival, port)];
        let place = self.place(arrival.port, header.as_ref());
        if let Some(header) = &header {
            steps.extend(self.decided(&place, arrival, header));
        }
        let left = story.iter().any(|event| event.what == What::Out);
        for event in story {
            match event.what {
                What::In | What::End(Fate::Sent | Fate::Lost) => (),
                What::Out => steps.push(self.out(&place, arrival, event)),
                What::Lost(reason, frames) => {
                    let port = self.report.port_name(event.port);
                    let times = if frames > 1 { format!(", {frames} frames") } else { String::new() };
                    let text = format!("{} at {port}{times}", reason.name());
                    let reason = Some(reason.name().to_owned());
                    steps.push(TraceStep { port: Some(port), reason, ..step("drop", text) });
                }
                What::End(Fate::Held) => {
                    steps.push(step("wait", "until the next hop's Ethernet address is known".into()));
                }
                What::End(Fate::Taken) if left => (),
                What::End(Fate::Taken) => steps.push(step("taken", "by the router, which it was for".into())),
            }
        }
        Some(TracedFrame {
            frame,
            time: self.epoch.saturating_add(arrival.at.0),
            worker: arrival.worker,
            summary: trace::summary(&arrival.bytes),
            steps,
        })
    }

    fn place(&self, port: PortId, header: Option<&Header>) -> Place<'_> {
        let vlan = header.and_then(Header::tag).map(Tci::vid).filter(|&vid| vid != 0);
        for vrf in &self.report.vrfs {
            for (id, interface) in (0..).map(InterfaceId).zip(&vrf.spec.interfaces) {
                if interface.punt == Some(port.index()) {
                    return Place::Stack(vrf, interface);
                }
                if interface.port() == Some(port.index()) && interface.vlan().map(|vlan| vlan.get()) == vlan {
                    return Place::Interface(vrf, id, interface);
                }
            }
        }
        Place::Bridge
    }

    /// What was decided about the frame, as the tables say.
    fn decided(&self, place: &Place<'_>, arrival: &Event, header: &Header) -> Vec<TraceStep> {
        match place {
            Place::Stack(vrf, interface) => {
                let (vrf, interface) = (&vrf.spec.name, &interface.name);
                vec![step(
                    "stack",
                    format!("sent by the stack of vrf {vrf}, interface {interface}: leaves there as it is"),
                )]
            }
            Place::Bridge => {
                let mut steps: Vec<_> = self.bridged(arrival.port, header).into_iter().collect();
                if let Some((vrf, id, interface)) = self.station(arrival.port, header, header.dst()) {
                    steps.extend(self.met(vrf, id, interface, arrival, header));
                }
                steps
            }
            &Place::Interface(vrf, id, interface) => self.met(vrf, id, interface, arrival, header),
        }
    }

    /// The interface that is the station `mac` in the bridge domain of a frame at `port`.
    fn station(
        &self,
        port: PortId,
        header: &Header,
        mac: Mac,
    ) -> Option<(&RunningVrf, InterfaceId, &VrfInterfaceSpec)> {
        let table = self.report.table.load();
        let (domain, _) = bridge::explain(&table, &self.report.fdb, port, header, Nanos::now())?;
        let mut inner = self.report.inner.iter().filter(|inner| inner.domain == domain.index());
        inner.find_map(|inner| {
            let vrf = &self.report.vrfs[inner.vrf];
            let own = vrf.macs.get(usize::from(inner.interface.0)) == Some(&mac);
            vrf.interface(inner.interface).filter(|_| own).map(|spec| (&**vrf, inner.interface, spec))
        })
    }

    /// What the VRF of an interface decided about a frame there.
    fn met(
        &self,
        vrf: &RunningVrf,
        id: InterfaceId,
        interface: &VrfInterfaceSpec,
        arrival: &Event,
        header: &Header,
    ) -> Vec<TraceStep> {
        let own = vrf.macs.get(usize::from(id.0)).copied();
        let to = match header.dst() {
            dst if own == Some(dst) => "",
            dst if dst.is_group() => ", to a group on the link",
            _ => ", not to its Ethernet address",
        };
        let mut steps = vec![step("vrf", format!("{}, interface {}{to}", vrf.spec.name, interface.name))];
        let destination = trace::ends(&arrival.bytes).map(|(_, destination)| destination);
        if let Some(destination) = destination.filter(|_| own == Some(header.dst())) {
            steps.push(step("route", self.routed(vrf, destination)));
        }
        steps
    }

    fn bridged(&self, input: PortId, header: &Header) -> Option<TraceStep> {
        let table = self.report.table.load();
        let (domain, whereabouts) = bridge::explain(&table, &self.report.fdb, input, header, Nanos::now())?;
        let domain = &self.report.config.domains.get(domain.index())?.name;
        let station = header.dst();
        let text = match whereabouts {
            Whereabouts::Group => format!("{station} is a group: to every port"),
            Whereabouts::Configured(port) => {
                format!("{station} is behind {}, as configured", self.report.port_name(port))
            }
            Whereabouts::Learned(port) => format!("{station} was learned behind {}", self.report.port_name(port)),
            Whereabouts::Unknown => format!("{station} is not known: to every port that is not a guest's"),
        };
        Some(step("bridge", format!("domain {domain}: {text}")))
    }

    /// Which route leads to `destination`, and why.
    fn routed(&self, vrf: &RunningVrf, destination: IpAddr) -> String {
        let rib = vrf.rib();
        let Some(found) = rib.explain(destination) else { return format!("there is none to {destination}") };
        let route = report_route(self.report, vrf, &found.route);
        let mut text = format!("{destination} is in {} ({}): {}", route.prefix, route.owner, route.action);
        for recursion in &found.recursion {
            let way = recursion.prefix.map_or_else(|| "no route".into(), |prefix| prefix.to_string());
            // Writing to a string cannot fail.
            let _ = write!(text, "; {} by {way}", recursion.gateway);
        }
        text
    }

    /// What left, and how it differs from what came.
    fn out(&self, place: &Place<'_>, arrival: &Event, event: &Event) -> TraceStep {
        let port = self.report.port_name(event.port);
        let (Ok(before), Ok(after)) = (Header::parse(&arrival.bytes), Header::parse(&event.bytes)) else {
            return shown(step("out", format!("by {port}")), event, port);
        };
        let mut text = format!("by {port}");
        match self.report.worker_of(event.port) {
            Some(other) if other != usize::from(event.worker) => text += &format!(", handed to worker {other}"),
            _ => (),
        }
        let ends = (trace::ends(&arrival.bytes), trace::ends(&event.bytes));
        // Who met it: the interface that it came in on, or the one that is the station it was for, or that answered.
        let met = match place {
            Place::Interface(vrf, _, interface) => Some((*vrf, *interface)),
            Place::Stack(..) => None,
            Place::Bridge => self
                .station(arrival.port, &before, before.dst())
                .or_else(|| self.station(event.port, &after, after.src()))
                .map(|(vrf, _, interface)| (vrf, interface)),
        };
        let to_stack = |interface: &VrfInterfaceSpec| interface.punt == Some(event.port.index());
        let word = match met {
            Some((_, interface)) if to_stack(interface) => {
                text = format!("to the stack behind {port}");
                "punt"
            }
            None if self.report.vrfs.iter().any(|vrf| vrf.spec.interfaces.iter().any(to_stack)) => {
                text = format!("to the stack behind {port}");
                "punt"
            }
            Some((vrf, _)) if ends.0.is_some() && ends.0 == ends.1 => {
                let hop = ends.1.and_then(|(_, destination)| self.next_hop(vrf, event, &after, destination));
                let hop = hop.map_or_else(String::new, |hop| format!("{hop} "));
                text += &format!(", to {hop}at {}", after.dst());
                "out"
            }
            Some(_) => {
                text += &format!(": {}", trace::summary(&event.bytes));
                "answer"
            }
            None => "out",
        };
        match (before.tag().map(Tci::vid), after.tag().map(Tci::vid)) {
            (None, Some(to)) => text += &format!(", VLAN {to} put on"),
            (Some(from), None) => text += &format!(", VLAN {from} taken off"),
            (Some(from), Some(to)) if from != to => text += &format!(", VLAN {from} made {to}"),
            _ => (),
        }
        let waited = event.at.since(arrival.at).0;
        if waited > 0 {
            text += &format!(", {:.1} ms after it came", waited as f64 / 1e6);
        }
        shown(step(word, text), event, port)
    }

    /// The neighbour that takes a packet which left as `event` shows.
    fn next_hop(&self, vrf: &RunningVrf, event: &Event, after: &Header, destination: IpAddr) -> Option<IpAddr> {
        let out = match self.place(event.port, Some(after)) {
            Place::Interface(_, out, _) => out,
            Place::Bridge => self.station(event.port, after, after.src()).map(|(_, out, _)| out)?,
            Place::Stack(..) => return None,
        };
        let hops: Vec<IpAddr> = {
            let rib = vrf.rib();
            let found = rib.explain(destination)?;
            let Some(Decision::Via(hops)) = found.route.decision else { return None };
            let here = hops.iter().filter(|(hop, _)| hop.interface == out);
            here.map(|(hop, _)| hop.gateway.unwrap_or(destination)).collect()
        };
        match hops[..] {
            [hop] => Some(hop),
            [] => None,
            // Of several, the one that has the address.
            _ => {
                let known = vrf.neighbours(|| self.report.seats.wake_workers()).unwrap_or_default();
                let is_it = |n: &&crate::vrf::Neighbour| n.mac == Some(after.dst()) && hops.contains(&n.address);
                known.iter().find(is_it).map(|n| n.address)
            }
        }
    }
}

/// A step with the frame as it was then.
fn shown(step: TraceStep, event: &Event, port: String) -> TraceStep {
    let mut bytes = String::with_capacity(2 * event.bytes.len());
    for byte in &event.bytes {
        // Writing to a string cannot fail.
        let _ = write!(bytes, "{byte:02x}");
    }
    TraceStep { port: Some(port), length: Some(event.len), bytes: Some(bytes), ..step }
}
