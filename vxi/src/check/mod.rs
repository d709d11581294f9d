//! What the schema of VXDL cannot say: that names resolve, amounts make sense, ports are free, time goes forward.
//!
//! The checks look at the model alone, so they are the same for every syntax, and for what a program made. They must
//! cost little next to reading: each component and link is looked at a constant number of times, however hostile.

mod anchors;
mod capacities;
mod ports;
mod time;

use std::collections::HashMap;
use std::path::Path;

use crate::diagnostic::{Diagnostics, Mistakes, nearest, one_line, quoted};
use crate::model::index::each;
use crate::model::{
    AccessPoint, Array, At, Component, Components, Endpoint, Index, Link, MAX_ELEMENTS, Name, Router,
    VirtualInfrastructure,
};

/// Names that are compared with one that does not resolve, to say which was meant.
const CANDIDATES: usize = 2_000;

/// What the short syntax calls the periods that have no value of their own, so no event can be called so.
pub(crate) const OTHERWISE: &str = "otherwise";

/// Checks an infrastructure, such as one that a program made.
///
/// # Errors
/// Every mistake that is in it.
pub fn check(infrastructure: &VirtualInfrastructure) -> Result<(), Diagnostics> {
    let file: &Path = if infrastructure.origin.0.as_os_str().is_empty() {
        Path::new(&infrastructure.id)
    } else {
        &infrastructure.origin.0
    };
    let mut mistakes = Mistakes::new("", file);
    check_into(infrastructure, &mut mistakes);
    mistakes.finish().map_or(Ok(()), Err)
}

/// Checks an infrastructure and adds what is wrong to what the reader found.
pub(crate) fn check_into(infrastructure: &VirtualInfrastructure, mistakes: &mut Mistakes<'_>) {
    let index = Index::build(infrastructure, |first, second| {
        // A component without a name is told by the reader.
        if !second.id().is_empty() {
            let place = first.at().0.map_or(String::new(), |place| format!(" (line {})", place.line));
            let wrong = format!("the {}{place} has the same id", first.kind());
            mistakes.add(second.at(), named(second.kind(), second.id()), wrong, "give each component an id of its own");
        }
    });
    let events = infrastructure.timeline.events.iter().enumerate().map(|(n, event)| (event.id.as_str(), n)).collect();
    let mut check = Check { infrastructure, index, events, mistakes };
    check.whole();
    check.timeline();
    check.anchors();
    check.components(&infrastructure.components, 1);
    for array in &infrastructure.arrays {
        check.array(array);
        check.components(&array.members, array.cardinality);
    }
    check.ports();
}

/// An infrastructure that is being checked.
struct Check<'c, 'm, 't> {
    infrastructure: &'m VirtualInfrastructure,
    index: Index<'m>,
    /// Events by name, with their number in the timeline.
    events: HashMap<&'m str, usize>,
    mistakes: &'c mut Mistakes<'t>,
}

/// What messages call a component.
fn named(kind: &str, id: &str) -> String {
    format!("{kind} {}", one_line(id)).trim_end().to_owned()
}

impl<'m> Check<'_, 'm, '_> {
    fn whole(&mut self) {
        let infrastructure = self.infrastructure;
        let thing = named("infrastructure", &infrastructure.id);
        if infrastructure.components.vertices() == 0 && infrastructure.arrays.is_empty() && self.mistakes.is_empty() {
            let remedy = "add at least one node, storage, router, access point or array";
            self.mistakes.add(infrastructure.at, &thing, "it has no component", remedy);
        }
        let of = |array: &Array| array.members.vertices() as u64 * u64::from(array.cardinality);
        let elements = infrastructure.arrays.iter().map(of).fold(0, u64::saturating_add);
        if elements > MAX_ELEMENTS as u64 {
            let largest = infrastructure.arrays.iter().max_by_key(|array| of(array));
            let at = largest.map_or(infrastructure.at, |array| array.at);
            let wrong = format!("its arrays have {elements} elements together");
            self.mistakes.add(at, &thing, wrong, format!("keep them to {MAX_ELEMENTS}: lower a cardinality"));
        }
    }

    fn array(&mut self, array: &'m Array) {
        let thing = named("array", &array.id);
        self.id(&thing, &array.id, array.at);
        if array.cardinality == 0 {
            self.mistakes.add(array.at, &thing, "its cardinality is 0", "give at least 1, or take the array out");
        }
        if array.members.vertices() == 0 {
            let remedy = "add what is there so many times: a node, storage, router or access point";
            self.mistakes.add(array.at, &thing, "it has no member", remedy);
        }
    }

    /// `n`: how many there are of each.
    fn components(&mut self, components: &'m Components, n: u32) {
        each(components, |id, component| {
            let Some(resource) = component.resource() else { return };
            self.resource(component, id, resource.at);
            match component {
                Component::Node(node) => {
                    let cpu = &node.cpu;
                    self.capacity(component, "memory", &node.memory, n);
                    self.capacity(component, "storage", &node.storage, n);
                    self.capacity(component, "cores", &cpu.cores, n);
                    self.capacity(component, "frequency", &cpu.frequency, 1);
                }
                Component::Storage(storage) => self.capacity(component, "size", &storage.size, n),
                Component::Router(router) => {
                    self.capacity(component, "memory", &router.memory, n);
                    self.router(router);
                }
                Component::AccessPoint(access_point) => self.access_point(access_point),
                Component::Link(link) => {
                    self.capacity(component, "forward bandwidth", &link.forward, n);
                    self.capacity(component, "reverse bandwidth", &link.reverse, n);
                    self.capacity(component, "latency", &link.latency, 1);
                    self.link(link);
                }
                Component::Array(_) => {}
            }
        });
    }

    fn resource(&mut self, component: Component<'m>, id: &'m str, at: At) {
        let Some(resource) = component.resource() else { return };
        if id.is_empty() || id.bytes().any(|b| !(0x21..0x7f).contains(&b)) {
            self.id(&named(component.kind(), id), id, at);
        }
        if let Some((base, n)) = id.strip_suffix(']').and_then(|rest| rest.split_once('[')) {
            // Elements of arrays are called so once they are expanded.
            let member = self.index.get(base).and_then(|found| found.array);
            let taken = member.is_some_and(|of| n.parse::<u32>().is_ok_and(|n| (1..=of.cardinality).contains(&n)));
            if taken {
                let wrong = format!("an element of the array's member {} has the same id", quoted(base));
                self.mistakes.add(at, named(component.kind(), id), wrong, "give it an id of its own");
            }
        }
        for tag in &resource.tags {
            if tag.key.is_none() && tag.value.is_none() {
                let wrong = "a tag has neither key nor value";
                self.mistakes.add(at, named(component.kind(), id), wrong, "give it a key, or take it out");
            }
        }
        self.lease(component);
    }

    /// Ids stand in port maps, tables and graphs.
    fn id(&mut self, thing: &str, id: &str, at: At) {
        if id.is_empty() {
            // The readers tell that it is missing.
        } else if id.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let wrong = format!("the id {} has a space", quoted(id));
            self.mistakes.add(at, thing, wrong, "write it without, with - or _ instead");
        }
    }

    fn link(&mut self, link: &'m Link) {
        let thing = || named("link", &link.resource.id);
        for (what, end) in [("source", &link.source), ("destination", &link.destination)] {
            self.endpoint(link, what, end);
        }
        let (source, destination) = (&link.source.component, &link.destination.component);
        if source == destination && !source.is_empty() && self.index.get(source).is_some_and(|found| found.count() == 1)
        {
            let wrong = format!("both ends are {}", quoted(source));
            self.mistakes.add(destination.at, thing(), wrong, "link two components, or take the link out");
        }
        use crate::model::Direction::{Both, Forward, Reverse};
        let against = match (link.direction, link.implied_direction()) {
            (Forward, _) if !link.reverse.is_empty() => Some((link.reverse.at(), "reverse")),
            (Reverse, _) if !link.forward.is_empty() => Some((link.forward.at(), "forward")),
            (Both, Forward | Reverse) | (Forward | Reverse | Both, _) => None,
        };
        if let Some((at, way)) = against {
            let wrong = format!("it is said to carry {} alone, and has {way} bandwidth", link.direction.word());
            self.mistakes.add(at, thing(), wrong, "take one of the two out");
        }
    }

    fn endpoint(&mut self, link: &'m Link, what: &str, end: &'m Endpoint) {
        let thing = || named("link", &link.resource.id);
        if end.component.is_empty() {
            return;
        }
        let Some(found) = self.index.get(&end.component) else {
            return self.unresolved(&thing(), what, &end.component, "component");
        };
        if !found.component.is_vertex() {
            let wrong = format!("its {what} {} is a link", quoted(&end.component));
            self.mistakes.add(end.component.at, thing(), wrong, "name the component that the link ends at");
        }
        if end.interface.is_some() && !matches!(found.component, Component::Node(_) | Component::Array(_)) {
            let kind = found.component.kind();
            let wrong = format!("its {what} {} is a {kind}, which has no interfaces", quoted(&end.component));
            self.mistakes.add(end.component.at, thing(), wrong, "give a port, or take the interface out");
        }
    }

    /// A name that means nothing.
    fn unresolved(&mut self, thing: &str, what: &str, name: &Name, kind: &str) {
        let whole = self.infrastructure;
        let parts = std::iter::once(&whole.components).chain(whole.arrays.iter().map(|array| &array.members));
        let ids = parts.flat_map(Components::resources).map(|resource| resource.id.as_str());
        let ids = whole.arrays.iter().map(|array| array.id.as_str()).chain(ids);
        let remedy = match nearest(name, ids.take(CANDIDATES)) {
            Some(meant) => format!("did you mean {}?", quoted(meant)),
            None => format!("name a {kind} of this infrastructure, or add it"),
        };
        self.mistakes.add(name.at, thing, format!("{what}: there is no {kind} {}", quoted(name)), remedy);
    }

    fn router(&mut self, router: &'m Router) {
        let thing = || named("router", &router.resource.id);
        let Some(table) = router.control.as_ref().and_then(|control| control.table.as_ref()) else { return };
        for (what, name) in table
            .routes
            .iter()
            .flat_map(|route| [("a route's vLinkIn", &route.link_in), ("a route's vLinkOut", &route.link_out)])
        {
            let Some(name) = name else { continue };
            match self.index.get(name) {
                None => self.unresolved(&thing(), what, name, "link"),
                Some(found) if found.component.is_vertex() => {
                    let wrong = format!("{what} {} is a {}", quoted(name), found.component.kind());
                    self.mistakes.add(name.at, thing(), wrong, "name a link");
                }
                Some(_) => {}
            }
        }
        if let Some(size) = table.size.filter(|&size| (size as usize) < table.routes.len()) {
            let wrong = format!("its routing table has room for {size} routes, and {} are given", table.routes.len());
            let at = if table.at.0.is_some() { table.at } else { router.resource.at };
            self.mistakes.add(at, thing(), wrong, "raise rtSize, or take routes out");
        }
    }

    fn access_point(&mut self, access_point: &'m AccessPoint) {
        let thing = named("access point", &access_point.resource.id);
        let balanced = access_point.load_balancers.iter().flat_map(|balancer| &balancer.endpoints);
        let hidden = access_point.masquerades.iter().flat_map(|masquerade| &masquerade.endpoints);
        let handed = access_point.nats.iter().filter_map(|nat| nat.endpoint.as_ref());
        for name in balanced.chain(hidden).chain(handed) {
            match self.index.get(name) {
                None => self.unresolved(&thing, "inEndpoint", name, "component"),
                Some(found) if !found.component.is_vertex() => {
                    let wrong = format!("inEndpoint {} is a link", quoted(name));
                    self.mistakes.add(name.at, &thing, wrong, "name the component behind it");
                }
                Some(_) => {}
            }
        }
        if access_point.nats.iter().any(|nat| nat.in_port == Some(0) || nat.out_port == Some(0)) {
            self.mistakes.add(access_point.resource.at, &thing, "a nat has the port 0", "give 1 to 65535");
        }
    }
}
