//! Shares and limits end to end: virtual routers that want more than there is, and changes while traffic runs.

mod support;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use support::lans::Lans;
use support::{Bed, POINTSMAN, Program, inject, sh, try_sh, wait_for};

/// `pointsman set` on the engine of `bed`: whether it was done, and what was said.
fn set(bed: &Bed, what: &str) -> (bool, String) {
    try_sh(&format!("{POINTSMAN} set {what} --control {}", bed.path("control.sock")))
}

/// The report on one guest.
fn guest(bed: &Bed, name: &str) -> serde_json::Value {
    let (ok, text) = bed.show("guests");
    assert!(ok, "{text}");
    let guests: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    guests.into_iter().find(|guest| guest["name"] == name).unwrap_or_else(|| panic!("no guest {name}"))
}

/// Gives the right LAN an address that is reached through guest `n` alone.
fn route_through(lans: &Lans, n: usize) {
    let (left, right) = (&lans.left, &lans.right);
    sh(&format!(
        "ip -n {right} addr add 10.2.1.{n}/32 dev eth0 && ip -n {left} route add 10.2.1.{n}/32 via 10.1.0.{n}"
    ));
}

/// Sends UDP of 7.5 Mb/s through guest `n`, for so many seconds. The server, which reports as JSON, and the client.
fn flood(lans: &Lans, n: usize, seconds: u32) -> (Program, Program) {
    let port = format!("52{n:02}");
    // Bound, because it would answer from the LAN's first address, which the client did not ask.
    let to = format!("10.2.1.{n}");
    let server = ["iperf3", "-J", "-s", "-1", "-B", &to, "-p", &port];
    let server = Program::start(&lans.right, &server, &lans.bed.folder, "server");
    server.wait_until("listening", || {
        sh(&format!("ip netns exec {} ss -Hltn sport = :{port}", lans.right)).contains(&port)
    });
    let time = seconds.to_string();
    let client = ["iperf3", "-c", &to, "-p", &port, "-u", "-l", "1400", "-b", "7500K", "-t", &time];
    (server, Program::start(&lans.left, &client, &lans.bed.folder, "client"))
}

/// Mb/s of payload that arrived of each flood while all were on their way: its first and its last second do not count,
/// because the floods neither begin nor end together.
fn arrived(floods: Vec<(Program, Program)>) -> Vec<f64> {
    let arrived = floods.into_iter().map(|(mut server, mut client)| {
        client.wait();
        server.wait();
        let said = server.said();
        let report: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
        let seconds = report["intervals"].as_array().unwrap_or_else(|| panic!("no intervals: {said}"));
        let shared = &seconds[1..seconds.len() - 1];
        let total = |key: &str| -> f64 { shared.iter().map(|second| second["sum"][key].as_f64().unwrap()).sum() };
        total("bytes") * 8.0 / total("seconds") / 1e6
    });
    arrived.collect()
}

#[test]
fn a_line_that_all_want_is_divided_by_weight_and_changes_take_hold_under_traffic() {
    need!("ping", "iperf3", "ss");
    let lans = Lans::new(1500);
    let weight = |n: usize, weight: u32| {
        lans.guest(n).replace(&format!("name = \"r{n}\"\n"), &format!("name = \"r{n}\"\nweight = {weight}\n"))
    };
    let uplinks = Lans::uplinks().replace("device = \"up1\"\n", "device = \"up1\"\nline_rate = \"7Mbit\"\n");
    let _engine = lans.bed.engine(&lans.host, &(uplinks + &weight(1, 1) + &weight(3, 2) + &weight(4, 4)));
    let guests = [1, 3, 4];
    let _routers = guests.map(|n| lans.router(n, 1500));
    for n in guests {
        lans.await_guest(n);
        route_through(&lans, n);
        lans.ping("-c 2 -i 0.05", &format!("10.2.1.{n}"));
    }
    assert_eq!(lans.bed.port("up1")["line_rate"], "7Mbit");
    let all = |seconds| arrived(guests.map(|n| flood(&lans, n, seconds)).into());

    // All want all of it. What each gets is its weight's part; of 7 Mb/s on the wire 1400 of 1466 bytes are payload.
    let got = all(6);
    let sum: f64 = got.iter().sum();
    println!("7 Mb/s among weights 1:2:4: {got:.3?} Mb/s");
    assert!((6.2..6.9).contains(&sum), "{got:?}");
    for (got, part) in got.iter().zip([1.0, 2.0, 4.0]) {
        // A loaded machine delays whom it likes: the bench `shares` measures the shares exactly.
        assert!((got / (sum * part / 7.0) - 1.0).abs() < 0.08, "{got} of {} in {sum}", sum * part / 7.0);
    }
    assert!(lans.bed.port("up1")["drops"]["line-rate"].as_u64().unwrap() > 1000);

    // Whoever is alone has all of it, whatever its weight.
    let alone = arrived(vec![flood(&lans, 1, 4)]);
    assert!(alone[0] > 6.0, "{alone:?}");

    // Changes: seen in the report and in the traffic.
    for change in ["guest r4 weight 1", "guest r3 weight 1", "port up1 rate 6Mbit"] {
        assert_eq!(set(&lans.bed, change), (true, String::new()), "{change}");
    }
    assert_eq!(lans.bed.port("up1")["line_rate"], "6Mbit");
    let got = all(6);
    println!("6 Mb/s among equals: {got:.3?} Mb/s");
    assert!(got.iter().all(|got| (1.7..2.1).contains(got)), "{got:?}");

    // What a guest may send is what is taken of its ring.
    assert_eq!(set(&lans.bed, "guest r1 rate-from 2Mbit"), (true, String::new()));
    let r1 = guest(&lans.bed, "r1");
    assert_eq!(
        (&r1["rate_from"], &r1["rate_to"], &r1["weight"]),
        (&"2Mbit".into(), &serde_json::Value::Null, &1.into())
    );
    let _flood = flood(&lans, 1, 30);
    std::thread::sleep(Duration::from_secs(1));
    let taken = || lans.bed.port("r1.1")["rx_bytes"].as_u64().unwrap();
    let (begin, before) = (Instant::now(), taken());
    std::thread::sleep(Duration::from_secs(3));
    let rate = (taken() - before) as f64 * 8.0 / begin.elapsed().as_secs_f64() / 1e6;
    println!("a guest that may send 2 Mb/s: {rate:.3} Mb/s");
    assert!((1.9..2.1).contains(&rate), "{rate}");
    assert!(guest(&lans.bed, "r1")["cpu_nanos"].as_u64().unwrap() > 0);
}

#[test]
fn what_is_no_rate_and_no_weight_is_refused_and_nothing_changes() {
    need!("ping");
    let lans = Lans::new(1500);
    let _engine = lans.bed.engine(&lans.host, &(Lans::uplinks() + &lans.guest(1)));
    let _router = lans.router(1, 1500);
    lans.await_guest(1);
    lans.ping("-c 1", "10.2.0.2");
    let ping = Program::start(&lans.left, &["ping", "-i", "0.01", "-c", "150", "10.2.0.2"], &lans.bed.folder, "ping");
    let before = guest(&lans.bed, "r1");
    for (change, reason) in [
        ("guest r1 weight 0", "whole number from 1 to 100"),
        ("guest r1 weight -3", "whole number from 1 to 100"),
        ("guest r1 weight 1e9", "whole number from 1 to 100"),
        ("guest r1 rate 0Mbit", "out of range"),
        ("guest r1 rate -1Mbit", "is not a line rate"),
        ("guest r1 rate 200MB", "unit \"MB\""),
        ("guest r1 rate-to 9999999Tbit", "out of range"),
        ("guest r1 rate-from 1bit", "slower than 1kbit"),
        ("guest r1 burst lots", "is not a burst"),
        ("guest r9 weight 2", "there is no guest \"r9\""),
        ("port up7 rate 1Gbit", "there is no port \"up7\""),
        ("port up0 rate 1Gbps", "unit \"Gbps\""),
    ] {
        let (done, said) = set(&lans.bed, change);
        assert!(!done && said.contains("the engine refused") && said.contains(reason), "{change}: {said}");
    }
    let (done, said) = set(&lans.bed, "guest r1 speed 7");
    assert!(!done && said.contains("invalid value 'speed'"), "{said}");
    let after = guest(&lans.bed, "r1");
    for key in ["weight", "rate_from", "rate_to", "burst"] {
        assert_eq!(before[key], after[key]);
    }
    wait_for("the pings' end", Duration::from_secs(20), || ping.said().contains("packet loss"));
    assert!(ping.said().contains(" 0% packet loss"), "{}", ping.said());
}

/// One guest's router stops reading while it is flooded, and is killed: the others' pings do not notice.
#[test]
fn a_guest_that_does_not_read_costs_the_others_nothing() {
    need!("ping");
    let lans = Lans::new(1500);
    let _engine = lans.bed.engine(&lans.host, &(Lans::uplinks() + &lans.guest(1) + &lans.guest(3)));
    // The right LAN answers through guest 1.
    let (_other, stopped) = (lans.router(1, 1500), lans.router(3, 1500));
    for n in [1, 3] {
        lans.await_guest(n);
        route_through(&lans, n);
        lans.ping("-c 2 -i 0.05", &format!("10.2.1.{n}"));
    }
    // SAFETY: a signal to a child of this test.
    unsafe { libc::kill(stopped.pid() as i32, libc::SIGSTOP) };
    let flood: Vec<Vec<u8>> =
        std::iter::repeat_n([&[2, 0, 0, 0, 0, 3, 6, 0, 0, 0, 0, 9, 8, 0][..], &[0; 46]].concat(), 2000).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                inject(&lans.left, "eth0", &flood);
            }
        });
        lans.ping("-c 100 -i 0.01", "10.2.1.1");
        drop(stopped);
        lans.ping("-c 100 -i 0.01", "10.2.1.1");
        done.store(true, Relaxed);
    });
    let lost = lans.bed.port("r3.0")["drops"].clone();
    assert!(lost["guest-full-xdp"].as_u64().is_some_and(|frames| frames > 1000), "dropped before any copy: {lost}");
}
