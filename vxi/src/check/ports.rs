//! Ports of routers: numbers within their count, one link a port and period, port maps that agree with the links.

use std::collections::HashMap;

use super::{Check, named};
use crate::diagnostic::quoted;
use crate::model::{BitsPerSecond, Capacity, Component, Components, Endpoint, Link, Port, Ports, Router};

/// What uses a port: by period, and throughout.
#[derive(Default)]
struct Use<'m> {
    throughout: Option<&'m Link>,
    periods: HashMap<&'m str, &'m Link>,
}

impl<'m> Use<'m> {
    /// Any link that uses it in one of the periods; with none, at any time.
    fn in_the_way(&self, periods: Option<&[&'m str]>) -> Option<&'m Link> {
        self.throughout.or_else(|| match periods {
            None => self.periods.values().copied().min_by_key(|link| link.resource.at.0),
            Some(periods) => periods.iter().find_map(|period| self.periods.get(period)).copied(),
        })
    }
}

impl<'m> Check<'_, 'm, '_> {
    pub(super) fn ports(&mut self) {
        let infrastructure = self.infrastructure;
        let mut uses = HashMap::new();
        let arrays = infrastructure.arrays.iter().map(|array| &array.members);
        let mut routers = Vec::new();
        for components in std::iter::once(&infrastructure.components).chain(arrays) {
            routers.extend(&components.routers);
            self.links_at_ports(components, &mut uses);
        }
        for router in routers {
            if let Some(ports) = &router.ports {
                self.port_map(router, ports);
            }
        }
    }

    fn links_at_ports(&mut self, components: &'m Components, uses: &mut HashMap<(&'m str, u32), Use<'m>>) {
        for link in &components.links {
            for (what, end, other) in
                [("source", &link.source, &link.destination), ("destination", &link.destination, &link.source)]
            {
                if let Some(port) = end.port {
                    self.port(link, what, (end, port), other, uses);
                }
            }
        }
    }

    fn port(
        &mut self,
        link: &'m Link,
        what: &str,
        (end, number): (&'m Endpoint, u32),
        other: &'m Endpoint,
        uses: &mut HashMap<(&'m str, u32), Use<'m>>,
    ) {
        let thing = || named("link", &link.resource.id);
        let Some(found) = self.index.get(&end.component) else { return };
        let Component::Router(router) = found.component else {
            let wrong =
                format!("its {what} {} is a {}, which has no ports", quoted(&end.component), found.component.kind());
            self.mistakes.add(end.port_at, thing(), wrong, "take the port out, or end the link at a router");
            return;
        };
        if number == 0 {
            let wrong = format!("its {what} is port 0 of router {}", quoted(&end.component));
            self.mistakes.add(end.port_at, thing(), wrong, "ports are numbered from 1");
        }
        if let Some(ports) = &router.ports {
            if number > ports.count {
                let wrong =
                    format!("router {} has {} ports, and no port {number}", quoted(&end.component), ports.count);
                self.mistakes.add(end.port_at, thing(), wrong, "give a port that it has, or give it more ports");
            } else if let Ok(nth) = ports.map.binary_search_by_key(&number, |port| port.number)
                && *ports.map[nth].to != *other.component
                // What does not resolve is told where it stands.
                && self.index.get(&other.component).is_some()
                && self.index.get(&ports.map[nth].to).is_some()
            {
                let wrong = format!(
                    "it joins port {number} of router {} to {}, which the port map says leads to {}",
                    quoted(&end.component),
                    quoted(&other.component),
                    quoted(&ports.map[nth].to)
                );
                self.mistakes.add(end.port_at, thing(), wrong, "change the port map or the port");
            }
        }
        let periods = periods(link);
        let taken = uses.entry((&router.resource.id, number)).or_default();
        if let Some(first) = taken.in_the_way(periods.as_deref()) {
            let wrong = format!(
                "port {number} of router {} is taken at the same time by link {}",
                quoted(&end.component),
                quoted(&first.resource.id)
            );
            self.mistakes.add(end.port_at, thing(), wrong, "give each link a port of its own, or another period");
            return;
        }
        match periods {
            None => taken.throughout = Some(link),
            Some(periods) => taken.periods.extend(periods.into_iter().map(|period| (period, link))),
        }
    }

    fn port_map(&mut self, router: &'m Router, ports: &'m Ports) {
        let thing = || named("router", &router.resource.id);
        let mut before = 0;
        for Port { number, to } in &ports.map {
            if *number == before {
                let wrong = format!("its port map has port {number} twice");
                self.mistakes.add(to.at, thing(), wrong, "name what is behind each port once");
            }
            before = *number;
            if *number == 0 || *number > ports.count {
                let wrong = format!("its port map has port {number}, and it has {} ports", ports.count);
                self.mistakes.add(to.at, thing(), wrong, format!("number its ports from 1 to {}", ports.count));
            }
            match self.index.get(to) {
                None => self.unresolved(&thing(), "portmap", to, "component"),
                Some(found) if !found.component.is_vertex() => {
                    let wrong = format!("its port map leads to {}, a link", quoted(to));
                    self.mistakes.add(to.at, thing(), wrong, "name the component at the other end of the link");
                }
                Some(_) => {}
            }
        }
    }
}

/// The periods in which a link carries something; none: it may at any time.
fn periods(link: &Link) -> Option<Vec<&str>> {
    if link.forward.is_empty() && link.reverse.is_empty() {
        return None;
    }
    let mut periods = Vec::new();
    for step in [&link.forward, &link.reverse].into_iter().flat_map(|way: &Capacity<BitsPerSecond>| &way.steps) {
        let nothing = step.amount.most() == Some(BitsPerSecond(0));
        match &step.event {
            _ if nothing => {}
            None => return None,
            Some(event) => periods.push(event.text.as_str()),
        }
    }
    Some(periods)
}
