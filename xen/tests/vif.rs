//! The backend and an honest guest: everything that netif offers.

#![allow(missing_docs, reason = "a test")]

mod support;

use std::time::{Duration, Instant};

use etherparse::{IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, PacketBuilder};
use pointsman_dataplane::drops::DropReason;
use pointsman_dataplane::frame::Burst;
use pointsman_dataplane::offload::{Gso, GsoKind, Offload, Partial, admit_blank};
use pointsman_dataplane::port::{Port, Sleep};
use pointsman_dataplane::units::Nanos;
use pointsman_xen::DomId;
use pointsman_xen::frontend::{Frontend, FrontendOptions};
use pointsman_xen::netif::keys::Rate;
use pointsman_xen::netif::state::State;
use pointsman_xen::netif::wire::{self, Extra, rx_flag, status, tx_flag};
use pointsman_xen::sim::Toolstack;
use pointsman_xen::vif::VifOptions;
use support::{Rig, VICTIM, frame};

fn rig() -> Rig {
    Rig::new(VifOptions::default())
}

#[test]
fn frames_go_both_ways_in_any_length() {
    let mut rig = rig();
    let (_domain, mut frontend) = rig.connected(VICTIM, FrontendOptions::default());
    for _ in 0..10 {
        rig.works(VICTIM, &mut frontend);
    }
    let long = frame(65_535, 1);
    assert!(frontend.send(0, &long, 0, &[]));
    frontend.show_tx(0).unwrap();
    rig.until("a long frame", |rig| !rig.vif(VICTIM).got.is_empty());
    assert_eq!(rig.vif(VICTIM).got[0], long);
    rig.push(VICTIM, std::slice::from_ref(&long));
    assert_eq!(frontend.receive(0).unwrap()[0].data, long);
    assert_eq!(rig.vif(VICTIM).all_drops(), 0);
    drop(frontend);
    drop(_domain);
    rig.remove(VICTIM);
    rig.assert_clean();
}

#[test]
fn what_the_toolstack_says_is_told() {
    let mut rig = rig();
    let _domain = rig.domain(VICTIM);
    let more = [("vlan", "12"), ("rate", "62500,50000"), ("mtu", "1450"), ("vifname", "red"), ("bridge", "xenbr7")];
    rig.toolstack.add_vif(VICTIM, 0, &more).unwrap();
    rig.until("it to arrive", |rig| !rig.vifs.is_empty());
    let config = &rig.vifs[0].config;
    assert_eq!((config.domain, config.handle), (VICTIM, 0));
    assert_eq!(config.mac, Some([0, 0x16, 0x3e, 0, 3, 0]));
    assert_eq!((config.bridge.as_deref(), config.vlan), (Some("xenbr7"), Some(12)));
    assert_eq!(config.rate, Some(Rate { bytes: 62_500, micros: 50_000 }));
    assert_eq!((config.mtu, config.name.as_deref()), (Some(1450), Some("red")));
}

#[test]
fn a_burst_is_one_copy_and_at_most_one_notification() {
    let mut rig = rig();
    let (_domain, mut frontend) = rig.connected(VICTIM, FrontendOptions::default());
    frontend.wait(Duration::from_millis(50)).unwrap();
    frontend.wait(Duration::from_millis(1)).unwrap();
    let frames: Vec<_> = (0..60).map(|n| frame(1000, n)).collect();
    for data in &frames {
        assert!(frontend.send(0, data, 0, &[]));
    }
    frontend.show_tx(0).unwrap();
    let (calls, ops) = rig.control.copies();
    rig.breathe();
    rig.breathe();
    assert_eq!(rig.control.copies(), (calls + 1, ops + 60));
    assert_eq!(frontend.wait(Duration::from_millis(100)).unwrap().len(), 1, "told once of its answers");
    assert_eq!(frontend.take_sent(0).len(), 60);
    rig.push(VICTIM, &frames);
    assert_eq!(rig.control.copies(), (calls + 2, ops + 120));
    assert_eq!(frontend.wait(Duration::from_millis(100)).unwrap(), [frontend.queues[0].channels[1]]);
    // A guest that has not asked to be woken is not.
    frontend.queues[0].rx.set_response_event(u32::MAX / 2);
    rig.push(VICTIM, &frames);
    assert!(frontend.wait(Duration::from_millis(50)).unwrap().is_empty());
    assert_eq!(frontend.receive(0).unwrap().len(), 120);
}

/// A guest that ran out of pages tells when half of what it posts is there again, and to tell is not held against it.
#[test]
fn a_guest_that_was_full_wakes_the_worker_when_it_has_room() {
    for posted in [256, 32] {
        let mut rig = rig();
        let options = FrontendOptions { posted, ..FrontendOptions::default() };
        let (_domain, mut frontend) = rig.connected(VICTIM, options);
        let sleep = Sleep::new().unwrap();
        for round in 0..20u8 {
            let is_full = |rig: &Rig| rig.vifs[0].ports[0].is_full();
            assert!(!is_full(&rig), "round {round}, {posted} pages");
            while !is_full(&rig) {
                rig.push(VICTIM, &[frame(100, round), frame(100, round)]);
            }
            // The worker sleeps, and would not look for a long time.
            let port = &mut rig.vifs[0].ports[0];
            let begin = Instant::now();
            while !port.arm(&sleep) {
                assert!(begin.elapsed() < Duration::from_secs(5), "the port does not let its worker sleep");
            }
            assert!(port.arm_room(), "round {round}: nobody would tell");
            assert!(frontend.receive(0).unwrap().len() > posted as usize / 2);
            sleep.wait(Nanos::from_secs(5));
            assert!(begin.elapsed() < Duration::from_secs(4), "round {round}: not woken");
            port.disarm(&sleep);
            assert!(!port.is_full(), "round {round}: woken too early");
        }
        assert_eq!(rig.vif(VICTIM).all_drops(), 0);
    }
}

/// TCP or UDP as a stack hands it over that leaves the checksum to the device, and where that is.
fn blank(v6: bool, tcp: bool, payload: usize) -> (Vec<u8>, Partial) {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
    let ip = if v6 { ethernet.ipv6([1; 16], [2; 16], 64) } else { ethernet.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64) };
    let payload = vec![7; payload];
    let mut data = Vec::new();
    if tcp {
        ip.tcp(1000, 2000, 1, 1024).write(&mut data, &payload).unwrap();
    } else {
        ip.udp(1000, 2000).write(&mut data, &payload).unwrap();
    }
    let start = if v6 { 54 } else { 34 };
    let offset = if tcp { 16 } else { 6 };
    // Linux leaves the pseudo-header's sum; others leave what they like.
    data[start + offset..start + offset + 2].copy_from_slice(&[0xab, 0xcd]);
    (data, Partial { start: start as u16, offset: offset as u16 })
}

#[test]
fn blank_checksums_pass_from_guest_to_guest() {
    let mut rig = rig();
    let (_domain, mut frontend) = rig.connected(VICTIM, FrontendOptions::default());
    for (v6, tcp) in [(false, true), (false, false), (true, true), (true, false)] {
        let (data, partial) = blank(v6, tcp, 1000);
        assert!(frontend.send(0, &data, tx_flag::CSUM_BLANK | tx_flag::DATA_VALIDATED, &[]));
        frontend.show_tx(0).unwrap();
        rig.until("a frame", |rig| !rig.vif(VICTIM).got.is_empty());
        assert_eq!(rig.vif(VICTIM).offloads.pop(), Some(Some(Offload::Checksum(partial))));
        let mut frame = rig.pool.frame_from(&rig.vifs[0].got.pop().unwrap()).unwrap();
        admit_blank(&mut rig.pool, &mut frame, None).unwrap();
        push_frame(&mut rig, frame);
        let received = frontend.receive(0).unwrap();
        assert_eq!(received[0].flags, rx_flag::CSUM_BLANK | rx_flag::DATA_VALIDATED);
        assert_eq!(received[0].data.len(), data.len());
    }
    let (data, _) = blank(false, true, 100);
    assert!(frontend.send(0, &data, tx_flag::DATA_VALIDATED, &[]));
    frontend.show_tx(0).unwrap();
    rig.until("a frame", |rig| !rig.vif(VICTIM).got.is_empty());
    assert_eq!(rig.vif(VICTIM).offloads.pop(), Some(Some(Offload::Verified)));
}

fn push_frame(rig: &mut Rig, frame: pointsman_dataplane::frame::Frame) {
    let mut burst = Burst::new();
    burst.push(frame);
    let port = &mut rig.vifs[0].ports[0];
    port.push(&mut rig.pool, &mut burst);
    port.flush(&mut rig.pool);
    port.notify();
}

#[test]
fn uncut_tcp_passes_from_guest_to_guest() {
    let mut rig = rig();
    let (_domain, mut frontend) = rig.connected(VICTIM, FrontendOptions::default());
    for (v6, theirs, ours) in
        [(false, wire::GsoKind::Tcp4, GsoKind::TcpIpv4), (true, wire::GsoKind::Tcp6, GsoKind::TcpIpv6)]
    {
        let (data, partial) = blank(v6, true, 40_000);
        let extra = Extra::Gso { size: 1448, kind: Some(theirs) };
        assert!(frontend.send(0, &data, tx_flag::CSUM_BLANK | tx_flag::DATA_VALIDATED, &[extra]));
        frontend.show_tx(0).unwrap();
        rig.until("a frame", |rig| !rig.vif(VICTIM).got.is_empty());
        rig.breathe();
        let statuses: Vec<i16> = frontend.take_sent(0).iter().map(|sent| sent.status).collect();
        let slots = data.len().div_ceil(4096) + 1;
        assert_eq!(statuses.len(), slots);
        assert_eq!((statuses[0], statuses[1], statuses[2]), (status::OKAY, status::NULL, status::OKAY));
        let gso = Gso { kind: ours, ecn: false, size: 1448 };
        assert_eq!(rig.vif(VICTIM).offloads.pop(), Some(Some(Offload::Segment(partial, gso))));
        let got = rig.vif(VICTIM).got.pop().unwrap();
        let mut frame = rig.pool.frame_from(&got).unwrap();
        admit_blank(&mut rig.pool, &mut frame, Some(gso)).unwrap();
        push_frame(&mut rig, frame);
        let received = frontend.receive(0).unwrap();
        assert_eq!(received[0].gso, Some((1448, theirs)));
        assert_eq!(received[0].data, got);
        assert_eq!(received[0].flags & 3, rx_flag::CSUM_BLANK | rx_flag::DATA_VALIDATED);
    }
}

#[test]
fn segments_of_a_burst_are_joined_for_a_guest_that_takes_pieces() {
    let ip = Ipv4Header::new(0, 64, IpNumber::TCP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
    let segments: Vec<Vec<u8>> = (0..10u32)
        .map(|n| {
            let mut data = Vec::new();
            PacketBuilder::ethernet2([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1])
                .ip(IpHeaders::Ipv4(Ipv4Header { identification: n as u16, ..ip.clone() }, Ipv4Extensions::default()))
                .tcp(1000, 2000, n * 1448, 1024)
                .ack(1)
                .write(&mut data, &[n as u8; 1448])
                .unwrap();
            data
        })
        .collect();
    for (refuses, frames) in [(None, 1), (Some("feature-gso-tcpv6"), 10)] {
        let mut rig = rig();
        let mut options = FrontendOptions::default();
        options.keys.retain(|(key, _)| Some(key.as_str()) != refuses);
        let (_domain, mut frontend) = rig.connected(VICTIM, options);
        rig.push(VICTIM, &segments);
        let received = frontend.receive(0).unwrap();
        assert_eq!(received.len(), frames);
        if frames == 1 {
            assert_eq!(received[0].gso, Some((1448, wire::GsoKind::Tcp4)));
            let payload: Vec<u8> = (0..10).flat_map(|n| [n; 1448]).collect();
            assert_eq!(received[0].data[54..], payload);
        }
        drop(frontend);
        rig.remove(VICTIM);
        rig.assert_clean();
    }
}

#[test]
fn a_guest_gets_only_what_it_can_take() {
    use pointsman_dataplane::offload::Offloads;
    let mut rig = rig();
    let options = FrontendOptions { keys: vec![("feature-no-csum-offload".into(), "1".into())], ..Default::default() };
    let (_domain, mut frontend) = rig.connected(VICTIM, options);
    assert_eq!(rig.vifs[0].ports[0].accepts(), Offloads::NONE);
    rig.push(VICTIM, &[frame(4096, 1), frame(4097, 2), frame(60, 3)]);
    let received = frontend.receive(0).unwrap();
    assert_eq!(received.iter().map(|r| r.data.len()).collect::<Vec<_>>(), [4096, 60], "no sg: a page at most");
    assert_eq!(rig.vif(VICTIM).drops(DropReason::Giant), 1);
    let mut all = Rig::new(VifOptions::default());
    let (_domain, _frontend) = all.connected(VICTIM, FrontendOptions::default());
    let tcp = Offloads::TCP_IPV4.with(Offloads::TCP_IPV6);
    assert_eq!(all.vifs[0].ports[0].accepts(), tcp.with(Offloads::CHECKSUM_IPV4).with(Offloads::CHECKSUM_IPV6));
}

#[test]
fn groups_are_filtered_for_a_guest_that_says_which() {
    let mut rig = rig();
    let mut options = FrontendOptions::default();
    options.keys.push(("request-multicast-control".into(), "1".into()));
    let (_domain, mut frontend) = rig.connected(VICTIM, options);
    let to = |mac: [u8; 6]| {
        let mut data = frame(60, 1);
        data[..6].copy_from_slice(&mac);
        data
    };
    let (group, other) = ([1, 0, 0x5e, 0, 0, 5], [1, 0, 0x5e, 0, 0, 6]);
    let say = |rig: &mut Rig, frontend: &mut Frontend, extra| {
        assert!(frontend.send(0, &[0; 14], 0, &[extra]));
        frontend.show_tx(0).unwrap();
        rig.breathe();
        rig.breathe();
        frontend.take_sent(0).iter().map(|sent| sent.status).collect::<Vec<_>>()
    };
    assert_eq!(say(&mut rig, &mut frontend, Extra::MulticastAdd(group)), [status::OKAY, status::NULL]);
    assert_eq!(say(&mut rig, &mut frontend, Extra::MulticastDel(other)), [status::ERROR, status::NULL]);
    rig.push(VICTIM, &[to(group), to(other), to([0xff; 6]), to([2, 0, 0, 0, 0, 1])]);
    let received: Vec<_> = frontend.receive(0).unwrap().iter().map(|r| r.data[..6].to_vec()).collect();
    assert_eq!(received, [group.to_vec(), vec![0xff; 6], vec![2, 0, 0, 0, 0, 1]]);
    assert_eq!(rig.vif(VICTIM).drops(DropReason::MulticastFiltered), 1);
    assert!(rig.vif(VICTIM).got.is_empty(), "a message is no frame");
    assert_eq!(say(&mut rig, &mut frontend, Extra::MulticastDel(group)), [status::OKAY, status::NULL]);
    rig.push(VICTIM, &[to(group)]);
    assert!(frontend.receive(0).unwrap().is_empty());
}

#[test]
fn every_queue_carries_frames() {
    let mut rig = Rig::new(VifOptions { queues: 4, gso: true });
    let (_domain, mut frontend) = rig.connected(VICTIM, FrontendOptions { queues: 3, ..Default::default() });
    assert_eq!(frontend.queues.len(), 3);
    rig.until("all queues", |rig| rig.vifs[0].ports[..3].iter().all(Port::is_up));
    assert!(!rig.vifs[0].ports[3].is_up(), "the guest has no fourth queue");
    for queue in 0..3 {
        assert!(frontend.send(queue, &frame(100, queue as u8), 0, &[]));
        frontend.show_tx(queue).unwrap();
        let mut burst: Burst = [rig.pool.frame_from(&frame(200, queue as u8)).unwrap()].into_iter().collect();
        let port = &mut rig.vifs[0].ports[queue];
        port.push(&mut rig.pool, &mut burst);
        port.flush(&mut rig.pool);
        assert_eq!(frontend.receive(queue).unwrap()[0].data, frame(200, queue as u8));
    }
    rig.until("all frames", |rig| rig.vifs[0].got.len() == 3);
    frontend.set_state(State::Closing).unwrap();
    rig.until("all queues to let go", |rig| !rig.vifs[0].is_up());
    frontend.await_backend(State::Closed).unwrap();
    rig.assert_clean();
}

#[test]
fn one_channel_for_both_rings_will_do() {
    let mut rig = rig();
    let (_domain, mut frontend) = rig.connected(VICTIM, FrontendOptions { split: false, ..Default::default() });
    assert_eq!(rig.toolstack.channels_of(DomId::ZERO).unwrap(), 1);
    rig.works(VICTIM, &mut frontend);
}

#[test]
fn a_driver_is_unloaded_and_loaded_again() {
    let mut rig = rig();
    let (domain, mut frontend) = rig.connected(VICTIM, FrontendOptions::default());
    for _ in 0..3 {
        rig.works(VICTIM, &mut frontend);
        frontend.set_state(State::Closing).unwrap();
        rig.until("the backend to close", |_| frontend.backend_state().unwrap() == Some(State::Closed));
        rig.assert_clean();
        frontend.set_state(State::Closed).unwrap();
        frontend.set_state(State::Initialising).unwrap();
        frontend = Frontend::new(&domain, 0, FrontendOptions::default()).unwrap();
        frontend.connect().unwrap();
        rig.until("the port to be up", |rig| rig.vifs[0].is_up());
    }
    rig.works(VICTIM, &mut frontend);
}

#[test]
fn the_toolstack_detaches_and_attaches_again() {
    let mut rig = rig();
    let (domain, mut frontend) = rig.connected(VICTIM, FrontendOptions::default());
    rig.works(VICTIM, &mut frontend);
    rig.toolstack.begin_detach(VICTIM, 0).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    rig.works(VICTIM, &mut frontend);
    // Netfront sees Closing and closes.
    frontend.set_state(State::Closed).unwrap();
    rig.until("the backend to close", |_| frontend.backend_state().unwrap() == Some(State::Closed));
    rig.toolstack.finish_detach(VICTIM, 0).unwrap();
    rig.until("the interface to be gone", |rig| rig.vifs.is_empty());
    rig.assert_clean();
    rig.toolstack.add_vif(VICTIM, 0, &[]).unwrap();
    rig.until("the interface to come back", |rig| !rig.vifs.is_empty());
    let mut frontend = Frontend::new(&domain, 0, FrontendOptions::default()).unwrap();
    frontend.connect().unwrap();
    rig.until("the port to be up", |rig| rig.vifs[0].is_up());
    rig.works(VICTIM, &mut frontend);
}

#[test]
fn another_backend_takes_over_and_the_guest_never_knows() {
    let mut rig = rig();
    let (_domain, mut frontend) = rig.connected(VICTIM, FrontendOptions::default());
    for round in 0..5 {
        rig.works(VICTIM, &mut frontend);
        // Frames that nobody has answered yet.
        for seed in 0..40 {
            assert!(frontend.send(0, &frame(100, seed), 0, &[]));
        }
        frontend.show_tx(0).unwrap();
        rig.start(VifOptions::default());
        rig.until("the frames that waited", |rig| rig.vifs.first().is_some_and(|vif| vif.got.len() == 40));
        assert_eq!(rig.vif(VICTIM).got, (0..40).map(|seed| frame(100, seed)).collect::<Vec<_>>(), "round {round}");
        assert!(rig.vif(VICTIM).ports[0].mode().contains("taken over"));
        rig.breathe();
        assert_eq!(frontend.take_sent(0).len(), 40);
        assert_eq!(frontend.backend_state().unwrap(), Some(State::Connected));
        let states: Vec<_> = std::iter::from_fn(|| frontend.store.next_event().unwrap()).collect();
        assert!(round == 0 || states.is_empty(), "the guest saw {states:?}");
    }
    rig.works(VICTIM, &mut frontend);
    assert_eq!(rig.toolstack.mapped_by(DomId::ZERO).unwrap(), 2);
}

#[test]
fn a_guest_that_connected_while_nobody_was_there_is_found() {
    let mut rig = rig();
    let domain = rig.add(VICTIM);
    let mut frontend = Frontend::new(&domain, 0, FrontendOptions::default()).unwrap();
    frontend.prepare().unwrap();
    rig.backend = None;
    rig.vifs.clear();
    let keys = frontend.keys();
    frontend.publish(&keys).unwrap();
    rig.start(VifOptions::default());
    rig.until("the port to be up", |rig| rig.vifs.first().is_some_and(|vif| vif.is_up()));
    frontend.await_backend(State::Connected).unwrap();
    rig.works(VICTIM, &mut frontend);
    // And one that left meanwhile.
    rig.backend = None;
    rig.vifs.clear();
    frontend.set_state(State::Closed).unwrap();
    rig.start(VifOptions::default());
    rig.until("it to be closed", |_| frontend.backend_state().unwrap() == Some(State::Closed));
    rig.assert_clean();
}

#[test]
fn nothing_that_was_removed_comes_back() {
    let mut rig = rig();
    let _domain = rig.add(VICTIM);
    rig.toolstack.finish_detach(VICTIM, 0).unwrap();
    rig.until("the interface to be gone", |rig| rig.vifs.is_empty());
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(rig.toolstack.store.get(&Toolstack::backend_path(VICTIM, 0)).unwrap(), None);
}
