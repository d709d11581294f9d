//! What a guest sends: packets out of its tx ring, copied with one call a burst.
//!
//! A burst goes through in four steps. *Read*: each slot is loaded once and judged; chunks are laid out for each packet.
//! *Copy*: one grant copy for all of them. *Sort*: what could not be copied is dropped. *Answer*: one response for every slot
//! that was taken, in order. Headers are judged by whoever forwards, in our copy.
//!
//! The answer is given at the *next* pull, when the burst has left by whatever port it left by. If this process is killed
//! in between, the next one finds the requests unanswered and takes them again: a frame may come twice, but is not lost.
//! Not before then is a response written, because it overwrites its request.
//!
//! What breaks the protocol's form (a count, a chain, a page's end) ends the connection: no driver does that. What is merely
//! no good (a grant that was taken back, lengths that do not add up, a runt) costs the guest that packet.

use std::sync::Arc;

use pointsman_dataplane::drops::DropReason;
use pointsman_dataplane::frame::{Burst, ETHERNET_HEADER, Frame};
use pointsman_dataplane::offload::{self, Gso, GsoKind, Offload};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::Counters;

use super::copy::copy;
use super::groups::Groups;
use super::link::Fault;
use crate::netif::ring::{BackRing, SLOTS};
use crate::netif::wire::{self, Extra, TX_WORDS, TxRequest, TxResponse, status, tx_flag};
use crate::{CopyOp, DomId, GrantRef, GrantStatus, Grants, PAGE};

/// Slots beyond the first that a packet may have (`XEN_NETBK_LEGACY_SLOTS_MAX`); with more of them it is dropped.
const MAX_FURTHER: usize = 18;
/// Slots beyond the first at which a guest is mad or malicious (`fatal_skb_slots` of netback).
pub(super) const FATAL_SLOTS: usize = 20;
/// Bytes that one pull takes, about: a burst of 64 KiB pieces would keep the neighbours waiting.
const PULL: usize = 256 * 1024;

/// A packet on its way.
#[derive(Debug)]
struct Packet {
    frame: Frame,
    /// Its copies end here.
    ops: usize,
    flags: u16,
    gso: Option<Gso>,
}

/// The tx ring, and what a burst is worked out in.
#[derive(Debug)]
pub(super) struct FromGuest {
    domain: DomId,
    ring: BackRing<TX_WORDS>,
    groups: Arc<Groups>,
    packets: Vec<Packet>,
    /// One for every slot that was taken.
    answers: Vec<TxResponse>,
    ops: Vec<CopyOp>,
    /// For each op the answer that it may spoil.
    spoils: Vec<u16>,
    /// The slots of the packet that is being read: grant, offset, length, answer.
    pieces: Vec<(GrantRef, u16, u16, u16)>,
    /// Requests that were taken since this was last asked.
    worked: bool,
}

/// What was read.
enum Read {
    /// A packet; its slots are in `pieces`.
    Packet { len: usize, flags: u16, gso: Option<Gso> },
    /// Nothing to be sent, and nothing lost.
    Message,
    /// A packet that is no good.
    Lost(DropReason),
}

impl FromGuest {
    pub(super) fn new(domain: DomId, ring: BackRing<TX_WORDS>, groups: Arc<Groups>) -> Self {
        let slots = SLOTS as usize;
        // A slot's bytes lie in up to four chunks.
        let (ops, spoils) = (Vec::with_capacity(4 * slots), Vec::with_capacity(4 * slots));
        let (packets, answers) = (Vec::with_capacity(slots), Vec::with_capacity(slots));
        let pieces = Vec::with_capacity(FATAL_SLOTS + 1);
        Self { domain, ring, groups, packets, answers, ops, spoils, pieces, worked: false }
    }

    /// Asks to be woken for the next request. True when there is none yet.
    pub(super) fn arm(&self) -> bool {
        self.ring.arm()
    }

    /// Whether requests were taken since this was last asked.
    pub(super) fn has_worked(&mut self) -> bool {
        std::mem::take(&mut self.worked)
    }

    /// Whether the guest wants to be woken for what it was answered.
    #[inline]
    pub(super) fn must_notify(&mut self) -> bool {
        self.ring.must_notify()
    }

    /// Takes packets, as many as there are and `burst` has room for.
    #[inline]
    pub(super) fn pull(
        &mut self,
        grants: &mut dyn Grants,
        pool: &mut Pool,
        burst: &mut Burst,
        counters: &Counters,
    ) -> Result<(), Fault> {
        self.answer();
        if self.ring.waiting()? == 0 {
            return Ok(());
        }
        self.worked = true;
        let read = self.read(pool, burst.remaining_capacity(), counters);
        if read.is_err() {
            self.answers.clear();
            for packet in self.packets.drain(..) {
                pool.free(packet.frame);
            }
        } else if !self.ops.is_empty() {
            self.copy(grants);
        }
        self.sort(pool, burst, counters);
        self.ops.clear();
        self.spoils.clear();
        read
    }

    /// Answers what was taken by the last pull: by now it has left.
    #[inline]
    pub(super) fn answer(&mut self) {
        for answer in self.answers.drain(..) {
            self.ring.respond([answer.emit()]);
        }
        self.ring.show();
    }

    /// Reads packets and lays out what is to be copied where.
    fn read(&mut self, pool: &mut Pool, most: usize, counters: &Counters) -> Result<(), Fault> {
        // Looked at once: a guest that goes on sending gets its turn again after the others.
        let mut waiting = self.ring.waiting()?;
        let mut bytes = 0;
        while waiting > 0 && self.packets.len() < most && bytes < PULL {
            let (answered, before) = (self.answers.len(), self.ring.unanswered());
            let read = self.read_packet(waiting)?;
            let used = self.ring.unanswered() - before;
            waiting -= used;
            match read {
                Read::Packet { len, flags, gso } => {
                    let Some(frame) = pool.unfilled(len) else {
                        // It stays in the ring until there are chunks again.
                        self.ring.untake(used);
                        self.answers.truncate(answered);
                        break;
                    };
                    self.lay_out(pool, &frame);
                    self.packets.push(Packet { frame, ops: self.ops.len(), flags, gso });
                    bytes += len;
                }
                Read::Message => {}
                Read::Lost(reason) => {
                    for answer in self.answers.iter_mut().skip(answered).filter(|a| a.status == status::OKAY) {
                        answer.status = status::ERROR;
                    }
                    counters.dropped(reason, 1);
                }
            }
        }
        Ok(())
    }

    /// Reads the slots of one packet, of `waiting` that may be read.
    fn read_packet(&mut self, waiting: u32) -> Result<Read, Fault> {
        let mut left = waiting;
        self.pieces.clear();
        let first = self.take_request(&mut left)?;
        let (mut gso, mut message) = (None, None);
        if first.flags & tx_flag::EXTRA_INFO != 0 {
            (gso, message) = self.read_extras(&mut left)?;
        }
        let mut flags = first.flags;
        let mut rest = 0u32;
        while flags & tx_flag::MORE_DATA != 0 {
            if self.pieces.len() > FATAL_SLOTS {
                return Err(Fault::Slots);
            }
            let further = self.take_request(&mut left)?;
            rest += u32::from(further.size);
            flags = further.flags;
        }
        if let Some(done) = message {
            if let (false, Some(answer)) = (done, self.answers.len().checked_sub((waiting - left) as usize)) {
                self.answers[answer].status = status::ERROR;
            }
            return Ok(Read::Message);
        }
        let total = u32::from(first.size);
        if self.pieces.len() > 1 + MAX_FURTHER || rest > total {
            return Ok(Read::Lost(DropReason::DescriptorInvalid));
        }
        // The first slot tells the whole packet's length; the others are what it is longer than its own part.
        self.pieces[0].2 = (total - rest) as u16;
        for &(_, offset, len, _) in &self.pieces {
            if usize::from(offset) + usize::from(len) > PAGE {
                return Err(Fault::Page { offset, len });
            }
        }
        if (total as usize) < ETHERNET_HEADER {
            return Ok(Read::Lost(DropReason::Runt));
        }
        Ok(Read::Packet { len: total as usize, flags: first.flags, gso })
    }

    /// Takes a slot that holds a request.
    #[inline]
    fn take_request(&mut self, left: &mut u32) -> Result<TxRequest, Fault> {
        *left = left.checked_sub(1).ok_or(Fault::Unfinished)?;
        let request = TxRequest::parse(self.ring.take());
        self.pieces.push((request.grant, request.offset, request.size, self.answers.len() as u16));
        self.answers.push(TxResponse { id: request.id, status: status::OKAY });
        Ok(request)
    }

    /// Takes the slots that hold extra segments: how to cut the packet; or what a message was, and whether it was heeded.
    #[cold]
    fn read_extras(&mut self, left: &mut u32) -> Result<(Option<Gso>, Option<bool>), Fault> {
        let (mut gso, mut message) = (None, None);
        let mut hash = false;
        loop {
            *left = left.checked_sub(1).ok_or(Fault::Unfinished)?;
            let [head, tail, _] = self.ring.take();
            self.answers.push(TxResponse { id: 0, status: status::NULL });
            let (extra, more) = Extra::parse(head, tail);
            match extra {
                Extra::Gso { .. } if gso.is_some() => return Err(Fault::Extra("is there twice")),
                Extra::Gso { size: 0, .. } => return Err(Fault::Extra("cuts into segments of no bytes")),
                Extra::Gso { kind: None, .. } => return Err(Fault::Extra("cuts what is not TCP")),
                Extra::Gso { size, kind: Some(kind) } => {
                    let kind = match kind {
                        wire::GsoKind::Tcp4 => GsoKind::TcpIpv4,
                        wire::GsoKind::Tcp6 => GsoKind::TcpIpv6,
                    };
                    gso = Some(Gso { kind, ecn: false, size });
                }
                Extra::MulticastAdd(_) | Extra::MulticastDel(_) if message.is_some() => {
                    return Err(Fault::Extra("is there twice"));
                }
                Extra::MulticastAdd(address) => message = Some(self.groups.add(address)),
                Extra::MulticastDel(address) => message = Some(self.groups.remove(address)),
                // A hint that we have no use for. One of a kind, so that no chain goes on for ever.
                Extra::Hash if hash => return Err(Fault::Extra("is there twice")),
                Extra::Hash => hash = true,
                Extra::Unknown(_) => return Err(Fault::Extra("is of no known type")),
            }
            if !more {
                return Ok((gso, message));
            }
        }
    }

    /// Makes the copies for the packet in `pieces`: each slot into as many chunks as it takes.
    #[inline]
    fn lay_out(&mut self, pool: &Pool, frame: &Frame) {
        let mut parts = pool.parts(frame);
        let Some((mut to, mut room)) = parts.next() else { return };
        for &(grant, mut offset, mut len, answer) in &self.pieces {
            while len > 0 {
                if room == 0 {
                    let Some(part) = parts.next() else { return };
                    (to, room) = part;
                }
                let n = len.min(room as u16);
                // SAFETY: `n` bytes from `to` are left of a chunk of the packet's frame, which nobody else has, and which is
                // not given away before the copies are made or cleared.
                self.ops.push(unsafe { CopyOp::from_grant(self.domain, grant, offset, to, n) });
                self.spoils.push(answer);
                to = to.wrapping_add(n.into());
                room -= usize::from(n);
                (offset, len) = (offset + n, len - n);
            }
        }
    }

    /// Makes all copies with one call, and spoils the answers of those that failed.
    #[inline]
    fn copy(&mut self, grants: &mut dyn Grants) {
        let known = copy(grants, &mut self.ops);
        for (op, spoils) in self.ops.iter_mut().zip(&self.spoils) {
            if !known {
                op.set_status(GrantStatus::GENERAL_ERROR);
            }
            if op.status() != GrantStatus::OKAY {
                self.answers[usize::from(*spoils)].status = status::ERROR;
            }
        }
    }

    /// Hands on what was copied whole.
    #[inline]
    fn sort(&mut self, pool: &mut Pool, burst: &mut Burst, counters: &Counters) {
        let (mut frames, mut bytes, mut from) = (0, 0, 0);
        for mut packet in self.packets.drain(..) {
            let whole = self.ops[from..packet.ops].iter().all(|op| op.status() == GrantStatus::OKAY);
            from = packet.ops;
            let admitted = match whole {
                false => Err(DropReason::GrantFailed),
                true if packet.flags == 0 => Ok(()),
                true => admit(pool, &mut packet),
            };
            match admitted {
                Ok(()) => {
                    frames += 1;
                    bytes += packet.frame.len() as u64;
                    burst.push(packet.frame);
                }
                Err(reason) => {
                    counters.dropped(reason, 1);
                    pool.free(packet.frame);
                }
            }
        }
        counters.received(frames, bytes);
    }
}

/// Notes with the frame what its guest left to do.
fn admit(pool: &mut Pool, packet: &mut Packet) -> Result<(), DropReason> {
    if packet.gso.is_some() || packet.flags & tx_flag::CSUM_BLANK != 0 {
        return offload::admit_blank(pool, &mut packet.frame, packet.gso);
    }
    if packet.flags & tx_flag::DATA_VALIDATED != 0 {
        pool.set_offload(&mut packet.frame, Offload::Verified);
    }
    Ok(())
}
