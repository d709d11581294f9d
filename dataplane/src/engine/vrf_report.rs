//! What the engine tells of its VRFs: interfaces, routes, neighbours, and why a packet goes where it goes.

use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

use super::report::{Report, sum_drops};
use super::vrfs::RunningVrf;
use crate::bridge::{self, DomainId, Whereabouts};
use crate::config::VrfInterfaceSpec;
use crate::control::{
    Explanation, HopReport, InterfaceReport, NeighbourReport, Reply, RouteReport, RoutesReport, VrfRequest, VrfTopic,
};
use crate::fib::{Decision, ResolvedHop};
use crate::rib::{Action, InterfaceId, Origin, RouteState};
use crate::units::{Mac, Nanos, PortId};
use crate::vrf::Neighbour;

impl Report {
    /// Answers a question about VRFs.
    pub(super) fn answer_vrf(&self, request: &VrfRequest) -> Reply {
        let vrfs: Vec<&RunningVrf> = match &request.vrf {
            None => self.vrfs.iter().map(AsRef::as_ref).collect(),
            Some(name) => match self.vrfs.iter().find(|vrf| vrf.spec.name == *name) {
                Some(vrf) => vec![vrf.as_ref()],
                None => {
                    let known: Vec<_> = self.vrfs.iter().map(|vrf| &*vrf.spec.name).collect();
                    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                    return Reply::Error(format!("there is no VRF {name:?}; those there are: {known}"));
                }
            },
        };
        match request.what {
            VrfTopic::Interfaces => Reply::Interfaces(vrfs.iter().flat_map(|vrf| self.interfaces(vrf)).collect()),
            VrfTopic::Routes(most) => Reply::Routes(routes(self, &vrfs, most)),
            VrfTopic::Neighbours => self.neighbours(&vrfs),
            VrfTopic::Feeds => {
                let told = self.feeds.iter().map(|feed| serde_json::to_value(feed.report()));
                told.collect::<Result<_, _>>().map_or_else(|e| Reply::Error(e.to_string()), Reply::Feeds)
            }
            VrfTopic::Route(address) => match vrfs[..] {
                [vrf] => Reply::Route(Box::new(self.explain(vrf, address))),
                [] => Reply::Error("there is no VRF; add a [[vrf]] section to the configuration".into()),
                _ => Reply::Error(
                    "there are several VRFs, in each of which that is another question; name one: --vrf".into(),
                ),
            },
        }
    }

    fn interfaces(&self, vrf: &RunningVrf) -> Vec<InterfaceReport> {
        let name = |port: usize| self.config.ports[port].name.clone();
        let all = vrf.spec.interfaces.iter().zip(&vrf.macs).zip(&vrf.counters).zip(&vrf.up);
        let report = all.map(|(((spec, mac), counters), up)| {
            let (link, punted) = (&counters.link, &counters.punted);
            InterfaceReport {
                vrf: vrf.spec.name.clone(),
                guest: vrf.spec.guest.map(|guest| self.config.guests[guest].name.clone()),
                interface: spec.name.clone(),
                port: spec.port().map(name),
                vlan: spec.vlan().map(|vlan| vlan.get()),
                domain: spec.domain().map(|domain| self.config.domains[domain].name.clone()),
                mac: mac.to_string(),
                mtu: spec.mtu,
                addresses: spec.addresses.iter().map(|a| format!("{}/{}", a.address, a.length)).collect(),
                punt: spec.punt.map(name),
                up: up.load(Relaxed),
                rx_frames: link.rx_frames.load(Relaxed),
                rx_bytes: link.rx_bytes.load(Relaxed),
                tx_frames: link.tx_frames.load(Relaxed),
                tx_bytes: link.tx_bytes.load(Relaxed),
                punted_frames: punted.rx_frames.load(Relaxed),
                stack_frames: punted.tx_frames.load(Relaxed),
                drops: sum_drops(&[link.clone(), punted.clone()]),
            }
        });
        report.collect()
    }

    fn neighbours(&self, vrfs: &[&RunningVrf]) -> Reply {
        let mut all = Vec::new();
        for vrf in vrfs {
            let name = &vrf.spec.name;
            let Some(neighbours) = vrf.neighbours(|| self.seats.wake_workers()) else {
                return Reply::Error(format!("vrf {name}: worker {} did not tell its neighbours in time", vrf.worker));
            };
            all.extend(neighbours.into_iter().map(|n| NeighbourReport {
                vrf: name.clone(),
                interface: interface(vrf, n.interface),
                address: n.address,
                mac: n.mac.map(|mac| mac.to_string()),
                state: n.state.into(),
                used_ms: n.used.map(|used| used.0 / 1_000_000),
            }));
        }
        all.sort();
        Reply::Neighbours(all)
    }

    fn explain(&self, vrf: &RunningVrf, address: IpAddr) -> Explanation {
        let neighbours = vrf.neighbours(|| self.seats.wake_workers()).unwrap_or_default();
        let rib = vrf.rib();
        let mut told = Explanation {
            address,
            vrf: vrf.spec.name.clone(),
            route: None,
            others: Vec::new(),
            recursion: Vec::new(),
            hops: Vec::new(),
        };
        let Some(found) = rib.explain(address) else { return told };
        told.others = found.others.iter().map(|route| report_route(self, vrf, route)).collect();
        told.recursion =
            found.recursion.iter().map(|step| (step.gateway, step.prefix.map(|prefix| prefix.to_string()))).collect();
        if let Some(Decision::Via(hops)) = found.route.decision {
            told.hops = hops.iter().map(|&(hop, weight)| self.hop(vrf, hop, weight, address, &neighbours)).collect();
        }
        told.route = Some(report_route(self, vrf, &found.route));
        told
    }

    fn hop(
        &self,
        vrf: &RunningVrf,
        hop: ResolvedHop,
        weight: u32,
        destination: IpAddr,
        neighbours: &[Neighbour],
    ) -> HopReport {
        let neighbour = hop.gateway.unwrap_or(destination);
        let known = neighbours.iter().find(|n| n.interface == hop.interface && n.address == neighbour);
        let spec = vrf.interface(hop.interface);
        let mac = known.and_then(|n| n.mac);
        let domain = spec.and_then(VrfInterfaceSpec::domain);
        let port = match domain {
            None => spec.and_then(VrfInterfaceSpec::port).map(|port| PortId(port as u16)),
            // Where the bridge sends it.
            Some(domain) => mac.and_then(|mac| self.port_of(domain, mac)),
        };
        HopReport {
            interface: interface(vrf, hop.interface),
            port: port.and_then(|port| self.known_port(port)),
            vlan: spec.and_then(VrfInterfaceSpec::vlan).map(|vlan| vlan.get()),
            domain: domain.map(|domain| self.config.domains[domain].name.clone()),
            neighbour,
            weight,
            mac: mac.map(|mac| mac.to_string()),
            state: known.map_or("unknown", |n| n.state).into(),
        }
    }
}

impl Report {
    /// The port behind which a station of a domain is, if that is known.
    fn port_of(&self, domain: usize, mac: Mac) -> Option<PortId> {
        match bridge::locate(&self.table.load(), &self.fdb, DomainId(domain as u16), mac, Nanos::now()) {
            Whereabouts::Configured(port) | Whereabouts::Learned(port) => Some(port),
            Whereabouts::Group | Whereabouts::Unknown => None,
        }
    }
}

fn interface(vrf: &RunningVrf, id: InterfaceId) -> String {
    vrf.interface(id).map_or_else(|| format!("interface {}", id.0), |spec| spec.name.clone())
}

fn routes(report: &Report, vrfs: &[&RunningVrf], most: usize) -> RoutesReport {
    let mut told = RoutesReport { routes: Vec::new(), more: 0, refused: 0 };
    for vrf in vrfs {
        let rib = vrf.rib();
        let stats = rib.stats();
        told.refused += stats.refused;
        let room = most - told.routes.len();
        let before = told.routes.len();
        told.routes.extend(rib.routes().take(room).map(|route| report_route(report, vrf, &route)));
        told.more += stats.routes - (told.routes.len() - before);
    }
    told
}

pub(super) fn report_route(report: &Report, vrf: &RunningVrf, route: &RouteState<'_>) -> RouteReport {
    RouteReport {
        vrf: vrf.spec.name.clone(),
        prefix: route.prefix.to_string(),
        owner: match route.origin {
            Origin::Connected => "connected".into(),
            Origin::Static => "static".into(),
            Origin::Feed(number) => match report.config.feeds.get(usize::from(number)) {
                Some(feed) => format!("feed {}", feed.name),
                None => format!("feed {number}"),
            },
        },
        metric: route.metric,
        action: route.action.map_or_else(|| "waits for its group".into(), |action| describe(vrf, action)),
        chosen: route.chosen,
        usable: route.decision.is_some(),
    }
}

fn describe(vrf: &RunningVrf, action: &Action) -> String {
    match action {
        Action::Via(hops) => {
            let hops = hops.iter().map(|hop| {
                let on = hop.interface.map(|id| interface(vrf, id));
                let way = match (hop.gateway, on) {
                    (Some(gateway), Some(on)) => format!("via {gateway} on {on}"),
                    (Some(gateway), None) => format!("via {gateway}"),
                    (None, Some(on)) => format!("on {on}"),
                    (None, None) => "nowhere".into(),
                };
                if hop.weight == 1 { way } else { format!("{way} weight {}", hop.weight) }
            });
            hops.collect::<Vec<_>>().join(", ")
        }
        Action::Group(group) => format!("group {}", group.0),
        Action::Local => "local".into(),
        Action::Broadcast => "broadcast".into(),
        Action::Blackhole => "blackhole".into(),
        Action::Unreachable => "unreachable".into(),
        Action::Prohibit => "prohibit".into(),
    }
}
