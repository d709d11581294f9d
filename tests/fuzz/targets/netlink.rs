//! Netlink messages, whatever is in them: read or refused, and no length leads out of what is there. A route that is read is
//! written and read again: the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman_dataplane::fpm::netlink::{
    Address, Attributes, Link, Meaning, Messages, NextHopMessage, RouteMessage, Target, kind, write_route,
};

fuzz_target!(|data: &[u8]| {
    for attribute in Attributes::new(data).flatten() {
        let _ = (attribute.u16(), attribute.u32(), attribute.address(), attribute.text());
    }
    for message in Messages::new(data).flatten() {
        let _ = (Link::parse(&message), Address::parse(&message), RouteMessage::family(&message));
        if let Ok(NextHopMessage { meaning: Meaning::Group(members), .. }) = NextHopMessage::parse(&message) {
            assert!(!members.is_empty() && members.each().count() == members.len());
        }
        let Ok(route) = RouteMessage::parse(&message) else { continue };
        let hops: Vec<_> = route.hops.each().collect();
        assert!(hops.iter().all(|hop| hop.weight > 0));
        let target = route.next_hop.map_or(Target::Hops(&hops), Target::NextHop);
        let mut bytes = Vec::new();
        let to = (route.prefix, route.metric);
        // Longer than an attribute can be.
        if hops.len() > 2000 {
            continue;
        }
        write_route(&mut bytes, (kind::NEW_ROUTE, message.flags), route.table, to, route.kind, target);
        let again = Messages::new(&bytes).next().expect("a message").expect("a sound one");
        let again = RouteMessage::parse(&again).expect("a route");
        assert_eq!((again.table, again.prefix, again.metric), (route.table, route.prefix, route.metric));
        assert_eq!((again.next_hop, again.request), (route.next_hop, route.request));
        if route.next_hop.is_none() {
            let ways = |route: &RouteMessage<'_>| route.hops.each().map(|h| (h.gateway, h.device)).collect::<Vec<_>>();
            assert_eq!(ways(&again), if hops.is_empty() { vec![(None, None)] } else { ways(&route) });
        }
    }
});
