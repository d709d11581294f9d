use std::collections::VecDeque;
use std::net::IpAddr;

use super::config::{DISCARD, SOURCE_PORT};
use super::*;
use crate::frame::BURST;
use crate::router::{InterfaceAddress, InterfaceConfig};

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SINK: Mac = Mac([2, 0, 0, 0, 0, 2]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 3]);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const TO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const THIRD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

/// A ring that takes `room` frames until it is emptied.
struct Ring {
    arrivals: VecDeque<Vec<u8>>,
    taken: Vec<Vec<u8>>,
    room: usize,
    up: bool,
    counters: Arc<Counters>,
}

impl Port for Ring {
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst) {
        for data in self.arrivals.drain(..) {
            burst.push(pool.frame_from(&data).unwrap());
        }
    }

    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        for frame in burst.drain(..) {
            if self.room > 0 {
                self.room -= 1;
                self.taken.push(pool.to_vec(&frame));
                self.counters.sent(1, frame.len() as u64);
            } else {
                self.counters.dropped(DropReason::OutputFull, 1);
            }
            pool.free(frame);
        }
    }

    fn flush(&mut self, _: &mut Pool) {}

    fn tick(&mut self, _: &mut Pool, _: Nanos) {}

    fn arm(&mut self, _: &Sleep) -> bool {
        true
    }

    fn is_up(&self) -> bool {
        self.up
    }

    fn is_full(&self) -> bool {
        self.room == 0
    }

    fn room(&mut self) -> usize {
        self.room
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn mode(&self) -> String {
        "test".into()
    }
}

fn config() -> SourceConfig {
    let addresses = vec![InterfaceAddress { address: OWN.into(), length: 24 }];
    let interface = InterfaceConfig { mac: MAC, mtu: 1500, addresses };
    SourceConfig { interface, to: TO.into(), size: 64, rate: None, span: None }
}

/// A source on such a ring, with what a worker does.
struct Bench {
    pool: Pool,
    port: SourcePort<Ring>,
    tally: Arc<Tally>,
}

impl Bench {
    fn new(config: &SourceConfig) -> Self {
        let ring = Ring { arrivals: VecDeque::new(), taken: vec![], room: 1000, up: true, counters: Arc::default() };
        let (port, tally) = SourcePort::new(ring, config).unwrap();
        Self { pool: Pool::new(256).unwrap(), port, tally }
    }

    /// One that knows where its destination is.
    fn answered(config: &SourceConfig) -> Self {
        let mut bench = Self::new(config);
        bench.port.inner.room = 0;
        assert!(bench.breathe(&[arp(Operation::Reply, (SINK, TO), (MAC, OWN), MAC)], 0).is_empty());
        bench.port.inner.room = 1000;
        bench
    }

    /// A breath at `micros` in which `arrivals` come; what leaves.
    fn breathe(&mut self, arrivals: &[Vec<u8>], micros: u64) -> Vec<Vec<u8>> {
        let before = self.pool.available();
        self.port.inner.arrivals.extend(arrivals.iter().cloned());
        let mut burst = Burst::new();
        self.port.inner.pull(&mut self.pool, &mut self.port.arrived);
        self.port.yield_at(&mut self.pool, &mut burst, Nanos::from_micros(micros));
        let mut out = Outputs::new(vec![Arc::clone(self.port.counters())]);
        Outward.forward(&mut self.pool, PortId(0), &mut burst, &mut out, Nanos(0));
        out.drain(|port, burst| {
            assert_eq!(port, PortId(0));
            self.port.push(&mut self.pool, burst);
        });
        assert_eq!(self.pool.available(), before);
        assert_eq!(self.lost(DropReason::OutputFull), 0, "nothing is made that finds no room");
        std::mem::take(&mut self.port.inner.taken)
    }

    fn lost(&self, reason: DropReason) -> u64 {
        self.port.counters().drops.get(reason)
    }
}

fn arp(operation: Operation, from: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr), to: Mac) -> Vec<u8> {
    let packet = Packet { operation, sender_mac: from.0, sender: from.1, target_mac: target.0, target: target.1 };
    let mut frame = link::addresses(to, from.0).to_vec();
    frame.extend([8, 6]);
    frame.extend(packet.emit());
    frame.resize(60, 0);
    frame
}

fn request_for(target: Ipv4Addr) -> Vec<u8> {
    arp(Operation::Request, (MAC, OWN), (Mac::default(), target), Mac::BROADCAST)
}

fn destinations(frames: &[Vec<u8>]) -> Vec<Mac> {
    let mut all: Vec<_> = frames.iter().map(|frame| link::parse(frame).unwrap().destination).collect();
    all.dedup();
    all
}

#[test]
fn frames_are_what_another_parser_reads() {
    for size in [64, 65, 777, 1518] {
        let mut bench = Bench::answered(&SourceConfig { size, ..config() });
        let frames = bench.breathe(&[], 0);
        assert_eq!(frames.len(), BURST, "a whole burst");
        assert!(frames.iter().all(|frame| *frame == frames[0]));
        assert_eq!(frames[0].len(), usize::from(size) - 4);
        let packet = etherparse::PacketHeaders::from_ethernet_slice(&frames[0]).unwrap();
        let Some(etherparse::LinkHeader::Ethernet2(ethernet)) = packet.link else { panic!("{:?}", packet.link) };
        assert_eq!((ethernet.source, ethernet.destination), (MAC.0, SINK.0));
        let Some(etherparse::NetHeaders::Ipv4(ip, _)) = packet.net else { panic!("{:?}", packet.net) };
        assert_eq!((ip.source, ip.destination, ip.total_len), (OWN.octets(), TO.octets(), size - 18));
        assert_eq!((ip.header_checksum, ip.dont_fragment, ip.time_to_live), (ip.calc_header_checksum(), true, 64));
        let Some(etherparse::TransportHeader::Udp(udp)) = packet.transport else { panic!("{:?}", packet.transport) };
        let payload = packet.payload.slice();
        assert_eq!((udp.source_port, udp.destination_port), (SOURCE_PORT, DISCARD));
        assert_eq!(udp.length, size - 38);
        assert_eq!(udp.checksum, udp.calc_checksum_ipv4(&ip, payload).unwrap());
        assert_eq!(payload, vec![0; usize::from(size) - 46]);
    }
}

/// The zero that a sum may come to means "no checksum", and is written in its other form.
#[test]
fn a_checksum_is_never_left_out() {
    for last in 1..=u16::MAX {
        let [a, b] = last.to_be_bytes();
        let ends = Ends { mac: MAC, own: OWN, to: Ipv4Addr::new(10, 0, a, b) };
        assert_ne!(ends.datagram(64)[40..42], [0, 0], "{last}");
    }
}

#[test]
fn nothing_is_sent_before_the_neighbour_has_answered_and_it_is_asked_once_a_second() {
    let mut bench = Bench::new(&config());
    bench.port.inner.up = false;
    assert!(bench.breathe(&[], 0).is_empty());
    assert_eq!(bench.port.deadline(), None, "whoever comes wakes us");
    bench.port.inner.up = true;
    assert_eq!(bench.breathe(&[], 1), [request_for(TO)], "at once");
    assert_eq!(bench.port.deadline(), Some(Nanos::from_micros(1_000_001)));
    assert!(bench.breathe(&[], 1_000_000).is_empty());
    assert_eq!(bench.breathe(&[], 1_000_001), [request_for(TO)]);
    let answers = [
        // Of others, from ourselves, from no station, by someone with our address, and to others.
        arp(Operation::Reply, (OTHER, THIRD), (MAC, OWN), MAC),
        arp(Operation::Reply, (MAC, TO), (MAC, OWN), MAC),
        arp(Operation::Reply, (Mac([3; 6]), TO), (MAC, OWN), MAC),
        arp(Operation::Reply, (OTHER, OWN), (MAC, OWN), MAC),
        arp(Operation::Reply, (SINK, TO), (OTHER, THIRD), OTHER),
        arp(Operation::Reply, (SINK, TO), (MAC, OWN), MAC)[..41].to_vec(),
    ];
    assert!(bench.breathe(&answers, 1_000_002).is_empty());
    assert_eq!(bench.lost(DropReason::NeighbourInvalid), 4);
    assert_eq!(bench.lost(DropReason::NotForUs), 1);
    assert_eq!((bench.tally.sent(), bench.tally.is_answered()), (0, false));
    assert_eq!(bench.tally.elapsed(Nanos::from_secs(5)), Nanos(0));
    let frames = bench.breathe(&[arp(Operation::Reply, (SINK, TO), (MAC, OWN), MAC)], 1_000_003);
    assert_eq!((frames.len(), destinations(&frames)), (BURST, vec![SINK]));
    assert_eq!((bench.tally.sent(), bench.tally.received()), (BURST as u64, 0), "no ARP is counted");
}

#[test]
fn a_neighbour_that_moves_is_followed() {
    let mut bench = Bench::answered(&config());
    assert_eq!(destinations(&bench.breathe(&[], 0)), [SINK]);
    let gratuitous = arp(Operation::Request, (OTHER, TO), (Mac::default(), TO), Mac::BROADCAST);
    assert_eq!(destinations(&bench.breathe(&[gratuitous], 1)), [OTHER]);
    let announced = arp(Operation::Reply, (SINK, TO), (SINK, TO), Mac::BROADCAST);
    assert_eq!(destinations(&bench.breathe(&[announced], 2)), [SINK]);
    let answer = arp(Operation::Reply, (OTHER, TO), (MAC, OWN), MAC);
    assert_eq!(destinations(&bench.breathe(&[answer], 3)), [OTHER]);
    assert_eq!(destinations(&bench.breathe(&[], 4)), [OTHER]);
}

#[test]
fn who_asks_for_it_is_answered_and_the_rest_is_counted() {
    let mut bench = Bench::answered(&config());
    let asks = |target| arp(Operation::Request, (OTHER, THIRD), (Mac::default(), target), Mac::BROADCAST);
    let udp = [&link::addresses(MAC, OTHER)[..], &[8, 0], &[0; 46]].concat();
    let frames = bench.breathe(&[asks(OWN), asks(TO), udp.clone(), udp, vec![1, 2, 3]], 0);
    assert_eq!(frames[0], arp(Operation::Reply, (MAC, OWN), (OTHER, THIRD), OTHER));
    assert_eq!((frames.len(), destinations(&frames[1..])), (BURST, vec![SINK]));
    assert_eq!((bench.tally.sent(), bench.tally.received()), (BURST as u64 - 1, 3));
    // Answers alone fill a burst, and more when it has ended.
    assert_eq!(bench.breathe(&vec![asks(OWN); BURST], 1).len(), BURST);
    bench.tally.end(Nanos(2));
    assert_eq!(bench.breathe(&[asks(OWN)], 3).len(), 1);
    assert_eq!(bench.tally.sent(), BURST as u64 - 1);
}

#[test]
fn no_more_is_made_than_there_is_room_for() {
    let mut bench = Bench::answered(&config());
    bench.port.inner.room = BURST + 10;
    assert_eq!([bench.breathe(&[], 0).len(), bench.breathe(&[], 1).len()], [BURST, 10]);
    // It looks again soon, and then ever later.
    for (micros, due) in [(2, 52), (101, 151), (501, 751), (1_000_001, 1_010_001)] {
        assert!(bench.breathe(&[], micros).is_empty());
        assert_eq!(bench.port.deadline(), Some(Nanos::from_micros(due)), "at {micros}");
    }
    let sleep = Sleep::new().unwrap();
    assert!(bench.port.arm(&sleep));
    bench.port.inner.room = 5;
    assert!(!bench.port.arm(&sleep), "room came meanwhile");
    let asks = arp(Operation::Request, (OTHER, THIRD), (Mac::default(), OWN), Mac::BROADCAST);
    assert_eq!(bench.breathe(&[asks], 1_000_003).len(), 5, "an answer and four");
    assert_eq!(bench.tally.sent(), BURST as u64 + 14);
}

#[test]
fn a_rate_is_kept_and_slept_for() {
    let mut bench = Bench::answered(&SourceConfig { rate: Some(1000), ..config() });
    let (mut all, mut now) = (0, 77);
    while now < 77 + 1_000_000 {
        bench.port.inner.room = 1000;
        all += bench.breathe(&[], now).len();
        let due = bench.port.deadline().unwrap();
        assert_eq!(due.0 % 1_000, 0);
        assert!(due.0 / 1000 > now);
        now = due.0 / 1000;
    }
    assert_eq!((all, bench.tally.sent()), (1000, 1000));
    // A full ring puts it off.
    bench.port.inner.room = 0;
    assert!(bench.breathe(&[], now + 5_000).is_empty());
    bench.port.inner.room = 1000;
    assert_eq!(bench.breathe(&[], now + 5_001).len(), 6);
}

#[test]
fn a_span_ends_it_from_its_first_frame_on() {
    let mut bench = Bench::answered(&SourceConfig { span: Some(Nanos::from_millis(1)), ..config() });
    bench.port.inner.up = false;
    assert!(bench.breathe(&[], 10).is_empty());
    assert_eq!(bench.tally.left(Nanos::from_micros(10)), None);
    bench.port.inner.up = true;
    assert_eq!(bench.breathe(&[], 5_000).len(), BURST);
    assert_eq!(bench.tally.left(Nanos::from_micros(5_400)), Some(Nanos::from_micros(600)));
    assert_eq!(bench.tally.elapsed(Nanos::from_micros(5_400)), Nanos::from_micros(400));
    assert_eq!(bench.breathe(&[], 5_999).len(), BURST);
    assert!(bench.breathe(&[], 6_000).is_empty());
    assert_eq!(bench.port.deadline(), None, "there is nothing to do any more");
    let later = Nanos::from_secs(9);
    assert_eq!((bench.tally.left(later), bench.tally.elapsed(later)), (Some(Nanos(0)), Nanos::from_millis(1)));
    // A signal can only shorten it.
    bench.tally.end(later);
    assert_eq!(bench.tally.elapsed(later), Nanos::from_millis(1));
}

#[test]
fn a_wrong_source_says_what_to_change() {
    type Change = fn(&mut SourceConfig);
    let cases: [(Change, &str); 15] = [
        (|c| c.interface.addresses.clear(), "the port has no address"),
        (|c| c.interface.addresses.push(c.interface.addresses[0]), "the port has 2 addresses"),
        (|c| c.interface.addresses[0].address = "fd00::1".parse().unwrap(), "fd00::1 is an IPv6 address"),
        (|c| c.interface.addresses[0].length = 33, "10.0.0.1/33 cannot be the port's address: the prefix length"),
        (|c| c.interface.addresses[0].address = IpAddr::from([127, 0, 0, 1]), "127.0.0.1/24 cannot be"),
        (|c| c.to = "fd00::2".parse().unwrap(), "fd00::2 is an IPv6 address"),
        (|c| c.to = IpAddr::from([10, 0, 1, 2]), "cannot send to 10.0.1.2: it is not in the port's network"),
        (|c| c.to = OWN.into(), "it is the port's own address; give the address of a neighbour in 10.0.0.0/24"),
        (|c| c.to = IpAddr::from([10, 0, 0, 255]), "it is no host's address"),
        (|c| c.size = 63, "a frame cannot have 63 bytes; give a size from 64 to 1518"),
        (|c| c.size = 1519, "a frame cannot have 1519 bytes"),
        (
            |c| (c.size, c.interface.mtu) = (1418, 1399),
            "a frame of 1418 bytes has 1400 of IP, and the port's MTU is 1399",
        ),
        (|c| c.rate = Some(0), "a rate of 0 sends nothing"),
        (|c| c.span = Some(Nanos(0)), "give more seconds than 0"),
        (|c| c.interface.mtu = 0, "the port's MTU is 0"),
    ];
    assert_eq!(config().check(), Ok(()));
    for (change, words) in cases {
        let mut config = config();
        change(&mut config);
        let said = config.check().unwrap_err().to_string();
        assert!(said.contains(words), "{said:?} has no {words:?}");
    }
}
