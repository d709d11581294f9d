//! Writes the short syntax in its canonical form.

use std::fmt::Write;

use super::amount::{amount, span};
use crate::check::OTHERWISE;
use crate::model::{
    AccessPoint, Array, Capacity, Components, ControlPlane, Cpu, Endpoint, Link, Name, Node, Per, Quantity, Resource,
    Router, Storage, Tag, VirtualInfrastructure,
};

/// The canonical TOML of an infrastructure. Reading it gives an equal one.
pub fn write(infrastructure: &VirtualInfrastructure) -> String {
    let mut w = Writer { out: String::new() };
    w.string("id", Some(&infrastructure.id));
    w.string("location", infrastructure.location.as_deref());
    w.value("start", infrastructure.start.map(|start| start.to_string()));
    w.value("total", infrastructure.total.map(|total| quote(&span(total))));
    w.string("owner", infrastructure.owner.as_deref());
    w.value("users", list(&infrastructure.users));
    if !infrastructure.timeline.events.is_empty() {
        w.out.push_str("\n[timeline]\n");
        for event in &infrastructure.timeline.events {
            let _ = writeln!(w.out, "{} = {}", key(&event.id), quote(&span(event.delay)));
        }
    }
    w.vertices(&infrastructure.components, "");
    for array in &infrastructure.arrays {
        w.array(array);
    }
    w.links(&infrastructure.components, "");
    w.out
}

struct Writer {
    out: String,
}

/// A string in quotes.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A key, in quotes where it needs them.
fn key(text: &str) -> String {
    let bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { text.to_owned() } else { quote(text) }
}

fn list<T: AsRef<str>>(texts: &[T]) -> Option<String> {
    let quoted: Vec<String> = texts.iter().map(|text| quote(text.as_ref())).collect();
    (!quoted.is_empty()).then(|| format!("[{}]", quoted.join(", ")))
}

fn names(names: &[Name]) -> Option<String> {
    list(&names.iter().map(|name| name.text.as_str()).collect::<Vec<_>>())
}

/// An inline table of the entries that are there; none: there are none.
fn inline(entries: Vec<(&str, Option<String>)>) -> Option<String> {
    let some: Vec<String> = entries.into_iter().filter_map(|(k, v)| v.map(|v| format!("{} = {v}", key(k)))).collect();
    (!some.is_empty()).then(|| format!("{{ {} }}", some.join(", ")))
}

fn inline_or_empty(entries: Vec<(&str, Option<String>)>) -> String {
    inline(entries).unwrap_or_else(|| "{}".into())
}

fn capacity<Q: Quantity>(capacity: &Capacity<Q>) -> Option<String> {
    let value = |amounts: &crate::model::Amount<Q>| match amounts {
        // A bare number needs no quotes; beyond 63 bits TOML has none.
        crate::model::Amount::Exactly(q) if Q::UNITS.is_empty() && i64::try_from(q.base()).is_ok() => {
            q.base().to_string()
        }
        other => quote(&amount(other)),
    };
    match &capacity.steps[..] {
        [] => None,
        [only] if only.event.is_none() => Some(value(&only.amount)),
        steps => {
            let entry = |step: &crate::model::Step<Q>| {
                let event = step.event.as_deref().unwrap_or(OTHERWISE);
                format!("{} = {}", key(event), value(&step.amount))
            };
            Some(format!("{{ {} }}", steps.iter().map(entry).collect::<Vec<_>>().join(", ")))
        }
    }
}

fn tags(tags: &[Tag]) -> Option<String> {
    let text = |text: &Option<String>| text.as_deref().map(quote);
    // A table has no order of its own: it is read in that of its keys.
    let whole = tags.iter().all(|tag| tag.key.is_some() && tag.value.is_some());
    if whole && tags.windows(2).all(|pair| pair[0].key < pair[1].key) {
        return inline(tags.iter().map(|tag| (tag.key.as_deref().unwrap_or(""), text(&tag.value))).collect());
    }
    let entry = |tag: &Tag| inline_or_empty(vec![("key", text(&tag.key)), ("value", text(&tag.value))]);
    Some(format!("[{}]", tags.iter().map(entry).collect::<Vec<_>>().join(", ")))
}

impl Writer {
    fn value(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value {
            let _ = writeln!(self.out, "{key} = {value}");
        }
    }

    fn string(&mut self, key: &str, text: Option<&str>) {
        self.value(key, text.map(quote));
    }

    fn header(&mut self, within: &str, kind: &str) {
        let _ = writeln!(self.out, "\n[[{within}{kind}]]");
    }

    fn resource(&mut self, resource: &Resource) {
        self.string("id", Some(&resource.id));
        self.string("location", resource.location.as_deref());
        self.value("start", resource.start.map(|start| start.to_string()));
        self.value("total", resource.total.map(|total| quote(&span(total))));
        self.string("model", resource.model.as_deref());
        self.value("exclusive", resource.exclusive.then(|| "true".into()));
        self.value("provisioned", resource.provisioned.then(|| "true".into()));
        self.value("cost", resource.cost.map(|cost| quote(&cost.to_string())));
        if !resource.tags.is_empty() {
            self.value("tags", tags(&resource.tags));
        }
    }

    fn vertices(&mut self, components: &Components, within: &str) {
        for node in &components.nodes {
            self.header(within, "node");
            self.node(node);
        }
        for storage in &components.storages {
            self.header(within, "storage");
            self.storage(storage);
        }
        for router in &components.routers {
            self.header(within, "router");
            self.router(router);
        }
        for access_point in &components.access_points {
            self.header(within, "access_point");
            self.access_point(access_point);
        }
    }

    fn array(&mut self, array: &Array) {
        self.header("", "array");
        self.string("id", Some(&array.id));
        self.string("location", array.location.as_deref());
        self.value("cardinality", Some(array.cardinality.to_string()));
        self.vertices(&array.members, "array.");
        self.links(&array.members, "array.");
    }

    fn links(&mut self, components: &Components, within: &str) {
        for link in &components.links {
            self.header(within, "link");
            self.link(link);
        }
    }

    fn node(&mut self, node: &Node) {
        self.resource(&node.resource);
        self.value("devices", list(&node.devices));
        self.string("image", node.image.as_deref());
        self.string("region", node.region.as_deref());
        self.value("memory", capacity(&node.memory));
        self.value("storage", capacity(&node.storage));
        let Cpu { architecture, cores, frequency } = &node.cpu;
        self.value(
            "cpu",
            inline(vec![
                ("architecture", architecture.as_deref().map(quote)),
                ("cores", capacity(cores)),
                ("frequency", capacity(frequency)),
            ]),
        );
    }

    fn storage(&mut self, storage: &Storage) {
        self.resource(&storage.resource);
        self.string("type", storage.kind.as_deref());
        self.string("image", storage.image.as_deref());
        self.string("region", storage.region.as_deref());
        self.value("size", capacity(&storage.size));
    }

    fn router(&mut self, router: &Router) {
        self.resource(&router.resource);
        self.string("region", router.region.as_deref());
        if let Some(ports) = &router.ports {
            self.value("ports", Some(ports.count.to_string()));
            let entries: Vec<String> =
                ports.map.iter().map(|port| format!("{} = {}", port.number, quote(&port.to))).collect();
            self.value("portmap", (!entries.is_empty()).then(|| format!("{{ {} }}", entries.join(", "))));
        }
        self.value("memory", capacity(&router.memory));
        self.value("control", router.control.as_ref().map(control));
    }

    fn access_point(&mut self, access_point: &AccessPoint) {
        self.resource(&access_point.resource);
        self.string("region", access_point.region.as_deref());
        let text = |text: &Option<String>| text.as_deref().map(quote);
        let tables = |tables: Vec<String>| (!tables.is_empty()).then(|| format!("[{}]", tables.join(", ")));
        let balancers = access_point.load_balancers.iter().map(|balancer| {
            inline_or_empty(vec![
                ("endpoints", names(&balancer.endpoints)),
                ("region", text(&balancer.region)),
                ("addresses", balancer.addresses.map(|n| n.to_string())),
            ])
        });
        self.value("load_balancer", tables(balancers.collect()));
        let nats = access_point.nats.iter().map(|nat| {
            inline_or_empty(vec![
                ("endpoint", nat.endpoint.as_deref().map(quote)),
                ("in_port", nat.in_port.map(|port| port.to_string())),
                ("protocol", text(&nat.protocol)),
                ("region", text(&nat.region)),
                ("out_port", nat.out_port.map(|port| port.to_string())),
            ])
        });
        self.value("nat", tables(nats.collect()));
        let masquerades = access_point.masquerades.iter().map(|masquerade| {
            inline_or_empty(vec![("endpoints", names(&masquerade.endpoints)), ("region", text(&masquerade.region))])
        });
        self.value("masquerade", tables(masquerades.collect()));
    }

    fn link(&mut self, link: &Link) {
        self.resource(&link.resource);
        self.string("definition", link.definition.as_deref());
        self.value("from", Some(endpoint(&link.source)));
        self.value("to", Some(endpoint(&link.destination)));
        if link.direction != link.implied_direction() {
            self.string("direction", Some(link.direction.word()));
        }
        if link.forward == link.reverse {
            self.value("bandwidth", capacity(&link.forward));
        } else {
            self.value("forward", capacity(&link.forward));
            self.value("reverse", capacity(&link.reverse));
        }
        self.value("latency", capacity(&link.latency));
        self.string("per", (link.per != Per::default()).then(|| link.per.word()));
    }
}

fn endpoint(end: &Endpoint) -> String {
    if end.port.is_none() && end.interface.is_none() {
        return quote(&end.component);
    }
    inline_or_empty(vec![
        ("id", Some(quote(&end.component))),
        ("port", end.port.map(|port| port.to_string())),
        ("interface", end.interface.as_deref().map(quote)),
    ])
}

fn control(control: &ControlPlane) -> String {
    let text = |text: &Option<String>| text.as_deref().map(quote);
    let name = |name: &Option<Name>| name.as_deref().map(quote);
    let table = control.table.as_ref().map(|table| {
        let route = |route: &crate::model::Route| {
            inline_or_empty(vec![
                ("source", Some(quote(&route.source))),
                ("destination", Some(quote(&route.destination))),
                ("in", name(&route.link_in)),
                ("out", name(&route.link_out)),
            ])
        };
        let routes: Vec<String> = table.routes.iter().map(route).collect();
        inline_or_empty(vec![
            ("size", table.size.map(|size| size.to_string())),
            ("routes", (!routes.is_empty()).then(|| format!("[{}]", routes.join(", ")))),
        ])
    });
    inline_or_empty(vec![
        ("layer", text(&control.layer)),
        ("type", text(&control.kind)),
        ("protocol", text(&control.protocol)),
        ("table", table),
    ])
}
