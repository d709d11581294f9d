//! From the language to the substrate: arrays become machines, events become instants.

use std::collections::HashSet;

use thiserror::Error;

use super::{Amounts, Host, Kind, Link, Measure, Substrate};
use crate::calendar::{Steps, Window};
use crate::embed::problem::MOST;
use crate::model::{
    Amount, Capacity, Direction, ExpandError, Index, Nanos, Quantity, Resource, Timestamp, VirtualInfrastructure,
};

/// Why a description is no substrate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SubstrateError {
    /// Its arrays are too large.
    #[error(transparent)]
    Expand(#[from] ExpandError),
    /// Events or spans without a start.
    #[error(
        "{at}: {what} counts from the start of the substrate, which has none: give {id} a start date, so that it is known \
         when that is"
    )]
    NoStart {
        /// Where.
        at: String,
        /// The substrate.
        id: String,
        /// What needs it.
        what: String,
    },
    /// It is never there.
    #[error(
        "{at}: {id} ends before it begins, or outside the time of its infrastructure: correct its start or duration"
    )]
    Never {
        /// Where.
        at: String,
        /// The component.
        id: String,
    },
    /// A name that two have.
    #[error("{at}: there are two components called {id}: a plan could not tell them apart; rename one")]
    Twice {
        /// Where the second is.
        at: String,
        /// The name.
        id: String,
    },
    /// A link from or to something that is not there.
    #[error("{at}: link {link} ends at {end}, which is no vertex of this substrate: correct the name")]
    NoEnd {
        /// Where.
        at: String,
        /// The link.
        link: String,
        /// The name that does not resolve.
        end: String,
    },
    /// A link with both ends at one host.
    #[error("{at}: link {link} joins {end} with itself: name another end or drop the link")]
    Loop {
        /// Where.
        at: String,
        /// The link.
        link: String,
        /// Its only end.
        end: String,
    },
    /// A link with one way.
    #[error(
        "{at}: link {link} carries one way only, and leases need both: give the bandwidth of the other way as well, or \
         set its direction to both"
    )]
    OneWay {
        /// Where.
        at: String,
        /// The link.
        link: String,
    },
    /// A number that nothing has.
    #[error("{at}: {id} has {has}, more than can be counted ({most} at most): check the unit")]
    TooLarge {
        /// Where.
        at: String,
        /// The component.
        id: String,
        /// What it says.
        has: String,
        /// What would do.
        most: String,
    },
}

impl Substrate {
    /// The substrate that a model describes.
    ///
    /// # Errors
    /// Everything that is wrong with it as a substrate; what is wrong with it as a description is the reader's to say.
    pub fn from_model(model: &VirtualInfrastructure) -> Result<Self, Vec<SubstrateError>> {
        let expanded = model.expand().map_err(|error| vec![error.into()])?;
        let mut reading = Reading { model: &expanded, errors: Vec::new(), out: Self::default() };
        reading.out.id.clone_from(&model.id);
        let whole = reading.whole();
        reading.vertices(whole);
        reading.links(whole);
        if reading.errors.is_empty() { Ok(reading.out) } else { Err(reading.errors) }
    }
}

struct Reading<'m> {
    model: &'m VirtualInfrastructure,
    errors: Vec<SubstrateError>,
    out: Substrate,
}

impl<'m> Reading<'m> {
    fn wrong(&mut self, at: crate::model::At, error: impl FnOnce(String) -> SubstrateError) {
        self.errors.push(error(self.model.written_at(at)));
    }

    fn no_start(&mut self, at: crate::model::At, what: String) {
        let id = self.model.id.clone();
        self.wrong(at, |at| SubstrateError::NoStart { at, id, what });
    }

    /// When the substrate as a whole is there.
    fn whole(&mut self) -> Window {
        let model = self.model;
        match (model.start, model.total) {
            (None, None) => Window::ALWAYS,
            (None, Some(_)) => {
                self.no_start(model.at, "its duration".to_owned());
                Window::ALWAYS
            }
            (Some(start), None) => Window::since(start),
            (Some(start), Some(total)) => match Window::lasting(start, total) {
                Some(window) => window,
                None => {
                    self.wrong(model.at, |at| SubstrateError::Never { at, id: model.id.clone() });
                    Window::ALWAYS
                }
            },
        }
    }

    /// When a component is there.
    fn span(&mut self, resource: &Resource, whole: Window) -> Window {
        let begins = resource.start.unwrap_or(whole.from);
        let own = match resource.total {
            None => Window::new(begins, whole.until),
            Some(_) if begins == Timestamp(i64::MIN) => {
                self.no_start(resource.at, format!("the duration of {}", resource.id));
                Some(whole)
            }
            Some(total) => Window::lasting(begins, total),
        };
        match own.and_then(|own| own.overlap(whole)) {
            Some(window) => window,
            None => {
                self.wrong(resource.at, |at| SubstrateError::Never { at, id: resource.id.clone() });
                whole
            }
        }
    }

    /// A capacity over time, while its component is there.
    fn over_time<Q: Quantity>(
        &mut self,
        resource: &Resource,
        capacity: &Capacity<Q>,
        of: impl Fn(&Amount<Q>) -> Q,
        ceiling: u64,
        there: Window,
    ) -> Steps {
        let mut steps = Steps::default();
        let stepped = capacity.steps.iter().any(|step| step.event.is_some());
        let model = self.model;
        if stepped && model.start.is_none() {
            self.no_start(capacity.at(), format!("a capacity of {} with an event", resource.id));
            return steps;
        }
        let start = model.start.unwrap_or(Timestamp(i64::MIN));
        for period in model.timeline.periods(model.total) {
            let from = if period.start.0 == 0 { Some(there.from.min(start)) } else { start.after(period.start) };
            let until = period.end.and_then(|end| start.after(end));
            let Some(window) = from.and_then(|from| Window::new(from, if stepped { until } else { None })) else {
                continue;
            };
            let amount = capacity.in_period(period.event).map_or(Q::of(0), &of);
            if amount.base() > ceiling {
                let (has, most) = (amount.to_string(), Q::of(ceiling).to_string());
                self.wrong(capacity.at(), |at| SubstrateError::TooLarge { at, id: resource.id.clone(), has, most });
                return steps;
            }
            if let Some(window) = window.overlap(there) {
                steps.set(window, amount.base());
            }
            if !stepped {
                break;
            }
        }
        steps
    }

    fn vertices(&mut self, whole: Window) {
        let model = self.model;
        let index = Index::new(model);
        let mut names = HashSet::new();
        let mut add = |reading: &mut Self, host: Host, at| {
            if !names.insert(host.name.clone()) {
                reading.wrong(at, |at| SubstrateError::Twice { at, id: host.name.clone() });
            }
            reading.out.hosts.push(host);
        };
        for node in &model.components.nodes {
            let (mut host, there) = self.host(&node.resource, Kind::Node, whole, &index);
            host.region.clone_from(&node.region);
            host.architecture.clone_from(&node.cpu.architecture);
            host.devices.clone_from(&node.devices);
            host.frequency = node.cpu.frequency.steps.iter().map(|step| has(&step.amount).0).min();
            let resource = &node.resource;
            host.capacity.cores = self.over_time(resource, &node.cpu.cores, has, Measure::Cores.ceiling(), there);
            host.capacity.memory = self.over_time(resource, &node.memory, has, Measure::Memory.ceiling(), there);
            host.capacity.disk = self.over_time(resource, &node.storage, has, Measure::Disk.ceiling(), there);
            add(self, host, resource.at);
        }
        for storage in &model.components.storages {
            let (mut host, there) = self.host(&storage.resource, Kind::Storage, whole, &index);
            host.region.clone_from(&storage.region);
            host.capacity.disk = self.over_time(&storage.resource, &storage.size, has, Measure::Disk.ceiling(), there);
            add(self, host, storage.resource.at);
        }
        for router in &model.components.routers {
            let (mut host, there) = self.host(&router.resource, Kind::Router, whole, &index);
            host.region.clone_from(&router.region);
            host.capacity.memory =
                self.over_time(&router.resource, &router.memory, has, Measure::Memory.ceiling(), there);
            add(self, host, router.resource.at);
        }
        for access_point in &model.components.access_points {
            let (mut host, _) = self.host(&access_point.resource, Kind::AccessPoint, whole, &index);
            host.region.clone_from(&access_point.region);
            add(self, host, access_point.resource.at);
        }
    }

    fn host(&mut self, resource: &Resource, kind: Kind, whole: Window, index: &Index<'m>) -> (Host, Window) {
        let there = self.span(resource, whole);
        let host = Host {
            name: resource.id.clone(),
            kind,
            site: index.site(self.model, &resource.id).map(str::to_owned),
            there: Steps::during(there, 1),
            provisioned: resource.provisioned,
            cost: resource.cost.map_or(0, |cost| cost.0),
            capacity: Amounts::default(),
            ..Host::default()
        };
        (host, there)
    }

    fn links(&mut self, whole: Window) {
        let model = self.model;
        let hosts = self.out.clone();
        let hosts = hosts.hosts_by_name();
        let mut names = HashSet::new();
        for link in &model.components.links {
            let resource = &link.resource;
            let name = || resource.id.clone();
            if hosts.contains_key(&*resource.id) || !names.insert(&*resource.id) {
                self.wrong(resource.at, |at| SubstrateError::Twice { at, id: name() });
            }
            let ends = [&link.source.component, &link.destination.component];
            let found = ends.map(|end| hosts.get(&**end).copied());
            for (end, found) in ends.iter().zip(found) {
                if found.is_none() {
                    self.wrong(end.at, |at| SubstrateError::NoEnd { at, link: name(), end: end.to_string() });
                }
            }
            let [Some(a), Some(b)] = found else { continue };
            if a == b {
                self.wrong(resource.at, |at| SubstrateError::Loop { at, link: name(), end: ends[0].to_string() });
                continue;
            }
            if link.direction != Direction::Both {
                self.wrong(resource.at, |at| SubstrateError::OneWay { at, link: name() });
                continue;
            }
            let own = self.span(resource, whole);
            // Of two ways of which only one is given the other is the same.
            let [first, second] = match (link.forward.is_empty(), link.reverse.is_empty()) {
                (false, true) => [&link.forward, &link.forward],
                (true, false) => [&link.reverse, &link.reverse],
                _ => [&link.forward, &link.reverse],
            };
            let [first, second] = [first, second].map(|way| self.over_time(resource, way, has, MOST * LINK_GRAIN, own));
            let ends_there = self.out.hosts[a].there.combine(&self.out.hosts[b].there, u64::min);
            let there = Steps::during(own, 1).combine(&ends_there, u64::min);
            let bandwidth = first.combine(&second, u64::min).combine(&there, |bandwidth, there| bandwidth * there);
            let latency = link.latency.steps.iter().map(|step| step.amount.most().unwrap_or(step.amount.least()));
            let latency = latency.max().unwrap_or(Nanos(0));
            if latency.0 > MOST {
                let (has, most) = (latency.to_string(), Nanos(MOST).to_string());
                self.wrong(link.latency.at(), |at| SubstrateError::TooLarge { at, id: name(), has, most });
            }
            self.out.links.push(Link {
                name: name(),
                ends: ends.map(ToString::to_string),
                bandwidth,
                latency,
                there,
                provisioned: resource.provisioned,
                cost: resource.cost.map_or(0, |cost| cost.0),
            });
        }
    }
}

/// Bit/s in one unit of the search.
pub(crate) const LINK_GRAIN: u64 = 1000;

/// What a physical component has for certain; where only an upper bound is said, that.
fn has<Q: Quantity>(amount: &Amount<Q>) -> Q {
    match amount {
        Amount::Range { min: None, max: Some(max) } => *max,
        other => other.least(),
    }
}
