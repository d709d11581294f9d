//! What a client's messages mean, one after the other: the part of a feed that knows of no socket and no clock.
//!
//! zebra replaces a route by taking it back and telling it anew, in one frame. Done as it is said, packets would find no route
//! in between. So a route that is taken back waits for the next message: if that tells the same route, it is replaced.
//!
//! A route that is told and refused is not there, and what was there in its place is gone: its owner does not want packets
//! to go there any more.

use std::net::IpAddr;
use std::sync::Arc;

use crate::prefix::Prefix;
use crate::rib::{Action, Change, Hop, Route};
use crate::wire::Malformed;

use super::counters::count;
use super::frame::{self, Frame, Marker};
use super::netlink::{Hops, Message, Messages, NextHopMessage, RouteMessage, RouteType, kind};
use super::nexthops::{self, MAX_HOPS, NextHops};
use super::{Address, FeedCounters, Ignored, Link, Refusal, Sink, TableId};

/// What became of a message that changed nothing.
enum Undone {
    Refused(Refusal),
    Ignored(Ignored),
}

impl From<Refusal> for Undone {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Ignored> for Undone {
    fn from(ignored: Ignored) -> Self {
        Self::Ignored(ignored)
    }
}

impl From<Malformed> for Undone {
    fn from(_: Malformed) -> Self {
        Self::Refused(Refusal::Malformed)
    }
}

/// Whether what was said before a client came still waits to be said again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// It does not.
    Done,
    /// It does, until the feed says that there was time enough.
    Timed,
    /// It does, until the client says that it has said everything.
    Announced,
}

/// A feed's client, or its successors: state that outlives a connection.
#[derive(Debug)]
pub struct Session {
    /// Those that lead to a VRF.
    tables: Vec<TableId>,
    next_hops: NextHops,
    sync: Sync,
    /// Taken back, unless the next message tells it anew.
    waiting: Option<(TableId, Prefix, Option<u32>)>,
    /// The reason of the last refusal.
    last_refusal: Option<Refusal>,
    counters: Arc<FeedCounters>,
}

impl Session {
    /// One that has heard nothing, of routes of `tables`.
    pub fn new(tables: Vec<TableId>, counters: Arc<FeedCounters>) -> Self {
        let next_hops = NextHops::default();
        Self { tables, next_hops, sync: Sync::Done, waiting: None, last_refusal: None, counters }
    }

    /// Whether what was said before is still to be said again.
    pub const fn sync(&self) -> Sync {
        self.sync
    }

    /// The reason of the last refusal that there was.
    pub const fn last_refusal(&self) -> Option<Refusal> {
        self.last_refusal
    }

    /// A client comes: everything will be said again.
    pub fn begin(&mut self, sink: &mut dyn Sink) {
        self.pause(sink);
        self.next_hops.begin();
        sink.begin_sync();
        self.sync = Sync::Timed;
    }

    /// Everything has been said again.
    pub fn end(&mut self, sink: &mut dyn Sink) {
        self.pause(sink);
        sink.end_sync();
        self.next_hops.end(sink, &self.counters);
        self.sync = Sync::Done;
    }

    /// Nothing more has come, or nothing more will: what waits is done.
    pub fn pause(&mut self, sink: &mut dyn Sink) {
        self.withdraw_waiting(sink);
        sink.settle();
    }

    /// Does what a frame says, as far as it can be done.
    pub fn frame(&mut self, frame: Frame<'_>, sink: &mut dyn Sink) {
        if frame.kind != frame::NETLINK {
            count(&self.counters.messages);
            return self.undone(Refusal::NotNetlink.into());
        }
        if !frame.is_aligned() {
            count(&self.counters.messages);
            return self.undone(Refusal::Malformed.into());
        }
        for message in Messages::new(frame.payload) {
            count(&self.counters.messages);
            let done = match message {
                Ok(message) => self.message(&message, sink),
                Err(malformed) => Err(malformed.into()),
            };
            if let Err(undone) = done {
                self.undone(undone);
            }
        }
    }

    fn undone(&mut self, undone: Undone) {
        match undone {
            Undone::Ignored(reason) => self.counters.ignore(reason),
            Undone::Refused(refusal) => {
                self.last_refusal = Some(refusal);
                self.counters.refuse(refusal);
            }
        }
    }

    fn message(&mut self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), Undone> {
        if message.kind != kind::NEW_ROUTE {
            self.withdraw_waiting(sink);
        }
        match message.kind {
            kind::NEW_ROUTE | kind::DELETE_ROUTE => self.route(message, sink),
            kind::NEW_NEXT_HOP | kind::DELETE_NEXT_HOP => {
                let told = NextHopMessage::parse(message)?;
                if message.kind == kind::NEW_NEXT_HOP {
                    self.next_hops.set(told.id, told.meaning, sink, &self.counters)?;
                } else {
                    self.next_hops.remove(told.id, sink, &self.counters);
                }
                count(&self.counters.next_hops);
                Ok(())
            }
            kind::NEW_LINK | kind::DELETE_LINK => {
                let link = Link::parse(message)?.ok_or(Ignored::Unknown)?;
                sink.link(&link, message.kind == kind::NEW_LINK);
                Ok(())
            }
            kind::NEW_ADDRESS | kind::DELETE_ADDRESS => {
                let address = Address::parse(message)?.ok_or(Ignored::Unknown)?;
                sink.address(&address, message.kind == kind::NEW_ADDRESS);
                Ok(())
            }
            kind::NEW_NEIGHBOUR | kind::DELETE_NEIGHBOUR => Err(Refusal::Evpn.into()),
            kind::NOOP => Ok(()),
            _ => match Marker::of(message) {
                Some(Marker::Begin) => {
                    self.begin(sink);
                    self.sync = Sync::Announced;
                    Ok(())
                }
                // Nothing to sweep by when nothing was marked.
                Some(Marker::End) if self.sync == Sync::Announced => {
                    self.end(sink);
                    Ok(())
                }
                Some(Marker::End) | None => Err(Ignored::Unknown.into()),
            },
        }
    }

    fn route(&mut self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), Undone> {
        match RouteMessage::family(message)? {
            libc::AF_INET | libc::AF_INET6 => {}
            libc::AF_MPLS => return Err(Refusal::Mpls.into()),
            _ => return Err(Ignored::Unknown.into()),
        }
        let route = RouteMessage::parse(message)?;
        if !self.tables.contains(&route.table) {
            return Err(Ignored::Table.into());
        }
        if route.cloned {
            return Err(Ignored::Cached.into());
        }
        if route.kind == RouteType::Host {
            return Err(Ignored::Host.into());
        }
        if is_unroutable(&route.prefix) {
            return Err(Ignored::Unroutable.into());
        }
        if route.selective {
            return Err(Refusal::Selective.into());
        }
        if message.kind == kind::DELETE_ROUTE {
            // The kernel tells exactly which; who asks without a metric means any.
            let metric = route.metric.or((!route.request).then_some(0));
            self.waiting = Some((route.table, route.prefix, metric));
            return Ok(());
        }
        let metric = route.metric.unwrap_or(0);
        if self.waiting == Some((route.table, route.prefix, Some(metric))) {
            self.waiting = None;
        }
        self.withdraw_waiting(sink);
        let told = self.action(&route, sink).and_then(|action| {
            let route_wanted = Route { prefix: route.prefix, metric, action };
            sink.change(route.table, Change::Replace(route_wanted))
        });
        match told {
            Ok(()) => count(&self.counters.routes),
            Err(refusal) => {
                self.withdraw(sink, route.table, route.prefix, Some(metric));
                return Err(refusal.into());
            }
        }
        Ok(())
    }

    /// What a route says is to be done.
    fn action(&mut self, route: &RouteMessage<'_>, sink: &mut dyn Sink) -> Result<Action, Refusal> {
        match route.kind {
            RouteType::Blackhole => return Ok(Action::Blackhole),
            RouteType::Unreachable => return Ok(Action::Unreachable),
            RouteType::Prohibit => return Ok(Action::Prohibit),
            RouteType::Unicast => {}
            RouteType::Host | RouteType::Unspecified | RouteType::Other(_) => return Err(Refusal::RouteType),
        }
        if let Some(id) = route.next_hop {
            return self.next_hops.name(route.table, id, sink, &self.counters).map(Action::Group);
        }
        self.hops(route, sink).map(Action::Via)
    }

    /// The ways that can be gone; an error if none can.
    fn hops(&mut self, route: &RouteMessage<'_>, sink: &dyn Sink) -> Result<Vec<Hop>, Refusal> {
        if let Hops::One(said) = &route.hops {
            return nexthops::hop(sink, route.table, said, 1).map(|hop| vec![hop]);
        }
        let (mut hops, mut last) = (Vec::new(), None);
        for said in route.hops.each() {
            if hops.len() == MAX_HOPS {
                return Err(Refusal::TooManyHops);
            }
            match nexthops::hop(sink, route.table, &said, said.weight) {
                Ok(hop) => hops.push(hop),
                Err(refusal) => {
                    // Counted once for the route: by what is returned, or here.
                    last.into_iter().for_each(|refusal| self.counters.refuse(refusal));
                    last = Some(refusal);
                }
            }
        }
        if hops.is_empty() {
            return Err(last.unwrap_or(Refusal::NoHop));
        }
        if let Some(refusal) = last {
            self.undone(refusal.into());
        }
        Ok(hops)
    }

    fn withdraw_waiting(&mut self, sink: &mut dyn Sink) {
        if let Some((table, prefix, metric)) = self.waiting.take() {
            self.withdraw(sink, table, prefix, metric);
            count(&self.counters.withdrawals);
        }
    }

    fn withdraw(&mut self, sink: &mut dyn Sink, table: TableId, prefix: Prefix, metric: Option<u32>) {
        if let Err(refusal) = sink.change(table, Change::Delete(prefix, metric)) {
            self.undone(refusal.into());
        }
    }
}

/// Groups, and addresses of a link: nothing is ever forwarded to them by a route.
fn is_unroutable(prefix: &Prefix) -> bool {
    match prefix.network() {
        IpAddr::V4(network) => prefix.length() >= 4 && network.is_multicast(),
        IpAddr::V6(network) => {
            let link_local = prefix.length() >= 10 && network.segments()[0] & 0xffc0 == 0xfe80;
            link_local || (prefix.length() >= 8 && network.is_multicast())
        }
    }
}
