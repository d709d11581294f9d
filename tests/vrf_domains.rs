//! End to end: interfaces of VRFs in bridge domains, over real veth cables and AF_XDP.
//!
//! ```text
//!   [left 10.1.0.2] --veth-------- up0 \
//!                                       domain lan -- lan0 (engine, vrf r1) up1 --veth-- [right 10.2.0.2]
//!   [mid 10.1.0.3] --veth--------- up2 /
//! ```

mod support;

use std::time::Duration;

use serde_json::Value;
use support::lans::Lans;
use support::{POINTSMAN, sh, try_sh, wait_for};

/// The hosts and cables; name of the one in the middle.
fn lans() -> (Lans, String) {
    let mut lans = Lans::new(1500);
    let mid = lans.bed.host("mid");
    lans.bed.cable((&mid, "eth0"), (&lans.host, "up2"), 1500);
    sh(&format!(
        "ip -n {mid} addr add 10.1.0.3/16 dev eth0 && ip -n {mid} addr add fd01::3/64 dev eth0 && \
         ip -n {mid} route add 10.2.0.0/16 via 10.1.0.1 && ip -n {mid} -6 route add fd02::/64 via fd01::1"
    ));
    (lans, mid)
}

/// `n` workers; ports of the domain on the first and the last of them; the VRFs are `vrfs`.
fn config(workers: usize, age: &str, vrfs: &str) -> String {
    let port =
        |n: u32, more: &str| format!("[[port]]\nname = \"up{n}\"\nkind = \"netdev\"\ndevice = \"up{n}\"\n{more}\n");
    let last = workers - 1;
    format!(
        "{}[[domain]]\nname = \"lan\"\nage = \"{age}\"\n{}{}{}{vrfs}",
        "[[worker]]\n".repeat(workers),
        port(0, "domain = \"lan\"\nworker = 0"),
        port(1, ""),
        port(2, &format!("domain = \"lan\"\nworker = {last}")),
    )
}

/// An interface with the addresses of network `lan` that end in `host`.
fn interface(name: &str, link: &str, (lan, host): (u32, u32)) -> String {
    format!(
        "[[vrf.interface]]\nname = \"{name}\"\n{link}\nmac = \"02:00:00:00:0{lan}:{host:02x}\"\n\
         addresses = [\"10.{lan}.0.{host}/16\", \"fd0{lan}::{host:x}/64\"]\n"
    )
}

/// One VRF, in the domain and on port up1.
fn one(more: &str) -> String {
    let lan = interface("lan0", &format!("domain = \"lan\"\n{more}"), (1, 1));
    format!("[[vrf]]\nname = \"r1\"\n{lan}{}", interface("eth1", "port = \"up1\"", (2, 1)))
}

fn show(lans: &Lans, what: &str) -> Value {
    let (ok, text) = lans.bed.show(what);
    assert!(ok, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Pings from `host`; what that says, of which nothing may be lost.
fn ping(host: &str, options: &str, to: &str) -> String {
    let (ok, said) = try_sh(&format!("ip netns exec {host} ping -W 2 {options} {to}"));
    assert!(ok, "{to} from {host}: {said}");
    said
}

#[test]
fn hosts_of_a_domain_reach_each_other_and_through_the_router_the_others() {
    need!("ping");
    for workers in [1, 2] {
        let (lans, mid) = lans();
        let _engine = lans.bed.engine(&lans.host, &config(workers, "300s", &one("")));
        // Bridged: no router between.
        for to in ["10.1.0.3", "fd01::3"] {
            let said = ping(&lans.left, "-c 3 -i 0.05", to);
            assert!(said.contains("ttl=64"), "{said}");
        }
        // Routed, from behind both ports, and back.
        for (from, to) in [(&lans.left, "2.0.2"), (&mid, "2.0.2"), (&lans.right, "1.0.2"), (&lans.right, "1.0.3")] {
            let (v6_net, v6_host) = (&to[..1], &to[4..]);
            for to in [format!("10.{to}"), format!("fd0{v6_net}::{v6_host}")] {
                let said = ping(from, "-c 3 -i 0.05", &to);
                assert!(said.contains("ttl=63"), "{workers} workers: {said}");
            }
        }
        for from in [&lans.left, &mid] {
            ping(from, "-c 2 -i 0.05 -s 1472 -M do", "10.2.0.2");
            for own in ["10.1.0.1", "10.2.0.1", "fd01::1", "fd02::1"] {
                ping(from, "-c 2 -i 0.05", own);
            }
            let (_, said) = try_sh(&format!("ip netns exec {from} ping -c 1 -t 1 -W 2 10.2.0.2"));
            assert!(said.contains("From 10.1.0.1") && said.contains("Time to live exceeded"), "{said}");
        }
        // A host of the domain that does not answer.
        let (_, said) = try_sh(&format!("ip netns exec {} ping -c 1 -W 6 10.1.0.77", lans.right));
        assert!(said.contains("From 10.2.0.1") && said.contains("Host Unreachable"), "{said}");
        told(&lans);
    }
}

/// What `show` and `trace` say of the router in the domain.
fn told(lans: &Lans) {
    let interfaces = show(lans, "interfaces");
    let lan0 = &interfaces[0];
    assert_eq!((&lan0["interface"], &lan0["domain"], &lan0["port"]), (&"lan0".into(), &"lan".into(), &Value::Null));
    assert_eq!((&lan0["up"], &lan0["mac"]), (&true.into(), &"02:00:00:00:01:01".into()), "{lan0}");
    assert!(lan0["rx_frames"].as_u64().unwrap() > 20 && lan0["tx_frames"].as_u64().unwrap() > 20, "{lan0}");
    let stations = show(lans, "fdb");
    let own = stations.as_array().unwrap().iter().find(|s| s["mac"] == "02:00:00:00:01:01").unwrap();
    assert_eq!((&own["domain"], &own["port"]), (&"lan".into(), &"r1/lan0".into()), "{own}");
    for (address, port) in [("10.1.0.2", "up0"), ("10.1.0.3", "up2")] {
        let hop = show(lans, &format!("route {address}"))["hops"][0].clone();
        assert_eq!((&hop["interface"], &hop["domain"], &hop["port"]), (&"lan0".into(), &"lan".into(), &port.into()));
        assert!(hop["mac"].is_string(), "{hop}");
    }
    let trace = std::thread::scope(|scope| {
        let control = lans.bed.path("control.sock");
        let line =
            format!("{POINTSMAN} trace --json --control {control} --port up0 --host 10.2.0.2 --count 1 --for 5s");
        let trace = scope.spawn(move || sh(&line));
        std::thread::sleep(Duration::from_millis(500));
        ping(&lans.left, "-c 2 -i 0.05", "10.2.0.2");
        trace.join().unwrap()
    });
    let frame: Value =
        trace.lines().map(|line| serde_json::from_str(line).unwrap()).find(|v: &Value| !v["frame"].is_null()).unwrap();
    let steps = frame["frame"]["steps"].as_array().unwrap();
    let steps: Vec<_> = steps.iter().map(|s| (s["step"].as_str().unwrap(), s["text"].as_str().unwrap())).collect();
    let [("in", _), ("bridge", bridged), ("vrf", vrf), ("route", route), ("out", out)] = steps[..] else {
        panic!("{steps:?}")
    };
    assert_eq!(bridged, "domain lan: 02:00:00:00:01:01 is behind r1/lan0, as configured");
    assert_eq!(vrf, "r1, interface lan0");
    assert!(route.starts_with("10.2.0.2 is in 10.2.0.0/16 (connected)"), "{route}");
    assert!(out.starts_with("by up1") && out.contains("to 10.2.0.2 at "), "{out}");
}

#[test]
fn for_a_host_that_the_domain_has_forgotten_packets_go_to_all_ports() {
    need!("ping");
    let (lans, _mid) = lans();
    let _engine = lans.bed.engine(&lans.host, &config(1, "1s", &one("")));
    let mac = sh(&format!("ip netns exec {} cat /sys/class/net/eth0/address", lans.left));
    let known = || show(&lans, "fdb").as_array().unwrap().iter().any(|station| station["mac"] == mac.trim());
    let sent = || lans.bed.port("up2")["tx_bytes"].as_u64().unwrap();
    ping(&lans.right, "-c 2 -i 0.05", "10.1.0.2");
    // The host may say something of its own accord just then.
    let flooded = (0..10).any(|_| {
        wait_for("forgotten", Duration::from_secs(20), || !known());
        let before = sent();
        ping(&lans.right, "-c 1 -s 1000", "10.1.0.2");
        assert!(known(), "learned from the answer");
        sent() - before >= 1000
    });
    assert!(flooded, "the other port of the domain got a copy");
    // Known, it goes to its port alone.
    let before = sent();
    ping(&lans.right, "-c 3 -i 0.05 -s 1000", "10.1.0.2");
    assert!(sent() - before < 1000);
}

#[test]
fn two_routers_in_one_domain_route_through_each_other() {
    need!("ping");
    for workers in [1, 2] {
        let (lans, mid) = lans();
        let r1 = interface("lan0", "domain = \"lan\"", (1, 1));
        let (r2, out) = (interface("lan0", "domain = \"lan\"", (1, 254)), interface("eth1", "port = \"up1\"", (2, 1)));
        let route = |to: &str, via: &str| format!("[[vrf.route]]\nto = \"{to}\"\nvia = \"{via}\"\n");
        let routes = route("10.2.0.0/16", "10.1.0.254") + &route("fd02::/64", "fd01::fe");
        let vrfs = format!("[[vrf]]\nname = \"r1\"\n{r1}{routes}[[vrf]]\nname = \"r2\"\n{r2}{out}");
        let vrfs = config(workers, "300s", &vrfs);
        // The second VRF, and with it its port, on the other worker.
        let vrfs = vrfs.replace("device = \"up1\"\n", &format!("device = \"up1\"\nworker = {}\n", workers - 1));
        let _engine = lans.bed.engine(&lans.host, &vrfs);
        for from in [&lans.left, &mid] {
            for to in ["10.2.0.2", "fd02::2"] {
                ping(from, "-c 5 -i 0.05", to);
            }
            for (hops, router) in [(1, "10.1.0.1"), (2, "10.1.0.254")] {
                let (_, said) = try_sh(&format!("ip netns exec {from} ping -c 1 -t {hops} -W 2 10.2.0.2"));
                assert!(said.contains(&format!("From {router}")), "{workers} workers, {hops} hops: {said}");
            }
        }
        let counted = |vrf: &str| show(&lans, &format!("interfaces --vrf {vrf}"))[0]["rx_frames"].as_u64().unwrap();
        assert!(counted("r1") >= 20 && counted("r2") >= 20);
    }
}

#[test]
fn the_stack_behind_a_punt_port_speaks_for_the_router_in_the_domain() {
    need!("ping");
    for workers in [1, 2] {
        let (mut lans, mid) = lans();
        let stack = lans.bed.host("stack");
        let tap = format!("[[port]]\nname = \"tap0\"\nkind = \"tap\"\ndevice = \"lan0\"\nnetns = \"{stack}\"\n");
        let text = config(workers, "300s", &(tap + &one("punt = \"tap0\"")));
        let _engine = lans.bed.engine(&lans.host, &text);
        sh(&format!(
            "ip -n {stack} addr add 10.1.0.1/16 dev lan0 && ip -n {stack} addr add fd01::1/64 dev lan0 && \
             ip -n {stack} link set lan0 up"
        ));
        for from in [&lans.left, &mid] {
            for to in ["10.2.0.2", "fd02::2"] {
                let said = ping(from, "-c 5 -i 0.05", to);
                assert!(said.contains("ttl=63"), "{said}");
            }
            for own in ["10.1.0.1", "fd01::1"] {
                ping(from, "-c 2 -i 0.05", own);
            }
        }
        // It may ask, too.
        for host in ["10.1.0.2", "10.1.0.3", "fd01::2", "fd01::3"] {
            ping(&stack, "-c 2 -i 0.05", host);
        }
        let lan0 = show(&lans, "interfaces")[0].clone();
        assert!(lan0["punted_frames"].as_u64().unwrap() >= 16, "{lan0}");
        assert!(lan0["stack_frames"].as_u64().unwrap() >= 16, "{lan0}");
        let answered = sh(&format!("ip netns exec {stack} cat /proc/net/snmp | grep ^Icmp: | tail -1"));
        let received: u64 = answered.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(received >= 8, "the stack answered: {answered}");
    }
}
