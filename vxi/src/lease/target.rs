//! What room is made for: a new lease, one that asks for something else, or a part that must leave its place.

use std::collections::HashMap;

use super::demand::Demand;
use super::ground::{Path, Placement};
use super::ledger::{Hold, Ledger};
use super::moves::{Item, Part, Seated, Situation, Target};
use super::place::{NoPlace, Task, suits, windows};
use super::room::{Opening, Room};
use crate::model::Timestamp;

/// A demand that wants in: a new lease, or one that changes.
///
/// A lease that changes stays where it is as far as that goes: its vertices on their hosts, except those that are
/// `loose`, its links on their paths. Only what is new or does not fit any more is searched a place for.
pub(crate) struct Admission<'a> {
    pub demand: &'a Demand,
    pub start: Timestamp,
    /// The lease that it changes.
    pub own: Option<usize>,
    /// Its vertices, by their place in the new demand, that must leave their hosts.
    pub loose: Vec<usize>,
    pub opening: &'a Opening,
}

impl Target for Admission<'_> {
    fn seat(&self, situation: &Situation, without: &Ledger) -> Result<(Placement, Ledger), NoPlace> {
        match self.own {
            None => self.seat_new(situation, without),
            Some(own) => self.seat_changed(situation, without, own),
        }
    }

    fn demand(&self) -> (&Demand, Timestamp) {
        (self.demand, self.start)
    }

    fn own(&self) -> Option<usize> {
        self.own
    }
}

impl Admission<'_> {
    fn hold(&self, situation: &Situation, at: &Placement) -> Hold {
        Hold::of(self.demand, self.start, at, situation.now)
    }

    fn seat_new(&self, situation: &Situation, without: &Ledger) -> Result<(Placement, Ledger), NoPlace> {
        let ground = situation.ground;
        let windows = windows(self.demand, self.start, situation.now);
        let room = Room::of(ground, &ground.after, without, &windows, self.opening);
        let task = Task::new(ground, &room, self.demand, self.start, situation.now, situation.search);
        let placement = task.place()?;
        let mut then = without.clone();
        then.add(ground, &self.hold(situation, &placement));
        Ok((placement, then))
    }

    fn seat_changed(
        &self,
        situation: &Situation,
        without: &Ledger,
        own: usize,
    ) -> Result<(Placement, Ledger), NoPlace> {
        let (ground, now) = (situation.ground, situation.now);
        let old = &situation.leases[own];
        let kept = Kept::of(self, old);
        let own_hold = situation.hold(own);
        let mut base = without.clone();
        base.take(ground, &own_hold);
        let opening = self.opening.with(&old.at);
        let leaves = |node: usize| kept.loose_before.contains(&node);
        base.add(ground, &Hold::of_nodes(&old.demand, old.start, &old.at, now, leaves));
        let windows = windows(self.demand, self.start, now);
        let mut refused = NoPlace::Over;
        for stays in [kept.all(), kept.not_grown(), kept.none()] {
            let placement = kept.skeleton(&stays);
            let mut held = base.clone();
            held.add(ground, &Hold::of_links(self.demand, self.start, &placement, now, |link| stays[link]));
            if held.check(&ground.after, now).is_err() {
                continue;
            }
            let room = Room::of(ground, &ground.after, &held, &windows, &opening);
            let mut task = Task::new(ground, &room, self.demand, self.start, now, situation.search);
            task.pinned.clone_from(&kept.pinned);
            task.routed = stays.iter().map(|stays| !stays).collect();
            for (node, host) in &kept.left {
                task.barred[*node].push(*host);
            }
            match task.place() {
                Ok(found) => {
                    let mut placement = kept.skeleton(&stays);
                    placement.hosts = found.hosts;
                    for (link, paths) in found.routes.into_iter().enumerate().filter(|&(link, _)| !stays[link]) {
                        placement.routes[link] = paths;
                    }
                    let hold = self.hold(situation, &placement);
                    let (mut meanwhile, mut then) = (without.clone(), without.clone());
                    for (ledger, added) in [(&mut meanwhile, &own_hold.until(&hold)), (&mut then, &hold)] {
                        ledger.take(ground, &own_hold);
                        ledger.add(ground, added);
                    }
                    if meanwhile.check(situation.substrate(), now).is_ok() && then.check(&ground.after, now).is_ok() {
                        return Ok((placement, then));
                    }
                }
                Err(reason) => refused = reason,
            }
        }
        Err(refused)
    }
}

/// What of a lease can stay as it is when it changes.
struct Kept<'a> {
    demand: &'a Demand,
    /// For each node of the new demand its host, unless it is new or leaves.
    pinned: Vec<Option<usize>>,
    /// Nodes of the new demand that leave, and the hosts that they leave.
    left: Vec<(usize, usize)>,
    /// The same in the old demand's numbers.
    loose_before: Vec<usize>,
    /// For each link of the new demand the path that it can keep.
    paths: Vec<Option<Vec<Path>>>,
    /// For each link of the new demand whether it asks for more than it did.
    grown: Vec<bool>,
}

impl<'a> Kept<'a> {
    fn of(admission: &Admission<'a>, old: &Seated) -> Self {
        let demand = admission.demand;
        let names = |demand: &Demand| -> HashMap<String, usize> {
            demand.nodes.iter().enumerate().map(|(at, node)| (node.name.clone(), at)).collect()
        };
        let old_nodes = names(&old.demand);
        let (mut pinned, mut left, mut loose_before) = (Vec::new(), Vec::new(), Vec::new());
        for (at, node) in demand.nodes.iter().enumerate() {
            let before = old_nodes.get(&node.name).copied();
            let leaves = admission.loose.contains(&at);
            pinned.push(before.filter(|_| !leaves).map(|before| old.at.hosts[before]));
            if let (Some(before), true) = (before, leaves) {
                left.push((at, old.at.hosts[before]));
                loose_before.push(before);
            }
        }
        let old_links: HashMap<&str, usize> =
            old.demand.links.iter().enumerate().map(|(at, link)| (link.name.as_str(), at)).collect();
        let same_time = demand.periods == old.demand.periods;
        let (mut paths, mut grown) = (Vec::new(), Vec::new());
        for link in &demand.links {
            let before = old_links.get(link.name.as_str()).map(|&at| (&old.demand.links[at], &old.at.routes[at]));
            let stays = before.filter(|(was, ways)| {
                let ends = |demand: &Demand, ends: [usize; 2]| ends.map(|end| demand.nodes[end].name.clone());
                let joined_alike = ends(demand, link.ends) == ends(&old.demand, was.ends);
                let ends_stay = link.ends.iter().all(|&end| pinned[end].is_some());
                let as_quick = link.latency.is_none_or(|bound| was.latency.is_some_and(|before| before <= bound));
                let same = same_time && was.bandwidth == link.bandwidth;
                joined_alike && ends_stay && as_quick && (same || ways.len() == 1)
            });
            let more = |was: &[u64]| !same_time || link.bandwidth.iter().zip(was).any(|(now, was)| now > was);
            grown.push(before.is_none_or(|(was, _)| more(&was.bandwidth)));
            paths.push(stays.map(|(was, ways)| {
                let mut ways = ways.clone();
                if !(same_time && was.bandwidth == link.bandwidth) {
                    ways.iter_mut().for_each(|way| way.bandwidth.clone_from(&link.bandwidth));
                }
                ways
            }));
        }
        Self { demand, pinned, left, loose_before, paths, grown }
    }

    fn all(&self) -> Vec<bool> {
        self.paths.iter().map(Option::is_some).collect()
    }

    fn not_grown(&self) -> Vec<bool> {
        self.paths.iter().zip(&self.grown).map(|(path, grown)| path.is_some() && !grown).collect()
    }

    fn none(&self) -> Vec<bool> {
        vec![false; self.paths.len()]
    }

    /// The hosts and the paths that stay.
    fn skeleton(&self, stays: &[bool]) -> Placement {
        let path = |link: usize| if stays[link] { self.paths[link].clone().unwrap_or_default() } else { Vec::new() };
        Placement {
            hosts: self.pinned.iter().map(|pin| pin.unwrap_or(usize::MAX)).collect(),
            routes: (0..self.demand.links.len()).map(path).collect(),
            proof: None,
        }
    }
}

/// Nodes of a changed demand whose hosts do not suit them any more: they leave in any case.
pub(crate) fn misplaced(situation: &Situation, own: usize, demand: &Demand) -> Vec<usize> {
    let old = &situation.leases[own];
    let host = |name: &str| {
        let at = old.demand.nodes.iter().position(|node| node.name == name)?;
        Some(&situation.ground.after.hosts[old.at.hosts[at]])
    };
    let wrong = |&node: &usize| {
        let asked = &demand.nodes[node];
        host(&asked.name).is_some_and(|host| !suits(host, asked))
    };
    (0..demand.nodes.len()).filter(wrong).collect()
}

/// A part of a lease that must leave where it is.
pub(crate) struct Displaced<'a> {
    pub item: Item,
    pub seated: &'a Seated,
    pub opening: &'a Opening,
    /// Whether its paths must be there after the plan: not if they lead to something that is still to move.
    pub lasting: bool,
}

impl Target for Displaced<'_> {
    fn seat(&self, situation: &Situation, without: &Ledger) -> Result<(Placement, Ledger), NoPlace> {
        let mut without_them = situation.clone();
        without_them.ledger = without.clone();
        let next = without_them.rearrange(self.item, None, self.opening, self.lasting)?;
        without_them.reseat(self.item.lease, next.clone());
        Ok((next.at, without_them.ledger))
    }

    fn demand(&self) -> (&Demand, Timestamp) {
        (&self.seated.demand, self.seated.start)
    }

    fn own(&self) -> Option<usize> {
        Some(self.item.lease)
    }
}

impl Part {
    /// As messages call it.
    pub fn name<'d>(&self, demand: &'d Demand) -> &'d str {
        match *self {
            Self::Link(link) => &demand.links[link].name,
            Self::Node(node) => &demand.nodes[node].name,
        }
    }
}
