//! What a step says of itself: differences in words, placements in names.

use super::demand::Demand;
use super::ground::{Ground, Path};
use super::moves::{Part, Seated};
use super::plan::{Moved, Placed, Rerouted, Step, link_asks};
use crate::calendar::{Steps, Window};
use crate::model::{BitsPerSecond, Timestamp};
use crate::substrate::{Amounts, Host, Link, Measure, Substrate};

/// How one substrate differs from the one before it. What differs in the past only differs no more.
pub(crate) struct Difference<'a> {
    pub before: &'a Substrate,
    pub after: &'a Substrate,
    pub now: Timestamp,
}

impl Difference<'_> {
    /// What comes, and what grows.
    pub fn coming(&self) -> Vec<Step> {
        let (hosts, links) = (self.before.hosts_by_name(), self.before.links_by_name());
        let mut steps = Vec::new();
        for host in &self.after.hosts {
            match hosts.get(host.name.as_str()).map(|&at| &self.before.hosts[at]) {
                None => steps.push(Step::Add { kind: host.kind.word(), component: host.name.clone() }),
                Some(was) if !self.shrinks_host(was, host) => steps.extend(self.host(was, host)),
                Some(_) => {}
            }
        }
        for link in &self.after.links {
            match links.get(link.name.as_str()).map(|&at| &self.before.links[at]) {
                None => steps.push(Step::Add { kind: "link", component: link.name.clone() }),
                Some(was) if !self.shrinks(&was.bandwidth, &link.bandwidth) => steps.extend(self.link(was, link)),
                Some(_) => {}
            }
        }
        steps
    }

    /// What shrinks or leaves, once nothing is on it that would not fit.
    pub fn going(&self) -> Vec<Step> {
        let (hosts, links) = (self.after.hosts_by_name(), self.after.links_by_name());
        let mut steps = Vec::new();
        for was in &self.before.links {
            match links.get(was.name.as_str()).map(|&at| &self.after.links[at]) {
                None => steps.push(Step::Withdraw { kind: "link", component: was.name.clone() }),
                Some(link) if self.shrinks(&was.bandwidth, &link.bandwidth) => steps.extend(self.link(was, link)),
                Some(_) => {}
            }
        }
        for was in &self.before.hosts {
            match hosts.get(was.name.as_str()).map(|&at| &self.after.hosts[at]) {
                None => steps.push(Step::Withdraw { kind: was.kind.word(), component: was.name.clone() }),
                Some(host) if self.shrinks_host(was, host) => steps.extend(self.host(was, host)),
                Some(_) => {}
            }
        }
        steps
    }

    fn shrinks(&self, was: &Steps, is: &Steps) -> bool {
        was.combine(is, u64::saturating_sub).most(Window::since(self.now)) > 0
    }

    fn shrinks_host(&self, was: &Host, is: &Host) -> bool {
        self.shrinks(&was.there, &is.there)
            || Measure::ALL.into_iter().any(|m| self.shrinks(was.capacity.of(m), is.capacity.of(m)))
    }

    fn host(&self, was: &Host, is: &Host) -> Option<Step> {
        let mut changes: Vec<String> = self.presence(&was.there, &is.there).into_iter().collect();
        if changes.is_empty() {
            let of = |m: Measure| self.first(was.capacity.of(m), is.capacity.of(m), |amount| m.show(amount));
            changes.extend(Measure::ALL.into_iter().filter_map(of));
        }
        let site = |host: &Host| host.site.clone().unwrap_or_else(|| "no site".to_owned());
        if was.site != is.site {
            changes.push(format!("site {} -> {}", site(was), site(is)));
        }
        changes.extend(provision(was.provisioned, is.provisioned));
        let untimed = |host: &Host| Host { there: Steps::default(), capacity: Amounts::default(), ..host.clone() };
        if changes.is_empty() && untimed(was) != untimed(is) {
            changes.push("its description".to_owned());
        }
        let (kind, component) = (is.kind.word(), is.name.clone());
        (!changes.is_empty()).then_some(Step::Alter { kind, component, changes })
    }

    fn link(&self, was: &Link, is: &Link) -> Option<Step> {
        let show = |amount: u64| BitsPerSecond(amount).to_string();
        let mut changes: Vec<String> = self.presence(&was.there, &is.there).into_iter().collect();
        if changes.is_empty() {
            changes.extend(self.first(&was.bandwidth, &is.bandwidth, show));
        }
        if was.latency != is.latency {
            changes.push(format!("latency {} -> {}", was.latency, is.latency));
        }
        changes.extend(provision(was.provisioned, is.provisioned));
        if changes.is_empty() && was.cost != is.cost {
            changes.push("its cost".to_owned());
        }
        (!changes.is_empty()).then_some(Step::Alter { kind: "link", component: is.name.clone(), changes })
    }

    fn presence(&self, was: &Steps, is: &Steps) -> Option<String> {
        let (window, now) = self.apart(was, is)?;
        Some(format!("{} {window}", if now > 0 { "there" } else { "not there any more" }))
    }

    /// The first stretch in which two functions differ, and how.
    fn first(&self, was: &Steps, is: &Steps, show: impl Fn(u64) -> String) -> Option<String> {
        let (window, now) = self.apart(was, is)?;
        let all_along = window == Window::since(self.now);
        let when = if all_along { String::new() } else { format!(" {window}") };
        Some(format!("{} -> {}{when}", show(was.at(window.from)), show(now)))
    }

    fn apart(&self, was: &Steps, is: &Steps) -> Option<(Window, u64)> {
        let apart = was.combine(is, u64::abs_diff);
        let differs = |(piece, by): (Window, u64)| (by > 0).then(|| piece.not_before(self.now))?;
        let window = apart.pieces().find_map(differs)?;
        Some((window, is.at(window.from)))
    }
}

fn provision(was: bool, is: bool) -> Option<String> {
    (was != is).then(|| if is { "is held back from now on" } else { "is not held back any more" }.to_owned())
}

/// The lease that a step is about.
pub(crate) fn lease_of(step: &Step) -> &str {
    match step {
        Step::End { lease, .. }
        | Step::Release { lease }
        | Step::Open { lease, .. }
        | Step::Move { lease, .. }
        | Step::Reroute { lease, .. }
        | Step::Change { lease, .. }
        | Step::Grant { lease, .. } => lease,
        _ => "",
    }
}

fn names(ground: &Ground, paths: &[Path]) -> Vec<Vec<String>> {
    let name = |&host: &usize| ground.during.hosts[host].name.clone();
    paths.iter().map(|path| path.hosts.iter().map(name).collect()).collect()
}

fn rerouted(ground: &Ground, was: Option<&[Path]>, seated: &Seated, link: usize) -> Rerouted {
    Rerouted {
        link: seated.demand.links[link].name.clone(),
        from: was.map(|paths| names(ground, paths)).unwrap_or_default(),
        to: names(ground, &seated.at.routes[link]),
        asks: link_asks(&seated.demand, link),
    }
}

fn moved(ground: &Ground, was: usize, seated: &Seated, node: usize) -> Moved {
    let name = |host: usize| ground.during.hosts[host].name.clone();
    let asked = &seated.demand.nodes[node];
    Moved { node: asked.name.clone(), from: name(was), to: name(seated.at.hosts[node]), bytes: asked.bytes() }
}

fn placed(ground: &Ground, seated: &Seated, node: usize) -> Placed {
    let (asked, host) = (&seated.demand.nodes[node], &ground.during.hosts[seated.at.hosts[node]]);
    Placed {
        node: asked.name.clone(),
        kind: asked.kind.word(),
        host: host.name.clone(),
        site: host.site.clone(),
        asks: asked.peak().show(),
    }
}

/// A node or a link of a lease that asks for the same as before, elsewhere.
pub(crate) fn relocated(ground: &Ground, was: &Seated, is: &Seated, what: Part, reason: &str) -> Step {
    let changes = |&link: &usize| was.at.routes[link] != is.at.routes[link];
    let (lease, reason) = (is.demand.id.clone(), reason.to_owned());
    let path = |link: usize| rerouted(ground, Some(&was.at.routes[link]), is, link);
    match what {
        Part::Link(link) => Step::Reroute { lease, rerouted: path(link), reason },
        Part::Node(node) => {
            let rerouted = (0..is.demand.links.len()).filter(changes).map(path).collect();
            Step::Move { lease, moved: moved(ground, was.at.hosts[node], is, node), rerouted, reason }
        }
    }
}

/// A new lease.
pub(crate) fn granted(ground: &Ground, seated: &Seated) -> Step {
    Step::Grant {
        lease: seated.demand.id.clone(),
        window: seated.demand.window(seated.start),
        placed: (0..seated.demand.nodes.len()).map(|node| placed(ground, seated, node)).collect(),
        routed: (0..seated.demand.links.len()).map(|link| rerouted(ground, None, seated, link)).collect(),
        proof: seated.at.proof,
    }
}

/// A lease that asks for something else.
pub(crate) fn changed(ground: &Ground, was: &Seated, is: &Seated) -> Step {
    let old_node = |name: &str| was.demand.nodes.iter().position(|node| node.name == name);
    let (mut places, mut moves) = (Vec::new(), Vec::new());
    for (at, node) in is.demand.nodes.iter().enumerate() {
        match old_node(&node.name) {
            None => places.push(placed(ground, is, at)),
            Some(before) if was.at.hosts[before] != is.at.hosts[at] => {
                moves.push(moved(ground, was.at.hosts[before], is, at));
            }
            Some(_) => {}
        }
    }
    let mut paths = Vec::new();
    for (at, link) in is.demand.links.iter().enumerate() {
        let before = was.demand.links.iter().position(|old| old.name == link.name);
        let before = before.map(|before| was.at.routes[before].as_slice());
        let along = |paths: &[Path]| paths.iter().map(|path| path.links.clone()).collect::<Vec<_>>();
        if before.is_none_or(|before| along(before) != along(&is.at.routes[at])) {
            paths.push(rerouted(ground, before, is, at));
        }
    }
    Step::Change {
        lease: is.demand.id.clone(),
        changes: differences(was, is),
        moved: moves,
        rerouted: paths,
        placed: places,
    }
}

/// What a demand asks for that another did not.
fn differences(was: &Seated, is: &Seated) -> Vec<String> {
    let mut said = Vec::new();
    let (before, now) = (was.demand.window(was.start), is.demand.window(is.start));
    if before != now {
        said.push(format!("time {before} -> {now}"));
    } else if was.demand.periods != is.demand.periods {
        said.push("its periods".to_owned());
    }
    for node in &is.demand.nodes {
        match was.demand.nodes.iter().find(|old| old.name == node.name) {
            None => said.push(format!("+ {} {}: {}", node.kind.word(), node.name, node.peak().show())),
            Some(old) if old.peak() != node.peak() => {
                said.push(format!("{}: {} -> {}", node.name, old.peak().show(), node.peak().show()));
            }
            Some(old) if old != node => said.push(format!("{}: what its host must be", node.name)),
            Some(_) => {}
        }
    }
    for old in was.demand.nodes.iter().filter(|old| !is.demand.nodes.iter().any(|node| node.name == old.name)) {
        said.push(format!("- {} {}", old.kind.word(), old.name));
    }
    links(&was.demand, &is.demand, &mut said);
    said
}

fn links(was: &Demand, is: &Demand, said: &mut Vec<String>) {
    let ends = |demand: &Demand, link: &super::demand::Link| link.ends.map(|end| demand.nodes[end].name.clone());
    for (at, link) in is.links.iter().enumerate() {
        match was.links.iter().position(|old| old.name == link.name) {
            None => said.push(format!("+ link {}: {}", link.name, link_asks(is, at))),
            Some(before) => {
                let old = &was.links[before];
                let (asked, asks) = (link_asks(was, before), link_asks(is, at));
                if asked != asks {
                    said.push(format!("link {}: {asked} -> {asks}", link.name));
                } else if old.latency != link.latency {
                    said.push(format!("link {}: its latency", link.name));
                } else if ends(was, old) != ends(is, link) {
                    said.push(format!("link {}: its ends", link.name));
                }
            }
        }
    }
    for old in was.links.iter().filter(|old| !is.links.iter().any(|link| link.name == old.name)) {
        said.push(format!("- link {}", old.name));
    }
}
