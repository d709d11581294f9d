//! End to end: VRFs of the engine route between namespaces, over real veth cables and AF_XDP.
//!
//! ```text
//!   [left 10.1.0.2] --veth-- up0 (engine, vrf r1) up1 --veth-- [right 10.2.0.2]
//! ```

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;
use support::lans::Lans;
use support::{POINTSMAN, sh, try_sh, wait_for};

/// Two interfaces, 10.1.0.1 and 10.2.0.1, on cables of the engine's own.
fn vrf(extra: &str) -> String {
    let port = |n: u32| format!("[[port]]\nname = \"up{n}\"\nkind = \"netdev\"\ndevice = \"up{n}\"\n");
    let interface = |n: u32, punt: &str| {
        let lan = n + 1;
        format!(
            "[[vrf.interface]]\nname = \"eth{n}\"\nport = \"up{n}\"\nmac = \"02:00:00:00:0{n}:01\"\n\
             addresses = [\"10.{lan}.0.1/16\", \"fd0{lan}::1/64\"]\n{punt}"
        )
    };
    format!("{}{}[[vrf]]\nname = \"r1\"\n{}{}{extra}", port(0), port(1), interface(0, ""), interface(1, ""))
}

/// The same with taps for the stack of namespace `stack`.
fn vrf_with_stack(stack: &str) -> String {
    let text = vrf("");
    let taps: String = (0..2)
        .map(|n| format!("[[port]]\nname = \"tap{n}\"\nkind = \"tap\"\ndevice = \"eth{n}\"\nnetns = \"{stack}\"\n"))
        .collect();
    let with = (0..2).fold(text, |text, n| {
        text.replace(&format!("name = \"eth{n}\"\n"), &format!("name = \"eth{n}\"\npunt = \"tap{n}\"\n"))
    });
    taps + &with
}

fn show(lans: &Lans, what: &str) -> Value {
    let (ok, text) = lans.bed.show(what);
    assert!(ok, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn interface(lans: &Lans, name: &str) -> Value {
    let all = show(lans, "interfaces");
    all.as_array().unwrap().iter().find(|i| i["interface"] == name).cloned().unwrap()
}

fn ping(host: &str, options: &str, to: &str) -> String {
    try_sh(&format!("ip netns exec {host} ping {options} {to}")).1
}

#[test]
fn a_vrf_routes_between_two_lans() {
    need!("ping");
    let lans = Lans::new(1500);
    let _engine = lans.bed.engine(&lans.host, &vrf(""));
    lans.ping("-c 5 -i 0.05", "10.2.0.2");
    lans.ping("-c 5 -i 0.05", "fd02::2");
    lans.ping("-c 3 -i 0.05 -s 1472 -M do", "10.2.0.2");
    // It answers for itself, on both of its addresses, and counts.
    for own in ["10.1.0.1", "10.2.0.1", "fd01::1", "fd02::1"] {
        lans.ping("-c 2 -i 0.05", own);
    }
    assert!(ping(&lans.left, "-c 1", "10.2.0.2").contains("ttl=63"));
    for to in ["10.2.0.2", "fd02::2"] {
        let said = ping(&lans.left, "-c 1 -t 1 -W 2", to);
        assert!(said.contains("Time to live exceeded") || said.contains("Hop limit"), "{said}");
    }
    let (left, right) = (interface(&lans, "eth0"), interface(&lans, "eth1"));
    assert!(left["rx_frames"].as_u64().unwrap() > 20 && right["tx_frames"].as_u64().unwrap() > 13, "{left} {right}");
    assert_eq!(left["drops"]["ttl-expired"], 2, "{left}");
    // No network, no host.
    let said = ping(&lans.left, "-c 1 -W 6", "10.2.0.77");
    assert!(said.contains("Host Unreachable"), "{said}");
    sh(&format!("ip -n {} route add 172.16.0.0/12 via 10.1.0.1", lans.left));
    assert!(ping(&lans.left, "-c 1 -W 2", "172.16.0.1").contains("Net Unreachable"));
    // What it knows.
    let neighbours = show(&lans, "neighbours --vrf r1");
    let known =
        |address: &str| neighbours.as_array().unwrap().iter().any(|n| n["address"] == address && !n["mac"].is_null());
    assert!(known("10.1.0.2") && known("10.2.0.2") && known("fd02::2"), "{neighbours}");
    let why = show(&lans, "route 10.2.0.2");
    assert_eq!(
        (&why["route"]["prefix"], &why["route"]["owner"]),
        (&"10.2.0.0/16".into(), &"connected".into()),
        "{why}"
    );
    assert_eq!((&why["hops"][0]["interface"], &why["hops"][0]["port"]), (&"eth1".into(), &"up1".into()), "{why}");
    assert!(why["hops"][0]["mac"].is_string(), "{why}");
    assert_eq!(show(&lans, "route 172.16.0.1")["route"], Value::Null);
    let (ok, said) = lans.bed.show("routes --vrf r9");
    assert!(!ok && said.contains("there is no VRF \"r9\"; those there are: r1"), "{said}");
}

#[test]
fn routes_may_vanish_be_unreachable_or_forbidden() {
    need!("ping");
    let lans = Lans::new(1500);
    let routes = [("10.66.0.0/16", "blackhole"), ("10.77.0.0/16", "unreachable"), ("10.88.0.0/16", "prohibit")];
    let mut text: String =
        routes.map(|(to, action)| format!("[[vrf.route]]\nto = \"{to}\"\naction = \"{action}\"\n")).concat();
    text += "[[vrf.route]]\nto = \"fd88::/16\"\naction = \"prohibit\"\n[[vrf.route]]\nto = \"10.99.0.0/16\"\nvia = \"10.2.0.2\"\n";
    let _engine = lans.bed.engine(&lans.host, &vrf(&text));
    for n in [66, 77, 88, 99] {
        sh(&format!("ip -n {} route add 10.{n}.0.0/16 via 10.1.0.1", lans.left));
    }
    sh(&format!("ip -n {} -6 route add fd88::/16 via fd01::1", lans.left));
    sh(&format!("ip -n {} addr add 10.99.0.1/32 dev lo", lans.right));
    lans.ping("-c 3 -i 0.05", "10.99.0.1");
    let silent = ping(&lans.left, "-c 2 -i 0.05 -W 1", "10.66.0.1");
    assert!(silent.contains("100% packet loss") && !silent.contains("From"), "{silent}");
    assert!(ping(&lans.left, "-c 1 -W 2", "10.77.0.1").contains("Host Unreachable"));
    assert!(ping(&lans.left, "-c 1 -W 2", "10.88.0.1").contains("Packet filtered"));
    assert!(ping(&lans.left, "-c 1 -W 2", "fd88::1").contains("Administratively prohibited"));
    let drops = &interface(&lans, "eth0")["drops"];
    assert_eq!((&drops["blackhole"], &drops["route-unreachable"]), (&2.into(), &1.into()), "{drops}");
    assert_eq!(drops["route-prohibit"], 2, "{drops}");
}

#[test]
fn a_narrow_link_fragments_or_tells_its_size() {
    need!("ping");
    let lans = Lans::new(1500);
    let text = vrf("").replace("mac = \"02:00:00:00:01:01\"", "mac = \"02:00:00:00:01:01\"\nmtu = 1400");
    let _engine = lans.bed.engine(&lans.host, &text);
    lans.ping("-c 2 -i 0.05", "10.2.0.2");
    lans.ping("-c 2 -i 0.05 -s 1472 -M dont", "10.2.0.2");
    let said = ping(&lans.left, "-c 1 -W 2 -s 1472 -M do", "10.2.0.2");
    assert!(said.contains("mtu = 1400") || said.contains("mtu=1400"), "{said}");
    let said = ping(&lans.left, "-c 1 -W 2 -s 1452 -M do", "fd02::2");
    assert!(said.contains("Packet too big: mtu=1400"), "{said}");
    // The sender has learned the size of the path, and keeps to it.
    lans.ping("-c 2 -i 0.05 -s 1452", "fd02::2");
}

#[test]
fn flows_share_two_ways() {
    need!("ping");
    let lans = Lans::new(1500);
    sh(&format!("ip -n {} addr add 10.2.0.3/16 dev eth0", lans.right));
    let text = "[[vrf.route]]\nto = \"10.99.0.0/16\"\nvia = [\"10.2.0.2\", \"10.2.0.3\"]\n";
    let _engine = lans.bed.engine(&lans.host, &vrf(text));
    sh(&format!("ip -n {} route add 10.99.0.0/16 via 10.1.0.1", lans.left));
    for n in 1..=16 {
        sh(&format!("ip -n {} addr add 10.99.0.{n}/32 dev lo", lans.right));
        lans.ping("-c 1", &format!("10.99.0.{n}"));
    }
    let why = show(&lans, "route 10.99.0.7");
    let hops: Vec<_> = why["hops"].as_array().unwrap().iter().map(|hop| hop["neighbour"].as_str().unwrap()).collect();
    assert_eq!(hops, ["10.2.0.2", "10.2.0.3"], "{why}");
    // Both were asked for, so both were chosen by some flow.
    let neighbours = show(&lans, "neighbours");
    let used =
        |address: &str| neighbours.as_array().unwrap().iter().any(|n| n["address"] == address && n["mac"].is_string());
    assert!(used("10.2.0.2") && used("10.2.0.3"), "{neighbours}");
}

#[test]
fn the_stack_behind_punt_ports_speaks_for_the_router() {
    need!("ping");
    let mut lans = Lans::new(1500);
    let stack = lans.bed.host("stack");
    let _engine = lans.bed.engine(&lans.host, &vrf_with_stack(&stack));
    for n in 0..2 {
        let lan = n + 1;
        sh(&format!(
            "ip -n {stack} addr add 10.{lan}.0.1/16 dev eth{n} && ip -n {stack} addr add fd0{lan}::1/64 dev eth{n} && \
             ip -n {stack} link set eth{n} up"
        ));
    }
    // Through the router: the engine forwards, and the stack answers for the gateway's Ethernet address.
    lans.ping("-c 5 -i 0.05", "10.2.0.2");
    lans.ping("-c 5 -i 0.05", "fd02::2");
    // For the router: the stack answers, with its own time to live; the engine would say 64 too, so the stack counts.
    for own in ["10.1.0.1", "10.2.0.1", "fd01::1", "fd02::1"] {
        lans.ping("-c 2 -i 0.05", own);
    }
    let counted = sh(&format!("ip netns exec {stack} cat /proc/net/snmp | grep ^Icmp: | tail -1"));
    let received: u64 = counted.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(received >= 4, "{counted}");
    let of_forwarding: u64 = sh(&format!("ip netns exec {stack} cat /proc/net/snmp | grep ^Ip: | tail -1"))
        .split_whitespace()
        .nth(6)
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(of_forwarding, 0, "nothing was forwarded by the stack");
    // TCP with the stack, from outside and to outside.
    let listen =
        "import socket; s = socket.create_server(('0.0.0.0', 2200)); c, _ = s.accept(); c.sendall(b'SSH-2.0-stack')";
    let ask = "import socket; print(socket.create_connection(('10.1.0.1', 2200), 5).recv(64).decode())";
    let server = support::Program::start(&stack, &["python3", "-c", listen], &lans.bed.folder, "listen");
    std::thread::sleep(Duration::from_millis(300));
    let said = sh(&format!("ip netns exec {} python3 -c \"{ask}\"", lans.left));
    assert!(said.contains("SSH-2.0-stack"), "{said}");
    drop(server);
    assert!(ping(&stack, "-c 2 -i 0.05", "10.2.0.2").contains(" 0% packet loss"));
    let left = interface(&lans, "eth0");
    assert!(left["punted_frames"].as_u64().unwrap() > 5 && left["stack_frames"].as_u64().unwrap() > 5, "{left}");
}

#[test]
fn the_stack_is_protected_by_its_policer() {
    need!("ping");
    let mut lans = Lans::new(1500);
    let stack = lans.bed.host("stack");
    let text = vrf_with_stack(&stack).replace("[[vrf]]\n", "[[vrf]]\npunt_rate = 20\npunt_burst = 20\n");
    let _engine = lans.bed.engine(&lans.host, &text);
    sh(&format!("ip -n {stack} addr add 10.1.0.1/16 dev eth0"));
    let said = ping(&lans.left, "-c 200 -i 0.002 -q", "10.1.0.1");
    assert!(!said.contains(" 0% packet loss") && !said.contains("100% packet loss"), "{said}");
    let left = interface(&lans, "eth0");
    let punted = left["punted_frames"].as_u64().unwrap();
    assert!(punted < 80 && left["drops"]["punt-rate"].as_u64().unwrap() > 100, "{left}");
}

#[test]
fn a_failed_link_gives_way_to_the_other() {
    need!("ping");
    let mut lans = Lans::new(1500);
    let other = lans.bed.host("other");
    lans.bed.cable((&other, "eth0"), (&lans.host, "up2"), 1500);
    sh(&format!("ip -n {other} addr add 10.3.0.2/16 dev eth0 && ip -n {other} route add default via 10.3.0.1"));
    let text = "[[vrf.interface]]\nname = \"eth2\"\nport = \"up2\"\naddresses = [\"10.3.0.1/16\"]\n\
                [[vrf.route]]\nto = \"10.99.0.0/16\"\nvia = [\"10.2.0.2\", \"10.3.0.2\"]\n";
    let port = "[[port]]\nname = \"up2\"\nkind = \"netdev\"\ndevice = \"up2\"\n";
    let _engine = lans.bed.engine(&lans.host, &(port.to_owned() + &vrf(text)));
    sh(&format!("ip -n {} route add 10.99.0.0/16 via 10.1.0.1", lans.left));
    for host in [&lans.right, &other] {
        for n in 1..=8 {
            sh(&format!("ip -n {host} addr add 10.99.0.{n}/32 dev lo"));
        }
    }
    let answered = |lans: &Lans| {
        (1..=8).all(|n| ping(&lans.left, "-c 1 -W 2", &format!("10.99.0.{n}")).contains(" 0% packet loss"))
    };
    assert!(answered(&lans));
    sh(&format!("ip -n {other} link set eth0 down"));
    wait_for("the link's failure to be seen", Duration::from_secs(2), || interface(&lans, "eth2")["up"] == false);
    assert!(answered(&lans), "all flows go the other way");
    let why = show(&lans, "route 10.99.0.1");
    assert_eq!(why["hops"].as_array().unwrap().len(), 1, "{why}");
}

/// A VRF on the cables of both LANs, 10.1.0.`host` and 10.2.0.`host`; all of them have 10.1.0.77 too.
fn sharing(n: u32, host: u32) -> String {
    let interface = |side: u32| {
        let lan = side + 1;
        let more = if side == 0 { ", \"10.1.0.77/16\"" } else { "" };
        format!(
            "[[vrf.interface]]\nname = \"eth{side}\"\nport = \"up{side}\"\nmac = \"02:00:00:00:0{side}:0{n}\"\n\
             addresses = [\"10.{lan}.0.{host}/16\", \"fd0{lan}::{host}/64\"{more}]\n"
        )
    };
    format!("[[vrf]]\nname = \"r{n}\"\n{}{}", interface(0), interface(1))
}

#[test]
fn vrfs_share_cables_by_their_ethernet_addresses() {
    need!("ping");
    let lans = Lans::new(1500);
    let port = |n: u32| format!("[[port]]\nname = \"up{n}\"\nkind = \"netdev\"\ndevice = \"up{n}\"\n");
    let text = [port(0), port(1), sharing(1, 1), sharing(2, 11)].concat();
    let _engine = lans.bed.engine(&lans.host, &text);
    let of = |vrf: &str, what: &str| -> Value {
        let all = show(&lans, &format!("interfaces --vrf {vrf}"));
        all.as_array().unwrap().iter().find(|i| i["interface"] == "eth0").unwrap()[what].clone()
    };
    // Both answer ARP and neighbour discovery for their own addresses, with their own.
    for (host, n) in [(1, 1), (11, 2)] {
        lans.ping("-c 2 -i 0.05", &format!("10.1.0.{host}"));
        lans.ping("-c 2 -i 0.05", &format!("fd01::{host}"));
        let known = sh(&format!("ip -n {} neigh show 10.1.0.{host}", lans.left));
        assert!(known.contains(&format!("lladdr 02:00:00:00:00:0{n} ")), "{known}");
    }
    // Through each, there and back.
    for (host, n) in [(1, 1), (11, 2)] {
        for (lan, other, namespace) in [(1, 2, &lans.left), (2, 1, &lans.right)] {
            sh(&format!(
                "ip -n {namespace} route replace 10.{other}.0.0/16 via 10.{lan}.0.{host} && \
                 ip -n {namespace} -6 route replace fd0{other}::/64 via fd0{lan}::{host}"
            ));
        }
        let (own, theirs) = (format!("r{n}"), format!("r{}", 3 - n));
        let count = |vrf: &str| of(vrf, "tx_frames").as_u64().unwrap();
        let before = (count(&own), count(&theirs));
        lans.ping("-c 5 -i 0.05", "10.2.0.2");
        lans.ping("-c 5 -i 0.05", "fd02::2");
        assert!(ping(&lans.left, "-c 1", "10.2.0.2").contains("ttl=63"));
        assert!(count(&own) >= before.0 + 10, "{own} answers");
        // A neighbour solicitation of the left LAN may be answered meanwhile, and no ping.
        assert!(count(&theirs) < before.1 + 5, "{theirs} does not");
    }
    // An address that both have: whose it is, the Ethernet address says.
    for n in [1, 2] {
        sh(&format!("ip -n {} neigh replace 10.1.0.77 lladdr 02:00:00:00:00:0{n} dev eth0 nud permanent", lans.left));
        let received = || of(&format!("r{n}"), "rx_frames").as_u64().unwrap();
        let before = received();
        lans.ping("-c 4 -i 0.05", "10.1.0.77");
        assert!(received() >= before + 4, "r{n}");
    }
    // The cards' own host is not disturbed, and nobody has what is for nobody.
    sh(&format!("ip -n {} addr add 10.1.0.99/16 dev up0", lans.host));
    lans.ping("-c 2 -i 0.05", "10.1.0.99");
}

#[test]
fn check_tells_what_is_wrong_with_a_vrf() {
    let bed = support::Bed::new();
    let file = bed.file("wrong.toml", "[[vrf]]\nname = \"r1\"\n[[vrf.interface]]\nname = \"eth0\"\nport = \"up0\"\n");
    let (ok, said) = try_sh(&format!("{POINTSMAN} check {}", file.display()));
    assert!(!ok && said.contains("there is no port \"up0\""), "{said}");
}

/// Daemons of FRR in a namespace; they end with the test.
fn frr(lans: &Lans, host: &str, name: &str, zebra: &str, ospf: &str, fpm: bool) -> Vec<support::Program> {
    let folder = lans.bed.folder.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    for folder in [&lans.bed.folder, &folder] {
        // The daemons give up root.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let at = folder.display().to_string();
    let socket = format!("{at}/zserv.api");
    let start = |daemon: &str, config: &str, more: &[&str]| {
        let file = folder.join(format!("{daemon}.conf"));
        std::fs::write(&file, config).unwrap();
        let program = format!("/usr/lib/frr/{daemon}");
        let (pid, file) = (format!("{at}/{daemon}.pid"), file.display().to_string());
        let command =
            [&[&program, "--vty_socket", &at, "-z", &socket, "-i", &pid, "--log", "stdout", "-f", &file], more]
                .concat();
        support::Program::start(host, &command, &folder, daemon)
    };
    let more: &[&str] = if fpm { &["-M", "dplane_fpm_nl"] } else { &[] };
    let zebra = start("zebra", zebra, more);
    zebra.wait_until("listening", || std::path::Path::new(&socket).exists());
    vec![zebra, start("ospfd", ospf, &[])]
}

/// An FRR in the router's own namespace meets one on the right LAN by OSPF, whose hellos go through the punt ports. What it
/// learns is forwarded by the engine, and vanishes when the other withdraws it.
#[test]
fn ospf_through_punt_ports_makes_routes_that_the_engine_forwards_by() {
    need!("ping", "zebra", "ospfd");
    let mut lans = Lans::new(1500);
    let stack = lans.bed.host("stack");
    let feed = format!(
        "[[feed]]\nname = \"frr\"\nlisten = \"127.0.0.1:2620\"\nnetns = \"{stack}\"\ntables = {{ \"254\" = \"r1\" }}\nstale = \"5s\"\n"
    );
    let _engine = lans.bed.engine(&lans.host, &(vrf_with_stack(&stack) + &feed));
    for n in 0..2 {
        let lan = n + 1;
        sh(&format!("ip -n {stack} addr add 10.{lan}.0.1/16 dev eth{n} && ip -n {stack} link set eth{n} up"));
    }
    // The stack's own forwarding stays off: what crosses, crosses in the engine.
    sh(&format!(
        "ip -n {} addr add 10.99.0.1/24 dev lo && ip -n {} route add 10.99.0.0/24 via 10.1.0.1",
        lans.right, lans.left
    ));
    let ospf = |networks: &str| {
        format!(
            "interface eth1\n ip ospf hello-interval 1\n ip ospf dead-interval 4\ninterface eth0\n ip ospf hello-interval 1\n ip ospf dead-interval 4\nrouter ospf\n{networks}"
        )
    };
    let own = ospf(" network 10.1.0.0/16 area 0\n network 10.2.0.0/16 area 0\n passive-interface eth0\n");
    let theirs = ospf(" network 10.2.0.0/16 area 0\n network 10.99.0.0/24 area 0\n");
    let _own = frr(&lans, &stack, "own", "fpm address 127.0.0.1\n", &own, true);
    let other = frr(&lans, &lans.right, "other", "", &theirs, false);
    let why = || show(&lans, "route 10.99.0.1 --vrf r1");
    wait_for("OSPF's route in the VRF", Duration::from_secs(60), || why()["route"]["owner"] == "feed frr");
    assert_eq!(why()["hops"][0]["neighbour"], "10.2.0.2", "{}", why());
    lans.ping("-c 5 -i 0.05", "10.99.0.1");
    let feeds = show(&lans, "feeds");
    assert!(feeds[0]["client"].is_string(), "{feeds}");
    drop(other);
    wait_for("the route to go with its router", Duration::from_secs(30), || why()["route"].is_null());
}
