//! Guests that we did not write, and one that means harm, against the whole engine.

#[path = "../dataplane/tests/memif_peer/mod.rs"]
mod memif_peer;
mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use memif_peer::{Client, scribble};
use support::lans::Lans;
use support::{Program, try_sh, wait_for};

/// `dpdk-testpmd` in the mode in which it answers ARP and ICMP echo requests, as the guest behind an engine in `ours` role.
fn testpmd_answers(ours: &str, theirs: &str, survives_engine: bool) {
    let lans = Lans::new(1500);
    let socket = lans.bed.path("r1.sock");
    let config = Lans::uplinks()
        + &format!(
            "[[guest]]\nname = \"r1\"\n[[guest.port]]\nkind = \"memif\"\nsocket = \"{socket}\"\nid = 0\nrole = \"{ours}\"\n\
             mac = \"02:00:00:00:00:01\"\ndomain = \"left\"\n"
        );
    let engine = lans.bed.engine(&lans.host, &config);
    let vdev = format!("net_memif0,role={theirs},id=0,mac=02:00:00:00:00:01,socket={socket},socket-abstract=no");
    let prefix = format!("pmt-{}-{theirs}", std::process::id());
    let command = [
        &["dpdk-testpmd", "--no-huge", "-m", "128", "--no-pci", "--no-telemetry", "-l", "0,1"][..],
        &["--file-prefix", &prefix, "--vdev", &vdev, "--", "--forward-mode=icmpecho", "--auto-start"],
        // It ends when its standard input does, unless it prints statistics.
        &["--no-flush-rx", "--total-num-mbufs=8192", "--stats-period=5"],
    ]
    .concat();
    let _testpmd = Program::start(&lans.host, &command, &lans.bed.folder, "testpmd");
    let answers = || {
        // Connected is not yet forwarding.
        let ask = format!("ip netns exec {} ping -c 1 -W 1 10.1.0.1", lans.left);
        wait_for("an answer from testpmd", Duration::from_secs(60), || try_sh(&ask).0);
        lans.ping("-c 20 -i 0.02", "10.1.0.1");
    };
    answers();
    if survives_engine {
        engine.end(libc::SIGKILL);
        let _engine = lans.bed.engine(&lans.host, &config);
        answers();
    }
}

#[test]
fn dpdk_testpmd_is_a_guest_as_client() {
    need!("dpdk-testpmd", "ping");
    // It tries to connect when its port starts and never again, so the engine's death is not survived.
    testpmd_answers("server", "client", false);
}

#[test]
fn dpdk_testpmd_is_a_guest_as_server() {
    need!("dpdk-testpmd", "ping");
    testpmd_answers("client", "server", true);
}

/// It connects, scribbles over rings and descriptors while they are read until it is thrown out, and comes again.
#[test]
fn a_hostile_guest_costs_its_neighbour_nothing() {
    need!("ping");
    let lans = Lans::new(1500);
    let config = Lans::uplinks() + &lans.guest(1) + &lans.guest(3);
    let mut engine = lans.bed.engine(&lans.host, &config);
    let _neighbour = lans.router(1, 1500);
    lans.await_guest(1);
    lans.ping("-c 2 -i 0.05", "10.2.0.2");
    let stop = AtomicBool::new(false);
    let socket = lans.bed.path("r3.sock");
    let visits = std::thread::scope(|scope| {
        let hostile = scope.spawn(|| {
            let mut visits = 0;
            while !stop.load(SeqCst) {
                // The engine may not yet have noticed that the last visit is over.
                let Some(client) = Client::try_connect(Path::new(&socket)) else { continue };
                visits += 1;
                let leave = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    scope.spawn(|| scribble(&client.memory, visits, &leave));
                    std::thread::sleep(Duration::from_millis(50));
                    leave.store(true, SeqCst);
                });
            }
            visits
        });
        // Whatever it sends with its own address would also reach the LAN: frames of zeros have none.
        lans.ping("-c 150 -i 0.02", "10.2.0.2");
        stop.store(true, SeqCst);
        hostile.join().unwrap()
    });
    assert!(visits > 5, "it came {visits} times only");
    assert!(engine.is_running(), "the engine ended: {}", engine.said());
    let port = lans.bed.port("r3.0");
    assert!(port["drops"].as_object().unwrap().values().any(|n| n.as_u64() > Some(0)), "{port}");
    // Its place is free for one that behaves.
    let _router = lans.router(3, 1500);
    lans.await_guest(3);
    lans.ping("-c 5 -i 0.05", "10.1.0.3");
}
