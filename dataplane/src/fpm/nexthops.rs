//! Next hop objects of a client, and the groups that they become in each table.
//!
//! A client numbers its objects anew when it restarts: object 12 is another then, while routes of its former life still
//! lead by the old one. So objects are translated: a group's number is the feed's, is given when a route first names the
//! object, and is given to another group only when no route can name it any more.
//!
//! Objects come in any order (zebra lists them as its hash table has them): a group may name members that are not there
//! yet, a route may name a group that is not. Both are remembered, and told when they can be.

use std::collections::{HashMap, HashSet};

use crate::rib::{Action, Change, GroupId, Hop};

use super::netlink::{Encapsulation, Meaning, NextHopId, TableId, WireHop};
use super::{FeedCounters, Refusal, Sink};

/// Objects of a feed, places in tables and members of groups alike: what a client can make us remember.
const MAX_OBJECTS: usize = 1 << 18;
/// Ways of one route or group.
pub(super) const MAX_HOPS: usize = 256;

/// Numbers of groups: each somebody's, until it is given back.
#[derive(Debug, Default)]
struct Numbers {
    next: u32,
    free: Vec<GroupId>,
}

impl Numbers {
    fn take(&mut self) -> Result<GroupId, Refusal> {
        if let Some(id) = self.free.pop() {
            return Ok(id);
        }
        // Of a client that restarts again and again, the former lives' groups are not gone yet.
        if self.next as usize >= 2 * MAX_OBJECTS {
            return Err(Refusal::TooManyNextHops);
        }
        self.next += 1;
        Ok(GroupId(self.next - 1))
    }
}

/// What an object is, in our own memory.
#[derive(Clone, Debug)]
enum Kept {
    Hop(WireHop),
    Blackhole,
    Group(Vec<(NextHopId, u16)>),
}

#[derive(Debug, Default)]
struct Object {
    /// None: named, but not told yet.
    kept: Option<Kept>,
    /// Groups that it is a member of.
    parents: HashSet<NextHopId>,
    /// Where routes name it.
    places: Vec<Place>,
}

/// An object in a table.
#[derive(Clone, Copy, Debug)]
struct Place {
    table: TableId,
    group: GroupId,
    /// The sink has heard what it is.
    told: bool,
}

/// The objects of a client's present life, and what is left of former ones.
#[derive(Debug, Default)]
pub(super) struct NextHops {
    objects: HashMap<NextHopId, Object>,
    /// Members of all groups.
    members: usize,
    /// Places of all objects.
    places: usize,
    numbers: Numbers,
    retired: Vec<(TableId, GroupId)>,
}

/// Why a way cannot be gone.
pub(super) fn refused(encapsulation: Encapsulation) -> Refusal {
    match encapsulation {
        Encapsulation::Mpls => Refusal::Mpls,
        Encapsulation::Srv6 => Refusal::Srv6,
        Encapsulation::Tunnel => Refusal::Evpn,
        Encapsulation::Other => Refusal::Encapsulation,
    }
}

/// A way, with the table's VRF's own name of its interface.
pub(super) fn hop(sink: &dyn Sink, table: TableId, said: &WireHop, weight: u16) -> Result<Hop, Refusal> {
    if let Some(encapsulation) = said.encapsulation {
        return Err(refused(encapsulation));
    }
    if said.dead {
        return Err(Refusal::Dead);
    }
    if said.gateway.is_none() && said.device.is_none() {
        return Err(Refusal::NoHop);
    }
    let interface = match said.device {
        None => None,
        Some(device) => Some(sink.interface(table, device).ok_or(Refusal::NoInterface)?),
    };
    Ok(Hop { gateway: said.gateway, interface, weight })
}

impl NextHops {
    /// The number by which a route of `table` names an object.
    pub fn name(
        &mut self,
        table: TableId,
        id: NextHopId,
        sink: &mut dyn Sink,
        counters: &FeedCounters,
    ) -> Result<GroupId, Refusal> {
        let place = |object: &Object| object.places.iter().find(|place| place.table == table).map(|place| place.group);
        if let Some(group) = self.objects.get(&id).and_then(place) {
            return Ok(group);
        }
        if self.places >= MAX_OBJECTS || !self.has_room(id) {
            return Err(Refusal::TooManyNextHops);
        }
        let group = self.numbers.take()?;
        self.places += 1;
        self.objects.entry(id).or_default().places.push(Place { table, group, told: false });
        self.tell(id, sink, counters);
        Ok(group)
    }

    fn has_room(&self, id: NextHopId) -> bool {
        self.objects.len() < MAX_OBJECTS || self.objects.contains_key(&id)
    }

    /// An object is there, or has changed.
    pub fn set(
        &mut self,
        id: NextHopId,
        meaning: Meaning<'_>,
        sink: &mut dyn Sink,
        counters: &FeedCounters,
    ) -> Result<(), Refusal> {
        if !self.has_room(id) {
            return Err(Refusal::TooManyNextHops);
        }
        let kept = self.checked(id, meaning);
        self.unlink(id);
        if let Ok(Kept::Group(members)) = &kept {
            self.members += members.len();
            for &(member, _) in members {
                self.objects.entry(member).or_default().parents.insert(id);
            }
        }
        // What is refused is no longer what it was either.
        let refusal = kept.as_ref().err().copied();
        self.objects.entry(id).or_default().kept = kept.ok();
        self.tell_with_parents(id, sink, counters);
        self.forget(id);
        refusal.map_or(Ok(()), Err)
    }

    /// What an object may be.
    fn checked(&self, id: NextHopId, meaning: Meaning<'_>) -> Result<Kept, Refusal> {
        match meaning {
            Meaning::Bridge => Err(Refusal::Evpn),
            Meaning::Blackhole => Ok(Kept::Blackhole),
            Meaning::Hop(hop) => hop.encapsulation.map_or(Ok(Kept::Hop(hop)), |e| Err(refused(e))),
            Meaning::Group(members) if members.len() > MAX_HOPS => Err(Refusal::TooManyHops),
            Meaning::Group(members) => self.checked_members(id, members.each().collect()).map(Kept::Group),
        }
    }

    /// Members that a group may have.
    fn checked_members(&self, id: NextHopId, members: Vec<(NextHopId, u16)>) -> Result<Vec<(NextHopId, u16)>, Refusal> {
        let kept = |id: NextHopId| self.objects.get(&id).and_then(|object| object.kept.as_ref());
        let mut seen = HashSet::new();
        let unfit = |&(member, _): &(NextHopId, u16)| {
            member == id || matches!(kept(member), Some(Kept::Group(_))) || !seen.insert(member)
        };
        let is_member = self.objects.get(&id).is_some_and(|object| !object.parents.is_empty());
        if is_member || members.iter().any(unfit) {
            return Err(Refusal::GroupOfGroups);
        }
        if self.members + members.len() > MAX_OBJECTS || self.objects.len() + members.len() > MAX_OBJECTS {
            return Err(Refusal::TooManyNextHops);
        }
        Ok(members)
    }

    /// An object is gone, and with it the routes that name it.
    pub fn remove(&mut self, id: NextHopId, sink: &mut dyn Sink, counters: &FeedCounters) {
        self.unlink(id);
        let Some(object) = self.objects.get_mut(&id) else { return };
        object.kept = None;
        let places = std::mem::take(&mut object.places);
        self.places -= places.len();
        for Place { table, group, .. } in places {
            give_back(sink, counters, table, group);
            self.numbers.free.push(group);
        }
        self.tell_with_parents(id, sink, counters);
        self.forget(id);
    }

    /// A group is a group no more: its members have one parent less.
    fn unlink(&mut self, id: NextHopId) {
        let Some(Kept::Group(members)) = self.objects.get_mut(&id).and_then(|object| object.kept.take()) else {
            return;
        };
        self.members -= members.len();
        for (member, _) in members {
            if let Some(object) = self.objects.get_mut(&member) {
                object.parents.remove(&id);
            }
            self.forget(member);
        }
    }

    /// Forgets an object that nothing is known of and nobody names.
    fn forget(&mut self, id: NextHopId) {
        let idle = |object: &Object| object.kept.is_none() && object.parents.is_empty() && object.places.is_empty();
        if self.objects.get(&id).is_some_and(idle) {
            self.objects.remove(&id);
        }
    }

    fn tell_with_parents(&mut self, id: NextHopId, sink: &mut dyn Sink, counters: &FeedCounters) {
        self.tell(id, sink, counters);
        let parents = self.objects.get(&id).map(|object| object.parents.iter().copied().collect::<Vec<_>>());
        for parent in parents.unwrap_or_default() {
            self.tell(parent, sink, counters);
        }
    }

    /// Tells every table in which routes name an object what it is now.
    fn tell(&mut self, id: NextHopId, sink: &mut dyn Sink, counters: &FeedCounters) {
        let places = self.objects.get(&id).map_or(0, |object| object.places.len());
        for n in 0..places {
            let Some(&place) = self.objects.get(&id).and_then(|object| object.places.get(n)) else { return };
            let action = match self.action(id, place.table, sink) {
                Ok(action) => action,
                Err(refusal) => {
                    refusal.into_iter().for_each(|refusal| counters.refuse(refusal));
                    // Its routes are not to follow what it was. One that never was leaves its routes waiting.
                    if !place.told {
                        continue;
                    }
                    Action::Unreachable
                }
            };
            match sink.change(place.table, Change::ReplaceGroup(place.group, action)) {
                Ok(()) => {
                    if let Some(place) = self.objects.get_mut(&id).and_then(|object| object.places.get_mut(n)) {
                        place.told = true;
                    }
                }
                Err(refusal) => counters.refuse(refusal),
            }
        }
    }

    /// What an object means in a table; an error without a reason if that is not known yet.
    fn action(&self, id: NextHopId, table: TableId, sink: &dyn Sink) -> Result<Action, Option<Refusal>> {
        let kept = |id| self.objects.get(&id).and_then(|object: &Object| object.kept.as_ref());
        match kept(id).ok_or(None)? {
            Kept::Blackhole => Ok(Action::Blackhole),
            Kept::Hop(said) => Ok(Action::Via(vec![hop(sink, table, said, 1)?])),
            Kept::Group(members) => {
                let (mut hops, mut hole, mut refusal) = (Vec::with_capacity(members.len()), false, None);
                for &(member, weight) in members {
                    match kept(member) {
                        Some(Kept::Hop(said)) => match hop(sink, table, said, weight) {
                            Ok(hop) => hops.push(hop),
                            Err(reason) => refusal = Some(reason),
                        },
                        Some(Kept::Blackhole) => hole = true,
                        Some(Kept::Group(_)) | None => {}
                    }
                }
                match hops.is_empty() {
                    false => Ok(Action::Via(hops)),
                    true if hole => Ok(Action::Blackhole),
                    true => Err(refusal),
                }
            }
        }
    }

    /// The client begins anew: what it numbered until now is remembered only as long as old routes may name it.
    pub fn begin(&mut self) {
        let places = self.objects.values().flat_map(|object| &object.places);
        self.retired.extend(places.map(|place| (place.table, place.group)));
        self.objects.clear();
        (self.members, self.places) = (0, 0);
    }

    /// Nothing is left that names what was before.
    pub fn end(&mut self, sink: &mut dyn Sink, counters: &FeedCounters) {
        for (table, group) in std::mem::take(&mut self.retired) {
            give_back(sink, counters, table, group);
            self.numbers.free.push(group);
        }
    }
}

fn give_back(sink: &mut dyn Sink, counters: &FeedCounters, table: TableId, group: GroupId) {
    if let Err(refusal) = sink.change(table, Change::DeleteGroup(group)) {
        counters.refuse(refusal);
    }
}
