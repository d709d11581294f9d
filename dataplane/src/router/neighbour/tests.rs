//! Neighbours that answer, that do not, and that are too many.

use super::*;
use crate::pool::Pool;

const LINK: InterfaceId = InterfaceId(3);
const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);
const ANSWER: Claim = Claim::Told { solicited: true, overrides: true };
const NEWS: Claim = Claim::Told { solicited: false, overrides: true };

fn address(n: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
}

fn secs(n: u64) -> Nanos {
    Nanos::from_secs(n)
}

fn drain(table: &mut Neighbours, now: Nanos) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(due) = table.due(now) {
        all.push(match due {
            Due::Ask { mac, .. } => format!("ask {mac:?}"),
            Due::Lost(waiting) => format!("lost {}", waiting.len()),
        });
    }
    all
}

#[test]
fn a_neighbour_that_is_silent_is_asked_three_times_a_second_apart() {
    let mut pool = Pool::new(64).unwrap();
    let mut table = Neighbours::new(1);
    let Resolution::Pending { slot, ask: true } = table.resolve(LINK, address(1), secs(100)) else { panic!() };
    for i in 0..6 {
        let waits = table.wait(slot, LINK, pool.frame_from(&[1; 60]).unwrap());
        assert_eq!(waits.is_ok(), i < MAX_WAITING);
        waits.unwrap_or_else(|frame| pool.free(frame));
    }
    assert_eq!(table.resolve(LINK, address(1), secs(100)), Resolution::Pending { slot, ask: false });
    assert!(drain(&mut table, Nanos::from_millis(100_999)).is_empty());
    assert_eq!(drain(&mut table, secs(101)), ["ask None"]);
    assert_eq!(drain(&mut table, secs(102)), ["ask None"]);
    assert_eq!(drain(&mut table, secs(103)), ["lost 4"]);
    assert_eq!(table.resolve(LINK, address(1), secs(103)), Resolution::Failed);
    assert!(drain(&mut table, secs(104)).is_empty());
    assert_eq!(table.resolve(LINK, address(1), secs(104)), Resolution::Pending { slot, ask: true });
}

#[test]
fn an_answer_releases_what_waited() {
    let mut pool = Pool::new(64).unwrap();
    let mut table = Neighbours::new(1);
    let Resolution::Pending { slot, .. } = table.resolve(LINK, address(1), secs(1)) else { panic!() };
    table.wait(slot, LINK, pool.frame_from(&[1; 60]).unwrap()).unwrap();
    let learned = table.learn(LINK, address(1), None, ANSWER, secs(1));
    assert!(learned.released.is_none(), "an answer without an address is none");
    let learned = table.learn(LINK, address(1), Some(A), ANSWER, secs(1));
    assert_eq!(learned.released.map(|(mac, waiting)| (mac, waiting.len())), Some((A, 1)));
    assert_eq!(table.waiting_chunks, 0);
    assert_eq!(table.resolve(LINK, address(1), secs(1)), Resolution::Known(A));
    assert!(matches!(table.resolve(InterfaceId(4), address(1), secs(1)), Resolution::Pending { .. }), "by interface");
}

#[test]
fn one_in_use_is_asked_again_and_lost_when_it_is_gone() {
    let mut table = Neighbours::new(1);
    table.resolve(LINK, address(1), secs(0));
    table.learn(LINK, address(1), Some(A), ANSWER, secs(0));
    assert!(drain(&mut table, secs(30)).is_empty());
    assert!(drain(&mut table, secs(100)).is_empty(), "unused: nobody asks");
    assert_eq!(table.resolve(LINK, address(1), secs(100)), Resolution::Known(A));
    assert_eq!(drain(&mut table, secs(105)), ["ask Some(02:00:00:00:00:0a)"]);
    assert_eq!(table.resolve(LINK, address(1), secs(105)), Resolution::Known(A), "frames keep going");
    table.learn(LINK, address(1), Some(A), ANSWER, secs(105));
    assert!(drain(&mut table, secs(134)).is_empty());
    drain(&mut table, secs(135));
    table.resolve(LINK, address(1), secs(135));
    for second in 140..143 {
        assert_eq!(drain(&mut table, secs(second)).len(), 1);
    }
    assert_eq!(drain(&mut table, secs(143)), ["lost 0"]);
    assert!(matches!(table.resolve(LINK, address(1), secs(143)), Resolution::Pending { ask: true, .. }));
}

#[test]
fn claims_count_as_rfc_4861_says() {
    let mut table = Neighbours::new(1);
    table.learn(LINK, address(1), Some(A), NEWS, secs(0));
    assert!(table.find(Key { interface: LINK, address: address(1) }).is_none(), "news makes no entry");
    table.learn(LINK, address(1), Some(A), Claim::Asked, secs(0));
    assert_eq!(table.resolve(LINK, address(1), secs(0)), Resolution::Known(A));
    assert!(table.learn(LINK, address(1), Some(B), NEWS, secs(0)).changed);
    assert_eq!(table.resolve(LINK, address(1), secs(0)), Resolution::Known(B));
    let polite = Claim::Told { solicited: true, overrides: false };
    assert!(!table.learn(LINK, address(1), Some(A), polite, secs(0)).changed);
    assert_eq!(table.resolve(LINK, address(1), secs(0)), Resolution::Known(B), "without insisting nothing changes");
    assert!(!table.learn(LINK, address(1), Some(B), ANSWER, secs(0)).changed);
}

/// So many neighbours have answered at second 100.
fn answered(table: &mut Neighbours, count: u32) {
    for n in 0..count {
        table.resolve(LINK, address(n), secs(100));
        table.learn(LINK, address(n), Some(A), ANSWER, secs(100));
    }
}

#[test]
fn a_flood_of_askers_does_not_push_out_who_answers() {
    let mut table = Neighbours::with_capacity(16, 1);
    answered(&mut table, 4);
    for n in 100..1000 {
        table.learn(LINK, address(n), Some(B), Claim::Asked, secs(100));
    }
    for n in 0..4 {
        assert_eq!(table.resolve(LINK, address(n), secs(100)), Resolution::Known(A));
    }
    assert_eq!(table.resolve(LINK, address(999), secs(100)), Resolution::Known(B), "the newest was let in");
}

#[test]
fn a_scan_is_bounded_and_its_room_comes_back() {
    let mut table = Neighbours::new(1);
    let asked = |table: &mut Neighbours, now| {
        (0..CAPACITY as u32)
            .filter(|&n| matches!(table.resolve(LINK, address(n), now), Resolution::Pending { ask: true, .. }))
            .count()
    };
    assert_eq!(asked(&mut table, secs(1)), MAX_INCOMPLETE);
    for second in 2..6 {
        drain(&mut table, secs(second));
    }
    assert_eq!(table.incomplete, 0);
    assert_eq!(asked(&mut table, secs(6)), MAX_INCOMPLETE);
}

#[test]
fn a_full_table_of_live_neighbours_refuses() {
    let mut table = Neighbours::with_capacity(2, 1);
    answered(&mut table, 2);
    assert_eq!(table.resolve(LINK, address(9), secs(100)), Resolution::Full);
    drain(&mut table, secs(130));
    assert_eq!(table.resolve(LINK, address(9), secs(131)), Resolution::Full, "used within the minute");
    assert!(matches!(table.resolve(LINK, address(9), secs(161)), Resolution::Pending { .. }));
}
