//! The bridge allocates nothing for a frame, whatever the frame is. An allocator that counts says so.

mod counting;

use std::sync::Arc;

use arc_swap::ArcSwap;
use counting::calls;
use pointsman_dataplane::bridge::{Bridge, Domain, DomainId, Fdb, Member, Table};
use pointsman_dataplane::drops::DropReason;
use pointsman_dataplane::forward::{Forward, Outputs};
use pointsman_dataplane::frame::{BURST, Burst};
use pointsman_dataplane::offload::{Gso, GsoKind, Offload, Partial, admit, push};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::{Counters, Port, Sleep};
use pointsman_dataplane::units::{Mac, Nanos, PortId};
use pointsman_dataplane::wire::ethernet::VlanId;

const GUEST: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OUTSIDE: [u8; 6] = [6, 0, 0, 0, 0, 1];

/// Forwards bursts made of `frames`, a fresh source now and then, and frees what leaves; how many frames left.
fn run(rig: &mut Rig, input: PortId, frames: &[Vec<u8>], bursts: u64) -> u64 {
    let mut burst = Burst::new();
    let mut left = 0;
    for n in 0..bursts {
        for bytes in frames.iter().cycle().take(BURST) {
            let mut frame = rig.pool.frame_from(bytes).expect("a free chunk");
            // Some stations are new, and beyond the bound: learning and refusing to learn are part of the path.
            if let Some(source) = rig.pool.head_mut(&mut frame).get_mut(8..10)
                && n % 4 == 0
                && input == PortId(0)
            {
                source.copy_from_slice(&(n as u16).to_be_bytes());
            }
            burst.push(frame);
        }
        let now = Nanos::from_millis(10 * n);
        rig.bridge.forward(&mut rig.pool, input, &mut burst, &mut rig.out, now);
        rig.out.drain(|_, burst| {
            left += burst.len() as u64;
            rig.pool.free_all(burst.drain(..));
        });
        rig.bridge.tick(&mut rig.pool, &mut rig.out, now);
    }
    left
}

struct Rig {
    bridge: Bridge,
    pool: Pool,
    out: Outputs,
    counters: Vec<Arc<Counters>>,
}

/// A trunk, a guest, an access port and a second trunk.
fn rig() -> Rig {
    let vlan = |id| VlanId::new(id).expect("a VLAN");
    let access = Member { native: Some(DomainId(0)), ..Member::default() };
    let ports = [
        Member { vlans: vec![(vlan(10), DomainId(0))], ..access_to_other() },
        Member { macs: vec![Mac(GUEST)], ..access.clone() },
        access,
        Member { vlans: vec![(vlan(20), DomainId(0))], ..Member::default() },
    ];
    let domains = ["d", "other"].map(|name| Domain { name: name.into(), age: Nanos::from_secs(1), max_learned: 64 });
    let counters: Vec<Arc<Counters>> = ports.iter().map(|_| Arc::default()).collect();
    let table = Table::build(&ports, &domains).expect("a table without contradictions");
    Rig {
        bridge: Bridge::new(Arc::new(ArcSwap::from_pointee(table)), Arc::new(Fdb::new(&domains))),
        pool: Pool::new(4096).expect("frame memory"),
        out: Outputs::new(counters.clone()),
        counters,
    }
}

fn access_to_other() -> Member {
    Member { native: Some(DomainId(1)), ..Member::default() }
}

fn frame(dst: [u8; 6], src: [u8; 6], tags: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = [dst.as_slice(), &src, tags, &[8, 0]].concat();
    bytes.resize(len, 0);
    bytes
}

#[test]
fn the_bridge_allocates_nothing_whatever_comes() {
    let mut rig = rig();
    let tag: &[u8] = &[0x81, 0, 0, 10];
    let from_trunk = [
        frame(GUEST, OUTSIDE, tag, 64),
        frame([0xff; 6], OUTSIDE, tag, 64),
        frame([6, 9, 9, 9, 9, 9], OUTSIDE, tag, 1504),
        frame([0xff; 6], OUTSIDE, tag, 9000),
        frame(GUEST, OUTSIDE, &[], 60),
        frame(GUEST, OUTSIDE, &[0x81, 0, 0, 11], 64),
        frame(GUEST, OUTSIDE, &[0x81, 0, 0, 10, 0x81, 0, 0, 10], 64),
        frame([1, 0x80, 0xc2, 0, 0, 0], OUTSIDE, tag, 64),
        vec![1; 9],
    ];
    let from_guest = [
        frame(OUTSIDE, GUEST, &[], 60),
        frame([0xff; 6], GUEST, &[], 60),
        frame(OUTSIDE, OUTSIDE, &[], 60),
        frame(OUTSIDE, [0xff; 6], &[], 60),
    ];
    // The first bursts may set something up; what follows may not.
    for (calls_allowed, bursts) in [(u64::MAX, 4), (0, 1000)] {
        let before = calls();
        let left = run(&mut rig, PortId(0), &from_trunk, bursts) + run(&mut rig, PortId(1), &from_guest, bursts);
        let counted = calls() - before;
        assert!(counted <= calls_allowed, "{counted} calls of the allocator in {bursts} bursts each way");
        assert!(left > 64 * bursts, "hardly anything was forwarded: {left} frames");
    }
    for (port, reason) in [
        (0, DropReason::Runt),
        (0, DropReason::VlanNotAllowed),
        (0, DropReason::LinkLocal),
        (0, DropReason::NoOutput),
        (1, DropReason::SourceSpoofed),
        (1, DropReason::SourceInvalid),
    ] {
        assert!(rig.counters[port].drops.get(reason) > 0, "nothing was dropped as {}", reason.name());
    }
    assert_eq!(rig.pool.available(), rig.pool.capacity());
}

/// A port that takes frames as they are on a cable only, and keeps none.
#[derive(Default)]
struct Cable {
    counters: Arc<Counters>,
    frames: usize,
}

impl Port for Cable {
    fn pull(&mut self, _: &mut Pool, _: &mut Burst) {}

    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        self.frames += burst.len();
        pool.free_all(burst.drain(..));
    }

    fn flush(&mut self, _: &mut Pool) {}

    fn tick(&mut self, _: &mut Pool, _: Nanos) {}

    fn arm(&mut self, _: &Sleep) -> bool {
        true
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn mode(&self) -> String {
        "cable".to_owned()
    }
}

#[test]
fn cutting_allocates_nothing() {
    let mut piece = [&GUEST, &OUTSIDE, [8, 0].as_slice()].concat();
    let len: u16 = 60_000;
    piece.extend([0x45, 0, (len >> 8) as u8, len as u8, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    piece.extend([0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0, 0, 0, 0, 0]);
    piece.resize(14 + usize::from(len), 0x5a);
    let gso = Gso { kind: GsoKind::TcpIpv4, ecn: false, size: 1448 };
    let offload = Offload::Segment(Partial { start: 34, offset: 16 }, gso);
    let mut pool = Pool::new(4096).expect("frame memory");
    let (mut cable, mut burst, mut spare) = (Cable::default(), Burst::new(), Burst::new());
    let before = calls();
    for _ in 0..100 {
        let mut frame = pool.frame_from(&piece).expect("free chunks");
        assert_eq!(admit(&mut pool, &mut frame, offload), Ok(()));
        burst.push(frame);
        push(&mut cable, &mut pool, &mut burst, &mut spare);
    }
    assert_eq!(calls() - before, 0);
    assert_eq!(cable.frames, 100 * usize::from(len - 40).div_ceil(1448));
    assert_eq!(pool.available(), pool.capacity());
}

#[test]
fn the_allocator_does_count() {
    let before = calls();
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(calls() - before, 2);
}
