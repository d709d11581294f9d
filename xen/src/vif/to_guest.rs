//! What a guest receives: frames into the pages that it posted in its rx ring, copied with one call a breath.
//!
//! A push takes a request for every page that the burst needs and notes what is to be copied; the flush at the breath's end
//! makes the copies and shows the responses. There is no queue behind the ring: a guest that posts no pages has its frames
//! dropped at once, and costs its neighbours nothing.
//!
//! A response lies in its request's slot. Frames beyond a page take further slots; how to cut one takes a slot of its own,
//! whose page stays unused.

use std::cell::Cell;
use std::sync::Arc;

use pointsman_dataplane::drops::DropReason;
use pointsman_dataplane::frame::{BURST, Burst, Frame};
use pointsman_dataplane::offload::{self, GsoKind, Offload, Offloads};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::Counters;

use super::copy::copy;
use super::groups::Groups;
use super::link::Fault;
use crate::netif::keys::Abilities;
use crate::netif::ring::{BackRing, SLOTS};
use crate::netif::wire::{self, Extra, RX_WORDS, RxRequest, RxResponse, rx_flag, status};
use crate::{CopyOp, DomId, GrantStatus, Grants, PAGE};

/// Copies that wait for the flush; with more of them they are made at once.
const MOST_OPS: usize = 4 * SLOTS as usize;
/// Most copies for one frame: its chunks, and its pages' ends.
const OPS_A_FRAME: usize = 64;

/// A response to come.
#[derive(Clone, Copy, Debug)]
enum Planned {
    /// Bytes in a page; its copies end here.
    Data { response: RxResponse, ops: usize },
    /// How to cut the frame.
    Extra([u32; 2]),
}

/// The rx ring, and what is to be put into it.
#[derive(Debug)]
pub(super) struct ToGuest {
    domain: DomId,
    ring: BackRing<RX_WORDS>,
    abilities: Abilities,
    groups: Arc<Groups>,
    frames: Vec<(Frame, usize)>,
    planned: Vec<Planned>,
    ops: Vec<CopyOp>,
    /// Requests that wait, when we last looked.
    waiting: u32,
    /// The most that we found waiting: what the guest posts when it is not behind.
    most: u32,
    /// There were too few, and not yet enough again.
    full: Cell<bool>,
    /// The request count of which the guest is to tell us.
    awaited: Option<u32>,
}

impl ToGuest {
    pub(super) fn new(domain: DomId, ring: BackRing<RX_WORDS>, abilities: Abilities, groups: Arc<Groups>) -> Self {
        let slots = SLOTS as usize;
        let (frames, planned) = (Vec::with_capacity(slots), Vec::with_capacity(slots));
        let ops = Vec::with_capacity(MOST_OPS + OPS_A_FRAME);
        Self {
            domain,
            ring,
            abilities,
            groups,
            frames,
            planned,
            ops,
            waiting: 0,
            most: 0,
            full: Cell::new(false),
            awaited: None,
        }
    }

    /// What may be left to do for frames that are pushed.
    pub(super) fn accepts(&self) -> Offloads {
        let able = self.abilities;
        let gso = able.sg;
        let each = [
            (able.csum_ip4, Offloads::CHECKSUM_IPV4),
            (able.csum_ip6, Offloads::CHECKSUM_IPV6),
            (able.gso_tcp4 && gso, Offloads::TCP_IPV4),
            (able.gso_tcp6 && gso, Offloads::TCP_IPV6),
        ];
        each.iter().filter(|(is, _)| *is).fold(Offloads::NONE, |all, (_, one)| all.with(*one))
    }

    /// Whether the guest gains from segments that are joined: pages and slots, and walks through its stack.
    #[inline]
    pub(super) fn takes_pieces(&self) -> bool {
        let Abilities { sg, gso_tcp4, gso_tcp6, csum_ip4, csum_ip6, .. } = self.abilities;
        sg && gso_tcp4 && gso_tcp6 && csum_ip4 && csum_ip6
    }

    /// Whether there are fewer pages than a burst takes, or a quarter of the few that the guest posts, or none; once that was
    /// so, until half is there.
    pub(super) fn is_full(&self) -> bool {
        let least = if self.full.get() { self.enough() } else { (BURST as u32).min(self.most / 4).max(1) };
        self.full.set(self.waiting < least && self.ring.waiting().is_ok_and(|waiting| waiting < least));
        self.full.get()
    }

    fn enough(&self) -> u32 {
        (self.most / 2).max(1)
    }

    /// Asks to be woken when half is there. False when it is.
    pub(super) fn arm_room(&mut self) -> bool {
        self.awaited = self.ring.arm_for(self.enough());
        self.awaited.is_some()
    }

    /// Whether what we asked to be woken for has come; said once.
    pub(super) fn room_came(&mut self) -> bool {
        self.awaited.take_if(|at| self.ring.has_reached(*at)).is_some()
    }

    /// Whether the guest wants to be woken for what it was shown.
    #[inline]
    pub(super) fn must_notify(&mut self) -> bool {
        self.ring.must_notify()
    }

    /// Plans all frames of the burst that there are pages for, and frees the others.
    #[inline]
    pub(super) fn push(
        &mut self,
        grants: &mut dyn Grants,
        pool: &mut Pool,
        burst: &mut Burst,
        counters: &Counters,
    ) -> Result<(), Fault> {
        let mut frames = burst.drain(..);
        while let Some(mut frame) = frames.next() {
            if let Some(Offload::Checksum(partial)) = pool.offload(&frame)
                && !offload::is_outermost(pool, &frame, partial)
            {
                // The guest looks for it by itself, and would find another.
                pool.take_offload(&mut frame);
                offload::complete(pool, &mut frame, partial);
            }
            match self.plan(pool, &frame) {
                Ok(Ok(())) => self.frames.push((frame, self.planned.len())),
                Ok(Err(reason)) => {
                    counters.dropped(reason, 1);
                    pool.free(frame);
                }
                Err(fault) => {
                    counters.dropped(DropReason::OutputDown, 1 + frames.len() as u64);
                    pool.free(frame);
                    pool.free_all(frames);
                    return Err(fault);
                }
            }
            if self.ops.len() >= MOST_OPS {
                self.flush(grants, pool, counters);
            }
        }
        Ok(())
    }

    /// Takes requests for one frame and notes its copies.
    #[inline]
    fn plan(&mut self, pool: &Pool, frame: &Frame) -> Result<Result<(), DropReason>, Fault> {
        if !self.groups.want(pool.head(frame)) {
            return Ok(Err(DropReason::MulticastFiltered));
        }
        let pages = frame.len().div_ceil(PAGE) as u32;
        let (mut flags, mut extra) = (0, None);
        match pool.offload(frame) {
            None => {}
            Some(Offload::Verified) => flags = rx_flag::DATA_VALIDATED,
            Some(Offload::Checksum(_)) => flags = rx_flag::DATA_VALIDATED | rx_flag::CSUM_BLANK,
            Some(Offload::Segment(_, gso)) => {
                flags = rx_flag::DATA_VALIDATED | rx_flag::CSUM_BLANK | rx_flag::EXTRA_INFO;
                let kind = match gso.kind {
                    GsoKind::TcpIpv4 => wire::GsoKind::Tcp4,
                    GsoKind::TcpIpv6 => wire::GsoKind::Tcp6,
                    // Not in the protocol, and not among what we accept.
                    GsoKind::Udp => return Ok(Err(DropReason::SegmentRequest)),
                };
                extra = Some(Extra::Gso { size: gso.size, kind: Some(kind) }.emit(false));
            }
        }
        if pages > 1 && !self.abilities.sg || pages > MAX_PAGES {
            return Ok(Err(DropReason::Giant));
        }
        let slots = pages + u32::from(extra.is_some());
        if self.waiting < slots {
            self.waiting = self.ring.waiting()?;
            self.most = self.most.max(self.waiting);
            if self.waiting < slots {
                return Ok(Err(DropReason::OutputFull));
            }
        }
        self.waiting -= slots;
        self.fill(pool, frame, flags, extra);
        Ok(Ok(()))
    }

    #[inline]
    fn fill(&mut self, pool: &Pool, frame: &Frame, mut flags: u16, mut extra: Option<[u32; 2]>) {
        let mut parts = pool.parts(frame);
        let (mut from, mut left) = (std::ptr::null_mut(), 0);
        let mut todo = frame.len();
        while todo > 0 {
            let request = RxRequest::parse(self.ring.take());
            let len = todo.min(PAGE);
            let mut at = 0;
            while at < len {
                if left == 0 {
                    let Some(part) = parts.next() else { break };
                    (from, left) = part;
                    continue;
                }
                let n = left.min(len - at);
                // SAFETY: `n` bytes from `from` are left of a chunk of the frame, which is kept until the copies are made.
                let op = unsafe { CopyOp::to_grant(from, self.domain, request.grant, at as u16, n as u16) };
                self.ops.push(op);
                from = from.wrapping_add(n);
                (left, at) = (left - n, at + n);
            }
            todo -= len;
            if todo > 0 {
                flags |= rx_flag::MORE_DATA;
            }
            let response = RxResponse { id: request.id, offset: 0, flags, status: len as i16 };
            self.planned.push(Planned::Data { response, ops: self.ops.len() });
            flags = 0;
            if let Some(words) = extra.take() {
                self.ring.take();
                self.planned.push(Planned::Extra(words));
            }
        }
    }

    /// Makes the copies that were planned, with one call, and shows the guest its frames.
    #[inline]
    pub(super) fn flush(&mut self, grants: &mut dyn Grants, pool: &mut Pool, counters: &Counters) {
        if self.planned.is_empty() {
            return;
        }
        let known = copy(grants, &mut self.ops);
        let (mut op, mut slot, mut sent, mut bytes) = (0, 0, 0, 0);
        for (frame, end) in &self.frames {
            let mut whole = true;
            for planned in &self.planned[slot..*end] {
                match *planned {
                    Planned::Extra(words) => self.ring.respond(words),
                    Planned::Data { mut response, ops } => {
                        if !known || self.ops[op..ops].iter().any(|op| op.status() != GrantStatus::OKAY) {
                            response.status = status::ERROR;
                            whole = false;
                        }
                        op = ops;
                        self.ring.respond(response.emit());
                    }
                }
            }
            slot = *end;
            if whole {
                sent += 1;
                bytes += frame.len() as u64;
            } else {
                counters.dropped(DropReason::GrantFailed, 1);
            }
        }
        // Nothing else before this: should we die now, who takes over would take responses for requests.
        self.ring.show();
        counters.sent(sent, bytes);
        pool.free_all(self.frames.drain(..).map(|(frame, _)| frame));
        self.planned.clear();
        self.ops.clear();
    }

    /// Frees what was planned and not sent.
    pub(super) fn end(&mut self, pool: &mut Pool, counters: &Counters) {
        counters.dropped(DropReason::OutputDown, self.frames.len() as u64);
        pool.free_all(self.frames.drain(..).map(|(frame, _)| frame));
        self.planned.clear();
        self.ops.clear();
    }
}

/// Pages of the longest frame that netfront takes: 18 slots.
const MAX_PAGES: u32 = 18;
