//! Small infrastructures, and an oracle that adds up what leases hold at every instant, one by one.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::{BTreeSet, HashMap};

use pointsman_vxi::lease::{Asked, Demand, Lease, Search, State};
use pointsman_vxi::model::{
    Amount, At, BitsPerSecond, Bytes, Capacity, Count, Direction, Event, Link, Nanos, Node, Resource, Step, Timeline,
    Timestamp, VirtualInfrastructure,
};
use pointsman_vxi::substrate::{Measure, Substrate};

pub const HOUR: u64 = 3_600;

/// An instant so many hours after the beginning.
pub fn hour(n: i64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + n * HOUR as i64)
}

/// Written like a file would be: `name cores [@site] [!]` (provisioned), and `a-b mbps [!]`.
pub fn infrastructure(id: &str, nodes: &[&str], links: &[&str]) -> VirtualInfrastructure {
    let mut made = VirtualInfrastructure { id: id.to_owned(), ..VirtualInfrastructure::default() };
    for node in nodes {
        let mut resource = Resource::default();
        let mut cores = 0;
        for (n, word) in node.split(' ').enumerate() {
            match (n, word.strip_prefix('@')) {
                (0, _) => resource.id = word.to_owned(),
                (1, _) => cores = word.parse().expect("cores"),
                (_, Some(site)) => resource.location = Some(site.into()),
                _ => resource.provisioned = true,
            }
        }
        let mut node = Node { resource, memory: Capacity::exactly(Bytes::from_mib(1024 * cores)), ..Node::default() };
        node.cpu.cores = Capacity::exactly(Count(cores));
        made.components.nodes.push(node);
    }
    for link in links {
        let words: Vec<&str> = link.split(' ').collect();
        let (from, to) = words[0].split_once('-').expect("two ends");
        let resource =
            Resource { id: words[0].to_owned(), provisioned: words.get(2) == Some(&"!"), ..Resource::default() };
        let bandwidth = Capacity::exactly(BitsPerSecond::from_mbps(words[1].parse().expect("Mbps")));
        made.components.links.push(Link {
            resource,
            source: from.into(),
            destination: to.into(),
            direction: Direction::Both,
            forward: bandwidth.clone(),
            reverse: bandwidth,
            latency: Capacity::default(),
            ..Link::default()
        });
    }
    made
}

/// The same, over `hours` from `from` on.
pub fn timed(mut made: VirtualInfrastructure, from: i64, hours: u64) -> VirtualInfrastructure {
    made.start = Some(hour(from));
    made.total = Some(Nanos::from_secs(hours * HOUR));
    made
}

/// Gives it events, each so many hours after its start.
pub fn events(mut made: VirtualInfrastructure, events: &[(&str, u64)]) -> VirtualInfrastructure {
    let event = |&(id, at): &(&str, u64)| Event { id: id.into(), delay: Nanos::from_secs(at * HOUR), at: At::NOWHERE };
    made.timeline = Timeline { events: events.iter().map(event).collect() };
    made
}

/// A bandwidth in some periods alone.
pub fn mbps_in(periods: &[(&str, u64)]) -> Capacity<BitsPerSecond> {
    let step = |&(event, mbps): &(&str, u64)| Step {
        event: Some(event.into()),
        amount: Amount::Exactly(BitsPerSecond::from_mbps(mbps)),
        at: At::NOWHERE,
    };
    Capacity { steps: periods.iter().map(step).collect() }
}

pub fn substrate(model: &VirtualInfrastructure) -> Substrate {
    Substrate::from_model(model).expect("a substrate")
}

pub fn demand(model: &VirtualInfrastructure) -> Demand {
    Demand::from_model(model).expect("a request")
}

/// A question with the defaults of the command.
pub fn asked(substrate: Option<Substrate>, requests: Vec<Demand>) -> Asked {
    Asked { substrate, requests, release: Vec::new(), moves: 3, open: true, search: Search::default(), now: hour(0) }
}

/// What one lease holds at an instant: by virtual component and physical one, measure (3: bandwidth) and amount.
fn held(lease: &Lease, at: Timestamp) -> HashMap<(String, String, usize), u64> {
    let mut held = HashMap::new();
    let windows = lease.demand.windows(lease.start);
    let Some(period) = windows.iter().position(|window| window.is_some_and(|window| window.contains(at))) else {
        return held;
    };
    for (node, host) in lease.demand.nodes.iter().zip(&lease.hosts) {
        for (n, measure) in Measure::ALL.into_iter().enumerate() {
            held.insert((node.name.clone(), host.clone(), n), *node.amounts[period].of(measure));
        }
    }
    for (link, ways) in lease.demand.links.iter().zip(&lease.routes) {
        let mut carried = 0;
        for way in ways {
            carried += way.bandwidth[period];
            for on in &way.links {
                *held.entry((link.name.clone(), on.clone(), 3)).or_default() += way.bandwidth[period];
            }
        }
        assert_eq!(carried, link.bandwidth[period], "{} of {} carries what it asks for", link.name, lease.id());
    }
    held
}

/// Whether everything that is held in all of `states` at once is there, from `now` on: one state, or two that follow
/// each other, where what stays in its place counts once.
pub fn assert_feasible(substrate: &Substrate, states: &[&State], now: Timestamp) {
    let mut instants = BTreeSet::from([now]);
    for lease in states.iter().flat_map(|state| &state.leases) {
        for window in lease.demand.windows(lease.start).into_iter().flatten() {
            instants.insert(window.from);
            instants.extend(window.until);
        }
    }
    let steps = substrate
        .hosts
        .iter()
        .flat_map(|host| Measure::ALL.map(|measure| host.capacity.of(measure)).into_iter().chain([&host.there]));
    let steps = steps.chain(substrate.links.iter().flat_map(|link| [&link.bandwidth, &link.there]));
    instants.extend(steps.flat_map(|steps| steps.changes()));
    for at in instants.into_iter().filter(|&at| at >= now) {
        let mut all: HashMap<(String, String, String, usize), u64> = HashMap::new();
        for lease in states.iter().flat_map(|state| &state.leases) {
            for ((part, on, measure), amount) in held(lease, at) {
                let most = all.entry((lease.id().to_owned(), part, on, measure)).or_default();
                *most = (*most).max(amount);
            }
        }
        let mut sums: HashMap<(String, usize), u64> = HashMap::new();
        for ((_, _, on, measure), amount) in all {
            *sums.entry((on, measure)).or_default() += amount;
        }
        for ((on, measure), sum) in sums {
            let (has, there) = if measure == 3 {
                let link = substrate.links.iter().find(|link| link.name == on).expect("a link");
                (link.bandwidth.at(at), link.there.at(at))
            } else {
                let host = substrate.hosts.iter().find(|host| host.name == on).expect("a host");
                (host.capacity.of(Measure::ALL[measure]).at(at), host.there.at(at))
            };
            assert!(sum <= has, "{on} at {at}: {sum} of measure {measure} held, {has} there");
            assert!(there > 0, "{on} at {at}: held and not there");
        }
    }
}
