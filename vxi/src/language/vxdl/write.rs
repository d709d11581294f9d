//! Writes VXDL 2.0 in its canonical form: one order, one indentation, the largest unit in which amounts are whole.

use std::fmt::Write;

use super::NAMESPACE;
use crate::language::words::{Decimal, duration};
use crate::model::quantity::unit_for;
use crate::model::{
    AccessPoint, Amount, Array, Capacity, Components, ControlPlane, Endpoint, Link, Nanos, Node, Per, Ports, Quantity,
    Resource, Router, Storage, Timeline, VirtualInfrastructure,
};

/// The canonical VXDL of an infrastructure. Reading it gives an equal one.
pub fn write(infrastructure: &VirtualInfrastructure) -> String {
    let mut w = Writer { out: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"), depth: 0 };
    w.line(&format!("<description xmlns=\"{NAMESPACE}\">"));
    w.depth += 1;
    w.element("virtualInfrastructure", |w| {
        w.leaf("id", &infrastructure.id);
        w.some("location", infrastructure.location.as_deref());
        w.some("startDate", infrastructure.start.map(|start| start.to_string()).as_deref());
        w.some("totalTime", infrastructure.total.map(duration).as_deref());
        w.some("owner", infrastructure.owner.as_deref());
        infrastructure.users.iter().for_each(|user| w.leaf("user", user));
        w.vertices(&infrastructure.components);
        infrastructure.arrays.iter().for_each(|array| w.array(array));
        infrastructure.components.links.iter().for_each(|link| w.link(link));
        w.timeline(&infrastructure.timeline);
    });
    w.depth -= 1;
    w.line("</description>");
    w.out
}

struct Writer {
    out: String,
    depth: usize,
}

impl Writer {
    fn indent(&mut self) {
        for _ in 0..self.depth {
            self.out.push_str("  ");
        }
    }

    fn line(&mut self, text: &str) {
        self.indent();
        self.out.push_str(text);
        self.out.push('\n');
    }

    fn leaf(&mut self, name: &str, text: &str) {
        self.indent();
        let _ = write!(self.out, "<{name}>");
        for c in text.chars() {
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                c => self.out.push(c),
            }
        }
        let _ = writeln!(self.out, "</{name}>");
    }

    fn some(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.leaf(name, text);
        }
    }

    /// An element with others within.
    fn element(&mut self, name: &str, within: impl FnOnce(&mut Self)) {
        self.line(&format!("<{name}>"));
        self.depth += 1;
        within(self);
        self.depth -= 1;
        self.line(&format!("</{name}>"));
    }

    /// As [`Self::element`], but nothing at all if there would be nothing within.
    fn group(&mut self, name: &str, within: impl FnOnce(&mut Self)) {
        let before = self.out.len();
        self.line(&format!("<{name}>"));
        let opened = self.out.len();
        self.depth += 1;
        within(self);
        self.depth -= 1;
        if self.out.len() == opened {
            self.out.truncate(before);
        } else {
            self.line(&format!("</{name}>"));
        }
    }

    fn tag(&mut self, key: Option<&str>, value: Option<&str>) {
        self.element("tag", |w| {
            w.some("key", key);
            w.some("value", value);
        });
    }

    fn tag_some(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.tag(Some(key), Some(&value));
        }
    }

    fn capacity<Q: Quantity>(&mut self, name: &str, capacity: &Capacity<Q>) {
        for step in &capacity.steps {
            self.element(name, |w| {
                let unit = unit_for(&step.amount.quantities());
                let scale = unit.map_or(1, |(_, scale)| scale);
                w.some("unit", unit.map(|(unit, _)| unit));
                w.some("event", step.event.as_deref());
                let number = |q: &Q| (q.base() / scale).to_string();
                match &step.amount {
                    Amount::Exactly(q) => w.leaf("simple", &number(q)),
                    Amount::Range { min, max } => w.element("interval", |w| {
                        w.some("min", min.as_ref().map(number).as_deref());
                        w.some("max", max.as_ref().map(number).as_deref());
                    }),
                    Amount::OneOf(all) => all.iter().for_each(|q| w.leaf("set", &number(q))),
                    Amount::Scale { min, max, step } => w.element("scale", |w| {
                        w.leaf("min", &number(min));
                        w.leaf("max", &number(max));
                        w.leaf("step", &number(step));
                    }),
                }
            });
        }
    }

    fn resource(&mut self, resource: &Resource) {
        self.leaf("id", &resource.id);
        self.some("location", resource.location.as_deref());
        self.some("startDate", resource.start.map(|start| start.to_string()).as_deref());
        self.some("totalTime", resource.total.map(duration).as_deref());
        self.some("model", resource.model.as_deref());
        if resource.exclusive {
            self.leaf("exclusivity", "true");
        }
        if resource.provisioned {
            self.tag(Some("provisioned"), Some("true"));
        }
        self.tag_some("cost", resource.cost.map(|cost| cost.to_string()));
        resource.tags.iter().for_each(|tag| self.tag(tag.key.as_deref(), tag.value.as_deref()));
    }

    fn vertices(&mut self, components: &Components) {
        components.nodes.iter().for_each(|node| self.node(node));
        components.storages.iter().for_each(|storage| self.storage(storage));
        components.routers.iter().for_each(|router| self.router(router));
        components.access_points.iter().for_each(|access_point| self.access_point(access_point));
    }

    fn array(&mut self, array: &Array) {
        self.element("vArray", |w| {
            w.leaf("id", &array.id);
            w.some("location", array.location.as_deref());
            w.leaf("cardinality", &array.cardinality.to_string());
            w.vertices(&array.members);
            array.members.links.iter().for_each(|link| w.link(link));
        });
    }

    fn node(&mut self, node: &Node) {
        self.element("vNode", |w| {
            w.resource(&node.resource);
            node.devices.iter().for_each(|device| w.leaf("device", device));
            w.some("image", node.image.as_deref());
            w.some("region", node.region.as_deref());
            w.capacity("memory", &node.memory);
            w.capacity("storage", &node.storage);
            w.group("cpu", |w| {
                w.some("architecture", node.cpu.architecture.as_deref());
                w.capacity("cores", &node.cpu.cores);
                w.capacity("frequency", &node.cpu.frequency);
            });
        });
    }

    fn storage(&mut self, storage: &Storage) {
        self.element("vStorage", |w| {
            w.resource(&storage.resource);
            w.some("type", storage.kind.as_deref());
            w.some("image", storage.image.as_deref());
            w.some("region", storage.region.as_deref());
            w.capacity("size", &storage.size);
        });
    }

    fn router(&mut self, router: &Router) {
        self.element("vRouter", |w| {
            w.resource(&router.resource);
            if let Some(Ports { count, map, .. }) = &router.ports {
                w.tag(Some("ports"), Some(&count.to_string()));
                let entries: Vec<String> = map.iter().map(|port| format!("{}={}", port.number, port.to)).collect();
                if !entries.is_empty() {
                    w.tag(Some("portmap"), Some(&format!("ports {}", entries.join(" "))));
                }
            }
            w.some("region", router.region.as_deref());
            w.capacity("memory", &router.memory);
            if let Some(control) = &router.control {
                w.control_plane(control);
            }
        });
    }

    fn control_plane(&mut self, control: &ControlPlane) {
        self.element("controlPlane", |w| {
            w.some("layer", control.layer.as_deref());
            w.some("type", control.kind.as_deref());
            w.some("routingProtocol", control.protocol.as_deref());
            let Some(table) = &control.table else { return };
            w.element("routingTable", |w| {
                w.some("rtSize", table.size.map(|size| size.to_string()).as_deref());
                for route in &table.routes {
                    w.element("route", |w| {
                        w.leaf("source", &route.source);
                        w.leaf("destination", &route.destination);
                        w.some("vLinkIn", route.link_in.as_deref());
                        w.some("vLinkOut", route.link_out.as_deref());
                    });
                }
            });
        });
    }

    fn access_point(&mut self, access_point: &AccessPoint) {
        self.element("vAccessPoint", |w| {
            w.resource(&access_point.resource);
            w.some("region", access_point.region.as_deref());
            for balancer in &access_point.load_balancers {
                w.element("loadBalancer", |w| {
                    balancer.endpoints.iter().for_each(|endpoint| w.leaf("inEndpoint", endpoint));
                    w.some("region", balancer.region.as_deref());
                    w.some("addressNumber", balancer.addresses.map(|n| n.to_string()).as_deref());
                });
            }
            for nat in &access_point.nats {
                w.element("nat", |w| {
                    w.some("inEndpoint", nat.endpoint.as_deref());
                    w.some("inPort", nat.in_port.map(|port| port.to_string()).as_deref());
                    w.some("protocol", nat.protocol.as_deref());
                    w.some("region", nat.region.as_deref());
                    w.some("outPort", nat.out_port.map(|port| port.to_string()).as_deref());
                });
            }
            for masquerade in &access_point.masquerades {
                w.element("masquerade", |w| {
                    masquerade.endpoints.iter().for_each(|endpoint| w.leaf("inEndpoint", endpoint));
                    w.some("region", masquerade.region.as_deref());
                });
            }
        });
    }

    fn link(&mut self, link: &Link) {
        self.element("vLink", |w| {
            w.resource(&link.resource);
            w.tag_some("definition", link.definition.clone());
            if link.direction != link.implied_direction() {
                w.tag_some("direction", Some(link.direction.word().to_owned()));
            }
            w.tag_some("per", (link.per != Per::default()).then(|| link.per.word().to_owned()));
            for (end, Endpoint { port, interface, .. }) in
                [("source", &link.source), ("destination", &link.destination)]
            {
                w.tag_some(&format!("{end}.port"), port.map(|port| port.to_string()));
                w.tag_some(&format!("{end}.interface"), interface.clone());
            }
            w.leaf("source", &link.source.component);
            w.leaf("destination", &link.destination.component);
            w.group("bandwidth", |w| {
                w.capacity("forward", &link.forward);
                w.capacity("reverse", &link.reverse);
            });
            w.capacity("latency", &link.latency);
        });
    }

    fn timeline(&mut self, timeline: &Timeline) {
        self.group("timeline", |w| {
            for event in &timeline.events {
                w.element("event", |w| {
                    w.leaf("id", &event.id);
                    w.leaf("delay", &Decimal(event.delay.0, Nanos::from_secs(1).0).to_string());
                });
            }
        });
    }
}
