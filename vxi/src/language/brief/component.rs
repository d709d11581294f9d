//! Nodes, storage, routers, access points and links.

use toml::de::DeValue;

use super::section::{Reader, Section, Value, is_plain};
use crate::diagnostic::{one_line, quoted};
use crate::language::vxdl::known_tag;
use crate::language::words::SPACE;
use crate::model::{
    AccessPoint, At, ControlPlane, Cpu, Direction, Endpoint, Link, LoadBalancer, Masquerade, Name, Nat, Node, Per,
    Port, Ports, Resource, Route, Router, RoutingTable, Storage, Tag,
};

const MAX_PORTS: u64 = 65_535;

impl<'t> Reader<'t> {
    fn resource(&mut self, section: &mut Section<'_, 't>, kind: &str) -> Resource {
        let (id, at) = self.id(section, kind);
        let start = self.timestamp(section, "start");
        let total = self.span(section, "total");
        Resource {
            id,
            location: self.name(section, "location"),
            start: start.map(|(start, _)| start),
            total: total.map(|(total, _)| total),
            model: self.string(section, "model"),
            exclusive: self.bool(section, "exclusive"),
            provisioned: self.bool(section, "provisioned"),
            cost: self.cost(section),
            tags: self.tags(section),
            at,
            lease_at: total.map(|(_, at)| at).or(start.map(|(_, at)| at)).unwrap_or(At::NOWHERE),
        }
    }

    /// `tags = { role = "..." }`, or a list of `{ key = "...", value = "..." }` where order or repetition matters.
    fn tags(&mut self, section: &mut Section<'_, 't>) -> Vec<Tag> {
        let Some(value) = section.value("tags") else { return Vec::new() };
        let mut tags = Vec::new();
        match value.get_ref() {
            DeValue::Table(table) => {
                for (key, value) in table {
                    let value = self.tag_text(&section.thing, "tag", value);
                    tags.push((key.span().start, Tag { key: Some(key.get_ref().to_string()), value }));
                }
            }
            _ => {
                for (offset, table) in self.tables(section, "tags") {
                    let mut tag = Section::new(section.thing.clone(), offset, table);
                    let key = self.string(&mut tag, "key");
                    let value = tag.value("value").and_then(|value| self.tag_text(&section.thing, "value", value));
                    self.finish(&tag);
                    tags.push((offset, Tag { key, value }));
                }
            }
        }
        for (offset, tag) in &mut tags {
            let Some(key) = &mut tag.key else { continue };
            if key.trim_matches(SPACE) != key || key.is_empty() || !key.chars().all(is_plain) {
                let wrong = format!("the tag {} has space around it or control characters, or is empty", quoted(key));
                self.wrong(*offset, &section.thing, wrong, "give it a plain key");
            } else if known_tag(key) {
                let wrong = format!("the tag {} has a key of its own in TOML", quoted(key));
                self.wrong(*offset, &section.thing, wrong, "see docs/vxdl.md for it, or use another key");
            }
        }
        tags.into_iter().map(|(_, tag)| tag).collect()
    }

    /// The value of a tag, which may be empty.
    fn tag_text(&mut self, thing: &str, key: &str, value: Value<'_, 't>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) if text.trim_matches(SPACE).is_empty() => Some(String::new()),
            _ => self.text(thing, key, value),
        }
    }

    pub(super) fn node(&mut self, mut section: Section<'_, 't>) -> Node {
        let resource = self.resource(&mut section, "node");
        let made = Node {
            resource,
            devices: self.strings(&mut section, "devices"),
            image: self.string(&mut section, "image"),
            region: self.string(&mut section, "region"),
            memory: self.capacity(&mut section, "memory"),
            storage: self.capacity(&mut section, "storage"),
            cpu: self.table(&mut section, "cpu").map(|cpu| self.cpu(cpu)).unwrap_or_default(),
        };
        self.finish(&section);
        made
    }

    fn cpu(&mut self, mut section: Section<'_, 't>) -> Cpu {
        let made = Cpu {
            architecture: self.string(&mut section, "architecture"),
            cores: self.capacity(&mut section, "cores"),
            frequency: self.capacity(&mut section, "frequency"),
        };
        self.finish(&section);
        made
    }

    pub(super) fn storage(&mut self, mut section: Section<'_, 't>) -> Storage {
        let resource = self.resource(&mut section, "storage");
        let made = Storage {
            resource,
            kind: self.string(&mut section, "type"),
            image: self.string(&mut section, "image"),
            region: self.string(&mut section, "region"),
            size: self.capacity(&mut section, "size"),
        };
        self.finish(&section);
        made
    }

    pub(super) fn router(&mut self, mut section: Section<'_, 't>) -> Router {
        let resource = self.resource(&mut section, "router");
        let made = Router {
            resource,
            region: self.string(&mut section, "region"),
            ports: self.ports(&mut section),
            memory: self.capacity(&mut section, "memory"),
            control: self.table(&mut section, "control").map(|control| self.control(control)),
        };
        self.finish(&section);
        made
    }

    fn ports(&mut self, section: &mut Section<'_, 't>) -> Option<Ports> {
        let at = section.value("ports").map(|value| self.at(value.span().start));
        let count = self.integer(section, "ports", (1, MAX_PORTS));
        let mut map = Vec::new();
        if let Some(table) = self.table(section, "portmap") {
            for (key, offset, value) in table.entries() {
                let number = key.parse().ok().filter(|n| (1..=MAX_PORTS as u32).contains(n));
                let Some(number) = number.filter(|n: &u32| n.to_string() == key) else {
                    let wrong = format!("portmap: {} is no port", quoted(key));
                    self.wrong(offset, &section.thing, wrong, "number ports from 1, like { 1 = \"A\" }");
                    continue;
                };
                if let Some(to) = self.text(&section.thing, "portmap", value) {
                    map.push(Port { number, to: Name::new(to, self.at(value.span().start)) });
                }
            }
            if at.is_none() {
                self.wrong(table.start, &section.thing, "has a portmap and no ports", "say how many: ports = 4");
            }
        }
        map.sort_by_key(|port| port.number);
        Some(Ports { count: count? as u32, map, at: at.unwrap_or_default() })
    }

    fn control(&mut self, mut section: Section<'_, 't>) -> ControlPlane {
        let made = ControlPlane {
            layer: self.string(&mut section, "layer"),
            kind: self.string(&mut section, "type"),
            protocol: self.string(&mut section, "protocol"),
            table: self.table(&mut section, "table").map(|table| self.routing_table(table)),
        };
        self.finish(&section);
        made
    }

    fn routing_table(&mut self, mut section: Section<'_, 't>) -> RoutingTable {
        let at = section.value("size").map(|value| self.at(value.span().start)).unwrap_or_default();
        let size = self.integer(&mut section, "size", (0, u64::from(u32::MAX))).map(|n| n as u32);
        let mut routes = Vec::new();
        for (offset, table) in self.tables(&mut section, "routes") {
            let mut route = Section::new(section.thing.clone(), offset, table);
            let (source, destination) = (self.string(&mut route, "source"), self.string(&mut route, "destination"));
            let (link_in, link_out) = (self.name(&mut route, "in"), self.name(&mut route, "out"));
            for (key, slot) in [("source", &source), ("destination", &destination)] {
                if slot.is_none() && route.value(key).is_none() {
                    self.missing(&route, key, "a route has a source and a destination");
                }
            }
            self.finish(&route);
            if let (Some(source), Some(destination)) = (source, destination) {
                routes.push(Route { source, destination, link_in, link_out });
            }
        }
        self.finish(&section);
        RoutingTable { size, routes, at }
    }

    pub(super) fn access_point(&mut self, mut section: Section<'_, 't>) -> AccessPoint {
        let mut made = AccessPoint {
            resource: self.resource(&mut section, "access point"),
            region: self.string(&mut section, "region"),
            ..AccessPoint::default()
        };
        for (offset, table) in self.tables(&mut section, "load_balancer") {
            let mut balancer = Section::new(section.thing.clone(), offset, table);
            made.load_balancers.push(LoadBalancer {
                endpoints: self.names(&mut balancer, "endpoints"),
                region: self.string(&mut balancer, "region"),
                addresses: self.integer(&mut balancer, "addresses", (0, u64::from(u32::MAX))).map(|n| n as u32),
            });
            self.finish(&balancer);
        }
        for (offset, table) in self.tables(&mut section, "nat") {
            let mut nat = Section::new(section.thing.clone(), offset, table);
            made.nats.push(Nat {
                endpoint: self.name(&mut nat, "endpoint"),
                in_port: self.integer(&mut nat, "in_port", (1, MAX_PORTS)).map(|n| n as u16),
                protocol: self.string(&mut nat, "protocol"),
                region: self.string(&mut nat, "region"),
                out_port: self.integer(&mut nat, "out_port", (1, MAX_PORTS)).map(|n| n as u16),
            });
            self.finish(&nat);
        }
        for (offset, table) in self.tables(&mut section, "masquerade") {
            let mut masquerade = Section::new(section.thing.clone(), offset, table);
            made.masquerades.push(Masquerade {
                endpoints: self.names(&mut masquerade, "endpoints"),
                region: self.string(&mut masquerade, "region"),
            });
            self.finish(&masquerade);
        }
        self.finish(&section);
        made
    }

    pub(super) fn link(&mut self, mut section: Section<'_, 't>) -> Link {
        let resource = self.resource(&mut section, "link");
        let mut made = Link {
            resource,
            source: self.endpoint(&mut section, "from"),
            destination: self.endpoint(&mut section, "to"),
            forward: self.capacity(&mut section, "forward"),
            reverse: self.capacity(&mut section, "reverse"),
            latency: self.capacity(&mut section, "latency"),
            per: self.word(&mut section, "per", &Per::ALL).unwrap_or_default(),
            definition: self.string(&mut section, "definition"),
            direction: Direction::default(),
        };
        if let Some(both) = section.value("bandwidth") {
            if made.forward.is_empty() && made.reverse.is_empty() {
                made.forward = self.capacity(&mut section, "bandwidth");
                made.reverse = made.forward.clone();
            } else {
                let wrong = "has bandwidth, which is both ways, beside forward or reverse";
                self.wrong(both.span().start, &section.thing, wrong, "give forward and reverse, or bandwidth alone");
            }
        }
        let direction = self.word(&mut section, "direction", &Direction::ALL);
        self.finish(&section);
        Link { direction: direction.unwrap_or_else(|| made.implied_direction()), ..made }
    }

    /// `"A"`, or `{ id = "B", port = 2, interface = "eth0" }`.
    fn endpoint(&mut self, section: &mut Section<'_, 't>, key: &'static str) -> Endpoint {
        let Some(value) = section.value(key) else {
            self.missing(section, key, &format!("say where it ends: {key} = \"...\" with the id of a component"));
            return Endpoint::default();
        };
        let DeValue::Table(table) = value.get_ref() else {
            let text = self.text(&section.thing, key, value);
            let component = text.map(|text| Name::new(text, self.at(value.span().start)));
            return Endpoint { component: component.unwrap_or_default(), ..Endpoint::default() };
        };
        let thing = format!("{} ({key})", one_line(&section.thing));
        let mut end = Section::new(thing, value.span().start, table);
        if end.value("id").is_none() {
            self.missing(&end, "id", "name the component that the link ends at");
        }
        let port_at = end.value("port").map(|value| self.at(value.span().start)).unwrap_or_default();
        let made = Endpoint {
            component: self.name(&mut end, "id").unwrap_or_default(),
            port: self.integer(&mut end, "port", (1, MAX_PORTS)).map(|n| n as u32),
            port_at,
            interface: self.string(&mut end, "interface"),
        };
        self.finish(&end);
        made
    }
}
