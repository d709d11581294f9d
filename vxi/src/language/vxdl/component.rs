//! `vNode`, `vStorage`, `vRouter`, `vAccessPoint` and `vLink`.

use super::tree::Element;

use super::element::{Dialect, Reader};
use super::tags::TagOwner;
use crate::model::{
    AccessPoint, Capacity, ControlPlane, Cpu, Direction, Endpoint, Link, LoadBalancer, Masquerade, Name, Nat, Node,
    Resource, Route, Router, RoutingTable, Storage,
};

/// What every component may have.
const RESOURCE: [&str; 7] = ["id", "location", "startDate", "totalTime", "model", "exclusivity", "tag"];

/// The part of a component that is read before it is known whole.
#[derive(Default)]
struct Common {
    id: Option<Name>,
    exclusive: Option<bool>,
    resource: Resource,
}

impl<'t> Reader<'t> {
    /// Reads what every component may have, or tells that the element does not belong here.
    fn common(&mut self, child: Element<'_, 't>, common: &mut Common, owner: &mut TagOwner<'_>, own: &[&str]) {
        let resource = &mut common.resource;
        match child.name() {
            "id" if self.dialect == Dialect::Forum => self.set_name(&mut common.id, child),
            "location" => self.set_name(&mut resource.location, child),
            "startDate" => self.set_timestamp(&mut resource.start, &mut resource.lease_at, child),
            "totalTime" => self.set_duration(&mut resource.total, &mut resource.lease_at, child),
            "model" => self.set_text(&mut resource.model, child),
            "exclusivity" => self.set_bool(&mut common.exclusive, child),
            "tag" => self.tag(child, resource, owner),
            _ => {
                let known: Vec<&str> = RESOURCE.iter().chain(own).copied().collect();
                self.unknown(child, &known);
            }
        }
    }

    fn resource(&mut self, element: Element<'_, 't>, common: Common) -> Resource {
        let Common { id, exclusive, resource } = common;
        let id = id.or_else(|| self.attribute_id(element)).unwrap_or_else(|| {
            let remedy = match self.dialect {
                Dialect::Forum => "add an <id> of its own",
                Dialect::Aurora => "add an attribute id=\"...\" of its own",
            };
            self.missing(element, "id", remedy);
            Name::new("", self.at(element))
        });
        Resource { id: id.text, at: id.at, exclusive: exclusive.unwrap_or(false), ..resource }
    }

    pub(super) fn node(&mut self, element: Element<'_, 't>) -> Node {
        let (mut made, mut common, mut cpu) = (Node::default(), Common::default(), None);
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "interface" if self.dialect == Dialect::Aurora => {
                    let tag = self.interface(child);
                    common.resource.tags.extend(tag);
                }
                "device" => made.devices.extend(self.filled(child).map(|text| text.text.into_owned())),
                "image" => self.set_text(&mut made.image, child),
                "region" => self.set_text(&mut made.region, child),
                "memory" => self.capacity(child, &mut made.memory),
                "storage" => self.capacity(child, &mut made.storage),
                "cpu" => {
                    let read = Some(self.cpu(child));
                    self.once(&mut cpu, child, read);
                }
                _ => {
                    let own = ["device", "image", "region", "memory", "storage", "cpu"];
                    self.common(child, &mut common, &mut TagOwner::Other("node"), &own);
                }
            }
        }
        Node { resource: self.resource(element, common), cpu: cpu.unwrap_or_default(), ..made }
    }

    fn cpu(&mut self, element: Element<'_, 't>) -> Cpu {
        let mut made = Cpu::default();
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "architecture" => self.set_text(&mut made.architecture, child),
                "cores" => self.capacity(child, &mut made.cores),
                "frequency" => self.capacity(child, &mut made.frequency),
                _ => self.unknown(child, &["architecture", "cores", "frequency"]),
            }
        }
        made
    }

    pub(super) fn storage(&mut self, element: Element<'_, 't>) -> Storage {
        let (mut made, mut common) = (Storage::default(), Common::default());
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "type" => self.set_text(&mut made.kind, child),
                "image" => self.set_text(&mut made.image, child),
                "region" => self.set_text(&mut made.region, child),
                "size" => self.capacity(child, &mut made.size),
                _ => {
                    let own = ["type", "image", "region", "size"];
                    self.common(child, &mut common, &mut TagOwner::Other("storage"), &own);
                }
            }
        }
        Storage { resource: self.resource(element, common), ..made }
    }

    pub(super) fn router(&mut self, element: Element<'_, 't>) -> Router {
        let (mut made, mut common) = (Router::default(), Common::default());
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "region" => self.set_text(&mut made.region, child),
                "memory" => self.capacity(child, &mut made.memory),
                "controlPlane" => {
                    let read = match self.dialect {
                        Dialect::Forum => self.control_plane(child),
                        Dialect::Aurora => self.aurora_control_plane(child, &mut common.resource.tags),
                    };
                    self.once(&mut made.control, child, Some(read));
                }
                _ => {
                    let own = ["region", "memory", "controlPlane"];
                    self.common(child, &mut common, &mut TagOwner::Router(&mut made), &own);
                }
            }
        }
        if let Some(ports) = made.ports.as_ref().filter(|ports| ports.count == 0 && !ports.map.is_empty()) {
            let wrong = "has a port map, and does not say how many ports it has";
            let name = super::element::thing(element);
            self.mistakes.add(ports.map[0].to.at, name, wrong, "add a tag with key ports and their number");
            made.ports = None;
        }
        Router { resource: self.resource(element, common), ..made }
    }

    fn control_plane(&mut self, element: Element<'_, 't>) -> ControlPlane {
        let mut made = ControlPlane::default();
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "layer" => self.set_text(&mut made.layer, child),
                "type" => self.set_text(&mut made.kind, child),
                "routingProtocol" => self.set_text(&mut made.protocol, child),
                "routingTable" => {
                    let read = Some(self.routing_table(child));
                    self.once(&mut made.table, child, read);
                }
                _ => self.unknown(child, &["layer", "type", "routingProtocol", "routingTable"]),
            }
        }
        made
    }

    fn routing_table(&mut self, element: Element<'_, 't>) -> RoutingTable {
        let mut made = RoutingTable::default();
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "rtSize" => {
                    made.at = self.at(child);
                    let n = self.integer(child, (0, u64::from(u32::MAX))).map(|n| n as u32);
                    self.once(&mut made.size, child, n);
                }
                "route" => {
                    let route = self.route(child);
                    made.routes.extend(route);
                }
                _ => self.unknown(child, &["rtSize", "route"]),
            }
        }
        made
    }

    fn route(&mut self, element: Element<'_, 't>) -> Option<Route> {
        let (mut made, mut source, mut destination) = (Route::default(), None, None);
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "source" => self.set_text(&mut source, child),
                "destination" => self.set_text(&mut destination, child),
                "vLinkIn" => self.set_name(&mut made.link_in, child),
                "vLinkOut" => self.set_name(&mut made.link_out, child),
                _ => self.unknown(child, &["source", "destination", "vLinkIn", "vLinkOut"]),
            }
        }
        for (what, slot) in [("source", &source), ("destination", &destination)] {
            if slot.is_none() {
                self.missing(element, what, format!("add a <{what}>"));
            }
        }
        Some(Route { source: source?, destination: destination?, ..made })
    }

    pub(super) fn access_point(&mut self, element: Element<'_, 't>) -> AccessPoint {
        let (mut made, mut common) = (AccessPoint::default(), Common::default());
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "region" => self.set_text(&mut made.region, child),
                "loadBalancer" => made.load_balancers.push(self.load_balancer(child)),
                "nat" => made.nats.push(self.nat(child)),
                "masquerade" => made.masquerades.push(self.masquerade(child)),
                _ => {
                    let own = ["region", "loadBalancer", "nat", "masquerade"];
                    self.common(child, &mut common, &mut TagOwner::Other("access point"), &own);
                }
            }
        }
        AccessPoint { resource: self.resource(element, common), ..made }
    }

    fn load_balancer(&mut self, element: Element<'_, 't>) -> LoadBalancer {
        let mut made = LoadBalancer::default();
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "inEndpoint" => made.endpoints.extend(self.name(child)),
                "region" => self.set_text(&mut made.region, child),
                "addressNumber" => {
                    let n = self.integer(child, (0, u64::from(u32::MAX))).map(|n| n as u32);
                    self.once(&mut made.addresses, child, n);
                }
                _ => self.unknown(child, &["inEndpoint", "region", "addressNumber"]),
            }
        }
        made
    }

    fn nat(&mut self, element: Element<'_, 't>) -> Nat {
        let mut made = Nat::default();
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "inEndpoint" => self.set_name(&mut made.endpoint, child),
                "protocol" => self.set_text(&mut made.protocol, child),
                "region" => self.set_text(&mut made.region, child),
                "inPort" => {
                    let n = self.integer(child, (1, u64::from(u16::MAX))).map(|n| n as u16);
                    self.once(&mut made.in_port, child, n);
                }
                "outPort" => {
                    let n = self.integer(child, (1, u64::from(u16::MAX))).map(|n| n as u16);
                    self.once(&mut made.out_port, child, n);
                }
                _ => self.unknown(child, &["inEndpoint", "inPort", "protocol", "region", "outPort"]),
            }
        }
        made
    }

    fn masquerade(&mut self, element: Element<'_, 't>) -> Masquerade {
        let mut made = Masquerade::default();
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "inEndpoint" => made.endpoints.extend(self.name(child)),
                "region" => self.set_text(&mut made.region, child),
                _ => self.unknown(child, &["inEndpoint", "region"]),
            }
        }
        made
    }

    pub(super) fn link(&mut self, element: Element<'_, 't>) -> Link {
        let (mut made, mut common) = (Link::default(), Common::default());
        let (mut source, mut destination, mut bandwidth, mut direction) = (None, None, None, None);
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            match child.name() {
                "source" if self.dialect == Dialect::Aurora => {
                    let end = self.aurora_end(child, &mut made.source.interface);
                    self.once(&mut source, child, end);
                }
                "destination" if self.dialect == Dialect::Aurora => {
                    let end = self.aurora_end(child, &mut made.destination.interface);
                    self.once(&mut destination, child, end);
                }
                "source" => self.set_name(&mut source, child),
                "destination" => self.set_name(&mut destination, child),
                "bandwidth" => {
                    self.once(&mut bandwidth, child, Some(()));
                    self.bandwidth(child, &mut made);
                }
                "latency" => self.capacity(child, &mut made.latency),
                _ => {
                    let own = ["source", "destination", "bandwidth", "latency"];
                    let mut owner = TagOwner::Link(&mut made, &mut direction);
                    self.common(child, &mut common, &mut owner, &own);
                }
            }
        }
        for (what, slot) in [("source", &source), ("destination", &destination)] {
            if slot.is_none() {
                self.missing(element, what, format!("add a <{what}> with the id of a component"));
            }
        }
        let end =
            |read: Option<Name>, from_tags: Endpoint| Endpoint { component: read.unwrap_or_default(), ..from_tags };
        let direction: Option<Direction> = direction;
        Link {
            resource: self.resource(element, common),
            source: end(source, std::mem::take(&mut made.source)),
            destination: end(destination, std::mem::take(&mut made.destination)),
            direction: direction.unwrap_or_else(|| made.implied_direction()),
            ..made
        }
    }

    fn bandwidth(&mut self, element: Element<'_, 't>, link: &mut Link) {
        let before = link.forward.steps.len() + link.reverse.steps.len();
        let mut next = element.first_child();
        let mut any = false;
        while let Some(child) = self.next(&mut next) {
            let way: &mut Capacity<_> = match child.name() {
                "forward" => &mut link.forward,
                "reverse" => &mut link.reverse,
                _ => {
                    self.unknown(child, &["forward", "reverse"]);
                    continue;
                }
            };
            any = true;
            self.capacity(child, way);
        }
        if !any && before == link.forward.steps.len() + link.reverse.steps.len() {
            self.missing(element, "way", "add <forward>, <reverse> or both");
        }
    }
}
