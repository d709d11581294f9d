//! Frames, whatever is in them, through the bridge: none is lost without a reason, no chunk of memory is lost at all.

#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use arc_swap::ArcSwap;
use libfuzzer_sys::fuzz_target;
use pointsman_dataplane::bridge::{Bridge, Domain, DomainId, Fdb, Member, Table};
use pointsman_dataplane::forward::{Forward, Outputs};
use pointsman_dataplane::frame::{BURST, Burst};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::Counters;
use pointsman_dataplane::units::{Mac, Nanos, PortId};
use pointsman_dataplane::wire::ethernet::{Header, VlanId};
use pointsman_fuzz::Input;

struct Rig {
    bridge: Bridge,
    out: Outputs,
    counters: Vec<Arc<Counters>>,
    now: Nanos,
}

/// An access port, a trunk with a native domain, a guest, and a guest on a trunk.
fn rig() -> Rig {
    let domains =
        ["left", "right"].map(|name| Domain { name: name.into(), age: Nanos::from_secs(10), max_learned: 16 });
    let vlans = |native: Option<u16>| {
        let right = VlanId::new(20).map(|vlan| (vlan, DomainId(1)));
        Member { native: native.map(DomainId), vlans: right.into_iter().collect(), ..Member::default() }
    };
    let members = [
        Member { native: Some(DomainId(0)), ..Member::default() },
        vlans(Some(0)),
        Member { native: Some(DomainId(0)), macs: vec![Mac([2, 0, 0, 0, 0, 1])], ..Member::default() },
        Member { macs: vec![Mac([2, 0, 0, 0, 0, 2])], ..vlans(None) },
    ];
    let table = Table::build(&members, &domains).expect("a sound table");
    let counters: Vec<Arc<Counters>> = members.iter().map(|_| Arc::default()).collect();
    Rig {
        bridge: Bridge::new(Arc::new(ArcSwap::from_pointee(table)), Arc::new(Fdb::new(&domains))),
        out: Outputs::new(counters.clone()),
        counters,
        now: Nanos::from_secs(1),
    }
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::new(Pool::new(4096).expect("memory"));
}

fuzz_target!(|data: &[u8]| POOL.with_borrow_mut(|pool| run(pool, Input(data))));

fn run(pool: &mut Pool, mut input: Input<'_>) {
    // A bridge of its own for each input, so that a crash depends on nothing else.
    let Rig { mut bridge, mut out, counters, mut now } = rig();
    let free = pool.available();
    while let Some(head) = input.byte() {
        let port = u16::from(head) % counters.len() as u16;
        now = now.plus(Nanos::from_millis(u64::from(head) * 10));
        let mut burst = Burst::new();
        for _ in 0..input.byte().unwrap_or_default() as usize % (BURST + 1) {
            let len = u16::from_ne_bytes(input.take());
            let bytes = input.slice(usize::from(len) % 2048);
            if let Ok(header) = Header::parse(bytes) {
                assert!(header.len() <= bytes.len());
            }
            burst.extend(pool.frame_from(bytes));
        }
        let came = burst.len() as u64;
        let lost = || counters.iter().map(|counters| counters.drops.total()).sum::<u64>();
        let before = lost();
        bridge.forward(pool, PortId(port), &mut burst, &mut out, now);
        assert!(burst.is_empty());
        let mut left = 0;
        out.drain(|output, burst| {
            assert_ne!(output, PortId(port), "a frame goes back to where it came from");
            for frame in burst.drain(..) {
                let bytes = pool.to_vec(&frame);
                let header = Header::parse(&bytes).expect("what leaves has a header");
                assert!(!header.to_link_local() && header.from_station(), "{header:?}");
                pool.free(frame);
                left += 1;
            }
        });
        bridge.tick(pool, &mut out, now);
        assert!(left + (lost() - before) >= came, "{came} came, {left} left, {} are accounted for", lost() - before);
        assert_eq!(pool.available(), free, "chunks are lost");
    }
}
