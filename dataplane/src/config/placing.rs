//! Which worker routes a VRF: all of its ports are one worker's, which has its neighbours to itself.

use super::mistakes::Mistakes;
use super::{PortSpec, VrfInterfaceSpec, VrfSpec};

/// Gives each VRF a worker, and all its ports that one: that of those that name one, or else of the ports of the bridge
/// domains that it has interfaces in, or else each VRF the next. VRFs that share a port are placed together. Ports of
/// bridge domains stay where they are: what is between them and a VRF of another worker is handed over.
pub(super) fn place_vrfs(mistakes: &mut Mistakes<'_>, vrfs: &mut [VrfSpec], ports: &mut [PortSpec], workers: usize) {
    // VRFs that are joined by common ports, with all their ports.
    let mut sets: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
    for (n, vrf) in vrfs.iter().enumerate() {
        let used = vrf.interfaces.iter().flat_map(|interface| interface.port().into_iter().chain(interface.punt));
        let mut own = (vec![n], used.collect::<Vec<_>>());
        sets.retain(|(others, set)| {
            let apart = !set.iter().any(|port| own.1.contains(port));
            if !apart {
                own.0.extend(others);
                own.1.extend(set);
            }
            apart
        });
        own.0.sort_unstable();
        sets.push(own);
    }
    sets.sort_unstable();
    let mut next = 0;
    for (set, used) in sets {
        let named = used.iter().find_map(|&port| Some((port, ports[port].worker?)));
        let near = || {
            let mut domains = set.iter().flat_map(|&vrf| &vrfs[vrf].interfaces).filter_map(VrfInterfaceSpec::domain);
            domains
                .find_map(|domain| ports.iter().filter(|port| port.membership.contains(domain)).find_map(|p| p.worker))
        };
        let worker = named.map(|(_, worker)| worker).or_else(near).unwrap_or_else(|| {
            next += 1;
            (next - 1) % workers
        });
        for &port in &used {
            match (ports[port].worker, named) {
                (Some(other), Some((one, worker))) if other != worker => {
                    let wrong = format!(
                        "ports {} and {} name workers {worker} and {other}, but all ports of a VRF are one worker's",
                        ports[one].name, ports[port].name
                    );
                    let first = &vrfs[set[0]];
                    mistakes.add_at(first.place, &format!("vrf {}", first.name), wrong, "name one worker, or none");
                    return;
                }
                _ => ports[port].worker = Some(worker),
            }
        }
        for vrf in set {
            vrfs[vrf].worker = worker;
        }
    }
}
