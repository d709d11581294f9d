//! What a hostile guest can do to rings, grants and frames, one test a way; to the store: `hostile_store.rs`. The outcome
//! is always that the guest is parted from, or loses frames for a reason; that its neighbour loses nothing; and that no
//! grant stays mapped and no event channel bound.

#![allow(missing_docs, reason = "a test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use pointsman_dataplane::drops::DropReason;
use pointsman_dataplane::frame::{BURST, Burst};
use pointsman_dataplane::port::{Port, Sleep};
use pointsman_dataplane::units::Nanos;
use pointsman_xen::frontend::FrontendOptions;
use pointsman_xen::netif::wire::{Extra, GsoKind, TxRequest, status, tx_flag};
use pointsman_xen::vif::VifOptions;
use pointsman_xen::{Access, DomId, GrantRef, Hypervisor};
use support::stage::Stage;
use support::{HOSTILE, Rig, VICTIM, frame};

#[test]
fn slots_that_change_while_they_are_read() {
    let mut stage = Stage::new();
    let stop = Arc::new(AtomicBool::new(false));
    let page = stage.hostile.1.queues[0].tx;
    let hammer = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let mut word = 1u32;
            while !stop.load(Relaxed) {
                for slot in 0..256 {
                    word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // Offsets and sizes within the page or beyond, flags of all kinds, few extras.
                    page.store(slot, [8 + word % 500, word & 0x0003_0fff, word.rotate_left(9) & 0x07ff_ffff]);
                }
            }
        })
    };
    let until = Instant::now() + Duration::from_millis(300);
    let mut shown = 0u32;
    while Instant::now() < until && stage.rig.vif(HOSTILE).is_up() {
        shown += 1;
        let front = &mut stage.hostile.1;
        front.queues[0].produced[0] = front.queues[0].produced[0].wrapping_add(7);
        front.show_tx(0).unwrap();
        stage.rig.breathe();
    }
    stop.store(true, Relaxed);
    hammer.join().unwrap();
    assert!(shown > 0);
    let vif = stage.rig.vif(HOSTILE);
    assert!(vif.all_drops() + vif.got.len() as u64 > 0);
    stage.end();
}

#[test]
fn data_that_changes_after_it_was_judged() {
    let mut stage = Stage::new();
    let data = frame(200, 1);
    assert!(stage.front().send(0, &data, 0, &[]));
    stage.front().show_tx(0).unwrap();
    let at = stage.rig.find(HOSTILE).unwrap();
    let mut burst = Burst::new();
    let Rig { vifs, pool, .. } = &mut stage.rig;
    vifs[at].ports[0].pull(pool, &mut burst);
    stage.hostile.1.queues[0].tx_pages.write(0, 0, &[0xee; 200]);
    let got = burst.pop().unwrap();
    assert_eq!(stage.rig.pool.to_vec(&got), data, "the copy is not the guest's to change");
    stage.rig.pool.free(got);
    stage.end();
}

#[test]
fn a_request_count_that_jumps() {
    for jump in [257u32, 1 << 31, u32::MAX, u32::MAX - 100] {
        let mut stage = Stage::new();
        let ring = &mut stage.front().queues[0];
        ring.tx.set_requests(ring.produced[0].wrapping_add(jump));
        stage.is_parted();
        assert_eq!(stage.dropped(DropReason::DescriptorInvalid), 1);
        stage.end();
    }
}

#[test]
fn a_receive_count_that_jumps() {
    let mut stage = Stage::new();
    stage.front().queues[0].rx.set_requests(10_000);
    for _ in 0..6 {
        // Pages that were seen before the jump may be used up first.
        if stage.rig.vif(HOSTILE).is_up() {
            stage.rig.push(HOSTILE, &vec![frame(60, 1); BURST]);
        }
    }
    stage.is_parted();
    stage.end();
}

#[test]
fn response_count_and_marks_written_by_the_guest() {
    let mut stage = Stage::new();
    for word in [0, 1, 12_345, u32::MAX] {
        let ring = &mut stage.front().queues[0];
        ring.tx.set_responses(word);
        ring.rx.set_responses(word);
        ring.tx.set_request_event(word);
        ring.tx.set_response_event(word);
        let good = frame(60, 1);
        assert!(stage.front().send(0, &good, 0, &[]));
        stage.put(&[]);
        assert_eq!(stage.rig.vif(HOSTILE).got.pop(), Some(good), "what it wrote was read back");
        assert_eq!(stage.statuses(), [status::OKAY]);
    }
    stage.end();
}

#[test]
fn work_without_end() {
    let mut stage = Stage::new();
    // Always a full ring, of frames and of what is no frame: neither keeps the neighbour waiting for more than one turn.
    for size in [60, 0] {
        let request = stage.request(0, size, 0).emit();
        for _ in 0..50 {
            stage.rig.vif(HOSTILE).got.clear();
            let front = &mut stage.hostile.1;
            front.take_sent(0);
            while front.queues[0].produced[0].wrapping_sub(front.queues[0].consumed[0]) < 256 {
                front.queues[0].put(request);
            }
            front.show_tx(0).unwrap();
            let data = frame(60, 9);
            assert!(stage.victim.1.send(0, &data, 0, &[]));
            stage.victim.1.show_tx(0).unwrap();
            stage.rig.breathe();
            assert_eq!(stage.rig.vif(VICTIM).got.pop(), Some(data));
            assert!(stage.rig.vif(HOSTILE).got.len() <= BURST);
            stage.rig.breathe();
            assert_eq!(stage.victim.1.take_sent(0).len(), 1);
        }
    }
    assert!(stage.dropped(DropReason::Runt) > 0);
    stage.end();
}

#[test]
fn a_storm_of_events() {
    let mut stage = Stage::new();
    let at = stage.rig.find(HOSTILE).unwrap();
    let sleep = Sleep::new().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let storm = {
        let (stop, mut events) = (Arc::clone(&stop), stage.hostile.0.events().unwrap());
        std::mem::swap(&mut events, &mut stage.hostile.1.events);
        let channels = stage.hostile.1.queues[0].channels;
        std::thread::spawn(move || {
            while !stop.load(Relaxed) {
                channels.iter().for_each(|channel| events.notify(*channel).unwrap());
                std::thread::sleep(Duration::from_micros(20));
            }
        })
    };
    let mut wakes = 0;
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        let Rig { vifs, pool, .. } = &mut stage.rig;
        let port = &mut vifs[at].ports[0];
        let mut burst = Burst::new();
        port.pull(pool, &mut burst);
        assert!(burst.is_empty());
        if port.arm(&sleep) {
            let due = port.deadline().map_or(Nanos::from_millis(100), |due| due.since(Nanos::now()));
            sleep.wait(due);
        }
        port.disarm(&sleep);
        wakes += 1;
    }
    stop.store(true, Relaxed);
    storm.join().unwrap();
    assert!(wakes < 100, "woken {wakes} times in half a second for nothing");
    stage.end();
}

#[test]
fn grants_that_are_bad_revoked_foreign_or_only_for_reading() {
    let mut stage = Stage::new();
    let memory = Arc::clone(stage.hostile.0.memory().unwrap());
    let good = stage.request(0, 60, 0);
    let revoked = stage.hostile.1.queues[0].tx_pages.grant(5);
    assert!(memory.revoke(revoked));
    memory.permit(GrantRef(4000), VICTIM, 20, Access::Write);
    memory.permit(GrantRef(4001), DomId::ZERO, u32::MAX, Access::Write);
    let with = |grant| TxRequest { grant, ..good }.emit();
    let bad = [revoked, GrantRef(4000), GrantRef(4001), GrantRef(3000), GrantRef(1_000_000), GrantRef(u32::MAX)];
    let mut slots = vec![good.emit()];
    slots.extend(bad.map(with));
    slots.push(good.emit());
    stage.put(&slots);
    assert_eq!(stage.statuses(), [0, -1, -1, -1, -1, -1, -1, 0], "each slot has its own fate");
    assert_eq!(stage.dropped(DropReason::GrantFailed), 6);
    // Of a packet in several slots only the bad one is told so; none of it is sent.
    let first = TxRequest { size: 180, flags: tx_flag::MORE_DATA, ..good };
    let second = TxRequest { grant: GrantRef(3000), flags: tx_flag::MORE_DATA, ..good };
    stage.rig.vif(HOSTILE).got.clear();
    stage.put(&[first.emit(), second.emit(), good.emit()]);
    assert_eq!(stage.statuses(), [0, -1, 0]);
    assert!(stage.rig.vif(HOSTILE).got.is_empty());
    // Pages to receive into that may only be read, or are not there.
    let readonly = stage.hostile.1.queues[0].rx_pages.grant(1);
    memory.permit(readonly, DomId::ZERO, 30, Access::Read);
    assert!(memory.revoke(stage.hostile.1.queues[0].rx_pages.grant(3)));
    stage.rig.push(HOSTILE, &(0..5).map(|n| frame(60, n)).collect::<Vec<_>>());
    let received = stage.front().receive(0).unwrap();
    let failed: Vec<bool> = received.iter().map(|frame| frame.failed).collect();
    assert_eq!(failed, [false, true, false, true, false]);
    assert_eq!(stage.dropped(DropReason::GrantFailed), 6 + 1 + 2);
    stage.is_kept();
    stage.end();
}

#[test]
fn pages_that_are_not_in_memory() {
    let mut stage = Stage::new();
    let memory = Arc::clone(stage.hostile.0.memory().unwrap());
    let grant = stage.hostile.1.queues[0].tx_pages.grant(0);
    memory.page_out(grant, true);
    let request = stage.request(0, 60, 0).emit();
    let (calls, _) = stage.rig.control.copies();
    stage.put(&[request; 60]);
    let tried = stage.rig.control.copies().0 - calls;
    assert!((2..=5).contains(&tried), "{tried} calls for one burst");
    assert_eq!(stage.statuses(), [status::ERROR; 60]);
    memory.page_out(grant, false);
    stage.put(&[request]);
    assert_eq!(stage.statuses(), [status::OKAY]);
    stage.end();
}

#[test]
fn sizes_and_chains_that_break_the_form() {
    type Slots = fn(&Stage) -> Vec<[u32; 3]>;
    let more = tx_flag::MORE_DATA;
    let _ = more;
    let cases: [(&str, Slots); 9] = [
        ("data beyond its page", |s| vec![s.request(4000, 97, 0).emit()]),
        ("an offset beyond its page", |s| vec![s.request(u16::MAX, 60, 0).emit()]),
        ("more than a page in one slot", |s| vec![s.request(0, 4097, 0).emit()]),
        ("further data beyond its page", |s| {
            vec![s.request(0, 160, tx_flag::MORE_DATA).emit(), s.request(4090, 100, 0).emit()]
        }),
        ("more to come, and nothing comes", |s| vec![s.request(0, 60, tx_flag::MORE_DATA).emit()]),
        ("an extra to come, and nothing comes", |s| vec![s.request(0, 60, tx_flag::EXTRA_INFO).emit()]),
        ("extras without end", |s| {
            let [head, tail] = Extra::Hash.emit(true);
            let mut slots = vec![s.request(0, 60, tx_flag::EXTRA_INFO).emit()];
            slots.resize(100, [head, tail, 0]);
            slots
        }),
        ("an unknown extra", |s| {
            let [head, tail] = Extra::Unknown(9).emit(false);
            vec![s.request(0, 60, tx_flag::EXTRA_INFO).emit(), [head, tail, 0]]
        }),
        ("a packet in thirty slots", |s| {
            let mut slots = vec![s.request(0, 600, tx_flag::MORE_DATA).emit()];
            slots.resize(29, s.request(0, 20, tx_flag::MORE_DATA).emit());
            slots.push(s.request(0, 20, 0).emit());
            slots
        }),
    ];
    for (what, slots) in cases {
        let mut stage = Stage::new();
        let slots = slots(&stage);
        stage.put(&slots);
        eprintln!("{what}");
        stage.is_parted();
        assert_eq!(stage.dropped(DropReason::DescriptorInvalid), 1, "{what}");
        stage.end();
    }
}

#[test]
fn lengths_that_are_no_good() {
    let mut stage = Stage::new();
    let more = tx_flag::MORE_DATA;
    let tell = |stage: &mut Stage, slots: &[TxRequest], reason| {
        let before = stage.dropped(reason);
        stage.rig.vif(HOSTILE).got.clear();
        stage.put(&slots.iter().map(TxRequest::emit).collect::<Vec<_>>());
        assert!(stage.rig.vif(HOSTILE).got.is_empty(), "{slots:?} was taken for a frame");
        assert_eq!(stage.dropped(reason), before + 1, "{slots:?}");
        assert_eq!(stage.statuses(), vec![status::ERROR; slots.len()], "{slots:?}");
    };
    let request = |size, flags| stage_request(size, flags);
    let grant = stage.request(0, 0, 0).grant;
    let fix = |slots: &[TxRequest]| slots.iter().map(|slot| TxRequest { grant, ..*slot }).collect::<Vec<_>>();
    tell(&mut stage, &fix(&[request(0, 0)]), DropReason::Runt);
    tell(&mut stage, &fix(&[request(13, 0)]), DropReason::Runt);
    // The parts are longer than the whole: what a frontend with a 64 KiB packet writes whose length wrapped.
    tell(&mut stage, &fix(&[request(100, more), request(101, 0)]), DropReason::DescriptorInvalid);
    tell(&mut stage, &fix(&[request(0, more), request(0, 0)]), DropReason::Runt);
    // One slot more than anyone needs.
    let mut slots = vec![request(2000, more)];
    slots.resize(19, request(100, more));
    slots.push(request(100, 0));
    tell(&mut stage, &fix(&slots), DropReason::DescriptorInvalid);
    stage.is_kept();
    stage.end();
}

fn stage_request(size: u16, flags: u16) -> TxRequest {
    TxRequest { grant: GrantRef(0), offset: 0, flags, id: 3, size }
}

#[test]
fn headers_in_tiny_and_empty_slots() {
    let mut stage = Stage::new();
    let data = frame(100, 3);
    stage.hostile.1.queues[0].tx_pages.write(0, 0, &data);
    // Eighteen slots: one byte each, then an empty one, the rest in the last; the first is what remains of the whole.
    let mut slots = vec![stage.request(0, 100, tx_flag::MORE_DATA)];
    slots.extend((0..15).map(|n| stage.request(1 + n, 1, tx_flag::MORE_DATA)));
    slots.push(stage.request(16, 0, tx_flag::MORE_DATA));
    slots.push(stage.request(16, 84, 0));
    stage.put(&slots.iter().map(TxRequest::emit).collect::<Vec<_>>());
    assert_eq!(stage.rig.vif(HOSTILE).got, [data], "the slots were not put together");
    assert_eq!(stage.statuses(), [status::OKAY; 18]);
    stage.end();
}

/// An IPv4 packet to be cut, or one whose checksum is blank.
fn packet(tcp: bool, payload: usize) -> Vec<u8> {
    let builder =
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    let mut data = Vec::new();
    let payload = vec![1; payload];
    if tcp {
        builder.tcp(1, 2, 3, 4).write(&mut data, &payload).unwrap();
    } else {
        builder.udp(1, 2).write(&mut data, &payload).unwrap();
    }
    data
}

#[test]
fn cutting_that_makes_no_sense() {
    for extras in [
        vec![Extra::Gso { size: 0, kind: Some(GsoKind::Tcp4) }],
        vec![Extra::Gso { size: 1448, kind: None }],
        vec![Extra::Gso { size: 1448, kind: Some(GsoKind::Tcp4) }; 2],
    ] {
        let mut stage = Stage::new();
        assert!(stage.front().send(0, &packet(true, 3000), tx_flag::CSUM_BLANK, &extras));
        stage.put(&[]);
        stage.is_parted();
        stage.end();
    }
    let mut stage = Stage::new();
    let long = |mut data: Vec<u8>, at: usize, byte: u8| {
        data[at] = byte;
        data
    };
    let cases = [
        ("segments of one byte", packet(true, 3000), 1, GsoKind::Tcp4),
        ("UDP", packet(false, 3000), 1448, GsoKind::Tcp4),
        ("IPv4 as IPv6", packet(true, 3000), 1448, GsoKind::Tcp6),
        ("no IP at all", frame(3000, 1), 1448, GsoKind::Tcp4),
        ("a TCP header longer than the packet", long(packet(true, 10), 46, 0xf0), 1448, GsoKind::Tcp4),
        ("a TCP header of no length", long(packet(true, 3000), 46, 0), 1448, GsoKind::Tcp4),
        ("an IP header of no length", long(packet(true, 3000), 14, 0x40), 1448, GsoKind::Tcp4),
        ("an IP length that lies", long(packet(true, 3000), 16, 0xff), 1448, GsoKind::Tcp4),
        ("a fragment", long(packet(true, 3000), 20, 0x20), 1448, GsoKind::Tcp4),
    ];
    for (number, (what, data, size, kind)) in cases.into_iter().enumerate() {
        let extra = Extra::Gso { size, kind: Some(kind) };
        assert!(stage.front().send(0, &data, tx_flag::CSUM_BLANK, &[extra]));
        stage.put(&[]);
        assert_eq!(stage.dropped(DropReason::SegmentRequest), number as u64 + 1, "{what}");
    }
    stage.is_kept();
    stage.end();
}

#[test]
fn checksums_left_blank_where_there_are_none() {
    let mut stage = Stage::new();
    let mut other = packet(true, 100);
    other[23] = 1;
    let mut fragment = packet(false, 100);
    fragment[20] = 0x20;
    let cases = [other, fragment, packet(true, 100)[..40].to_vec(), frame(60, 1), frame(14, 1)];
    for (number, data) in cases.iter().enumerate() {
        assert!(stage.front().send(0, data, tx_flag::CSUM_BLANK, &[]));
        stage.put(&[]);
        assert_eq!(stage.dropped(DropReason::ChecksumRequest), number as u64 + 1, "case {number}");
    }
    stage.is_kept();
    stage.end();
}

#[test]
fn a_guest_that_posts_no_pages_or_one() {
    for posted in [0, 1] {
        let mut rig = Rig::new(VifOptions::default());
        let victim = rig.connected(VICTIM, FrontendOptions::default());
        let hostile = rig.connected(HOSTILE, FrontendOptions { posted, ..Default::default() });
        let mut stage = Stage { rig, victim, hostile };
        let at = stage.rig.find(HOSTILE).unwrap();
        assert_eq!(stage.rig.vifs[at].ports[0].is_full(), posted == 0);
        for _ in 0..100 {
            stage.rig.push(HOSTILE, &vec![frame(1500, 1); BURST]);
            assert!(stage.rig.vifs[at].ports[0].is_full());
            assert_eq!(stage.rig.pool.available(), stage.rig.chunks, "frames wait for it");
        }
        assert_eq!(stage.dropped(DropReason::OutputFull), 6400 - u64::from(posted));
        // Two pages are needed, one is there.
        stage.front().receive(0).unwrap();
        stage.rig.push(HOSTILE, &[frame(5000, 1)]);
        assert!(stage.front().receive(0).unwrap().is_empty());
        stage.end();
    }
}
