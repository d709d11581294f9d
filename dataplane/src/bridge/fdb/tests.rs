use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use super::*;

const AGE: Seconds = Seconds(10);

fn domain(max_learned: u32) -> Domain {
    Domain { name: "d".into(), age: Nanos::from_secs(10), max_learned }
}

fn key(n: u64) -> Key {
    Key::new(0, 0x0250_0000_0000 + n)
}

fn table() -> Table {
    Table::build(&[], &[domain(1)]).unwrap()
}

#[test]
fn a_bucket_is_a_cache_line() {
    assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
}

#[test]
fn what_is_learned_is_found_until_it_is_too_old() {
    let fdb = Fdb::new(&[domain(8)]);
    assert_eq!(fdb.lookup(key(1), Seconds(5), AGE), None);
    assert_eq!(fdb.refresh(key(1), PortId(3), Seconds(5)), Seen::Unknown);
    assert!(fdb.insert(key(1), PortId(3), Seconds(5), 8));
    assert_eq!(fdb.lookup(key(1), Seconds(15), AGE), Some(PortId(3)));
    assert_eq!(fdb.lookup(key(1), Seconds(16), AGE), None);
    assert_eq!(fdb.lookup(Key(key(1).0 + 1), Seconds(5), AGE), None, "another domain");
    assert_eq!(fdb.refresh(key(1), PortId(3), Seconds(12)), Seen::Again);
    assert_eq!(fdb.lookup(key(1), Seconds(16), AGE), Some(PortId(3)));
}

#[test]
fn within_a_second_a_station_that_stays_is_not_written() {
    let fdb = Fdb::new(&[domain(8)]);
    assert!(fdb.insert(key(1), PortId(3), Seconds(5), 8));
    let words = |fdb: &Fdb| -> Vec<u64> {
        fdb.buckets.iter().flat_map(|b| b.sightings.iter().map(|word| word.load(Relaxed))).collect()
    };
    let before = words(&fdb);
    // A worker whose clock was read before the other's writes nothing either.
    for second in [5, 4] {
        assert_eq!(fdb.refresh(key(1), PortId(3), Seconds(second)), Seen::Again);
        assert_eq!(words(&fdb), before);
    }
    assert_eq!(fdb.refresh(key(1), PortId(3), Seconds(6)), Seen::Again);
    assert_ne!(words(&fdb), before);
}

#[test]
fn a_station_moves() {
    let fdb = Fdb::new(&[domain(8)]);
    assert!(fdb.insert(key(1), PortId(3), Seconds(5), 8));
    assert_eq!(fdb.refresh(key(1), PortId(4), Seconds(5)), Seen::Moved);
    assert_eq!(fdb.lookup(key(1), Seconds(5), AGE), Some(PortId(4)));
    assert_eq!(fdb.learned(DomainId(0)), 1);
}

#[test]
fn a_domain_learns_no_more_than_it_may_and_others_still_do() {
    let fdb = Fdb::new(&[domain(100), domain(1)]);
    let taken = (0..200).filter(|&n| fdb.insert(key(n), PortId(0), Seconds(0), 100)).count();
    assert_eq!((taken, fdb.learned(DomainId(0)), fdb.entries(Nanos(0)).len()), (100, 100, 100));
    let other = Key::new(1, 0x0250_0000_0000);
    assert!(fdb.insert(other, PortId(0), Seconds(0), 1));
    assert!(!fdb.insert(Key(other.0 + (1 << 16)), PortId(0), Seconds(0), 1));
    assert!(!fdb.insert(Key::new(2, 0x0250_0000_0000), PortId(0), Seconds(0), 1), "a domain it was not made for");
}

#[test]
fn as_many_as_are_promised_find_room() {
    let fdb = Fdb::new(&[domain(20_000)]);
    let taken = (0..20_000).filter(|&n| fdb.insert(key(n), PortId(n as u16), Seconds(0), 20_000)).count();
    assert!(taken > 19_950, "{taken} of 20000");
    let found = (0..20_000).filter(|&n| fdb.lookup(key(n), Seconds(0), AGE) == Some(PortId(n as u16))).count();
    assert_eq!(found, taken);
}

#[test]
fn sweeps_get_everywhere_and_take_only_what_is_too_old() {
    let fdb = Fdb::new(&[domain(5000)]);
    let table = table();
    let insert = |n: &u64| fdb.insert(key(*n), PortId(0), Seconds(if n.is_multiple_of(2) { 0 } else { 8 }), 5000);
    let older = (0..5000).step_by(2).filter(insert).count() as u32;
    let younger = (1..5000).step_by(2).filter(insert).count() as u32;
    assert!(older + younger > 4980);
    let sweep = |second| {
        for _ in 0..=fdb.buckets.len() / SWEEP {
            fdb.sweep(&table, Nanos::from_secs(second));
        }
    };
    sweep(10);
    assert_eq!(fdb.learned(DomainId(0)), older + younger);
    sweep(11);
    assert_eq!(fdb.learned(DomainId(0)), younger);
    assert!(fdb.entries(Nanos::from_secs(11)).iter().all(|entry| entry.age == Nanos::from_secs(3)));
    sweep(19);
    assert_eq!((fdb.learned(DomainId(0)), fdb.entries(Nanos(0)).len()), (0, 0));
}

#[test]
fn a_flushed_port_is_forgotten_and_no_other() {
    let fdb = Fdb::new(&[domain(100)]);
    for n in 0..100 {
        fdb.insert(key(n), PortId(n as u16 % 3), Seconds(0), 100);
    }
    fdb.flush_port(PortId(1));
    let entries = fdb.entries(Nanos(0));
    assert_eq!((entries.len(), fdb.learned(DomainId(0))), (67, 67));
    assert!(entries.iter().all(|entry| entry.port != PortId(1)));
    fdb.flush();
    assert_eq!((fdb.entries(Nanos(0)).len(), fdb.learned(DomainId(0))), (0, 0));
}

#[test]
fn two_workers_that_learn_the_same_station_leave_one_entry() {
    let fdb = Fdb::new(&[domain(8)]);
    // Neither found it; both insert it.
    assert!(fdb.insert(key(1), PortId(3), Seconds(5), 8) && fdb.insert(key(1), PortId(4), Seconds(5), 8));
    assert_eq!((fdb.entries(Nanos(0)).len(), fdb.learned(DomainId(0))), (1, 1));
    assert_eq!(fdb.lookup(key(1), Seconds(5), AGE), Some(PortId(3)));
}

#[test]
fn a_station_that_is_seen_while_it_is_being_forgotten_stays() {
    let fdb = Fdb::new(&[domain(8)]);
    assert!(fdb.insert(key(1), PortId(3), Seconds(5), 8));
    let asked = Cell::new(0);
    fdb.forget(&fdb.buckets, |_, _| asked.replace(asked.get() + 1) == 0);
    assert_eq!(asked.get(), 2);
    assert_eq!((fdb.lookup(key(1), Seconds(5), AGE), fdb.learned(DomainId(0))), (Some(PortId(3)), 1));
}

#[test]
fn a_sighting_that_is_another_stations_is_not_believed() {
    let fdb = Fdb::new(&[domain(8)]);
    fdb.insert(key(1), PortId(3), Seconds(5), 8);
    let slot = fdb.buckets.iter().flat_map(Bucket::slots).find(|slot| slot.key.load(Relaxed) == key(1).0).unwrap();
    let others = Sighting::new(!fdb.mixer.mix(key(1)), PortId(4), Seconds(5));
    slot.sighting.store(others.0, Relaxed);
    assert_eq!(fdb.lookup(key(1), Seconds(5), AGE), None);
    assert!(fdb.entries(Nanos(0)).is_empty());
    fdb.refresh(key(1), PortId(5), Seconds(6));
    assert_eq!(slot.sighting(), others, "nor overwritten");
}

#[test]
fn marks_are_no_stations() {
    let fdb = Fdb::new(&[domain(8)]);
    assert_eq!(fdb.lookup(Key::new(0, 0), Seconds(0), AGE), None);
    assert_eq!(fdb.lookup(Key::new(1, 0), Seconds(0), AGE), None);
    assert!(Key(EMPTY).mac().is_group() && Key(CLAIMED).mac().is_group());
}

/// Several workers learn and look up the same stations, all of which fall into two buckets, while others sweep and
/// flush. Whatever is found must be where the station was seen; at the end nothing is there twice, and the count is right.
#[test]
fn workers_that_learn_at_once_never_find_a_station_where_it_was_not() {
    const STATIONS: usize = 12;
    let fdb = Fdb::new(&[domain(8)]);
    let table = table();
    // Both buckets of one pair, so that slots change hands all the time; check bits that tell them apart for certain.
    let mut checks = BTreeSet::new();
    let mut fits = |n: &u64| {
        let hash = fdb.mixer.mix(key(*n));
        hash as usize & (fdb.buckets.len() - 1) & !1 == 0 && checks.insert(hash >> 48)
    };
    let stations: Vec<Key> = (0..).filter(|n| fits(n)).take(STATIONS).map(key).collect();
    let stop = AtomicBool::new(false);
    let found = std::thread::scope(|scope| {
        let worker = |seed: usize| {
            let (fdb, stations) = (&fdb, &stations);
            move || {
                let (mut found, mut n) = (0, seed);
                for _ in 0..60_000 {
                    n = n.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                    let index = (n >> 40) % STATIONS;
                    // A station is seen at one of two ports of its own.
                    let port = PortId((index * 2 + (n >> 60) % 2) as u16);
                    if fdb.refresh(stations[index], port, Seconds(n as u32 % 16)) == Seen::Unknown {
                        fdb.insert(stations[index], port, Seconds(n as u32 % 16), 8);
                    }
                    let index = (n >> 50) % STATIONS;
                    if let Some(port) = fdb.lookup(stations[index], Seconds(0), AGE) {
                        assert_eq!(usize::from(port.0) / 2, index, "found where it never was");
                        found += 1;
                    }
                    assert!(fdb.learned(DomainId(0)) <= 8 + 4, "at most one too many a worker, for a moment");
                }
                found
            }
        };
        let workers: Vec<_> = [1, 22, 333, 4444].map(|seed| scope.spawn(worker(seed))).into();
        let eraser = scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Relaxed) {
                n += 1;
                fdb.sweep(&table, Nanos::from_secs(14));
                fdb.flush_port(PortId(n % 24));
                std::thread::yield_now();
            }
        });
        let found: Vec<usize> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        stop.store(true, Relaxed);
        eraser.join().unwrap();
        found
    });
    assert!(found.iter().all(|&found| found > 0), "{found:?}");
    let entries = fdb.entries(Nanos(0));
    let distinct: BTreeSet<_> = entries.iter().map(|entry| entry.mac).collect();
    assert_eq!(distinct.len(), entries.len(), "a station is there twice");
    assert_eq!(fdb.learned(DomainId(0)) as usize, entries.len());
    assert!(fdb.buckets.iter().flat_map(Bucket::slots).all(|slot| slot.key.load(Relaxed) != CLAIMED));
}
