//! The ground that a plan stands on: the substrate while the plan is carried out, and as it will be afterwards.
//!
//! Both have the same components in the same order, so that everything else counts in indices. What is added is there
//! from the first step on; what leaves is there until the last, so that what it carries can move away first.

use std::collections::HashMap;

use thiserror::Error;

use super::place::Proof;
use super::{Lease, Way};
use crate::calendar::Steps;
use crate::embed::{self, HostId, Micros, ProblemError, SubstrateBuilder};
use crate::substrate::{LINK_GRAIN, Measure, Substrate};

/// Why two substrates cannot follow each other, or a lease does not lie on one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GroundError {
    /// A link that has other ends now.
    #[error(
        "link {link} joined {} and {} and now joins {} and {}: a link cannot be replugged under its leases; give the new \
         one another name", was[0], was[1], is[0], is[1]
    )]
    Replugged {
        /// The link.
        link: String,
        /// Its ends in the state.
        was: [String; 2],
        /// Its ends in the new substrate.
        is: [String; 2],
    },
    /// A lease on something that no substrate has.
    #[error("lease {lease} is on {component}, which its substrate does not have: the state was changed by hand")]
    Unknown {
        /// The lease.
        lease: String,
        /// The component.
        component: String,
    },
    /// A lease whose placement has another shape than its demand.
    #[error("lease {lease}: its placement does not match its demand: the state was changed by hand")]
    Shape {
        /// The lease.
        lease: String,
    },
    /// A substrate that the search cannot hold.
    #[error("the substrate {id}: {error}")]
    Problem {
        /// The substrate.
        id: String,
        /// What is wrong.
        error: ProblemError,
    },
}

/// See the module.
pub(crate) struct Ground {
    /// While the plan is carried out.
    pub during: Substrate,
    /// When it has been.
    pub after: Substrate,
    /// The same graph for the search.
    pub graph: embed::Substrate,
    /// For each link the places of its ends.
    pub ends: Vec<[usize; 2]>,
}

/// Where a lease is, in indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// Host of each node.
    pub hosts: Vec<usize>,
    /// Paths of each link.
    pub routes: Vec<Vec<Path>>,
    /// How good it is, where that was asked for when it was found.
    pub proof: Option<Proof>,
}

/// A [`Way`] in indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub hosts: Vec<usize>,
    pub links: Vec<usize>,
    pub bandwidth: Vec<u64>,
}

impl Ground {
    /// From a substrate to the one that follows it.
    pub fn new(before: &Substrate, after: &Substrate) -> Result<Self, GroundError> {
        let (mut during, mut then) = (after.clone(), after.clone());
        let (hosts, links) = (after.hosts_by_name(), after.links_by_name());
        for host in &before.hosts {
            match hosts.get(host.name.as_str()) {
                Some(&at) => {
                    let known = &mut during.hosts[at];
                    known.there = known.there.combine(&host.there, u64::max);
                    for measure in Measure::ALL {
                        let both = known.capacity.of(measure).combine(host.capacity.of(measure), u64::max);
                        *known.capacity.of_mut(measure) = both;
                    }
                }
                None => {
                    during.hosts.push(host.clone());
                    let mut gone = host.clone();
                    gone.there = Steps::default();
                    gone.capacity = crate::substrate::Amounts::default();
                    then.hosts.push(gone);
                }
            }
        }
        for link in &before.links {
            match links.get(link.name.as_str()) {
                Some(&at) => {
                    let known = &mut during.links[at];
                    let mut turned = link.ends.clone();
                    turned.reverse();
                    if known.ends != link.ends && known.ends != turned {
                        let (link, was, is) = (link.name.clone(), link.ends.clone(), known.ends.clone());
                        return Err(GroundError::Replugged { link, was, is });
                    }
                    known.there = known.there.combine(&link.there, u64::max);
                    known.bandwidth = known.bandwidth.combine(&link.bandwidth, u64::max);
                }
                None => {
                    during.links.push(link.clone());
                    then.links.push(crate::substrate::Link {
                        there: Steps::default(),
                        bandwidth: Steps::default(),
                        ..link.clone()
                    });
                }
            }
        }
        let (graph, ends) = graph(&during).map_err(|error| GroundError::Problem { id: after.id.clone(), error })?;
        Ok(Self { during, after: then, graph, ends })
    }

    /// A lease's placement in indices.
    pub fn placement(&self, lease: &Lease) -> Result<Placement, GroundError> {
        let (hosts, links) = (self.during.hosts_by_name(), self.during.links_by_name());
        let demand = &lease.demand;
        let find = |names: &[String], known: &HashMap<&str, usize>| -> Result<Vec<usize>, GroundError> {
            let unknown = |name: &str| GroundError::Unknown { lease: demand.id.clone(), component: name.to_owned() };
            names.iter().map(|name| known.get(name.as_str()).copied().ok_or_else(|| unknown(name))).collect()
        };
        let way = |way: &Way| {
            let path = Path {
                hosts: find(&way.hosts, &hosts)?,
                links: find(&way.links, &links)?,
                bandwidth: way.bandwidth.clone(),
            };
            Ok(path)
        };
        let routes = lease.routes.iter().map(|ways| ways.iter().map(way).collect()).collect::<Result<_, _>>()?;
        let placement = Placement { hosts: find(&lease.hosts, &hosts)?, routes, proof: None };
        if self.fits_shape(&placement, demand) {
            Ok(placement)
        } else {
            Err(GroundError::Shape { lease: demand.id.clone() })
        }
    }

    /// Whether every node has a host, every link paths that lead from end to end with all of its bandwidth.
    fn fits_shape(&self, placement: &Placement, demand: &super::Demand) -> bool {
        let path_leads = |path: &Path, ends: [usize; 2]| {
            let joined = path.links.iter().zip(path.hosts.windows(2)).all(|(&link, pair)| {
                let [a, b] = self.ends[link];
                [a, b] == [pair[0], pair[1]] || [b, a] == [pair[0], pair[1]]
            });
            let ends_meet = path.hosts.first() == Some(&ends[0]) && path.hosts.last() == Some(&ends[1]);
            joined && ends_meet && path.hosts.len() == path.links.len() + 1
        };
        let periods = demand.periods.len();
        let sound = !demand.periods.is_empty()
            && demand.nodes.iter().all(|node| node.amounts.len() == periods)
            && demand.links.iter().all(|link| link.bandwidth.len() == periods)
            && demand.links.iter().all(|link| link.ends.iter().all(|&end| end < demand.nodes.len()));
        sound
            && placement.hosts.len() == demand.nodes.len()
            && placement.routes.len() == demand.links.len()
            && demand.links.iter().zip(&placement.routes).all(|(link, paths)| {
                let ends = link.ends.map(|end| placement.hosts[end]);
                let carried = |period: usize| -> u64 {
                    paths
                        .iter()
                        .map(|path| path.bandwidth.get(period).copied().unwrap_or(0))
                        .fold(0, u64::saturating_add)
                };
                !paths.is_empty()
                    && paths.iter().all(|path| path_leads(path, ends) && path.bandwidth.len() == periods)
                    && (0..periods).all(|period| carried(period) == link.bandwidth[period])
            })
    }

    /// A placement in names.
    pub fn named(&self, placement: &Placement) -> (Vec<String>, Vec<Vec<Way>>) {
        let hosts = |of: &[usize]| of.iter().map(|&host| self.during.hosts[host].name.clone()).collect::<Vec<_>>();
        let way = |path: &Path| Way {
            hosts: hosts(&path.hosts),
            links: path.links.iter().map(|&link| self.during.links[link].name.clone()).collect(),
            bandwidth: path.bandwidth.clone(),
        };
        let routes = placement.routes.iter().map(|paths| paths.iter().map(way).collect()).collect();
        (hosts(&placement.hosts), routes)
    }
}

type Graph = (embed::Substrate, Vec<[usize; 2]>);

/// The search sees the most that there ever is; what is free when is the residual's.
fn graph(substrate: &Substrate) -> Result<Graph, ProblemError> {
    use crate::calendar::Window;
    let mut builder = SubstrateBuilder::new(Measure::ALL.len());
    for host in &substrate.hosts {
        let capacities = Measure::ALL.map(|m| host.capacity.of(m).most(Window::ALWAYS) / m.grain());
        builder.host(&capacities)?;
    }
    let hosts = substrate.hosts_by_name();
    let mut all = Vec::with_capacity(substrate.links.len());
    for link in &substrate.links {
        let [a, b] = [0, 1].map(|end| hosts.get(link.ends[end].as_str()).copied().unwrap_or(usize::MAX));
        let bandwidth = link.bandwidth.most(Window::ALWAYS) / LINK_GRAIN;
        let [from, to] = [a, b].map(|end| HostId(u32::try_from(end).unwrap_or(u32::MAX)));
        builder.link(from, to, bandwidth, Micros(link.latency.0.div_ceil(1000)))?;
        all.push([a, b]);
    }
    Ok((builder.build(), all))
}
