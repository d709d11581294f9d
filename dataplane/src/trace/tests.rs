use std::net::IpAddr;

use super::*;
use crate::pool::Pool;
use crate::units::Mac;

const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const B: [u8; 6] = [2, 0, 0, 0, 0, 2];
const PORT: PortId = PortId(3);

fn frame(vlan: Option<u16>, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [B, A].concat();
    if let Some(vlan) = vlan {
        frame.extend([0x81, 0]);
        frame.extend((0x6000 | vlan).to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// From 10.0.0.1 to 10.0.0.2.
fn packet(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 20 + payload.len() as u8, 0, 1];
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(payload);
    packet
}

const UDP: [u8; 8] = [0x03, 0xe8, 0, 53, 0, 8, 0, 0];

fn hosts(hosts: &[&str]) -> Filter {
    Filter { hosts: hosts.iter().map(|host| host.parse::<IpAddr>().unwrap()).collect(), ..Filter::default() }
}

fn protocol(text: &str) -> Filter {
    Filter { protocol: Some(Protocol::parse(text).unwrap()), ..Filter::default() }
}

#[test]
fn a_filter_wants_all_that_it_names() {
    let udp = frame(None, 0x800, &packet(17, 0, &UDP));
    let matches = |filter: &Filter| filter.matches(PORT, &udp);
    assert!(matches(&Filter::default()));
    assert!(matches(&Filter { port: Some(PORT), ..Filter::default() }));
    assert!(!matches(&Filter { port: Some(PortId(4)), ..Filter::default() }));
    for (mac, expected) in [(A, true), (B, true), ([2, 0, 0, 0, 0, 3], false)] {
        assert_eq!(matches(&Filter { mac: Some(Mac(mac)), ..Filter::default() }), expected);
    }
    assert!(matches(&hosts(&["10.0.0.1"])) && matches(&hosts(&["10.0.0.2", "10.0.0.1"])));
    assert!(!matches(&hosts(&["10.0.0.3"])) && !matches(&hosts(&["10.0.0.1", "10.0.0.3"])));
    assert!(!matches(&hosts(&["::ffff:10.0.0.1"])));
    assert!(matches(&protocol("udp")) && matches(&protocol("17")));
    assert!(!matches(&protocol("tcp")) && !matches(&protocol("icmp")));
    for (port, expected) in [(1000, true), (53, true), (54, false)] {
        assert_eq!(matches(&Filter { l4_port: Some(port), ..Filter::default() }), expected);
    }
    assert!(!matches(&Filter { mac: Some(Mac(A)), ..hosts(&["10.0.0.3"]) }));
    for bad in ["http", "256", "-1", ""] {
        assert_eq!(Protocol::parse(bad), None, "{bad}");
    }
}

#[test]
fn tags_fragments_arp_and_ipv6_are_seen_through() {
    let tagged = frame(Some(10), 0x800, &packet(1, 0, &[8, 0, 0, 0]));
    let vlan = |vlan| Filter { vlan: Some(vlan), ..Filter::default() };
    assert!(vlan(10).matches(PORT, &tagged) && !vlan(0).matches(PORT, &tagged) && !vlan(11).matches(PORT, &tagged));
    assert!(vlan(0).matches(PORT, &frame(Some(0), 0x800, &[])), "a priority tag is no tag");
    assert!(protocol("icmp").matches(PORT, &tagged) && hosts(&["10.0.0.1"]).matches(PORT, &tagged));
    // The first fragment has ports, the others do not.
    let port = Filter { l4_port: Some(53), ..Filter::default() };
    assert!(port.matches(PORT, &frame(None, 0x800, &packet(17, 0x2000, &UDP))));
    let later = frame(None, 0x800, &packet(17, 0x2001, &UDP));
    assert!(!port.matches(PORT, &later) && protocol("udp").matches(PORT, &later));
    assert!(summary(&later).contains("UDP fragment"), "{}", summary(&later));
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
    arp.extend([&A[..], &[10, 0, 0, 1], &[0; 6], &[10, 0, 0, 2]].concat());
    let arp = frame(None, 0x806, &arp);
    assert!(hosts(&["10.0.0.1", "10.0.0.2"]).matches(PORT, &arp) && !hosts(&["10.0.0.3"]).matches(PORT, &arp));
    assert!(!protocol("udp").matches(PORT, &arp));
    assert!(summary(&arp).ends_with("ARP who has 10.0.0.2, tell 10.0.0.1"), "{}", summary(&arp));
    // An extension header (hop by hop) before ICMPv6.
    let mut v6 = vec![0x60, 0, 0, 0, 0, 16, 0, 63];
    for last in [1, 2] {
        v6.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    v6.extend([58, 0, 1, 4, 0, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0]);
    let v6 = frame(None, 0x86dd, &v6);
    assert!(protocol("icmp").matches(PORT, &v6) && hosts(&["fd00::2"]).matches(PORT, &v6));
    assert!(!hosts(&["fd00::3"]).matches(PORT, &v6));
    assert!(summary(&v6).ends_with("fd00::1 > fd00::2 ICMPv6 echo request ttl 63"), "{}", summary(&v6));
}

#[test]
fn nothing_that_is_cut_off_is_read_beyond_its_end() {
    let all = Filter { vlan: Some(10), protocol: Protocol::parse("udp"), l4_port: Some(53), ..hosts(&["10.0.0.1"]) };
    let whole = frame(Some(10), 0x800, &packet(17, 0, &UDP));
    assert!(all.matches(PORT, &whole));
    for len in 0..whole.len() - 4 {
        let cut = &whole[..len];
        assert!(!all.matches(PORT, cut), "{len}");
        assert!(!summary(cut).is_empty());
    }
    // A runt matches where only its port is asked for.
    assert!(Filter { port: Some(PORT), ..Filter::default() }.matches(PORT, &[1; 5]));
    assert!(!Filter { port: Some(PORT), vlan: Some(0), ..Filter::default() }.matches(PORT, &[1; 5]));
}

/// A worker's tracer that sees frames arrive and vanish.
fn see(tracer: &mut Tracer, pool: &mut Pool, bytes: &[u8], lost: Option<DropReason>) {
    let sessions = tracer.sessions();
    let hits = Tracer::hits(&sessions, PORT, bytes);
    if hits == 0 {
        return;
    }
    let frame = pool.frame_from(bytes).unwrap();
    let now = Nanos(7);
    tracer.begin(pool, PORT, &frame, now);
    if let Some(reason) = lost {
        tracer.lost_at(now, PORT, reason, 1);
    }
    let fate = if lost.is_some() { Fate::Lost } else { Fate::Sent };
    tracer.end(&sessions, hits, 0, PORT, fate, now);
    pool.free(frame);
}

#[test]
fn a_trace_is_bounded_by_its_count_and_by_its_queue_and_says_what_it_left_out() {
    let traces: Arc<Traces> = Arc::default();
    let mut tracer = Tracer::new(Arc::clone(&traces), 1);
    let mut pool = Pool::new(64).unwrap();
    let bytes = frame(None, 0x800, &packet(17, 0, &UDP));
    assert!(!tracer.is_on());
    // Its count.
    let trace = traces.begin(Filter::default(), false, 3).unwrap();
    assert!(tracer.is_on());
    for _ in 0..10 {
        see(&mut tracer, &mut pool, &bytes, None);
    }
    let events: Vec<Event> = std::iter::from_fn(|| trace.take()).collect();
    assert_eq!(events.iter().filter(|event| event.what == What::In).count(), 3);
    assert!(events.iter().all(|event| event.worker == 1 && event.port == PORT));
    assert_eq!((events[0].len as usize, &events[0].bytes[..]), (bytes.len(), &bytes[..]));
    assert_eq!(trace.untold(), 0);
    // Its queue: whole stories, as many as there is room for, and the others counted.
    let other = traces.begin(Filter::default(), true, u64::MAX).unwrap();
    for n in 0..1000 {
        let lost = (n % 2 == 0).then_some(DropReason::NoRoute);
        see(&mut tracer, &mut pool, &bytes, lost);
    }
    let events: Vec<Event> = std::iter::from_fn(|| other.take()).collect();
    assert!(events.len() <= QUEUE);
    let whole = events.iter().filter(|event| event.what == What::End(Fate::Lost)).count();
    assert_eq!((events.len(), whole as u64 + other.untold()), (3 * whole, 500), "only what was lost is told");
    // As many as may be, and none when they have ended.
    let more: Vec<Trace> = (2..MAX_TRACES).map(|_| traces.begin(Filter::default(), false, 1).unwrap()).collect();
    assert_eq!(traces.begin(Filter::default(), false, 1).unwrap_err(), TooMany);
    drop((trace, other, more));
    assert!(!tracer.is_on());
    assert!(traces.begin(Filter::default(), false, 1).is_ok());
}

#[test]
fn a_capture_has_an_interface_a_port_and_a_comment_a_frame() {
    use pcap_file::pcapng::{Block, PcapNgReader};
    use pcapng::{Direction, Writer};
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, &["up0".into(), "up1".into()]).unwrap();
    let time = std::time::Duration::from_nanos(1_700_000_000_123_456_789);
    writer.frame("up1", Direction::In, time, (&[7; 61], 1514), "frame 1\ndrop: no-route").unwrap();
    writer.frame("late", Direction::Out, time, (&[8; 60], 60), "out: by late").unwrap();
    writer.flush().unwrap();
    drop(writer);
    let mut reader = PcapNgReader::new(&file[..]).unwrap();
    let (mut names, mut frames) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.unwrap() {
            Block::InterfaceDescription(block) => names.push(format!("{:?}", block.options)),
            Block::EnhancedPacket(block) => {
                frames.push((block.interface_id, block.original_len, block.data.len(), format!("{:?}", block.options)));
            }
            other => panic!("{other:?}"),
        }
    }
    for (name, options) in ["up0", "up1", "late"].iter().zip(&names) {
        assert!(options.contains(name) && options.contains("IfTsResol(9)"), "{options}");
    }
    assert_eq!((names.len(), frames.len()), (3, 2));
    assert_eq!((frames[0].0, frames[0].1, frames[0].2), (1, 1514, 61));
    assert!(frames[0].3.contains("drop: no-route") && frames[0].3.contains("Flags(1)"), "{}", frames[0].3);
    assert_eq!((frames[1].0, frames[1].2), (2, 60));
    assert!(frames[1].3.contains("Flags(2)"), "{}", frames[1].3);
}
