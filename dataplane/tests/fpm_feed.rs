//! Feeds over real sockets: what daemons said that were recorded, clients that come, go, lie, and get in each other's way.

mod fpm_book;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fpm_book::{Book, hop, prefix};
use pointsman_dataplane::fpm::frame::{self, Marker};
use pointsman_dataplane::fpm::netlink::{RouteType, Target, WireHop, flag, kind, write_route};
use pointsman_dataplane::fpm::{Feed, FeedConfig, IfIndex, ListenError, Place, TableId};
use pointsman_dataplane::rib::Action;

const MAIN: TableId = TableId::MAIN;

/// A path of a test's own.
fn path() -> PathBuf {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let name = format!("pointsman-feed-{}-{}", std::process::id(), SERIAL.fetch_add(1, Relaxed));
    std::env::temp_dir().join(name)
}

fn config(listen: Place) -> FeedConfig {
    let (stale, keep) = (Duration::from_secs(60), None);
    FeedConfig { name: "test".into(), listen, netns: None, tables: vec![MAIN], stale, keep }
}

fn start(book: &Book, config: FeedConfig) -> Feed {
    Feed::start(config, Box::new(book.clone())).unwrap()
}

fn connect(feed: &Feed) -> UnixStream {
    let Place::Unix(path) = feed.place() else { panic!("{:?}", feed.place()) };
    UnixStream::connect(path).unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(10), "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A frame that tells a route by device 3.
fn route(to: &str, gateway: &str) -> Vec<u8> {
    let gateway = gateway.parse().ok();
    let hop = WireHop { gateway, device: Some(IfIndex(3)), weight: 1, encapsulation: None, dead: false };
    let (mut message, mut out) = (Vec::new(), Vec::new());
    let how = (kind::NEW_ROUTE, flag::REQUEST | flag::CREATE);
    write_route(&mut message, how, MAIN, (prefix(to), Some(20)), RouteType::Unicast, Target::Hops(&[hop]));
    assert!(frame::write(&mut out, &message));
    out
}

fn marker(marker: Marker) -> Vec<u8> {
    let (mut message, mut out) = (Vec::new(), Vec::new());
    marker.write(&mut message);
    assert!(frame::write(&mut out, &message));
    out
}

/// zebra and staticd of FRR 8.4.4 with `-M dplane_fpm_nl`: connected networks of devices 3 and 5, static routes of one way and
/// of two, black holes, `reject`, IPv6; then a route taken back, one way of two taken back, and three routes added.
const RECORDED: &[u8] = include_bytes!("fpm_data/frr-8.4.fpm");

#[test]
fn frr_is_understood() {
    // However the stream is cut.
    for piece in [1, 7, 100, RECORDED.len()] {
        let book = Book::new(1..=9);
        let feed = start(&book, config(Place::Unix(path())));
        let mut client = connect(&feed);
        for bytes in RECORDED.chunks(piece) {
            client.write_all(bytes).unwrap();
        }
        until("all of it", || feed.report().messages == 33);
        let report = feed.report();
        assert!(report.refused.is_empty(), "{report:?}");
        assert_eq!(book.ways("10.0.0.0/24"), [hop("-", 3, 1)]);
        assert_eq!(book.action(MAIN, "192.0.2.0/24"), None);
        assert_eq!(book.ways("198.51.100.0/24"), [hop("10.0.1.2", 5, 1)]);
        assert_eq!(book.action(MAIN, "203.0.113.0/24"), Some(Action::Blackhole));
        assert_eq!(book.action(MAIN, "203.0.114.0/24"), Some(Action::Unreachable));
        assert_eq!(book.ways("2001:db8:1::/48"), [hop("2001:db8:0:1::2", 3, 1)]);
        assert_eq!(book.action(MAIN, "2001:db8:2::/48"), Some(Action::Blackhole));
        assert_eq!(book.ways("2001:db8:3::/48"), [hop("fe80::9", 5, 1)]);
        assert_eq!(book.ways("10.99.0.0/16"), [hop("10.0.1.2", 5, 1)]);
        assert_eq!(book.ways("198.18.0.0/15"), [hop("10.0.9.9", 3, 1)]);
    }
}

#[test]
fn a_route_of_two_ways_loses_one_without_a_gap() {
    let book = Book::new(1..=9);
    let feed = start(&book, config(Place::Unix(path())));
    connect(&feed).write_all(RECORDED).unwrap();
    until("its end", || feed.report().last_disconnect.is_some());
    let wanted = prefix("198.51.100.0/24");
    let log = book.take_log();
    let gaps = log
        .iter()
        .filter(|(_, change)| matches!(change, pointsman_dataplane::rib::Change::Delete(p, _) if *p == wanted));
    assert_eq!(gaps.count(), 0, "zebra takes it back and tells it anew, in one frame");
}

#[test]
fn routes_outlive_their_client_and_are_swept_when_the_next_has_had_its_time() {
    let book = Book::new(1..=9);
    let feed = start(&book, FeedConfig { stale: Duration::from_millis(300), ..config(Place::Unix(path())) });
    let mut first = connect(&feed);
    first.write_all(&[route("192.0.2.0/24", "10.0.0.2"), route("198.51.100.0/24", "10.0.0.2")].concat()).unwrap();
    until("two routes", || book.len() == 2);
    drop(first);
    until("its end", || feed.report().client.is_none());
    assert_eq!(book.len(), 2);
    let begin = Instant::now();
    let mut second = connect(&feed);
    second.write_all(&route("192.0.2.0/24", "10.0.0.3")).unwrap();
    until("the route anew", || book.ways("192.0.2.0/24") == [hop("10.0.0.3", 3, 1)]);
    assert!(feed.report().syncing);
    until("the sweep", || book.len() == 1);
    assert!(begin.elapsed() >= Duration::from_millis(250));
    until("the end", || !feed.report().syncing);
    assert_eq!(feed.report().connects, 2);
}

#[test]
fn an_agent_s_word_sweeps_at_once_and_its_beginning_holds_the_clock() {
    let book = Book::new(1..=9);
    let feed = start(&book, FeedConfig { stale: Duration::from_millis(200), ..config(Place::Unix(path())) });
    connect(&feed).write_all(&route("192.0.2.0/24", "10.0.0.2")).unwrap();
    until("its end", || feed.report().last_disconnect.is_some());
    let mut agent = connect(&feed);
    agent.write_all(&[marker(Marker::Begin), route("198.51.100.0/24", "10.0.0.2")].concat()).unwrap();
    until("both", || book.len() == 2);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(book.len(), 2, "it has not said everything");
    agent.write_all(&marker(Marker::End)).unwrap();
    until("the sweep", || book.len() == 1);
}

#[test]
fn without_a_client_routes_stay_as_long_as_they_may() {
    let book = Book::new(1..=9);
    let keep = Some(Duration::from_millis(300));
    let feed = start(&book, FeedConfig { keep, ..config(Place::Unix(path())) });
    connect(&feed).write_all(&route("192.0.2.0/24", "10.0.0.2")).unwrap();
    until("its end", || feed.report().last_disconnect.is_some());
    assert_eq!(book.len(), 1);
    until("the sweep", || book.len() == 0);
}

#[test]
fn a_second_client_is_turned_away_and_the_first_not_disturbed() {
    let book = Book::new(1..=9);
    let feed = start(&book, config(Place::Tcp("127.0.0.1:0".parse().unwrap())));
    let &Place::Tcp(address) = feed.place() else { panic!() };
    let mut first = TcpStream::connect(address).unwrap();
    first.write_all(&route("192.0.2.0/24", "10.0.0.2")).unwrap();
    until("a route", || book.len() == 1);
    for n in 1..=3 {
        let mut second = TcpStream::connect(address).unwrap();
        let _ = second.write_all(&route("198.51.100.0/24", "10.0.0.2"));
        // Closed, or reset because of what it had sent.
        assert!(matches!(second.read(&mut [0]), Ok(0) | Err(_)));
        until("the count", || feed.report().turned_away == n);
    }
    first.write_all(&route("203.0.113.0/24", "10.0.0.2")).unwrap();
    until("another route", || book.len() == 2);
    assert_eq!((book.pages().begun, feed.report().connects), (1, 1));
    assert_eq!(book.action(MAIN, "198.51.100.0/24"), None);
}

#[test]
fn a_successor_is_let_in_though_its_predecessor_left_something_to_read() {
    let book = Book::new(1..=9);
    let feed = start(&book, config(Place::Unix(path())));
    for _ in 0..20 {
        let mut client = connect(&feed);
        for _ in 0..200 {
            client.write_all(&route("192.0.2.0/24", "10.0.0.2")).unwrap();
        }
    }
    until("all of them", || feed.report().messages == 4000);
    assert_eq!(feed.report().turned_away, 0);
}

#[test]
fn what_is_no_frame_ends_the_connection_and_nothing_else() {
    let book = Book::new(1..=9);
    let feed = start(&book, config(Place::Unix(path())));
    let mut client = connect(&feed);
    client.write_all(&[route("192.0.2.0/24", "10.0.0.2"), b"GET / HTTP/1.1\r\n\r\n".to_vec()].concat()).unwrap();
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    until("its end", || feed.report().client.is_none());
    let said = feed.report().last_disconnect.unwrap();
    assert!(said.contains("FPM version 71") && said.contains("dplane_fpm_nl"), "{said}");
    assert_eq!(book.len(), 1, "what came before is done, and stays");
    // The longest frame there is, full of zeros: one malformed message, and the stream goes on.
    let mut client = connect(&feed);
    let longest = [&[1, 1, 0xff, 0xfc][..], &vec![0; 0xfffc - 4]].concat();
    client.write_all(&[longest, route("198.51.100.0/24", "10.0.0.2")].concat()).unwrap();
    until("the route behind it", || book.len() == 2);
    assert_eq!(feed.report().refused["malformed"], 1);
    // Half a frame, and no more.
    let whole = route("203.0.113.0/24", "10.0.0.2");
    client.write_all(&whole[..whole.len() / 2]).unwrap();
    drop(client);
    until("its end", || feed.report().client.is_none());
    connect(&feed).write_all(&route("203.0.114.0/24", "10.0.0.2")).unwrap();
    until("another's route", || book.len() == 3);
}

#[test]
fn a_client_that_is_sent_away_may_come_again() {
    let book = Book::new(1..=9);
    let feed = start(&book, config(Place::Unix(path())));
    let mut client = connect(&feed);
    client.write_all(&route("192.0.2.0/24", "10.0.0.2")).unwrap();
    until("a route", || book.len() == 1);
    feed.resync();
    assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    assert_eq!(book.len(), 1);
    connect(&feed).write_all(&route("192.0.2.0/24", "10.0.0.3")).unwrap();
    until("the route anew", || book.ways("192.0.2.0/24") == [hop("10.0.0.3", 3, 1)]);
}

#[test]
fn a_place_is_one_feed_s_and_is_left_clean() {
    let book = Book::new([]);
    let place = path();
    let feed = start(&book, config(Place::Unix(place.clone())));
    let second = Feed::start(config(Place::Unix(place.clone())), Box::new(book.clone()));
    assert!(matches!(second, Err(ListenError::InUse(_))));
    drop(feed);
    assert!(!place.exists());
    // As after kill -9: the file is there, nobody listens.
    drop(std::os::unix::net::UnixListener::bind(&place).unwrap());
    assert!(place.exists());
    drop(start(&book, config(Place::Unix(place.clone()))));
    std::fs::write(&place, "precious").unwrap();
    let error = Feed::start(config(Place::Unix(place.clone())), Box::new(book.clone())).unwrap_err();
    assert!(matches!(error, ListenError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read_to_string(&place).unwrap(), "precious");
    std::fs::remove_file(&place).unwrap();
    let netns = Some("no-such-namespace".into());
    let error = Feed::start(FeedConfig { netns, ..config(Place::Unix(place)) }, Box::new(book)).unwrap_err();
    assert!(error.to_string().contains("no-such-namespace"), "{error}");
    for text in ["2620", "localhost:2620", ""] {
        assert!(text.parse::<Place>().is_err(), "{text}");
    }
    assert_eq!("[::1]:2620".parse::<Place>().unwrap().to_string(), "[::1]:2620");
}
