//! What messages of routing daemons mean: written byte by byte or by our own writer, read, and told to a sink.

mod fpm_book;

use std::sync::Arc;

use fpm_book::{Book, hop, prefix};
use pointsman_dataplane::fpm::frame::{self, Frame, Marker};
use pointsman_dataplane::fpm::netlink::{
    Builder, NextHopId, RouteType, Target, WireHop, flag, kind, write_next_hop, write_route,
};
use pointsman_dataplane::fpm::{FeedCounters, IfIndex, Ignored, Refusal, Session, Sink, TableId};
use pointsman_dataplane::rib::{Action, Change, Route};
use proptest::prelude::*;

const MAIN: TableId = TableId::MAIN;
const NEW: (u16, u16) = (kind::NEW_ROUTE, flag::REQUEST | flag::CREATE | flag::REPLACE);
const DELETE: (u16, u16) = (kind::DELETE_ROUTE, flag::REQUEST);
const NEW_OBJECT: (u16, u16) = (kind::NEW_NEXT_HOP, flag::REQUEST | flag::CREATE | flag::REPLACE);
const DELETE_OBJECT: (u16, u16) = (kind::DELETE_NEXT_HOP, flag::REQUEST);

struct Rig {
    book: Book,
    session: Session,
    counters: Arc<FeedCounters>,
}

impl Rig {
    fn new() -> Self {
        let counters = Arc::new(FeedCounters::default());
        let session = Session::new(vec![MAIN, TableId(1001)], Arc::clone(&counters));
        Self { book: Book::new(1..=9), session, counters }
    }

    /// Says what `write` writes in one frame, and no more for now.
    fn say(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.session.frame(Frame { kind: frame::NETLINK, payload: &bytes }, &mut self.book);
        self.session.pause(&mut self.book);
    }

    fn route(&mut self, to: &str, target: Target<'_>) {
        self.say(|out| write_route(out, NEW, MAIN, (prefix(to), Some(20)), RouteType::Unicast, target));
    }

    fn object(&mut self, id: u32, hop: &WireHop) {
        self.say(|out| write_next_hop(out, NEW_OBJECT, NextHopId(id), Some(hop), &[]));
    }

    fn group(&mut self, id: u32, members: &[(u32, u16)]) {
        let members: Vec<_> = members.iter().map(|&(id, weight)| (NextHopId(id), weight)).collect();
        self.say(|out| write_next_hop(out, NEW_OBJECT, NextHopId(id), None, &members));
    }

    fn restart(&mut self) {
        self.session.begin(&mut self.book);
    }
}

fn way(gateway: &str, device: u32) -> WireHop {
    let device = (device != 0).then_some(IfIndex(device));
    WireHop { gateway: gateway.parse().ok(), device, weight: 1, encapsulation: None, dead: false }
}

fn by(id: u32) -> Target<'static> {
    Target::NextHop(NextHopId(id))
}

#[test]
fn the_writer_writes_what_the_kernel_would() {
    let mut bytes = Vec::new();
    let target = [way("10.0.0.9", 3)];
    let to = (prefix("192.0.2.0/24"), Some(20));
    write_route(&mut bytes, NEW, MAIN, to, RouteType::Unicast, Target::Hops(&target));
    #[rustfmt::skip]
    let expected = [
        60, 0, 0, 0,  24, 0,  0x01, 0x05,  0, 0, 0, 0,  0, 0, 0, 0, // length, RTM_NEWROUTE, REQUEST|CREATE|REPLACE
        2, 24, 0, 0,  254, 4, 0, 1,  0, 0, 0, 0, // rtmsg: AF_INET, /24, main, static, unicast
        8, 0, 1, 0,  192, 0, 2, 0, // RTA_DST
        8, 0, 6, 0,  20, 0, 0, 0, // RTA_PRIORITY
        8, 0, 5, 0,  10, 0, 0, 9, // RTA_GATEWAY
        8, 0, 4, 0,  3, 0, 0, 0, // RTA_OIF
    ];
    if cfg!(target_endian = "little") {
        assert_eq!(bytes, expected);
    }
}

#[test]
fn routes_come_are_replaced_and_go() {
    let mut rig = Rig::new();
    rig.route("192.0.2.0/24", Target::Hops(&[way("10.0.0.9", 3)]));
    assert_eq!(rig.book.ways("192.0.2.0/24"), [hop("10.0.0.9", 3, 1)]);
    // IPv4 over an IPv6 next hop (RTA_VIA), and several ways with weights.
    let ways = [way("fe80::9", 3), WireHop { weight: 5, ..way("10.0.1.9", 4) }];
    rig.route("192.0.2.0/24", Target::Hops(&ways));
    assert_eq!(rig.book.ways("192.0.2.0/24"), [hop("fe80::9", 3, 1), hop("10.0.1.9", 4, 5)]);
    rig.route("2001:db8::/32", Target::Hops(&[way("fe80::1", 2)]));
    assert_eq!(rig.book.ways("2001:db8::/32"), [hop("fe80::1", 2, 1)]);
    for (kind, action) in [
        (RouteType::Blackhole, Action::Blackhole),
        (RouteType::Unreachable, Action::Unreachable),
        (RouteType::Prohibit, Action::Prohibit),
    ] {
        rig.say(|out| write_route(out, NEW, MAIN, (prefix("198.51.100.0/24"), Some(20)), kind, Target::Unsaid));
        assert_eq!(rig.book.action(MAIN, "198.51.100.0/24"), Some(action));
    }
    for to in ["192.0.2.0/24", "2001:db8::/32", "198.51.100.0/24"] {
        rig.say(|out| {
            write_route(out, DELETE, MAIN, (prefix(to), Some(20)), RouteType::Unspecified, Target::Unsaid);
        });
    }
    assert_eq!(rig.book.len(), 0);
}

#[test]
fn a_route_that_is_taken_back_and_told_anew_is_replaced_without_a_gap() {
    let mut rig = Rig::new();
    let to = (prefix("192.0.2.0/24"), Some(20));
    rig.route("192.0.2.0/24", Target::Hops(&[way("10.0.0.9", 3)]));
    rig.book.take_log();
    rig.say(|out| {
        write_route(out, DELETE, MAIN, to, RouteType::Unspecified, Target::Unsaid);
        write_route(out, NEW, MAIN, to, RouteType::Unicast, Target::Hops(&[way("10.0.1.9", 4)]));
    });
    let action = Action::Via(vec![hop("10.0.1.9", 4, 1)]);
    let route = Route { prefix: to.0, metric: 20, action };
    assert_eq!(rig.book.take_log(), [(MAIN, Change::Replace(route))]);
    // Another one's: both are done, in order.
    rig.say(|out| {
        write_route(out, DELETE, MAIN, to, RouteType::Unspecified, Target::Unsaid);
        let other = (prefix("192.0.2.0/25"), Some(20));
        write_route(out, NEW, MAIN, other, RouteType::Blackhole, Target::Unsaid);
    });
    let log = rig.book.take_log();
    assert_eq!(log[0], (MAIN, Change::Delete(to.0, Some(20))));
    assert_eq!(log.len(), 2);
}

#[test]
fn who_asks_without_a_metric_means_any_who_tells_means_none() {
    let mut rig = Rig::new();
    let all = |metric| (prefix("192.0.2.0/24"), metric);
    for (flags, left) in [(flag::REQUEST, 0), (0, 1)] {
        for metric in [0, 20] {
            rig.say(|out| write_route(out, NEW, MAIN, all(Some(metric)), RouteType::Blackhole, Target::Unsaid));
        }
        let delete = (kind::DELETE_ROUTE, flags);
        rig.say(|out| write_route(out, delete, MAIN, all(None), RouteType::Unspecified, Target::Unsaid));
        assert_eq!(rig.book.len(), left);
    }
}

#[test]
fn tables_are_kept_apart_and_others_passed_over() {
    let mut rig = Rig::new();
    for table in [MAIN, TableId(1001), TableId(255), TableId(7)] {
        let to = (prefix("192.0.2.0/24"), None);
        rig.say(|out| write_route(out, NEW, table, to, RouteType::Blackhole, Target::Unsaid));
    }
    assert_eq!(rig.book.len(), 2);
    assert_eq!(rig.book.action(TableId(1001), "192.0.2.0/24"), Some(Action::Blackhole));
    assert_eq!(rig.counters.ignored(Ignored::Table), 2);
}

#[test]
fn objects_change_for_all_routes_that_name_them() {
    let mut rig = Rig::new();
    rig.object(11, &way("10.0.0.9", 3));
    rig.object(12, &way("10.0.1.9", 4));
    rig.group(20, &[(11, 1), (12, 300)]);
    assert!(rig.book.take_log().is_empty(), "nobody names them yet");
    rig.route("192.0.2.0/24", by(20));
    rig.route("198.51.100.0/24", by(20));
    rig.route("203.0.113.0/24", by(11));
    assert_eq!(rig.book.ways("192.0.2.0/24"), [hop("10.0.0.9", 3, 1), hop("10.0.1.9", 4, 300)]);
    assert_eq!(rig.book.ways("203.0.113.0/24"), [hop("10.0.0.9", 3, 1)]);
    rig.book.take_log();
    // A member changes: the group too, and no route.
    rig.object(11, &way("10.0.0.10", 3));
    assert_eq!(rig.book.take_log().len(), 2);
    assert_eq!(rig.book.ways("198.51.100.0/24"), [hop("10.0.0.10", 3, 1), hop("10.0.1.9", 4, 300)]);
    rig.group(20, &[(12, 1)]);
    assert_eq!(rig.book.ways("198.51.100.0/24"), [hop("10.0.1.9", 4, 1)]);
    // Gone, with its routes.
    rig.say(|out| write_next_hop(out, DELETE_OBJECT, NextHopId(20), None, &[]));
    assert_eq!(rig.book.len(), 1);
    assert!(rig.book.action(MAIN, "203.0.113.0/24").is_some());
}

#[test]
fn objects_come_in_any_order() {
    let mut rig = Rig::new();
    rig.route("192.0.2.0/24", by(20));
    assert_eq!(rig.book.action(MAIN, "192.0.2.0/24"), None, "it waits");
    rig.group(20, &[(11, 1), (12, 2)]);
    assert_eq!(rig.book.action(MAIN, "192.0.2.0/24"), None, "it still waits");
    rig.object(12, &way("10.0.1.9", 4));
    assert_eq!(rig.book.ways("192.0.2.0/24"), [hop("10.0.1.9", 4, 2)]);
    rig.object(11, &way("10.0.0.9", 3));
    assert_eq!(rig.book.ways("192.0.2.0/24"), [hop("10.0.0.9", 3, 1), hop("10.0.1.9", 4, 2)]);
    // Members that go leave the rest; the last leaves a route that forwards no more.
    rig.say(|out| write_next_hop(out, DELETE_OBJECT, NextHopId(11), None, &[]));
    assert_eq!(rig.book.ways("192.0.2.0/24"), [hop("10.0.1.9", 4, 2)]);
    rig.say(|out| write_next_hop(out, DELETE_OBJECT, NextHopId(12), None, &[]));
    assert_eq!(rig.book.action(MAIN, "192.0.2.0/24"), Some(Action::Unreachable));
    // A black hole is an object too.
    rig.say(|out| write_next_hop(out, NEW_OBJECT, NextHopId(12), None, &[]));
    assert_eq!(rig.book.action(MAIN, "192.0.2.0/24"), Some(Action::Blackhole));
}

#[test]
fn groups_of_groups_and_members_twice_are_refused() {
    let mut rig = Rig::new();
    rig.object(11, &way("10.0.0.9", 3));
    rig.group(20, &[(11, 1)]);
    rig.group(21, &[(20, 1)]);
    rig.group(22, &[(11, 1), (11, 1)]);
    rig.group(23, &[(23, 1)]);
    // A member that becomes a group.
    rig.group(11, &[(12, 1)]);
    assert_eq!(rig.counters.refused(Refusal::GroupOfGroups), 4);
    let many: Vec<_> = (100..400).map(|id| (id, 1)).collect();
    rig.group(24, &many);
    assert_eq!(rig.counters.refused(Refusal::TooManyHops), 1);
}

#[test]
fn a_restarted_client_numbers_anew_and_old_routes_do_not_follow() {
    let mut rig = Rig::new();
    rig.object(11, &way("10.0.0.9", 3));
    rig.route("192.0.2.0/24", by(11));
    rig.route("198.51.100.0/24", by(11));
    rig.restart();
    // 11 is another now.
    rig.object(11, &way("10.0.1.9", 4));
    rig.route("203.0.113.0/24", by(11));
    assert_eq!(rig.book.ways("192.0.2.0/24"), [hop("10.0.0.9", 3, 1)], "until it is told anew");
    assert_eq!(rig.book.ways("203.0.113.0/24"), [hop("10.0.1.9", 4, 1)]);
    rig.route("192.0.2.0/24", by(11));
    assert_eq!(rig.book.ways("192.0.2.0/24"), [hop("10.0.1.9", 4, 1)]);
    assert_eq!(rig.book.len(), 3);
    rig.session.end(&mut rig.book);
    assert_eq!(rig.book.len(), 2, "what was not told again is gone");
    assert_eq!(rig.book.pages().groups.len(), 1, "and so is the group that nobody names");
    // Restarts without an end do not mix lives either; and the next end sweeps them all.
    for _ in 0..5 {
        rig.restart();
        rig.object(11, &way("10.0.0.9", 3));
        rig.route("192.0.2.0/24", by(11));
    }
    rig.session.end(&mut rig.book);
    assert_eq!((rig.book.len(), rig.book.pages().groups.len()), (1, 1));
}

#[test]
fn our_agent_says_when_it_has_said_everything() {
    let mut rig = Rig::new();
    rig.route("192.0.2.0/24", Target::Hops(&[way("10.0.0.9", 3)]));
    rig.say(|out| Marker::End.write(out));
    assert_eq!(rig.book.len(), 1, "nothing had begun");
    rig.say(|out| {
        Marker::Begin.write(out);
        let to = (prefix("203.0.113.0/24"), None);
        write_route(out, NEW, MAIN, to, RouteType::Blackhole, Target::Unsaid);
        Marker::End.write(out);
    });
    assert_eq!(rig.book.len(), 1);
    assert_eq!(rig.book.action(MAIN, "203.0.113.0/24"), Some(Action::Blackhole));
    assert_eq!(rig.counters.ignored(Ignored::Unknown), 1);
}

/// A route with one more attribute.
fn route_with(attribute: u16, value: &[u8], tos: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let fixed = [2, 24, 0, tos, 254, 4, 0, 1, 0, 0, 0, 0];
    let mut message = Builder::new(&mut out, kind::NEW_ROUTE, flag::REQUEST, 0, &fixed);
    message.attribute(1, &[192, 0, 2, 0]);
    message.attribute(6, &20_u32.to_ne_bytes());
    message.attribute(4, &3_u32.to_ne_bytes());
    message.attribute(attribute, value);
    message.finish();
    out
}

#[test]
fn what_cannot_be_forwarded_is_refused_by_reason_and_does_not_stay_as_it_was() {
    let cases: [(u16, &[u8], Refusal); 8] = [
        (21, &1_u16.to_ne_bytes(), Refusal::Mpls),
        (19, &[0, 1, 0x01, 0], Refusal::Mpls),
        (21, &5_u16.to_ne_bytes(), Refusal::Srv6),
        (21, &7_u16.to_ne_bytes(), Refusal::Srv6),
        (21, &100_u16.to_ne_bytes(), Refusal::Evpn),
        (21, &6_u16.to_ne_bytes(), Refusal::Encapsulation),
        (22, &[], Refusal::Encapsulation),
        (4, &77_u32.to_ne_bytes(), Refusal::NoInterface),
    ];
    for (attribute, value, refusal) in cases {
        let mut rig = Rig::new();
        rig.route("192.0.2.0/24", Target::Hops(&[way("10.0.0.9", 3)]));
        rig.say(|out| out.extend(route_with(attribute, value, 0)));
        assert_eq!(rig.counters.refused(refusal), 1, "{refusal:?}");
        assert_eq!(rig.session.last_refusal(), Some(refusal));
        assert_eq!(rig.book.len(), 0, "{refusal:?}");
        rig.route("192.0.2.0/24", Target::Hops(&[way("10.0.0.9", 3)]));
        assert_eq!(rig.book.len(), 1, "the stream goes on");
    }
}

#[test]
fn what_is_for_some_packets_only_does_not_touch_what_is_for_all() {
    let mut rig = Rig::new();
    rig.route("192.0.2.0/24", Target::Hops(&[way("10.0.0.9", 3)]));
    rig.say(|out| out.extend(route_with(4, &4_u32.to_ne_bytes(), 0x10)));
    assert_eq!(rig.counters.refused(Refusal::Selective), 1);
    assert_eq!(rig.book.ways("192.0.2.0/24"), [hop("10.0.0.9", 3, 1)]);
}

#[test]
fn a_way_that_cannot_be_gone_leaves_the_others() {
    let mut rig = Rig::new();
    let dead = WireHop { dead: true, ..way("10.0.2.9", 5) };
    rig.route("192.0.2.0/24", Target::Hops(&[way("10.0.0.9", 3), way("10.9.9.9", 77), dead]));
    assert_eq!(rig.book.ways("192.0.2.0/24"), [hop("10.0.0.9", 3, 1)]);
    assert_eq!(rig.counters.refused(Refusal::NoInterface), 1);
    assert_eq!(rig.counters.refused(Refusal::Dead), 1);
    rig.route("192.0.2.0/24", Target::Hops(&[dead, dead]));
    assert_eq!(rig.book.len(), 0);
    rig.route("192.0.2.0/24", Target::Unsaid);
    assert_eq!(rig.counters.refused(Refusal::NoHop), 1);
    let many = vec![way("10.0.0.9", 3); 300];
    rig.route("192.0.2.0/24", Target::Hops(&many));
    assert_eq!(rig.counters.refused(Refusal::TooManyHops), 1);
}

#[test]
fn the_sink_s_refusals_are_counted() {
    let mut rig = Rig::new();
    rig.book.pages().most = Some(1);
    rig.route("192.0.2.0/24", Target::Hops(&[way("10.0.0.9", 3)]));
    rig.route("198.51.100.0/24", Target::Hops(&[way("10.0.0.9", 3)]));
    assert_eq!(rig.counters.refused(Refusal::TooManyRoutes), 1);
    rig.route("192.0.2.0/24", Target::Hops(&[way("10.0.1.9", 4)]));
    assert_eq!(rig.book.ways("192.0.2.0/24"), [hop("10.0.1.9", 4, 1)]);
}

#[test]
fn addresses_of_the_host_of_links_and_of_groups_are_passed_over() {
    let mut rig = Rig::new();
    for (to, kind) in [
        ("192.0.2.1", RouteType::Host),
        ("224.0.0.0/4", RouteType::Unicast),
        ("fe80::/64", RouteType::Unicast),
        ("ff00::/8", RouteType::Unicast),
    ] {
        let ways = [way("-", 3)];
        rig.say(|out| write_route(out, NEW, MAIN, (prefix(to), None), kind, Target::Hops(&ways)));
    }
    rig.route("0.0.0.0/0", Target::Hops(&[way("10.0.0.9", 3)]));
    rig.route("::/0", Target::Hops(&[way("fe80::1", 3)]));
    assert_eq!(rig.book.len(), 2);
    assert_eq!((rig.counters.ignored(Ignored::Host), rig.counters.ignored(Ignored::Unroutable)), (1, 3));
}

#[test]
fn other_payloads_and_kinds_are_counted_and_the_stream_goes_on() {
    let mut rig = Rig::new();
    rig.session.frame(Frame { kind: 2, payload: &[0; 8] }, &mut rig.book);
    rig.session.frame(Frame { kind: frame::NETLINK, payload: &[0; 6] }, &mut rig.book);
    assert_eq!(rig.counters.refused(Refusal::NotNetlink), 1);
    assert_eq!(rig.counters.refused(Refusal::Malformed), 1);
    // A label's route, a bridge's entry, a rule.
    rig.say(|out| Builder::new(out, kind::NEW_ROUTE, 0, 0, &[28, 20, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0]).finish());
    rig.say(|out| Builder::new(out, kind::NEW_NEIGHBOUR, 0, 0, &[7, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]).finish());
    rig.say(|out| Builder::new(out, 32, 0, 0, &[2; 12]).finish());
    assert_eq!(rig.counters.refused(Refusal::Mpls), 1);
    assert_eq!(rig.counters.refused(Refusal::Evpn), 1);
    assert_eq!(rig.counters.ignored(Ignored::Unknown), 1);
    rig.route("192.0.2.0/24", Target::Hops(&[way("10.0.0.9", 3)]));
    assert_eq!(rig.book.len(), 1);
}

#[test]
fn prefixes_that_are_none_are_malformed() {
    let mut rig = Rig::new();
    for (family, length, address) in
        [(2, 33, &[0; 4][..]), (2, 24, &[192, 0, 2, 1]), (2, 24, &[0; 16]), (10, 24, &[0; 4]), (2, 24, &[0; 3])]
    {
        rig.say(|out| {
            let fixed = [family, length, 0, 0, 254, 4, 0, 6, 0, 0, 0, 0];
            let mut message = Builder::new(out, kind::NEW_ROUTE, 0, 0, &fixed);
            message.attribute(1, address);
            message.finish();
        });
    }
    // No destination, and not for everything.
    rig.say(|out| Builder::new(out, kind::NEW_ROUTE, 0, 0, &[2, 24, 0, 0, 254, 4, 0, 6, 0, 0, 0, 0]).finish());
    assert_eq!(rig.counters.refused(Refusal::Malformed), 6);
    assert_eq!(rig.book.len(), 0);
}

#[test]
fn a_client_cannot_make_us_remember_without_end() {
    let mut rig = Rig::new();
    rig.book.pages().silent = true;
    let mut refused = 0;
    for life in 0..4 {
        rig.restart();
        for id in 1..300_000 {
            rig.say(|out| write_next_hop(out, NEW_OBJECT, NextHopId(id), Some(&way("10.0.0.9", 3)), &[]));
            if life < 3 && id < 270_000 {
                let to = (prefix("192.0.2.0/24"), Some(20));
                rig.say(|out| write_route(out, NEW, MAIN, to, RouteType::Unicast, by(id)));
            }
        }
        let now = rig.counters.refused(Refusal::TooManyNextHops);
        assert!(now > refused, "{life}");
        refused = now;
    }
    assert!(rig.book.pages().groups.len() <= 1 << 19);
    // The end of a life makes room.
    rig.session.end(&mut rig.book);
    assert_eq!(rig.book.pages().groups.len(), 0);
}

fn any_hop() -> impl Strategy<Value = WireHop> {
    let gateway = prop_oneof![
        Just(None),
        (1_u32..).prop_map(|n| Some(std::net::Ipv4Addr::from_bits(n).into())),
        (1_u128..).prop_map(|n| Some(std::net::Ipv6Addr::from_bits(n).into())),
    ];
    (gateway, 1_u32..=9, 1_u16..=256).prop_map(|(gateway, device, weight)| WireHop {
        gateway,
        device: Some(IfIndex(device)),
        weight,
        encapsulation: None,
        dead: false,
    })
}

fn any_prefix() -> impl Strategy<Value = pointsman_dataplane::prefix::Prefix> {
    use pointsman_dataplane::prefix::Prefix;
    prop_oneof![
        (0x0100_0000_u32..0xdfff_ffff, 1_u8..=32)
            .prop_filter_map("a prefix", |(n, l)| Prefix::of(std::net::Ipv4Addr::from_bits(n).into(), l)),
        (0x2000_u128 << 112..0x3fff << 112, 3_u8..=128)
            .prop_filter_map("a prefix", |(n, l)| Prefix::of(std::net::Ipv6Addr::from_bits(n).into(), l)),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(to in any_prefix(), metric in any::<u32>(), hops in prop::collection::vec(any_hop(), 1..20)) {
        let mut rig = Rig::new();
        let target = Target::Hops(&hops);
        rig.say(|out| write_route(out, NEW, MAIN, (to, Some(metric)), RouteType::Unicast, target));
        let one = hops.len() == 1;
        let expected: Vec<_> = hops.iter().map(|said| pointsman_dataplane::rib::Hop {
            gateway: said.gateway,
            interface: rig.book.interface(MAIN, said.device.unwrap()),
            weight: if one { 1 } else { said.weight },
        }).collect();
        let route = Route { prefix: to, metric, action: Action::Via(expected) };
        prop_assert_eq!(rig.book.take_log(), vec![(MAIN, Change::Replace(route))]);
    }

    /// Sound messages with bytes changed and ends cut: whatever they say now, nothing panics, the sink's rules hold (it checks
    /// them), and the next sound message is done.
    #[test]
    fn mutations_do_no_harm(
        to in any_prefix(),
        hops in prop::collection::vec(any_hop(), 0..5),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        write_next_hop(&mut bytes, NEW_OBJECT, NextHopId(11), hops.first(), &[]);
        write_next_hop(&mut bytes, NEW_OBJECT, NextHopId(20), None, &[(NextHopId(11), 1), (NextHopId(12), 9)]);
        write_route(&mut bytes, NEW, MAIN, (to, None), RouteType::Unicast, by(20));
        write_route(&mut bytes, NEW, MAIN, (to, Some(3)), RouteType::Unicast, Target::Hops(&hops));
        write_route(&mut bytes, DELETE, MAIN, (to, Some(3)), RouteType::Unspecified, Target::Unsaid);
        write_next_hop(&mut bytes, DELETE_OBJECT, NextHopId(11), None, &[]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()) & !3);
        }
        let mut rig = Rig::new();
        rig.say(|out| out.extend(&bytes));
        rig.restart();
        rig.say(|out| out.extend(&bytes));
        rig.session.end(&mut rig.book);
        rig.route("192.0.2.0/24", Target::Hops(&[way("10.0.0.9", 3)]));
        prop_assert_eq!(rig.book.ways("192.0.2.0/24"), vec![hop("10.0.0.9", 3, 1)]);
    }
}

#[test]
fn encapsulations_of_objects_are_refused_and_their_routes_do_not_follow_what_was() {
    let mut rig = Rig::new();
    rig.object(11, &way("10.0.0.9", 3));
    rig.route("192.0.2.0/24", by(11));
    rig.say(|out| {
        let mut message = Builder::new(out, kind::NEW_NEXT_HOP, flag::REPLACE, 0, &[2, 0, 0, 0, 0, 0, 0, 0]);
        message.attribute(1, &11_u32.to_ne_bytes());
        message.attribute(5, &3_u32.to_ne_bytes());
        message.attribute(6, &[10, 0, 0, 9]);
        message.attribute(7, &1_u16.to_ne_bytes());
        message.attribute(8 | 0x8000, &[8, 0, 1, 0, 0, 1, 0x01, 0]);
        message.finish();
    });
    assert_eq!(rig.counters.refused(Refusal::Mpls), 1);
    assert_eq!(rig.book.action(MAIN, "192.0.2.0/24"), Some(Action::Unreachable));
}
