//! What a hostile guest can do with the store, its states and its life, one test a way; with rings: `hostile.rs`. The
//! outcome is always that the guest is parted from, or loses frames for a reason; that its neighbour loses nothing; and
//! that no grant stays mapped and no event channel bound.

#![allow(missing_docs, reason = "a test")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman_dataplane::drops::DropReason;
use pointsman_dataplane::port::Port;
use pointsman_xen::frontend::{Frontend, FrontendOptions};
use pointsman_xen::netif::state::State;
use pointsman_xen::netif::wire::TxRequest;
use pointsman_xen::sim::Toolstack;
use pointsman_xen::vif::VifOptions;
use pointsman_xen::{DomId, Hypervisor};
use support::stage::Stage;
use support::{HOSTILE, Rig, VICTIM, frame};

#[test]
fn addresses_are_the_toolstacks_word() {
    let mut rig = Rig::new(VifOptions::default());
    let domain = rig.domain(HOSTILE);
    rig.backend = None;
    rig.toolstack.add_vif(HOSTILE, 0, &[]).unwrap();
    let mut store = domain.xenstore().unwrap();
    for (key, value) in [
        ("mac", "02:00:00:00:00:99"),
        ("backend", "/local/domain/3/backend/vif/9/0"),
        ("bridge", "xenbr9"),
        ("vlan", "7"),
        ("handle", "5"),
    ] {
        store.write(&format!("device/vif/0/{key}"), value).unwrap();
    }
    rig.start(VifOptions::default());
    rig.until("the interface", |rig| !rig.vifs.is_empty());
    let config = &rig.vifs[0].config;
    assert_eq!(config.mac, Some([0, 0x16, 0x3e, 0, 9, 0]));
    assert_eq!((config.bridge.as_deref(), config.vlan, config.handle), (Some("xenbr0"), None, 0));
    drop((store, domain));
    rig.remove(HOSTILE);
    rig.assert_clean();
}

#[test]
fn lies_in_the_store() {
    let lies: &[(&str, Option<&str>)] = &[
        ("tx-ring-ref", None),
        ("tx-ring-ref", Some("")),
        ("tx-ring-ref", Some("-1")),
        ("tx-ring-ref", Some("8x")),
        ("tx-ring-ref", Some("99999999999999999999")),
        ("tx-ring-ref", Some("4294967295")),
        ("rx-ring-ref", Some("3000")),
        ("rx-ring-ref", Some("\u{fffd}")),
        ("event-channel-tx", Some("0")),
        ("event-channel-tx", Some("4000000000")),
        ("event-channel-rx", None),
        ("event-channel-rx", Some("77")),
        ("request-rx-copy", None),
        ("request-rx-copy", Some("0")),
        ("multi-queue-num-queues", Some("0")),
        ("multi-queue-num-queues", Some("2")),
        ("multi-queue-num-queues", Some("4000000000")),
        ("multi-queue-num-queues", Some("1e3")),
    ];
    for (key, value) in lies {
        let mut rig = Rig::new(VifOptions::default());
        let victim = rig.connected(VICTIM, FrontendOptions::default());
        let domain = rig.add(HOSTILE);
        let mut frontend = Frontend::new(&domain, 0, FrontendOptions::default()).unwrap();
        frontend.prepare().unwrap();
        let mut keys = frontend.keys();
        keys.retain(|(name, _)| name != key);
        keys.extend(value.map(|value| ((*key).to_owned(), value.to_owned())));
        frontend.publish(&keys).unwrap();
        rig.until("the liar to be refused", |rig| {
            let refused = rig.vif(HOSTILE).ports[0].mode().contains("refused");
            refused && frontend.backend_state().unwrap() == Some(State::Closed)
        });
        assert!(!rig.vif(HOSTILE).is_up(), "{key} {value:?}");
        assert_eq!(rig.toolstack.mapped_by(DomId::ZERO).unwrap(), 2, "{key} {value:?}: only the neighbour's rings");
        assert_eq!(rig.toolstack.channels_of(DomId::ZERO).unwrap(), 2, "{key} {value:?}");
        Stage { rig, victim, hostile: (domain, frontend) }.end();
    }
}

#[test]
fn keys_that_change_or_vanish_after_it_connected() {
    let mut stage = Stage::new();
    for (key, value) in [("tx-ring-ref", "1"), ("event-channel-tx", "99"), ("multi-queue-num-queues", "100")] {
        stage.front().store.write(&format!("device/vif/0/{key}"), value).unwrap();
    }
    stage.is_kept();
    // Its whole part of the store goes: as good as closed.
    stage.front().store.remove("device/vif/0").unwrap();
    stage.is_parted();
    stage.end();
}

#[test]
fn states_in_any_order() {
    let mut stage = Stage::new();
    let mut random = 7u32;
    for _ in 0..300 {
        random = random.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let state = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "-1", ""][(random >> 16) as usize % 12];
        stage.front().store.write("device/vif/0/state", state).unwrap();
        if random & 7 << 20 == 0 {
            stage.rig.breathe();
        }
    }
    stage.front().set_state(State::Closed).unwrap();
    stage.is_parted();
    stage.end();
}

#[test]
fn connecting_again_and_again_is_slowed_down() {
    let mut stage = Stage::new();
    let mut connects = 0;
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        for state in [State::Closed, State::Initialising] {
            stage.front().set_state(state).unwrap();
            stage.rig.breathe();
        }
        if stage.front().backend_state().unwrap() == Some(State::InitWait) {
            stage.front().set_state(State::Connected).unwrap();
            let end = Instant::now() + Duration::from_millis(5);
            while Instant::now() < end {
                stage.rig.breathe();
            }
            connects += usize::from(stage.rig.vif(HOSTILE).is_up());
        }
    }
    assert!((2..20).contains(&connects), "connected {connects} times in 1.5 s");
    stage.end();
}

#[test]
fn reconfiguring_is_answered() {
    let mut stage = Stage::new();
    stage.front().set_state(State::Reconfiguring).unwrap();
    stage.front().await_backend(State::Reconfigured).unwrap();
    stage.front().set_state(State::Connected).unwrap();
    stage.front().await_backend(State::Connected).unwrap();
    stage.is_kept();
    stage.end();
}

#[test]
fn one_page_as_both_rings_and_as_a_buffer() {
    let mut rig = Rig::new(VifOptions::default());
    let victim = rig.connected(VICTIM, FrontendOptions::default());
    let domain = rig.add(HOSTILE);
    let mut frontend = Frontend::new(&domain, 0, FrontendOptions::default()).unwrap();
    frontend.prepare().unwrap();
    let mut keys = frontend.keys();
    let ring = frontend.queues[0].rings[0];
    for (key, value) in &mut keys {
        if key == "rx-ring-ref" {
            *value = ring.to_string();
        }
    }
    frontend.publish(&keys).unwrap();
    rig.until("the port to be up", |rig| rig.vif(HOSTILE).is_up());
    let mut stage = Stage { rig, victim, hostile: (domain, frontend) };
    // Slots that are read by both sides, and packets read from and written into the rings' own page.
    for n in 0..200u16 {
        if !stage.rig.vif(HOSTILE).is_up() {
            break;
        }
        let request = TxRequest { grant: ring, offset: n, flags: 0, id: n, size: 60 + n };
        stage.put(&[request.emit()]);
        if stage.rig.vif(HOSTILE).is_up() {
            stage.rig.push(HOSTILE, &[frame(60, 1)]);
        }
    }
    stage.end();
}

#[test]
fn ring_pages_cannot_be_taken_back() {
    let mut stage = Stage::new();
    let memory = Arc::clone(stage.hostile.0.memory().unwrap());
    let rings = stage.hostile.1.queues[0].rings;
    for ring in rings {
        assert!(!memory.revoke(ring), "a mapped ring was taken back");
    }
    stage.is_kept();
    stage.front().set_state(State::Closing).unwrap();
    stage.is_parted();
    stage.rig.until("the rings to be given back", |_| rings.iter().all(|ring| memory.pins(*ring) == 0));
    assert!(rings.iter().all(|ring| memory.revoke(*ring)));
    drop(memory);
    stage.end();
}

#[test]
fn a_guest_that_dies_at_work() {
    let mut stage = Stage::new();
    for seed in 0..30 {
        assert!(stage.front().send(0, &frame(100, seed), 0, &[]));
    }
    stage.front().show_tx(0).unwrap();
    let Stage { mut rig, victim, hostile } = stage;
    drop(hostile);
    rig.until("its death", |rig| rig.toolstack.zombies().unwrap() == 1);
    rig.breathe();
    assert_eq!(rig.vif(HOSTILE).drops(DropReason::GrantFailed), 30, "what cannot be copied is lost, and no more");
    if rig.vif(HOSTILE).is_up() {
        rig.push(HOSTILE, &[frame(60, 1)]);
    }
    rig.remove(HOSTILE);
    assert_eq!(rig.toolstack.zombies().unwrap(), 0, "it is held");
    let hostile = rig.connected(HOSTILE, FrontendOptions::default());
    Stage { rig, victim, hostile }.end();
}

#[test]
fn nothing_of_others_is_told() {
    let mut stage = Stage::new();
    let front = stage.front();
    for page in 0..256 {
        front.queues[0].rx_pages.write(page, 0, &[0x5a; 4096]);
    }
    stage.rig.push(HOSTILE, &[frame(61, 1)]);
    let front = stage.front();
    let page = &front.queues[0].rx_pages;
    assert!(page.read(0, 61, 4096 - 61).iter().all(|byte| *byte == 0x5a), "bytes behind the frame were written");
    assert!((1..256).all(|n| page.read(n, 0, 4096).iter().all(|byte| *byte == 0x5a)));
    // Every bit of a response is ours, and known.
    assert_eq!(front.queues[0].rx.load(0), [0, 61 << 16]);
    stage.is_kept();
    stage.end();
}

#[test]
fn every_request_is_answered_once() {
    let mut stage = Stage::new();
    let mut answered = 0;
    for round in 0..200u32 {
        let data = frame(60 + (round as usize * 37) % 9000, round as u8);
        let slots = data.len().div_ceil(4096);
        assert!(stage.front().send(0, &data, 0, &[]));
        stage.put(&[]);
        let ids = stage.front().take_sent(0);
        assert_eq!(ids.len(), slots, "round {round}");
        answered += ids.len() as u32;
    }
    let ring = &stage.front().queues[0];
    assert_eq!((ring.tx.responses(), ring.tx.requests()), (answered, answered));
    stage.end();
}

#[test]
fn an_interface_that_is_not_this_guests() {
    let mut stage = Stage::new();
    // A toolstack's mistake: keys that point elsewhere are not followed.
    let back = Toolstack::backend_path(DomId(20), 0);
    let frontend = Toolstack::frontend_path(HOSTILE, 0);
    for (key, value) in [("frontend", frontend.as_str()), ("frontend-id", "9"), ("online", "1"), ("state", "1")] {
        stage.rig.toolstack.store.write(&format!("{back}/{key}"), value).unwrap();
    }
    let state = format!("{back}/state");
    stage.rig.until("it to be refused", |rig| rig.toolstack.store.read(&state).unwrap() == b"6");
    assert!(stage.rig.find(DomId(20)).is_none());
    stage.is_kept();
    stage.end();
}
