//! Routes from real daemons and real kernels, through feeds: FRR over FPM, and our agent beside whatever changes a kernel's
//! routes.

#[path = "../dataplane/tests/fpm_book/mod.rs"]
mod fpm_book;
mod support;

use std::path::PathBuf;
use std::time::Duration;

use fpm_book::{Book, hop};
use pointsman_dataplane::fpm::{Feed, FeedConfig, Place, TableId};
use pointsman_dataplane::rib::{Action, InterfaceId};
use support::frr::Frr;
use support::{Bed, POINTSMAN, Program, sh, try_sh, wait_for};

const PATIENCE: Duration = Duration::from_secs(20);

/// A namespace with two networks, 10.0.0.0/24 on eth0 and 10.0.1.0/24 on eth1.
struct Router {
    bed: Bed,
    host: String,
    book: Book,
}

impl Router {
    fn new() -> Self {
        let mut bed = Bed::new();
        let (host, other) = (bed.host("r"), bed.host("o"));
        for n in 0..2 {
            let device = format!("eth{n}");
            bed.cable((&host, &device), (&other, &device), 1500);
            sh(&format!(
                "ip -n {host} addr add 10.0.{n}.1/24 dev {device} && ip -n {host} addr add 2001:db8:0:{n}::1/64 dev {device}"
            ));
        }
        let book = Book::default();
        book.pages().names = (0..2).map(|n| (format!("eth{n}"), InterfaceId(n))).collect();
        Self { bed, host, book }
    }

    fn ip(&self, line: &str) {
        sh(&format!("ip -n {} {line}", self.host));
    }

    fn feed(&self, listen: Place, stale: Duration, netns: Option<PathBuf>) -> Feed {
        let config = FeedConfig { name: "test".into(), listen, netns, tables: vec![TableId::MAIN], stale, keep: None };
        Feed::start(config, Box::new(self.book.clone())).unwrap()
    }

    /// A feed that an agent mirrors the namespace to.
    fn mirrored(&self) -> (Feed, Program) {
        let path = self.bed.folder.join("fpm.sock");
        let feed = self.feed(Place::Unix(path.clone()), Duration::from_secs(60), None);
        (feed, self.agent())
    }

    fn agent(&self) -> Program {
        let path = self.bed.path("fpm.sock");
        let agent =
            Program::start(&self.host, &[POINTSMAN, "guest", "netlink", "--feed", &path], &self.bed.folder, "agent");
        let begun = self.book.pages().ended;
        agent.wait_until("done with its first list", || self.book.pages().ended > begun);
        agent
    }

    fn wait(&self, what: &str, mut answer: impl FnMut(&Book) -> bool) {
        wait_for(what, PATIENCE, || answer(&self.book));
    }

    /// Devices are known by their numbers, as the engine knows its taps.
    fn number_devices(&self) {
        for n in 0..2 {
            let number = sh(&format!("ip netns exec {} cat /sys/class/net/eth{n}/ifindex", self.host));
            let device = pointsman_dataplane::fpm::IfIndex(number.trim().parse().unwrap());
            self.book.pages().devices.insert(device, InterfaceId(n));
        }
    }

    /// zebra, which tells its routes to port 2620 of its namespace, and staticd with these.
    fn frr(&self, routes: &str) -> Frr {
        let configs = [("zebra", "fpm address 127.0.0.1\n"), ("staticd", routes)];
        Frr::start(&self.bed, &self.host, &["-M", "dplane_fpm_nl"], &configs)
    }
}

#[test]
fn frr_tells_its_routes_and_a_restart_removes_what_vanished() {
    need!("zebra", "staticd", "vtysh", "python3");
    let router = Router::new();
    router.number_devices();
    let netns = Some(PathBuf::from(&router.host));
    let feed = router.feed(Place::Tcp("127.0.0.1:2620".parse().unwrap()), Duration::from_secs(5), netns);
    let both = "ip route 192.0.2.0/24 10.0.0.2\nip route 198.51.100.0/24 10.0.0.2\nip route 198.51.100.0/24 10.0.1.2\n\
                ipv6 route 2001:db8:9::/48 2001:db8:0:1::2\n";
    let mut frr = router.frr(both);
    let two = [hop("10.0.0.2", 0, 1), hop("10.0.1.2", 1, 1)];
    router.wait("static routes", |book| {
        book.ways("192.0.2.0/24") == [hop("10.0.0.2", 0, 1)]
            && book.ways("198.51.100.0/24") == two
            && book.ways("2001:db8:9::/48") == [hop("2001:db8:0:1::2", 1, 1)]
    });
    // Changes.
    frr.configure(&["ip route 203.0.113.0/24 blackhole", "no ip route 198.51.100.0/24 10.0.0.2"]);
    router.wait("changes", |book| {
        book.action(TableId::MAIN, "203.0.113.0/24") == Some(Action::Blackhole)
            && book.ways("198.51.100.0/24") == two[1..]
    });
    // Another client does not disturb it.
    let namespace = &router.host;
    sh(&format!(
        "ip netns exec {namespace} timeout 5 python3 -c 'import socket; s=socket.create_connection((\"127.0.0.1\",2620)); \
                 assert s.recv(1)==b\"\"'"
    ));
    assert_eq!(feed.report().turned_away, 1);
    // It is killed and comes again with less: routes stay until then, and go when it has had its time.
    let before = router.book.len();
    frr.kill();
    wait_for("its end", PATIENCE, || feed.report().client.is_none());
    assert_eq!(router.book.len(), before);
    router.book.take_log();
    // Nor does the kernel keep them: a new zebra takes for its own what it finds there, and may tell it.
    router.ip("nexthop flush");
    router.ip("route del blackhole 203.0.113.0/24");
    let _frr = router.frr("ip route 192.0.2.0/24 10.0.1.2\n");
    router.wait("the sweep", |book| {
        book.ways("192.0.2.0/24") == [hop("10.0.1.2", 1, 1)]
            && book.action(TableId::MAIN, "198.51.100.0/24").is_none()
            && book.action(TableId::MAIN, "203.0.113.0/24").is_none()
    });
    let report = feed.report();
    assert_eq!(report.connects, 2, "{report:?}");
    // The route that was told again was never gone.
    let kept = fpm_book::prefix("192.0.2.0/24");
    let gone =
        |(_, change): &(TableId, _)| matches!(change, pointsman_dataplane::rib::Change::Delete(p, _) if *p == kept);
    assert!(!router.book.take_log().iter().any(gone));
}

#[test]
fn an_agent_mirrors_what_ip_route_does() {
    need!("ip");
    let router = Router::new();
    router.ip("route add 192.0.2.0/24 via 10.0.0.2");
    let (feed, _agent) = router.mirrored();
    assert_eq!(router.book.ways("192.0.2.0/24"), [hop("10.0.0.2", 0, 1)], "what was there before");
    assert_eq!(router.book.ways("10.0.1.0/24"), [hop("-", 1, 1)]);
    assert!(router.book.pages().addresses.iter().any(|a| a.address.to_string() == "10.0.1.1" && a.length == 24));

    router.ip("route replace 192.0.2.0/24 via 10.0.1.2");
    router.wait("a replaced route", |book| book.ways("192.0.2.0/24") == [hop("10.0.1.2", 1, 1)]);
    router.ip("route replace 192.0.2.0/24 nexthop via 10.0.0.2 weight 1 nexthop via 10.0.1.2 weight 9");
    let two = [hop("10.0.0.2", 0, 1), hop("10.0.1.2", 1, 9)];
    router.wait("two ways", |book| book.ways("192.0.2.0/24") == two);
    router.ip("route add 192.0.3.0/24 via inet6 2001:db8:0:1::2 dev eth1");
    router.wait("IPv4 by an IPv6 neighbour", |book| book.ways("192.0.3.0/24") == [hop("2001:db8:0:1::2", 1, 1)]);
    router.ip("route add blackhole 198.51.100.0/24");
    router.ip("-6 route add unreachable 2001:db8:9::/48");
    router.wait("routes that drop", |book| {
        book.action(TableId::MAIN, "198.51.100.0/24") == Some(Action::Blackhole)
            && book.action(TableId::MAIN, "2001:db8:9::/48") == Some(Action::Unreachable)
    });
    router.ip("route del 192.0.2.0/24");
    router.ip("route del blackhole 198.51.100.0/24");
    router.wait("routes taken back", |book| {
        book.action(TableId::MAIN, "192.0.2.0/24").is_none() && book.action(TableId::MAIN, "198.51.100.0/24").is_none()
    });
    // Two of one prefix and metric: the first counts, then the second.
    router.ip("route add 203.0.113.0/24 via 10.0.0.2");
    router.ip("route append 203.0.113.0/24 via 10.0.1.2");
    router.ip("route add 203.0.114.0/24 via 10.0.1.2");
    router.wait("both", |book| book.ways("203.0.114.0/24").len() == 1);
    assert_eq!(router.book.ways("203.0.113.0/24"), [hop("10.0.0.2", 0, 1)]);
    router.ip("route del 203.0.113.0/24 via 10.0.0.2");
    router.wait("the second", |book| book.ways("203.0.113.0/24") == [hop("10.0.1.2", 1, 1)]);
    let report = feed.report();
    assert!(report.refused.is_empty(), "{report:?}");
}

#[test]
fn an_agent_tells_what_the_kernel_does_not() {
    need!("ip");
    let router = Router::new();
    let (_feed, _agent) = router.mirrored();
    let v6 = "2001:db8:9::/48";
    router.ip(&format!("-6 route add {v6} nexthop via 2001:db8:0:0::2 nexthop via 2001:db8:0:1::2"));
    let two = [hop("2001:db8::2", 0, 1), hop("2001:db8:0:1::2", 1, 1)];
    router.wait("two ways", |book| book.ways(v6) == two);
    router.ip(&format!("-6 route del {v6} via 2001:db8:0:0::2"));
    router.wait("one of them", |book| book.ways(v6) == two[1..]);
    router.ip(&format!("-6 route append {v6} via 2001:db8:0:0::2"));
    router.wait("two again", |book| book.ways(v6) == two);
    // A device goes down: its IPv4 routes are gone without a word, and a route of two ways has one.
    router.ip("route add 192.0.2.0/24 via 10.0.0.2");
    router.ip("route add 198.51.100.0/24 nexthop via 10.0.0.2 nexthop via 10.0.1.2");
    let both = [hop("10.0.0.2", 0, 1), hop("10.0.1.2", 1, 1)];
    router.wait("routes", |book| book.ways("198.51.100.0/24") == both && book.ways("192.0.2.0/24").len() == 1);
    router.ip("link set eth0 down");
    router.wait("what is left", |book| {
        book.action(TableId::MAIN, "192.0.2.0/24").is_none()
            && book.action(TableId::MAIN, "10.0.0.0/24").is_none()
            && book.ways("198.51.100.0/24") == both[1..]
            && book.ways(v6) == two[1..]
    });
    router.ip("link set eth0 up");
    router.wait("both ways", |book| book.ways("198.51.100.0/24") == both);
    // So does an address, with the routes that need it.
    router.ip("addr del 10.0.1.1/24 dev eth1");
    router.wait("no network", |book| book.action(TableId::MAIN, "10.0.1.0/24").is_none());
    // A device that is made again has another number.
    router.ip("link set eth1 name old1");
    router.ip("link add eth1 type veth peer name peer1");
    router.ip("link set peer1 up");
    router.ip("addr add 10.0.7.1/24 dev eth1");
    router.ip("link set eth1 up");
    router.wait("the new device", |book| book.ways("10.0.7.0/24") == [hop("-", 1, 1)]);
}

#[test]
fn an_agent_mirrors_next_hop_objects() {
    need!("ip");
    let router = Router::new();
    let (_feed, _agent) = router.mirrored();
    router.ip("nexthop add id 11 via 10.0.0.2 dev eth0");
    router.ip("nexthop add id 12 via 10.0.1.2 dev eth1");
    router.ip("nexthop add id 20 group 11,1/12,3");
    router.ip("route add 192.0.2.0/24 nhid 20");
    let two = [hop("10.0.0.2", 0, 1), hop("10.0.1.2", 1, 3)];
    router.wait("a group", |book| book.ways("192.0.2.0/24") == two);
    router.ip("nexthop replace id 12 via 10.0.1.3 dev eth1");
    router.wait("a changed member", |book| book.ways("192.0.2.0/24") == [two[0], hop("10.0.1.3", 1, 3)]);
    router.ip("nexthop replace id 20 group 12");
    router.wait("a smaller group", |book| book.ways("192.0.2.0/24") == [hop("10.0.1.3", 1, 1)]);
    router.ip("nexthop del id 20");
    router.wait("no route", |book| book.action(TableId::MAIN, "192.0.2.0/24").is_none());
    router.ip("nexthop add id 30 blackhole");
    router.ip("route add 192.0.2.0/24 nhid 30");
    router.wait("a hole", |book| book.action(TableId::MAIN, "192.0.2.0/24") == Some(Action::Blackhole));
}

#[test]
fn bird_s_routes_are_mirrored() {
    need!("bird");
    let router = Router::new();
    let config = |routes: &str| {
        let text = format!(
            "router id 10.0.0.1;\nprotocol device {{ scan time 1; }}\nprotocol direct {{ ipv4; ipv6; }}\n\
             protocol kernel {{ ipv4 {{ export all; }}; merge paths on; }}\nprotocol kernel {{ ipv6 {{ export all; }}; }}\n\
             protocol static {{ ipv4; {routes} }}\nprotocol static {{ ipv6; route 2001:db8:9::/48 via 2001:db8:0:1::2; }}\n"
        );
        router.bed.file("bird.conf", &text).display().to_string()
    };
    let (_feed, _agent) = router.mirrored();
    let file = config("route 192.0.2.0/24 via 10.0.0.2 via 10.0.1.2; route 198.51.100.0/24 blackhole;");
    let socket = router.bed.path("bird.ctl");
    let command = ["bird", "-f", "-c", &file, "-s", &socket, "-P", &router.bed.path("bird.pid")];
    let bird = Program::start(&router.host, &command, &router.bed.folder, "bird");
    let two = [hop("10.0.0.2", 0, 1), hop("10.0.1.2", 1, 1)];
    bird.wait_until("telling its routes", || {
        router.book.ways("192.0.2.0/24") == two
            && router.book.action(TableId::MAIN, "198.51.100.0/24") == Some(Action::Blackhole)
            && router.book.ways("2001:db8:9::/48") == [hop("2001:db8:0:1::2", 1, 1)]
    });
    config("route 192.0.2.0/24 via 10.0.1.2;");
    sh(&format!("birdc -s {socket} configure"));
    router.wait("its changes", |book| {
        book.ways("192.0.2.0/24") == two[1..] && book.action(TableId::MAIN, "198.51.100.0/24").is_none()
    });
}

#[test]
fn agents_and_feeds_outlive_each_other() {
    need!("ip");
    let router = Router::new();
    router.ip("route add 192.0.2.0/24 via 10.0.0.2");
    router.ip("route add 198.51.100.0/24 via 10.0.0.2");
    let (feed, agent) = router.mirrored();
    // Killed, and what changed meanwhile is found out.
    agent.end(libc::SIGKILL);
    router.ip("route del 192.0.2.0/24");
    assert_eq!(router.book.ways("192.0.2.0/24").len(), 1);
    let mut agent = router.agent();
    assert!(router.book.action(TableId::MAIN, "192.0.2.0/24").is_none());
    assert_eq!(router.book.ways("198.51.100.0/24").len(), 1);
    // A second agent is told why it is not connected.
    let path = router.bed.path("fpm.sock");
    let second =
        Program::start(&router.host, &[POINTSMAN, "guest", "netlink", "--feed", &path], &router.bed.folder, "second");
    second.wait_until("turned away", || second.said().contains("another client has the feed"));
    assert!(second.end(libc::SIGTERM).success());
    // The engine goes and comes.
    drop(feed);
    let ended = router.book.pages().ended;
    agent.wait_until("aware of it", || agent.said().contains("not connected"));
    router.ip("route add 203.0.113.0/24 via 10.0.0.2");
    let _feed = router.feed(Place::Unix(path.into()), Duration::from_secs(60), None);
    router.wait("a new list", |book| book.pages().ended > ended);
    assert_eq!(router.book.ways("203.0.113.0/24").len(), 1);
    assert!(agent.is_running());
    assert!(agent.end(libc::SIGTERM).success());
}

#[test]
fn more_news_than_the_kernel_keeps_are_made_up_for() {
    need!("ip");
    let router = Router::new();
    let (_feed, agent) = router.mirrored();
    // It is stopped while more happens than the socket holds.
    // SAFETY: our own child.
    unsafe { libc::kill(agent.pid() as i32, libc::SIGSTOP) };
    let batch: String = (0..100_000)
        .map(|n| format!("route add 100.{}.{}.{}/32 via 10.0.0.2\n", 64 + (n >> 16), (n >> 8) & 255, n & 255))
        .collect();
    let file = router.bed.file("batch", &batch);
    sh(&format!("ip -n {} -batch {}", router.host, file.display()));
    let file = router.bed.file(
        "batch",
        &batch
            .replace("route add", "route del")
            .lines()
            .step_by(2)
            .fold(String::new(), |text, line| text + line + "\n"),
    );
    sh(&format!("ip -n {} -batch {}", router.host, file.display()));
    // SAFETY: our own child.
    unsafe { libc::kill(agent.pid() as i32, libc::SIGCONT) };
    router.wait("what is left of them", |book| {
        book.ways("100.64.0.1").len() == 1
            && book.action(TableId::MAIN, "100.64.0.0").is_none()
            && book.pages().routes.keys().filter(|(_, prefix, _)| prefix.length() == 32).count() == 50_000
    });
    agent.wait_until("aware of the loss", || agent.said().contains("dropped news"));
}

#[test]
fn bad_places_tables_and_namespaces_are_told() {
    let (ok, said) = try_sh(&format!("{POINTSMAN} guest netlink --feed localhost:2620"));
    assert!(!ok && said.contains("127.0.0.1:2620"), "{said}");
    let (ok, said) = try_sh(&format!("{POINTSMAN} guest netlink --feed /tmp/none.sock --netns no-such-namespace"));
    assert!(!ok && said.contains("no-such-namespace"), "{said}");
}
