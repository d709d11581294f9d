//! What the bridge costs a frame, without the ports' share: a burst goes in, is staged by output, and is taken out.
//!
//! `cargo bench -p pointsman-dataplane --bench bridge`; the time shown for an iteration is that of a burst of 64, and
//! the throughput that of frames.

#![allow(missing_docs, reason = "criterion's macros make functions without")]

mod cpu_time;

use std::hint::black_box;
use std::sync::Arc;

use arc_swap::ArcSwap;
use cpu_time::time;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use pointsman_dataplane::bridge::{Bridge, Domain, DomainId, Fdb, Member, Table};
use pointsman_dataplane::forward::{Forward, Outputs};
use pointsman_dataplane::frame::{BURST, Burst, Frame};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::units::{Mac, Nanos, PortId};
use pointsman_dataplane::wire::ethernet::VlanId;

/// Two uplinks and a trunk, then eight guests.
const UPLINK: PortId = PortId(0);
const OTHER_UPLINK: PortId = PortId(1);
const TRUNK: PortId = PortId(2);
const FIRST_GUEST: u16 = 3;
const GUESTS: u16 = 8;

const NOW: Nanos = Nanos::from_secs(1);

fn guest(n: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0, (n % GUESTS as usize) as u8]
}

fn outside(n: usize) -> [u8; 6] {
    [6, 0, 0, 0, (n >> 8) as u8, n as u8]
}

/// A 64-byte frame, without its FCS.
fn frame(dst: [u8; 6], src: [u8; 6], tag: &[u8]) -> Vec<u8> {
    let mut bytes = [dst.as_slice(), &src, tag, &[8, 0]].concat();
    bytes.resize(60, 0);
    bytes
}

struct Rig {
    bridge: Bridge,
    pool: Pool,
    out: Outputs,
    burst: Burst,
    taken: Vec<Frame>,
}

impl Rig {
    fn new() -> Self {
        let domain = Some(DomainId(0));
        let access = Member { native: domain, ..Member::default() };
        let vlans = VlanId::new(10).map(|id| (id, DomainId(0))).into_iter().collect();
        let mut ports = vec![access.clone(), access.clone(), Member { vlans, ..Member::default() }];
        ports.extend((0..GUESTS).map(|n| Member { macs: vec![Mac(guest(n.into()))], ..access.clone() }));
        let domains = [Domain { name: "d".into(), age: Nanos::from_secs(300), max_learned: 4096 }];
        let table = Table::build(&ports, &domains).expect("a table without contradictions");
        Self {
            bridge: Bridge::new(Arc::new(ArcSwap::from_pointee(table)), Arc::new(Fdb::new(&domains))),
            pool: Pool::new(16_384).expect("frame memory"),
            out: Outputs::new(ports.iter().map(|_| Arc::default()).collect()),
            burst: Burst::new(),
            taken: Vec::with_capacity(16_384),
        }
    }

    fn frames(&mut self, n: usize, bytes: impl Fn(usize) -> Vec<u8>) -> Vec<Frame> {
        (0..n).map(|i| self.pool.frame_from(&bytes(i)).expect("a free chunk")).collect()
    }

    /// Forwards a burst taken from the end of `frames`, and keeps what leaves in `taken`.
    fn forward(&mut self, input: PortId, frames: &mut Vec<Frame>) {
        let rest = frames.len().saturating_sub(BURST);
        self.burst.extend(frames.drain(rest..));
        self.bridge.forward(&mut self.pool, input, &mut self.burst, &mut self.out, NOW);
        let taken = &mut self.taken;
        self.out.drain(|_, burst| taken.extend(burst.drain(..)));
    }

    /// Lets every address of [`outside`] be learned on the other uplink.
    fn learn(&mut self) {
        let mut frames = self.frames(4096, |n| frame(guest(0), outside(n), &[]));
        while !frames.is_empty() {
            self.forward(OTHER_UPLINK, &mut frames);
        }
        self.pool.free_all(self.taken.drain(..));
    }

    /// Forwards the same frames again and again.
    fn measure(mut self, group: &mut BenchmarkGroup<'_, WallTime>, name: &str, input: PortId, mut frames: Vec<Frame>) {
        let before = self.pool.available();
        group.bench_function(name, |b| {
            time(b, || {
                if frames.is_empty() {
                    std::mem::swap(&mut frames, &mut self.taken);
                }
                self.forward(black_box(input), &mut frames);
            });
        });
        assert_eq!(self.pool.available(), before, "{name}: every frame must leave once");
    }
}

fn bridge(c: &mut Criterion) {
    let mut group = c.benchmark_group("bridge");
    group.throughput(Throughput::Elements(BURST as u64));

    let mut rig = Rig::new();
    let mut frames = rig.frames(BURST, |_| frame(guest(0), outside(0), &[]));
    group.bench_function("no bridge: staging alone", |b| {
        time(b, || {
            rig.burst.extend(frames.drain(..));
            for frame in rig.burst.drain(..) {
                rig.out.send(black_box(OTHER_UPLINK), frame);
            }
            rig.out.drain(|_, burst| frames.extend(burst.drain(..)));
        });
    });

    let mut rig = Rig::new();
    let frames = rig.frames(BURST, |_| frame(guest(0), outside(0), &[]));
    rig.measure(&mut group, "uplink to guest, one flow", UPLINK, frames);

    let mut rig = Rig::new();
    let frames = rig.frames(4096, |n| frame(guest(n), outside(n % 512), &[]));
    rig.measure(&mut group, "uplink to 8 guests, 512 flows", UPLINK, frames);

    let mut rig = Rig::new();
    rig.learn();
    let frames = rig.frames(4096, |n| frame(outside(n), guest(0), &[]));
    rig.measure(&mut group, "guest to uplink, 4096 stations", PortId(FIRST_GUEST), frames);

    let mut rig = Rig::new();
    let frames = rig.frames(BURST, |_| frame(guest(1), guest(0), &[]));
    rig.measure(&mut group, "guest to guest", PortId(FIRST_GUEST), frames);

    let mut rig = Rig::new();
    rig.learn();
    let frames = rig.frames(4096, |n| frame(outside(n), [6, 0, 0, 1, 0, n as u8], &[]));
    rig.measure(&mut group, "uplink to uplink, 4096 stations", UPLINK, frames);

    // There and back, so that the frame is again what it was: two bursts, one tag off and one tag on.
    let mut rig = Rig::new();
    let mut there = rig.frames(BURST, |_| frame(guest(0), outside(1), &[0x81, 0, 0, 10]));
    let mut learn = rig.frames(1, |_| frame(guest(0), outside(1), &[0x81, 0, 0, 10]));
    rig.forward(TRUNK, &mut learn);
    rig.pool.free_all(rig.taken.drain(..));
    group.throughput(Throughput::Elements(2 * BURST as u64));
    group.bench_function("trunk to guest and back", |b| {
        time(b, || {
            rig.forward(TRUNK, &mut there);
            for mut frame in rig.taken.drain(..) {
                swap_addresses(rig.pool.head_mut(&mut frame));
                there.push(frame);
            }
            rig.forward(PortId(FIRST_GUEST), &mut there);
            for mut frame in rig.taken.drain(..) {
                swap_addresses(rig.pool.head_mut(&mut frame));
                there.push(frame);
            }
        });
    });
    assert_eq!(there.len(), BURST);

    let mut rig = Rig::new();
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("uplink to all 10 others", |b| {
        time(b, || {
            let mut frames = rig.frames(BURST, |_| FLOODED.to_vec());
            rig.forward(UPLINK, &mut frames);
            rig.pool.free_all(rig.taken.drain(..));
        });
    });
    group.finish();
}

const FLOODED: [u8; 60] = {
    let mut bytes = [0; 60];
    let header = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 6, 0, 0, 0, 0, 1, 8, 0];
    let mut i = 0;
    while i < header.len() {
        bytes[i] = header[i];
        i += 1;
    }
    bytes
};

fn swap_addresses(head: &mut [u8]) {
    if let Some((dst, rest)) = head.split_at_mut_checked(6) {
        dst.swap_with_slice(&mut rest[..6]);
    }
}

criterion_group!(benches, bridge);
criterion_main!(benches);
