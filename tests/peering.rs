//! A virtual router whose own control plane peers with the world **through** the engine: FRR or BIRD in a namespace behind
//! punt taps, FRR outside, and a flow from LAN to LAN that the engine alone forwards.
//!
//! ```text
//!                                     [stack: zebra, ospfd, bgpd ... eth0 eth1 eth2]
//!                                                         |    |    |  punt taps
//!   LAN 10.91.0.1, [west 10.1.0.2] --veth-- up0 (engine, vrf r1) up1 --veth-- [east 10.2.0.2] LAN 10.92.0.1, fd92::1
//!           fd91::1                                              up2 --veth-- [east 10.3.0.2]
//! ```

mod support;

use std::time::Duration;

use serde_json::Value;
use support::frr::Frr;
use support::{Bed, POINTSMAN, Program, sh, try_sh, wait_for};

/// For what takes seconds by the protocol's timers, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The namespaces and cables.
struct World {
    bed: Bed,
    host: String,
    stack: String,
    west: String,
    east: String,
}

impl World {
    fn new() -> Self {
        let mut bed = Bed::new();
        let [host, stack, west, east] = ["host", "stack", "west", "east"].map(|name| bed.host(name));
        for (outside, device, uplink) in [(&west, "eth0", "up0"), (&east, "eth1", "up1"), (&east, "eth2", "up2")] {
            bed.cable((outside, device), (&host, uplink), 1500);
        }
        for n in 0..3 {
            let (lan, outside) = (n + 1, if n == 0 { &west } else { &east });
            sh(&format!(
                "ip -n {outside} addr add 10.{lan}.0.2/16 dev eth{n} && ip -n {outside} addr add fd0{lan}::2/64 dev eth{n}"
            ));
            // The taps are there before the engine and outlive it, with their addresses.
            sh(&format!(
                "ip -n {stack} tuntap add dev eth{n} mode tap && ip -n {stack} link set eth{n} address 02:00:00:00:0{n}:01 && \
                 ip -n {stack} addr add 10.{lan}.0.1/16 dev eth{n} && ip -n {stack} addr add fd0{lan}::1/64 dev eth{n} && \
                 ip -n {stack} link set eth{n} up"
            ));
        }
        for (outside, lan) in [(&west, 91), (&east, 92)] {
            sh(&format!(
                "ip -n {outside} addr add 10.{lan}.0.1/24 dev lo && ip -n {outside} addr add fd{lan}::1/64 dev lo"
            ));
            // A reply may come by the other of two links, and routers forward.
            sh(&format!(
                "ip netns exec {outside} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
                 net.ipv4.conf.all.rp_filter=0"
            ));
        }
        // What crosses, crosses in the engine: the stack does not forward.
        let forwards = sh(&format!("ip netns exec {stack} sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding"));
        assert_eq!(forwards, "0\n0\n");
        Self { bed, host, stack, west, east }
    }

    /// Starts the engine: a VRF with three interfaces, and a feed.
    fn engine(&self, listen: &str, stale: &str) -> Program {
        self.engine_with(("", ""), "", listen, stale)
    }

    /// The same with `extra` for the first interface, and something replaced.
    fn engine_with(&self, (old, new): (&str, &str), extra: &str, listen: &str, stale: &str) -> Program {
        let stack = &self.stack;
        let ports: String = (0..3)
            .map(|n| {
                format!(
                    "[[port]]\nname = \"up{n}\"\nkind = \"netdev\"\ndevice = \"up{n}\"\n\
                     [[port]]\nname = \"tap{n}\"\nkind = \"tap\"\ndevice = \"eth{n}\"\nnetns = \"{stack}\"\n"
                )
            })
            .collect();
        let interfaces: String = (0..3)
            .map(|n| {
                let lan = n + 1;
                let more = if n == 0 { extra } else { "" };
                format!(
                    "[[vrf.interface]]\nname = \"eth{n}\"\nport = \"up{n}\"\nmac = \"02:00:00:00:0{n}:01\"\n\
                     punt = \"tap{n}\"\naddresses = [\"10.{lan}.0.1/16\", \"fd0{lan}::1/64\"]\n{more}"
                )
            })
            .collect();
        let feed = format!("[[feed]]\nname = \"own\"\n{listen}tables = {{ \"254\" = \"r1\" }}\nstale = \"{stale}\"\n");
        let interfaces = if old.is_empty() { interfaces } else { interfaces.replace(old, new) };
        self.bed.engine(&self.host, &format!("{ports}[[vrf]]\nname = \"r1\"\n{interfaces}{feed}"))
    }

    /// Where zebra looks for its feed.
    fn fpm(&self) -> String {
        format!("listen = \"127.0.0.1:2620\"\nnetns = \"{}\"\n", self.stack)
    }

    fn show(&self, what: &str) -> Value {
        let (ok, text) = self.bed.show(what);
        assert!(ok, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    fn interface(&self, name: &str) -> Value {
        let all = self.show("interfaces");
        all.as_array().unwrap().iter().find(|i| i["interface"] == name).cloned().unwrap()
    }

    /// The gateways of the engine's route to an address, if the route came by the feed.
    fn gateways(&self, address: &str) -> Vec<String> {
        let why = self.show(&format!("route {address} --vrf r1"));
        if why["route"]["owner"] != "feed own" {
            return Vec::new();
        }
        let hops = why["hops"].as_array().unwrap();
        hops.iter().map(|hop| hop["neighbour"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn await_gateway(&self, address: &str, gateway: &str) {
        let mut last = Value::Null;
        wait_or_tell(
            &format!("{address} via {gateway}"),
            || {
                last = self.show(&format!("route {address} --vrf r1"));
                self.gateways(address) == [gateway]
            },
            || self.show("feeds").to_string(),
        );
    }

    /// Pings from LAN to LAN until it is answered.
    fn await_lans(&self, from: &str, to: &str) {
        let mut said = String::new();
        wait_or_tell(
            &format!("an answer from {to} to {from}"),
            || {
                said = self.ping(from, to, "-c 1 -W 1");
                said.contains(" 0% packet loss")
            },
            || self.show("interfaces").to_string(),
        );
    }

    fn ping(&self, from: &str, to: &str, options: &str) -> String {
        try_sh(&format!("ip netns exec {} ping -I {from} {options} {to}", self.west)).1
    }
}

/// Waits for something; what there is instead is told when it does not come.
fn wait_or_tell(what: &str, mut answer: impl FnMut() -> bool, tell: impl FnOnce() -> String) {
    let begin = std::time::Instant::now();
    while !answer() {
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}: {}", tell());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// OSPF for both families on these interfaces, each with its cost.
fn ospf(id: &str, interfaces: &[(&str, u32)], lan: Option<&str>) -> (String, String) {
    let (mut v4, mut v6) = (String::new(), String::new());
    for (name, cost) in interfaces {
        v4 += &format!(
            "interface {name}\n ip ospf area 0\n ip ospf cost {cost}\n ip ospf hello-interval 1\n ip ospf dead-interval 5\n"
        );
        v6 += &format!(
            "interface {name}\n ipv6 ospf6 area 0\n ipv6 ospf6 cost {cost}\n ipv6 ospf6 hello-interval 1\n \
             ipv6 ospf6 dead-interval 5\n"
        );
    }
    if lan.is_some() {
        v4 += "interface lo\n ip ospf area 0\n";
        v6 += "interface lo\n ipv6 ospf6 area 0\n ipv6 ospf6 passive\n";
    }
    v4 += &format!("router ospf\n ospf router-id {id}\n timers throttle spf 10 100 500\n");
    v6 += &format!("router ospf6\n ospf6 router-id {id}\n timers throttle spf 10 100 500\n");
    (v4, v6)
}

fn ospf_outside(world: &World) -> [Frr; 2] {
    [(&world.west, "0.0.0.91", &[("eth0", 10)][..]), (&world.east, "0.0.0.92", &[("eth1", 10), ("eth2", 50)][..])].map(
        |(host, id, interfaces)| {
            let (v4, v6) = ospf(id, interfaces, Some("lo"));
            Frr::start(&world.bed, host, &[], &[("zebra", ""), ("ospfd", &v4), ("ospf6d", &v6)])
        },
    )
}

/// OSPF's neighbours that are full, of `show ip ospf neighbor`, and the same for IPv6.
fn full(frr: &Frr) -> [usize; 2] {
    ["show ip ospf neighbor", "show ipv6 ospf6 neighbor"].map(|command| frr.show(command).matches("Full").count())
}

#[test]
fn ospf_comes_to_full_and_traffic_follows_a_failed_link() {
    need!("ping", "zebra", "ospfd", "ospf6d", "vtysh");
    let world = World::new();
    let _engine = world.engine(&world.fpm(), "30s");
    let (v4, v6) = ospf("0.0.0.1", &[("eth0", 10), ("eth1", 10), ("eth2", 50)], None);
    let fpm = "fpm address 127.0.0.1\n";
    let own = Frr::start(
        &world.bed,
        &world.stack,
        &["-M", "dplane_fpm_nl"],
        &[("zebra", fpm), ("ospfd", &v4), ("ospf6d", &v6)],
    );
    let _outside = ospf_outside(&world);
    wait_or_tell(
        "three full neighbours of either family",
        || full(&own) == [3, 3],
        || own.show("show ip ospf neighbor") + &own.show("show ipv6 ospf6 neighbor"),
    );
    world.await_gateway("10.92.0.1", "10.2.0.2");
    world.await_gateway("10.91.0.1", "10.1.0.2");
    // OSPFv3's next hops are link-local: which link is told by the device's number alone.
    let link_local = |device: &str| {
        let said = sh(&format!("ip -n {} -6 -o addr show dev {device} scope link", world.east));
        said.split_whitespace().nth(3).unwrap().split('/').next().unwrap().to_owned()
    };
    world.await_gateway("fd92::1", &link_local("eth1"));
    world.await_lans("10.91.0.1", "10.92.0.1");
    world.await_lans("fd91::1", "fd92::1");
    // The router outside has two ways back, and answers by the dear one until it has learned the other.
    for (family, lan) in [("-4", "10.91.0.1"), ("-6", "fd91::1")] {
        let back = || try_sh(&format!("ip -n {} {family} route get {lan}", world.east)).1;
        wait_or_tell(&format!("the way back to {lan} by eth1"), || back().contains("dev eth1"), back);
    }

    // The engine forwards it, and the stack sees none of it.
    let before = [world.interface("eth0"), world.interface("eth1")];
    let taps = [world.bed.port("tap0"), world.bed.port("tap1")];
    for (from, to) in [("10.91.0.1", "10.92.0.1"), ("fd91::1", "fd92::1")] {
        let said = world.ping(from, to, "-c 200 -i 0.005 -q");
        assert!(said.contains("200 received") || said.contains("199 received"), "{said}");
    }
    let after = [world.interface("eth0"), world.interface("eth1")];
    for (before, after) in before.iter().zip(&after) {
        for what in ["rx_frames", "tx_frames"] {
            assert!(number(&after[what]) >= number(&before[what]) + 390, "{what}: {before} {after}");
        }
    }
    for (before, name) in taps.iter().zip(["tap0", "tap1"]) {
        let after = world.bed.port(name);
        let carried = number(&after["tx_frames"]) - number(&before["tx_frames"]);
        assert!(carried < 200, "{name} carried {carried} frames");
    }

    // A link fails: OSPF finds the way by the other one, in both families.
    sh(&format!("ip -n {} link set eth1 down", world.east));
    world.await_gateway("10.92.0.1", "10.3.0.2");
    world.await_gateway("fd92::1", &link_local("eth2"));
    world.await_lans("10.91.0.1", "10.92.0.1");
    world.await_lans("fd91::1", "fd92::1");
    // The stack was told, and is told again.
    let link = || sh(&format!("ip -n {} link show eth1", world.stack));
    // The router outside may have told of it before the engine looked.
    wait_for("the tap to have no carrier", PATIENCE, || link().contains("NO-CARRIER"));
    sh(&format!("ip -n {} link set eth1 up", world.east));
    wait_for("the tap's carrier", PATIENCE, || !link().contains("NO-CARRIER"));
    world.await_gateway("10.92.0.1", "10.2.0.2");
    world.await_lans("10.91.0.1", "10.92.0.1");
    let feeds = world.show("feeds");
    assert!(feeds[0]["client"].is_string() && feeds[0]["refused"].as_object().is_none_or(|r| r.is_empty()), "{feeds}");
}

/// Every router on the way is seen by who asks for the way, the virtual one with the addresses of its interfaces; and a narrow
/// link behind it is found out.
#[test]
fn traceroute_and_tracepath_see_the_virtual_router() {
    need!("ping", "traceroute", "tracepath");
    let world = World::new();
    let _engine = world.engine(&world.fpm(), "30s");
    // Static routes: the agent tells those of the stack's kernel.
    let (stack, west, east) = (&world.stack, &world.west, &world.east);
    let agent = [POINTSMAN, "guest", "netlink", "--feed", "127.0.0.1:2620"];
    let _agent = Program::start(stack, &agent, &world.bed.folder, "agent");
    for (family, (lan_west, lan_east), (via_west, via_east), (to_west, to_east)) in [
        ("-4", ("10.91.0.0/24", "10.92.0.0/24"), ("10.1.0.1", "10.2.0.1"), ("10.1.0.2", "10.2.0.2")),
        ("-6", ("fd91::/64", "fd92::/64"), ("fd01::1", "fd02::1"), ("fd01::2", "fd02::2")),
    ] {
        sh(&format!("ip -n {west} {family} route add {lan_east} via {via_west}"));
        sh(&format!("ip -n {east} {family} route add {lan_west} via {via_east}"));
        // tracepath asks from the link's address.
        let link = if family == "-4" { "10.1.0.0/16" } else { "fd01::/64" };
        sh(&format!("ip -n {east} {family} route add {link} via {via_east}"));
        sh(&format!("ip -n {stack} {family} route add {lan_west} via {to_west}"));
        sh(&format!("ip -n {stack} {family} route add {lan_east} via {to_east}"));
    }
    world.await_lans("10.91.0.1", "10.92.0.1");
    world.await_lans("fd91::1", "fd92::1");
    let west = |command: &str| try_sh(&format!("ip netns exec {} {command}", world.west)).1;
    for (from, to, router) in [("10.91.0.1", "10.92.0.1", "10.1.0.1"), ("fd91::1", "fd92::1", "fd01::1")] {
        let said = west(&format!("traceroute -n -s {from} {to}"));
        let hops: Vec<_> = said.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(hops, [router, to], "{said}");
        let said = west(&format!("tracepath -n {to}"));
        assert!(said.contains(router) && said.contains("pmtu 1500") && said.contains("reached"), "{said}");
    }
}

/// BGP with a graceful restart (RFC 4724): who restarts is waited for, and its routes stay. `networks` are announced.
fn bgp(id: &str, asn: u32, neighbours: &[(&str, u32)], networks: &[&str]) -> String {
    let mut text = format!(
        "router bgp {asn}\n bgp router-id {id}\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
         no bgp network import-check\n bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n \
         bgp graceful-restart restart-time 120\n timers bgp 3 30\n"
    );
    for (address, asn) in neighbours {
        text += &format!(
            " neighbor {address} remote-as {asn}\n neighbor {address} timers connect 1\n \
             neighbor {address} advertisement-interval 0\n"
        );
    }
    text += " address-family ipv4 unicast\n";
    for (address, _) in neighbours {
        text += &format!("  neighbor {address} activate\n");
    }
    for network in networks {
        text += &format!("  network {network}\n");
    }
    text
}

#[test]
fn bgp_routes_outlive_restarts_of_frr_and_come_again_after_one_of_the_engine() {
    need!("ping", "zebra", "bgpd", "vtysh");
    let world = World::new();
    let engine = world.engine(&world.fpm(), "20s");
    let own = bgp("0.0.0.1", 65000, &[("10.1.0.2", 65091), ("10.2.0.2", 65092)], &[]);
    let fpm = ["-M", "dplane_fpm_nl"];
    let mut own = Frr::start(&world.bed, &world.stack, &fpm, &[("zebra", "fpm address 127.0.0.1\n"), ("bgpd", &own)]);
    let west = bgp("0.0.0.91", 65091, &[("10.1.0.1", 65000)], &["10.91.0.0/24"]);
    let _west = Frr::start(&world.bed, &world.west, &[], &[("zebra", ""), ("bgpd", &west)]);
    let east = bgp("0.0.0.92", 65092, &[("10.2.0.1", 65000)], &["10.92.0.0/24", "10.93.0.0/24"]);
    let east = Frr::start(&world.bed, &world.east, &[], &[("zebra", ""), ("bgpd", &east)]);
    for (address, gateway) in [("10.91.0.1", "10.1.0.2"), ("10.92.0.1", "10.2.0.2"), ("10.93.0.1", "10.2.0.2")] {
        world.await_gateway(address, gateway);
    }
    world.await_lans("10.91.0.1", "10.92.0.1");

    // What the routers outside lose while they settle is not ours: they keep to the way they had (distance 255 for FRR).
    for (outside, to, via) in [(&world.west, 92, "10.1.0.1"), (&world.east, 91, "10.2.0.1")] {
        sh(&format!("ip -n {outside} route add 10.{to}.0.0/24 via {via} metric {}", 0xff00_2000_u32));
    }
    // FRR is killed and comes again, while a route vanishes. Not one packet is lost.
    let command = ["ping", "-I", "10.91.0.1", "-i", "0.05", "10.92.0.1"];
    let flow = Program::start(&world.west, &command, &world.bed.folder, "flow");
    own.kill();
    wait_for("the end of the feed's client", PATIENCE, || world.show("feeds")[0]["client"].is_null());
    assert_eq!(world.gateways("10.93.0.1"), ["10.2.0.2"]);
    east.configure(&["router bgp 65092", "address-family ipv4 unicast", "no network 10.93.0.0/24"]);
    own.run();
    wait_for("the feed's client to come again", PATIENCE, || world.show("feeds")[0]["client"].is_string());
    wait_for("the sweep", PATIENCE, || world.gateways("10.93.0.1").is_empty());
    assert_eq!(world.gateways("10.92.0.1"), ["10.2.0.2"]);
    let said = flow.interrupt();
    // The last may still have been on its way.
    let sent: usize =
        said.split(" packets transmitted").next().unwrap().split_whitespace().last().unwrap().parse().unwrap();
    let lost: Vec<_> = (1..sent).filter(|n| !said.contains(&format!("icmp_seq={n} "))).collect();
    assert!(sent > 50 && lost.is_empty(), "of {sent} packets these were lost: {lost:?}");

    // The engine is killed and comes again: zebra connects, and tells everything.
    engine.end(libc::SIGKILL);
    let _engine = world.engine(&world.fpm(), "20s");
    world.await_gateway("10.92.0.1", "10.2.0.2");
    world.await_gateway("10.91.0.1", "10.1.0.2");
    world.await_lans("10.91.0.1", "10.92.0.1");
}

#[test]
fn bird_and_the_agent_do_what_frr_and_its_fpm_do() {
    need!("ping", "zebra", "ospfd", "ospf6d", "vtysh", "bird", "birdc");
    let world = World::new();
    let socket = world.bed.path("feed.sock");
    let _engine = world.engine(&format!("listen = \"{socket}\"\n"), "30s");
    let agent = [POINTSMAN, "guest", "netlink", "--feed", &socket];
    let _agent = Program::start(&world.stack, &agent, &world.bed.folder, "agent");
    let area = "area 0 { interface \"eth0\", \"eth1\" { hello 1; dead 5; cost 10; }; \
                interface \"eth2\" { hello 1; dead 5; cost 50; }; };";
    let config = format!(
        "router id 0.0.0.1;\nprotocol device {{ scan time 1; }}\nprotocol kernel {{ ipv4 {{ export all; }}; }}\n\
         protocol kernel {{ ipv6 {{ export all; }}; }}\nprotocol ospf v2 {{ ipv4; {area} }}\n\
         protocol ospf v3 {{ ipv6; {area} }}\n"
    );
    let (file, control) = (world.bed.file("bird.conf", &config).display().to_string(), world.bed.path("bird.ctl"));
    let command = ["bird", "-f", "-c", &file, "-s", &control, "-P", &world.bed.path("bird.pid")];
    let _bird = Program::start(&world.stack, &command, &world.bed.folder, "bird");
    let _outside = ospf_outside(&world);
    world.await_gateway("10.91.0.1", "10.1.0.2");
    world.await_gateway("10.92.0.1", "10.2.0.2");
    wait_for("OSPFv3's routes", PATIENCE, || {
        !world.gateways("fd91::1").is_empty() && !world.gateways("fd92::1").is_empty()
    });
    world.await_lans("10.91.0.1", "10.92.0.1");
    world.await_lans("fd91::1", "fd92::1");
    sh(&format!("ip -n {} link set eth1 down", world.east));
    world.await_gateway("10.92.0.1", "10.3.0.2");
    world.await_lans("10.91.0.1", "10.92.0.1");
    world.await_lans("fd91::1", "fd92::1");
}

#[test]
fn a_virtual_router_s_address_is_reached_through_the_engine() {
    need!("ping", "zebra", "vrrpd", "vtysh");
    let world = World::new();
    let extra = "vrrp = [5]\n";
    let addresses = ("\"fd01::1/64\"", "\"fd01::1/64\", \"10.1.0.254/16\", \"fd01::fe/64\"");
    let _engine = world.engine_with(addresses, extra, &world.fpm(), "30s");
    let (stack, west, east) = (&world.stack, &world.west, &world.east);
    // As FRR wants it: a device for either family's virtual address; and each device speaks for its own addresses only.
    sh(&format!("ip netns exec {stack} sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"));
    for (device, mac, address) in
        [("vrrp4-5", "00:00:5e:00:01:05", "10.1.0.254/16"), ("vrrp6-5", "00:00:5e:00:02:05", "fd01::fe/64")]
    {
        sh(&format!(
            "ip -n {stack} link add {device} link eth0 type macvlan mode bridge && \
             ip -n {stack} link set {device} addrgenmode random address {mac} && ip -n {stack} addr add {address} dev {device} && \
             ip -n {stack} link set {device} up"
        ));
    }
    let config =
        "interface eth0\n vrrp 5\n vrrp 5 advertisement-interval 1000\n vrrp 5 ip 10.1.0.254\n vrrp 5 ipv6 fd01::fe\n";
    let own = Frr::start(&world.bed, stack, &[], &[("zebra", ""), ("vrrpd", config)]);
    wait_or_tell("master", || own.show("show vrrp").matches("Master").count() >= 2, || own.show("show vrrp"));
    for (family, address, network, outside) in [
        ("-4", "10.1.0.254", "10.2.0.0/16", "10.1.0.0/16 via 10.2.0.1"),
        ("-6", "fd01::fe", "fd02::/64", "fd01::/64 via fd02::1"),
    ] {
        sh(&format!("ip -n {west} {family} route add {network} via {address}"));
        sh(&format!("ip -n {east} {family} route add {outside}"));
    }
    let ping = |to: &str, options: &str| try_sh(&format!("ip netns exec {west} ping {options} {to}")).1;
    for to in ["10.1.0.254", "fd01::fe", "10.2.0.2", "fd02::2"] {
        let mut said = String::new();
        wait_or_tell(
            &format!("an answer of {to}"),
            || {
                said = ping(to, "-c 1 -W 1");
                said.contains(" 0% packet loss")
            },
            || world.show("interfaces").to_string() + &own.show("show vrrp"),
        );
    }
    for (address, mac) in [("10.1.0.254", "00:00:5e:00:01:05"), ("fd01::fe", "00:00:5e:00:02:05")] {
        let known = sh(&format!("ip -n {west} neigh show {address}"));
        assert!(known.contains(mac), "{known}");
    }
    // What is forwarded does not come to the stack.
    let before = number(&world.bed.port("tap0")["tx_frames"]);
    for to in ["10.2.0.2", "fd02::2"] {
        let said = ping(to, "-c 100 -i 0.005 -q");
        assert!(said.contains("100 received") || said.contains("99 received"), "{said}");
    }
    let carried = number(&world.bed.port("tap0")["tx_frames"]) - before;
    assert!(carried < 100, "{carried} frames for the stack");
}
