//! From the language to a demand.

use std::collections::{BTreeSet, HashMap};

use thiserror::Error;

use super::demand::{Demand, Link, Node, Period};
use crate::embed::problem::MOST;
use crate::model::{Amount, Array, At, Capacity, ExpandError, Index, Nanos, Quantity, Resource, VirtualInfrastructure};
use crate::substrate::{Amounts, Kind, LINK_GRAIN, Measure};

/// Why a description is no request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DemandError {
    /// Its arrays are too large.
    #[error(transparent)]
    Expand(#[from] ExpandError),
    /// There is nothing in it.
    #[error("{at}: {id} asks for nothing: give it a node, a storage, a router or an access point")]
    Empty {
        /// Where.
        at: String,
        /// The request.
        id: String,
    },
    /// It has no name.
    #[error("{at}: the infrastructure has no id: its lease needs one to be changed or released by")]
    Nameless {
        /// Where.
        at: String,
    },
    /// It lasts no time.
    #[error("{at}: {id} lasts no time: give it a duration above zero, or none at all")]
    NoTime {
        /// Where.
        at: String,
        /// The request or the component.
        id: String,
    },
    /// A component with a start in a request without one.
    #[error("{at}: {id} has a start date, but the infrastructure has none: give it one as well")]
    NoStart {
        /// Where.
        at: String,
        /// The component.
        id: String,
    },
    /// A name that two have.
    #[error("{at}: there are two components called {id}: rename one")]
    Twice {
        /// Where the second is.
        at: String,
        /// The name.
        id: String,
    },
    /// A link from or to something that is not there.
    #[error("{at}: link {link} ends at {end}, which is no vertex of this infrastructure: correct the name")]
    NoEnd {
        /// Where.
        at: String,
        /// The link.
        link: String,
        /// The name that does not resolve.
        end: String,
    },
    /// A link with both ends at one node.
    #[error("{at}: link {link} joins {end} with itself: name another end or drop the link")]
    Loop {
        /// Where.
        at: String,
        /// The link.
        link: String,
        /// Its only end.
        end: String,
    },
    /// An anchor at a component that has no site.
    #[error("{at}: {id} is anchored at {anchor}, which has no site itself: give {anchor} a location")]
    Adrift {
        /// Where.
        at: String,
        /// The component.
        id: String,
        /// What it is anchored at.
        anchor: String,
    },
    /// A link of its own.
    #[error("{at}: link {id} asks for exclusivity, which links cannot have here: ask for the whole bandwidth instead")]
    ExclusiveLink {
        /// Where.
        at: String,
        /// The link.
        id: String,
    },
    /// A number that nothing has.
    #[error("{at}: {id} asks for {asks}, more than can be counted ({most} at most): check the unit")]
    TooLarge {
        /// Where.
        at: String,
        /// The component.
        id: String,
        /// What it says.
        asks: String,
        /// What would do.
        most: String,
    },
}

impl Demand {
    /// What a model asks for: of each capacity the least that satisfies it, of each latency the bound.
    ///
    /// # Errors
    /// Everything that is wrong with it as a request; what is wrong with it as a description is the reader's to say.
    pub fn from_model(model: &VirtualInfrastructure) -> Result<Self, Vec<DemandError>> {
        let expanded = model.expand().map_err(|error| vec![error.into()])?;
        let mut reading = Reading { model: &expanded, errors: Vec::new(), elements: elements(model) };
        let periods = reading.periods();
        let nodes = reading.nodes(&periods);
        let links = reading.links(&periods, &nodes, model);
        if nodes.is_empty() {
            reading.wrong(model.at, |at| DemandError::Empty { at, id: model.id.clone() });
        }
        if model.id.is_empty() {
            reading.wrong(model.at, |at| DemandError::Nameless { at });
        }
        if !reading.errors.is_empty() {
            return Err(reading.errors);
        }
        Ok(Self { id: model.id.clone(), start: model.start, periods, nodes, links })
    }
}

struct Reading<'m> {
    /// Without arrays.
    model: &'m VirtualInfrastructure,
    errors: Vec<DemandError>,
    /// For each element of an array: the number of the array, and the member's name.
    elements: HashMap<String, (u32, String)>,
}

/// When something is needed, from the start of the lease.
#[derive(Clone, Copy)]
struct Span {
    from: u64,
    until: Option<u64>,
}

fn elements(model: &VirtualInfrastructure) -> HashMap<String, (u32, String)> {
    let mut elements = HashMap::new();
    for (number, array) in model.arrays.iter().enumerate() {
        for member in array.members.vertex_resources() {
            for n in 1..=array.cardinality {
                elements.insert(Array::element(&member.id, n), (number as u32, member.id.clone()));
            }
        }
    }
    elements
}

impl<'m> Reading<'m> {
    fn wrong(&mut self, at: At, error: impl FnOnce(String) -> DemandError) {
        self.errors.push(error(self.model.written_at(at)));
    }

    /// The stretches between all instants at which anything changes.
    fn periods(&mut self) -> Vec<Period> {
        let model = self.model;
        if model.total == Some(Nanos(0)) {
            self.wrong(model.at, |at| DemandError::NoTime { at, id: model.id.clone() });
        }
        let total = model.total.map(|total| total.0);
        let mut cuts = BTreeSet::from([0]);
        cuts.extend(model.timeline.events.iter().map(|event| event.delay.0));
        let resources: Vec<&Resource> = model.components.resources().collect();
        for resource in resources {
            let span = self.span(resource);
            cuts.insert(span.from);
            cuts.extend(span.until);
        }
        let cuts: Vec<u64> = cuts.into_iter().filter(|&cut| total.is_none_or(|total| cut < total)).collect();
        let ends = cuts.iter().skip(1).map(|&cut| Some(cut)).chain([total]);
        let event = |from: u64| {
            let events = model.timeline.events.iter().rev();
            events.filter(|event| event.delay.0 <= from).map(|event| event.id.clone()).next()
        };
        let period = |(&from, until): (&u64, Option<u64>)| Period { event: event(from), from: Nanos(from), until };
        cuts.iter().zip(ends).map(period).collect()
    }

    fn span(&mut self, resource: &Resource) -> Span {
        let model = self.model;
        let whole = Span { from: 0, until: model.total.map(|total| total.0) };
        let from = match (resource.start, model.start) {
            (None, _) => 0,
            (Some(own), Some(start)) => own.since(start).map_or(0, |late| late.0),
            (Some(_), None) => {
                self.wrong(resource.at, |at| DemandError::NoStart { at, id: resource.id.clone() });
                return whole;
            }
        };
        let until = match resource.total {
            None => whole.until,
            Some(own) => {
                let own = from.saturating_add(own.0);
                Some(whole.until.map_or(own, |until| until.min(own)))
            }
        };
        if until.is_some_and(|until| until <= from) {
            self.wrong(resource.at, |at| DemandError::NoTime { at, id: resource.id.clone() });
            return whole;
        }
        Span { from, until }
    }

    /// What is asked for in each period.
    fn over_time<Q: Quantity>(
        &mut self,
        resource: &Resource,
        capacity: &Capacity<Q>,
        periods: &[Period],
        ceiling: u64,
    ) -> Vec<u64> {
        let span = self.span(resource);
        let needed =
            |period: &Period| period.from.0 >= span.from && span.until.is_none_or(|until| period.from.0 < until);
        let least = |period: &Period| match capacity.in_period(period.event.as_deref()) {
            Some(amount) if needed(period) => amount.least(),
            _ => Q::of(0),
        };
        let asked: Vec<Q> = periods.iter().map(least).collect();
        if let Some(most) = asked.iter().copied().max().filter(|most| most.base() > ceiling) {
            let (asks, most) = (most.to_string(), Q::of(ceiling).to_string());
            self.wrong(capacity.at(), |at| DemandError::TooLarge { at, id: resource.id.clone(), asks, most });
        }
        asked.into_iter().map(Q::base).collect()
    }

    fn nodes(&mut self, periods: &[Period]) -> Vec<Node> {
        let model = self.model;
        let index = Index::new(model);
        let mut nodes: Vec<Node> = Vec::new();
        for node in &model.components.nodes {
            let mut made = self.node(&node.resource, Kind::Node, &index);
            made.region.clone_from(&node.region);
            made.architecture.clone_from(&node.cpu.architecture);
            made.devices.clone_from(&node.devices);
            made.frequency = node.cpu.frequency.peak().map_or(0, Quantity::base);
            let cores = self.over_time(&node.resource, &node.cpu.cores, periods, Measure::Cores.ceiling());
            let memory = self.over_time(&node.resource, &node.memory, periods, Measure::Memory.ceiling());
            let disk = self.over_time(&node.resource, &node.storage, periods, Measure::Disk.ceiling());
            made.amounts = amounts(&cores, &memory, &disk);
            nodes.push(made);
        }
        let none = vec![0; periods.len()];
        for storage in &model.components.storages {
            let mut made = self.node(&storage.resource, Kind::Storage, &index);
            made.region.clone_from(&storage.region);
            let disk = self.over_time(&storage.resource, &storage.size, periods, Measure::Disk.ceiling());
            made.amounts = amounts(&none, &none, &disk);
            nodes.push(made);
        }
        for router in &model.components.routers {
            let mut made = self.node(&router.resource, Kind::Router, &index);
            made.region.clone_from(&router.region);
            let memory = self.over_time(&router.resource, &router.memory, periods, Measure::Memory.ceiling());
            made.amounts = amounts(&none, &memory, &none);
            nodes.push(made);
        }
        for access_point in &model.components.access_points {
            let mut made = self.node(&access_point.resource, Kind::AccessPoint, &index);
            made.region.clone_from(&access_point.region);
            made.amounts = amounts(&none, &none, &none);
            nodes.push(made);
        }
        nodes
    }

    fn node(&mut self, resource: &Resource, kind: Kind, index: &Index<'m>) -> Node {
        let site = index.site(self.model, &resource.id);
        if let (None, Some(anchor)) = (site, &resource.location) {
            let (id, anchor_at) = (resource.id.clone(), anchor.at);
            self.wrong(anchor_at, |at| DemandError::Adrift { at, id, anchor: anchor.to_string() });
        }
        let element = self.elements.get(&resource.id);
        Node {
            name: resource.id.clone(),
            kind,
            whole: element.map_or_else(|| resource.id.clone(), |(_, member)| member.clone()),
            site: site.map(str::to_owned),
            region: None,
            architecture: None,
            devices: Vec::new(),
            frequency: 0,
            exclusive: resource.exclusive,
            array: element.map(|(array, _)| *array),
            amounts: Vec::new(),
        }
    }

    fn links(&mut self, periods: &[Period], nodes: &[Node], written: &VirtualInfrastructure) -> Vec<Link> {
        let model = self.model;
        let mut names: HashMap<&str, usize> = HashMap::new();
        for (n, node) in nodes.iter().enumerate() {
            if names.insert(&node.name, n).is_some() {
                self.wrong(At::NOWHERE, |at| DemandError::Twice { at, id: node.name.clone() });
            }
        }
        let members = written.arrays.iter().flat_map(|array| &array.members.links);
        let wholes = written.components.links.iter().chain(members);
        let wholes: std::collections::HashSet<&str> = wholes.map(|link| link.resource.id.as_str()).collect();
        let mut links: Vec<Link> = Vec::new();
        let mut taken = std::collections::HashSet::new();
        for link in &model.components.links {
            let resource = &link.resource;
            let name = || resource.id.clone();
            if names.contains_key(&*resource.id) || !taken.insert(&*resource.id) {
                self.wrong(resource.at, |at| DemandError::Twice { at, id: name() });
            }
            if resource.exclusive {
                self.wrong(resource.at, |at| DemandError::ExclusiveLink { at, id: name() });
            }
            let ends = [&link.source.component, &link.destination.component];
            let found = ends.map(|end| names.get(&**end).copied());
            for (end, found) in ends.iter().zip(found) {
                if found.is_none() {
                    self.wrong(end.at, |at| DemandError::NoEnd { at, link: name(), end: end.to_string() });
                }
            }
            let [Some(a), Some(b)] = found else { continue };
            if a == b {
                self.wrong(resource.at, |at| DemandError::Loop { at, link: name(), end: ends[0].to_string() });
                continue;
            }
            let [forward, reverse] =
                [&link.forward, &link.reverse].map(|way| self.over_time(resource, way, periods, MOST * LINK_GRAIN));
            let latency = link.latency.steps.iter().filter_map(|step| bound(&step.amount)).min();
            links.push(Link {
                name: name(),
                whole: whole_of(&resource.id, &wholes).to_owned(),
                ends: [a, b],
                bandwidth: forward.into_iter().zip(reverse).map(|(forward, reverse)| forward.max(reverse)).collect(),
                latency: latency.map(|latency| latency.0),
            });
        }
        links
    }
}

fn amounts(cores: &[u64], memory: &[u64], disk: &[u64]) -> Vec<Amounts<u64>> {
    let all = cores.iter().zip(memory).zip(disk);
    all.map(|((&cores, &memory), &disk)| Amounts { cores, memory, disk }).collect()
}

/// The most that a latency may be; a mere lower bound bounds nothing.
fn bound(latency: &Amount<Nanos>) -> Option<Nanos> {
    latency.most()
}

/// The link of the file that a link of the expanded one is part of: `l` of `l`, `l[1]`, `l[1,2]`.
fn whole_of<'n>(name: &'n str, wholes: &std::collections::HashSet<&str>) -> &'n str {
    let mut shorter = name;
    while !wholes.contains(shorter) {
        match shorter.rfind('[') {
            Some(at) => shorter = &shorter[..at],
            None => return name,
        }
    }
    shorter
}
