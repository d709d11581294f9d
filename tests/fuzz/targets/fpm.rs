//! A stream of a routing daemon, whatever is in it: frames, netlink messages, next hop objects, restarts. What a sink is told
//! keeps its rules, and a sound route behind it all is understood.

#![no_main]

use std::collections::HashMap;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use pointsman_dataplane::fpm::frame::{self, Frame};
use pointsman_dataplane::fpm::netlink::{RouteType, Target, flag, kind, write_route};
use pointsman_dataplane::fpm::{FeedCounters, IfIndex, Refusal, Session, Sink, TableId};
use pointsman_dataplane::prefix::Prefix;
use pointsman_dataplane::rib::{Action, Change, GroupId, InterfaceId};

#[derive(Default)]
struct Rules {
    /// Whose each group is, and whether it was told in this life of the client.
    groups: HashMap<GroupId, (TableId, bool)>,
    last: Option<Prefix>,
}

fn sound(action: &Action) {
    if let Action::Via(hops) = action {
        assert!(!hops.is_empty() && hops.iter().all(|hop| hop.weight > 0));
        assert!(hops.iter().all(|hop| hop.gateway.is_some() || hop.interface.is_some()));
    }
}

impl Sink for Rules {
    fn interface(&self, _: TableId, device: IfIndex) -> Option<InterfaceId> {
        (device.0 < 8).then_some(InterfaceId(device.0 as u16))
    }

    fn change(&mut self, table: TableId, change: Change) -> Result<(), Refusal> {
        assert!(table == TableId::MAIN || table == TableId(0));
        match change {
            Change::Replace(route) => {
                sound(&route.action);
                self.last = Some(route.prefix);
            }
            Change::ReplaceGroup(id, action) => {
                sound(&action);
                assert!(!matches!(action, Action::Group(_)));
                let before = self.groups.insert(id, (table, true));
                assert!(before.is_none_or(|before| before == (table, true)));
            }
            Change::DeleteGroup(id) => {
                self.groups.remove(&id);
            }
            Change::Delete(..) => {}
        }
        Ok(())
    }

    fn begin_sync(&mut self) {
        self.groups.values_mut().for_each(|(_, now)| *now = false);
    }

    fn end_sync(&mut self) {}
}

fuzz_target!(|data: &[u8]| {
    let mut rules = Rules::default();
    let mut session = Session::new(vec![TableId::MAIN, TableId(0)], Arc::new(FeedCounters::default()));
    session.begin(&mut rules);
    // As a stream of frames; what is none of them, as messages without a frame.
    let mut stream = data;
    while let Ok(Some((frame, len))) = Frame::first(stream) {
        session.frame(frame, &mut rules);
        stream = &stream[len..];
    }
    session.begin(&mut rules);
    session.frame(Frame { kind: frame::NETLINK, payload: data.get(..data.len() & !3).unwrap_or_default() }, &mut rules);
    session.end(&mut rules);
    assert!(rules.groups.values().all(|&(_, now)| now), "groups of a former life are given back");
    let mut bytes = Vec::new();
    let to = Prefix::of([192, 0, 2, 0].into(), 24).expect("a prefix");
    let how = (kind::NEW_ROUTE, flag::CREATE);
    write_route(&mut bytes, how, TableId::MAIN, (to, None), RouteType::Blackhole, Target::Unsaid);
    session.frame(Frame { kind: frame::NETLINK, payload: &bytes }, &mut rules);
    assert_eq!(rules.last, Some(to));
});
