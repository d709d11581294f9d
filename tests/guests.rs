//! Guests that we did not write, one that means harm, and one that only sends, against the whole engine.

#[path = "../dataplane/tests/memif_peer/mod.rs"]
mod memif_peer;
mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use memif_peer::{Client, scribble};
use support::lans::Lans;
use support::{POINTSMAN, Program, sh, try_sh, wait_for};

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

/// The first port of guest 1 as a source that sends to the left LAN.
fn source(lans: &Lans, words: &[&str]) -> Program {
    let port = format!("{}:0,mac=02:00:00:00:00:01,address=10.1.0.1/16", lans.bed.path("r1.sock"));
    let command = [&[POINTSMAN, "guest", "source", "--port", &port, "--to", "10.1.0.2"][..], words].concat();
    Program::start(&lans.host, &command, &lans.bed.folder, "source")
}

/// What a source printed at its end: frames sent, seconds, frames received.
fn printed(said: &str) -> (u64, f64, u64) {
    let line = said.lines().find_map(|line| line.strip_prefix("sent "));
    let words: Vec<&str> = line.unwrap_or_else(|| panic!("{said}")).split(' ').collect();
    let [sent, "frames", "in", seconds, "s,", "received", received] = words[..] else { panic!("{said}") };
    (sent.parse().unwrap(), seconds.parse().unwrap(), received.parse().unwrap())
}

/// What Linux counted of UDP: datagrams that came for a port that nobody has, and those with a wrong checksum.
fn udp(host: &str) -> (u64, u64) {
    let said = sh(&format!("ip netns exec {host} cat /proc/net/snmp"));
    let rows: Vec<Vec<&str>> =
        said.lines().filter_map(|line| Some(line.strip_prefix("Udp: ")?.split(' ').collect())).collect();
    let count = |name| rows[1][rows[0].iter().position(|&n| n == name).unwrap()].parse::<u64>().unwrap();
    (count("NoPorts"), count("InErrors"))
}

#[test]
fn a_source_keeps_its_rate_and_ends_by_itself() {
    need!();
    let lans = Lans::new(1500);
    let _engine = lans.bed.engine(&lans.host, &(Lans::uplinks() + &lans.guest(1)));
    for (size, bytes) in [("64", 60), ("1518", 1514)] {
        let (before, port) = (udp(&lans.left), lans.bed.port("r1.0"));
        let mut source = source(&lans, &["--rate", "10000", "--seconds", "1.5", "--size", size]);
        assert_eq!(source.wait().code(), Some(0), "{}", source.said());
        let (sent, seconds, received) = printed(&source.said());
        assert_eq!(seconds, 1.5);
        assert!((14_600..=15_001).contains(&sent), "{sent}");
        assert!(received > 0, "Linux says that nobody listens");
        // Linux reads them as they were meant, and all of them came.
        let after = udp(&lans.left);
        assert_eq!((after.0 - before.0, after.1), (sent, 0));
        let counted = |what| lans.bed.port("r1.0")[what].as_u64().unwrap() - port[what].as_u64().unwrap();
        let arp = counted("rx_frames") - sent;
        assert!((1..5).contains(&arp), "{arp} questions and answers");
        assert_eq!(counted("rx_bytes"), sent * bytes + arp * 60);
    }
}

#[test]
fn a_source_without_a_rate_sends_what_the_ring_takes_until_a_signal() {
    need!();
    let lans = Lans::new(1500);
    let config = Lans::uplinks() + &lans.guest(1);
    let engine = lans.bed.engine(&lans.host, &config);
    let before_it = source(&lans, &[]);
    lans.bed.await_port("r1.0", true);
    let frames = || lans.bed.port("r1.0")["rx_frames"].as_u64().unwrap();
    wait_for("frames", Duration::from_secs(10), || frames() > 10_000);
    let said = before_it.interrupt();
    let (sent, seconds, _) = printed(&said);
    assert!(seconds > 0.0, "{said}");
    // Whatever it says that it sent is there, and nothing else but ARP.
    let counted = frames();
    assert!((sent + 1..sent + 5).contains(&counted), "{counted} came, {said}");
    // Engines may come and go.
    let mut source = source(&lans, &["--rate", "1000", "--seconds", "4"]);
    wait_for("frames of another", Duration::from_secs(10), || frames() > counted + 10);
    engine.end(libc::SIGKILL);
    let _engine = lans.bed.engine(&lans.host, &config);
    wait_for("frames again", Duration::from_secs(10), || frames() > 10);
    assert!(source.wait().success(), "{}", source.said());
}

#[test]
fn a_source_that_nobody_answers_asks_on_and_says_so() {
    need!();
    let lans = Lans::new(1500);
    let _engine = lans.bed.engine(&lans.host, &(Lans::uplinks() + &lans.guest(1)));
    sh(&format!("ip -n {} addr flush dev eth0", lans.left));
    let mut silent = source(&lans, &["--seconds", "0.1"]);
    wait_for("questions", Duration::from_secs(10), || lans.bed.port("r1.0")["rx_frames"].as_u64() >= Some(2));
    assert!(silent.is_running(), "its time has not begun");
    let said = silent.interrupt();
    let (sent, seconds, _) = printed(&said);
    assert_eq!((sent, seconds), (0, 0.0));
    assert!(said.contains("10.1.0.2 has not answered ARP"), "{said}");
}
