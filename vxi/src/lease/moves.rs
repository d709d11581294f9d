//! Making room: what moves so that something else fits, at most so many moves, the cheapest first.
//!
//! Sets of movable things are taken in order of what moving them costs (memory and disk that must be copied; a path that
//! changes costs next to nothing). For each set: were they not there, would the target fit? Then where could each go,
//! with the target's place kept free? Whatever moves is in both places meanwhile, so each must fit beside its own old
//! place, and the order matters: it is searched as well.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use super::demand::Demand;
use super::ground::{Ground, Placement};
use super::ledger::{Hold, Ledger, Where};
use super::place::{NoPlace, Search, Task, windows};
use super::room::{Opening, Room};
use crate::model::Timestamp;
use crate::substrate::{Measure, Substrate};

/// Searches for an embedding that one target is worth.
const ATTEMPTS: usize = 400;

/// A lease while a plan is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seated {
    pub demand: Demand,
    pub start: Timestamp,
    pub at: Placement,
}

/// All leases while a plan is made.
#[derive(Clone)]
pub(crate) struct Situation<'g> {
    pub ground: &'g Ground,
    pub now: Timestamp,
    pub search: Search,
    /// Whether what leaves the substrate has left.
    pub left: bool,
    pub leases: Vec<Seated>,
    pub ledger: Ledger,
}

/// Something that can be moved: a node with its links, or a link alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Item {
    pub lease: usize,
    pub what: Part,
}

/// A part of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Part {
    Link(usize),
    Node(usize),
}

/// One thing done to a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relocation {
    pub item: Item,
    pub to: Placement,
}

/// What room is made for: given a ledger, where it goes.
pub(crate) trait Target {
    /// Its place when this much is held by others, and who holds what once it is there. The ledger that is given is the
    /// situation's without what would move.
    fn seat(&self, situation: &Situation, without: &Ledger) -> Result<(Placement, Ledger), NoPlace>;

    /// Everything that it asks for, to see what can be in its way.
    fn demand(&self) -> (&Demand, Timestamp);

    /// The lease that it is about, if there is one already: its parts are its own to move.
    fn own(&self) -> Option<usize>;
}

impl<'g> Situation<'g> {
    pub fn hold(&self, lease: usize) -> Hold {
        let seated = &self.leases[lease];
        Hold::of(&seated.demand, seated.start, &seated.at, self.now)
    }

    /// What an item holds: a node with all of its links.
    fn hold_of(&self, item: Item) -> Hold {
        let Seated { demand, start, at } = &self.leases[item.lease];
        match item.what {
            Part::Link(only) => Hold::of_links(demand, *start, at, self.now, |link| link == only),
            Part::Node(only) => {
                let mut hold = Hold::of_nodes(demand, *start, at, self.now, |node| node == only);
                let touches = |link: usize| demand.links[link].ends.contains(&only);
                hold.append(Hold::of_links(demand, *start, at, self.now, touches));
                hold
            }
        }
    }

    /// Puts a lease elsewhere or asks for something else.
    pub fn reseat(&mut self, lease: usize, seated: Seated) {
        let before = self.hold(lease);
        self.ledger.take(self.ground, &before);
        self.leases[lease] = seated;
        let hold = self.hold(lease);
        self.ledger.add(self.ground, &hold);
    }

    /// One lease more.
    pub fn push(&mut self, seated: Seated) {
        self.leases.push(seated);
        let hold = self.hold(self.leases.len() - 1);
        self.ledger.add(self.ground, &hold);
    }

    /// One lease less.
    pub fn remove(&mut self, lease: usize) {
        let hold = self.hold(lease);
        self.ledger.take(self.ground, &hold);
        self.leases.remove(lease);
    }

    /// What is there now.
    pub fn substrate(&self) -> &'g Substrate {
        if self.left { &self.ground.after } else { &self.ground.during }
    }

    /// Whether a lease can become `next` without anything lacking on the way.
    pub fn passes(&self, lease: usize, next: &Seated) -> bool {
        let before = self.hold(lease);
        let after = Hold::of(&next.demand, next.start, &next.at, self.now);
        let mut ledger = self.ledger.clone();
        ledger.take(self.ground, &before);
        ledger.add(self.ground, &before.until(&after));
        ledger.check(self.substrate(), self.now).is_ok()
    }

    /// What moving it costs: bytes that are copied, in MiB, then paths that change.
    pub fn cost(&self, item: Item) -> u64 {
        let demand = &self.leases[item.lease].demand;
        match item.what {
            Part::Link(_) => 1,
            Part::Node(node) => 1_000 + (demand.nodes[node].bytes() >> 20) + demand.links_of(node).count() as u64,
        }
    }

    /// Where an item can go from where it is, beside its old place. `then` is what others will hold later, as far as it
    /// is known; what is found fits with it too. `lasting` says whether its paths must be there after the plan.
    pub fn rearrange(
        &self,
        item: Item,
        then: Option<&Ledger>,
        opening: &Opening,
        lasting: bool,
    ) -> Result<Seated, NoPlace> {
        let seated = &self.leases[item.lease];
        let Seated { demand, start, at } = seated;
        let routed: Vec<bool> = match item.what {
            Part::Link(only) => (0..demand.links.len()).map(|link| link == only).collect(),
            Part::Node(node) => demand.links.iter().map(|link| link.ends.contains(&node)).collect(),
        };
        let windows = windows(demand, *start, self.now);
        let opening = &opening.with(at);
        let old_paths = Hold::of_links(demand, *start, at, self.now, |link| routed[link]);
        let mut refused = NoPlace::Over;
        // A path may share links with the one that it replaces. Where several paths change at once, one could count on
        // what another still has: then once more, without counting on anything.
        for counts_on_own in [true, false] {
            let mut held = self.ledger.clone();
            if counts_on_own {
                held.take(self.ground, &old_paths);
            }
            let room_in = |ledger: &Ledger, lasting: bool| {
                let room = Room::of(self.ground, &self.ground.after, ledger, &windows, opening);
                if lasting {
                    return room;
                }
                room.with_links_of(&Room::of(self.ground, &self.ground.during, ledger, &windows, opening))
            };
            let mut room = room_in(&held, lasting);
            if let Some(then) = then {
                room = room.both(&room_in(then, lasting));
            }
            let mut task = Task::new(self.ground, &room, demand, *start, self.now, self.search);
            task.pinned = at.hosts.iter().copied().map(Some).collect();
            task.asks = vec![false; demand.nodes.len()];
            task.routed.clone_from(&routed);
            if let Part::Node(node) = item.what {
                task.pinned[node] = None;
                task.asks[node] = true;
                let apart = (0..demand.nodes.len()).filter(|&other| other == node || !demand.may_share(node, other));
                task.barred[node] = apart.map(|other| at.hosts[other]).collect();
            }
            match task.place() {
                Ok(found) => {
                    let mut next = seated.clone();
                    if let Part::Node(node) = item.what {
                        next.at.hosts[node] = found.hosts[node];
                    }
                    for (link, paths) in found.routes.into_iter().enumerate().filter(|&(link, _)| routed[link]) {
                        next.at.routes[link] = paths;
                    }
                    if self.passes(item.lease, &next) {
                        return Ok(next);
                    }
                }
                Err(reason) => refused = reason,
            }
        }
        Err(refused)
    }

    /// At most `most` relocations after which the target fits, and its place then. The cheapest that is found.
    pub fn make_room(
        &self,
        target: &impl Target,
        most: usize,
        opening: &Opening,
    ) -> Option<(Vec<Relocation>, Placement)> {
        if most == 0 {
            return None;
        }
        let items = self.in_the_way(target, opening);
        let mut bare = self.ledger.clone();
        let mut gone = HashSet::new();
        for item in &items {
            self.give_back(&mut bare, *item, &mut gone);
        }
        // Were nothing of it there, and it would not fit all the same: no move helps.
        if items.is_empty() || target.seat(self, &bare).is_err() {
            return None;
        }
        let costs: Vec<u64> = items.iter().map(|&item| self.cost(item)).collect();
        let mut waiting = BinaryHeap::from([Reverse((costs[0], vec![0_usize]))]);
        let mut attempts = 0;
        while let Some(Reverse((cost, set))) = waiting.pop() {
            attempts += 1;
            if attempts > ATTEMPTS {
                return None;
            }
            let last = *set.last()?;
            if let Some(&next) = costs.get(last + 1) {
                let mut other = set.clone();
                other.pop();
                other.push(last + 1);
                waiting.push(Reverse((cost - costs[last] + next, other)));
                if set.len() < most {
                    let mut larger = set.clone();
                    larger.push(last + 1);
                    waiting.push(Reverse((cost + next, larger)));
                }
            }
            let chosen: Vec<Item> = set.iter().map(|&at| items[at]).collect();
            if let Some(found) = self.relocate(target, &chosen, opening) {
                return Some(found);
            }
        }
        None
    }

    /// Moves all of these out of the target's way, in whichever order works.
    fn relocate(
        &self,
        target: &impl Target,
        items: &[Item],
        opening: &Opening,
    ) -> Option<(Vec<Relocation>, Placement)> {
        let (mut without, mut gone) = (self.ledger.clone(), HashSet::new());
        for &item in items {
            self.give_back(&mut without, item, &mut gone);
        }
        let (place, then) = target.seat(self, &without).ok()?;
        let mut done = Vec::new();
        let end = self.in_some_order(items, &then, opening, &mut done)?;
        // Where all of them are now, it must still fit: two of one lease may have a link between them, and what the target
        // has now it has until it is in its place. The search may miss the place that it knew.
        let place = match target.seat(&end, &end.ledger) {
            Ok((place, _)) => place,
            Err(_) if end.takes(target, &place) => place,
            Err(_) => return None,
        };
        Some((done, place))
    }

    /// Whether a target can go to a place as things are.
    fn takes(&self, target: &impl Target, at: &Placement) -> bool {
        let (demand, start) = target.demand();
        let next = Seated { demand: demand.clone(), start, at: at.clone() };
        let mut then = self.clone();
        match target.own() {
            Some(own) if !self.passes(own, &next) => return false,
            Some(own) => then.reseat(own, next),
            None => then.push(next),
        }
        then.ledger.check(self.substrate(), self.now).is_ok()
    }

    fn in_some_order(
        &self,
        items: &[Item],
        then: &Ledger,
        opening: &Opening,
        done: &mut Vec<Relocation>,
    ) -> Option<Self> {
        if items.is_empty() {
            return Some(self.clone());
        }
        for (at, &item) in items.iter().enumerate() {
            let Ok(next) = self.rearrange(item, Some(then), opening, true) else { continue };
            let mut moved = self.clone();
            done.push(Relocation { item, to: next.at.clone() });
            moved.reseat(item.lease, next);
            let mut reserved = then.clone();
            reserved.add(self.ground, &moved.hold_of(item));
            let mut rest = items.to_vec();
            rest.remove(at);
            if let Some(end) = moved.in_some_order(&rest, &reserved, opening, done) {
                return Some(end);
            }
            done.pop();
        }
        None
    }

    /// Takes what an item holds out of a ledger, each part once.
    fn give_back(&self, ledger: &mut Ledger, item: Item, gone: &mut HashSet<Item>) {
        let Seated { demand, start, at } = &self.leases[item.lease];
        let links: Vec<usize> = match item.what {
            Part::Link(link) => vec![link],
            Part::Node(node) => demand.links_of(node).collect(),
        };
        if let Part::Node(only) = item.what
            && gone.insert(item)
        {
            ledger.take(self.ground, &Hold::of_nodes(demand, *start, at, self.now, |node| node == only));
        }
        for only in links {
            if gone.insert(Item { lease: item.lease, what: Part::Link(only) }) {
                ledger.take(self.ground, &Hold::of_links(demand, *start, at, self.now, |link| link == only));
            }
        }
    }

    /// What can be in a target's way: whatever is on a component that could not carry all of the target at once.
    /// Cheapest first.
    fn in_the_way(&self, target: &impl Target, opening: &Opening) -> Vec<Item> {
        let (demand, start) = target.demand();
        let periods: Vec<usize> = super::ledger::future(demand, start, self.now).map(|(period, _)| period).collect();
        let windows = windows(demand, start, self.now);
        let room = Room::of(self.ground, &self.ground.after, &self.ledger, &windows, opening);
        let total = |period: usize, measure: Measure| -> u64 {
            demand.nodes.iter().map(|node| *node.amounts[period].of(measure)).fold(0, u64::saturating_add)
        };
        let traffic = |period: usize| -> u64 {
            demand.links.iter().map(|link| link.bandwidth[period]).fold(0, u64::saturating_add)
        };
        let alone = demand.nodes.iter().any(|node| node.exclusive);
        let short_host = |host: usize| {
            let lacks = |(n, &period): (usize, &usize)| {
                Measure::ALL.into_iter().any(|measure| room.host(host, n, measure) < total(period, measure))
            };
            alone || room.closed_to_others[host] || periods.iter().enumerate().any(lacks)
        };
        let short_link =
            |link: usize| periods.iter().enumerate().any(|(n, &period)| room.link(link, n) < traffic(period));
        let short_hosts: Vec<bool> = (0..self.ground.during.hosts.len()).map(short_host).collect();
        let short_links: Vec<bool> = (0..self.ground.during.links.len()).map(short_link).collect();
        let mut items = Vec::new();
        for lease in (0..self.leases.len()).filter(|&lease| Some(lease) != target.own()) {
            let Seated { demand, start, at } = &self.leases[lease];
            let overlaps = windows.iter().any(|&window| window.overlap(demand.window(*start)).is_some());
            if !overlaps {
                continue;
            }
            let crosses = |link: usize| at.routes[link].iter().flat_map(|path| &path.links).any(|&on| short_links[on]);
            let links = (0..demand.links.len()).filter(|&link| crosses(link)).map(Part::Link);
            let on_short = |node: usize| short_hosts[at.hosts[node]] || demand.links_of(node).any(crosses);
            let nodes = (0..demand.nodes.len()).filter(|&node| on_short(node)).map(Part::Node);
            items.extend(links.chain(nodes).map(|what| Item { lease, what }));
        }
        items.sort_by_key(|&item| (self.cost(item), item));
        items
    }

    /// Everything that is on a component.
    pub fn on(&self, place: Where) -> Vec<Item> {
        let mut items = Vec::new();
        for (lease, Seated { demand, start, at }) in self.leases.iter().enumerate() {
            if windows(demand, *start, self.now).is_empty() {
                continue;
            }
            match place {
                Where::Host(host) => {
                    let nodes = (0..demand.nodes.len()).filter(|&node| at.hosts[node] == host);
                    items.extend(nodes.map(|node| Item { lease, what: Part::Node(node) }));
                    let through = |link: usize| {
                        let ends = demand.links[link].ends.map(|end| at.hosts[end]);
                        !ends.contains(&host) && at.routes[link].iter().any(|path| path.hosts.contains(&host))
                    };
                    let links = (0..demand.links.len()).filter(|&link| through(link));
                    items.extend(links.map(|link| Item { lease, what: Part::Link(link) }));
                }
                Where::Link(on) => {
                    let crosses = |link: usize| at.routes[link].iter().any(|path| path.links.contains(&on));
                    let links = (0..demand.links.len()).filter(|&link| crosses(link));
                    items.extend(links.map(|link| Item { lease, what: Part::Link(link) }));
                    let node = |node: usize| demand.links_of(node).any(crosses);
                    let nodes = (0..demand.nodes.len()).filter(|&n| node(n));
                    items.extend(nodes.map(|node| Item { lease, what: Part::Node(node) }));
                }
            }
        }
        items
    }
}
