use super::*;
use crate::pool::{CHUNK_DATA, HEADROOM};
use crate::port::Counters;
use crate::wire::ethernet::VlanId;

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const X: [u8; 6] = [6, 0, 0, 0, 0, 0x1];
const Y: [u8; 6] = [6, 0, 0, 0, 0, 0x2];
pub(super) const ALL: [u8; 6] = [0xff; 6];
const IP: &[u8] = &[0x08, 0x00];

const LEFT: DomainId = DomainId(0);
const RIGHT: DomainId = DomainId(1);

/// A bridge with all that it needs, whose outputs are read back.
pub(super) struct Rig {
    pub(super) bridge: Bridge,
    pub(super) pool: Pool,
    pub(super) out: Outputs,
    pub(super) counters: Vec<Arc<Counters>>,
    tables: Arc<ArcSwap<Table>>,
    fdb: Arc<Fdb>,
    pub(super) now: Nanos,
}

impl Rig {
    pub(super) fn new(ports: &[Member], domains: &[Domain]) -> Self {
        let table = Table::build(ports, domains).unwrap();
        let tables = Arc::new(ArcSwap::from_pointee(table));
        let fdb = Arc::new(Fdb::new(domains));
        let counters: Vec<Arc<Counters>> = ports.iter().map(|_| Arc::default()).collect();
        Self {
            bridge: Bridge::new(Arc::clone(&tables), Arc::clone(&fdb)),
            pool: Pool::new(1024).unwrap(),
            out: Outputs::new(counters.clone()),
            counters,
            tables,
            fdb,
            now: Nanos::from_secs(1000),
        }
    }

    /// What leaves when these frames come in on `input`, sorted by port.
    pub(super) fn burst(&mut self, input: u16, frames: &[Vec<u8>]) -> Vec<(usize, Vec<u8>)> {
        let before = self.pool.available();
        let mut burst = frames.iter().map(|bytes| self.pool.frame_from(bytes).unwrap()).collect();
        self.bridge.forward(&mut self.pool, PortId(input), &mut burst, &mut self.out, self.now);
        assert!(burst.is_empty());
        let sent = self.out.take_all(&mut self.pool);
        let mut sent: Vec<_> = sent.into_iter().map(|(port, frame)| (usize::from(port), frame)).collect();
        assert_eq!(self.pool.available(), before, "chunks are lost");
        sent.sort_by_key(|(port, _)| *port);
        sent
    }

    /// The ports by which one frame leaves.
    fn ports(&mut self, input: u16, frame: Vec<u8>) -> Vec<usize> {
        self.burst(input, &[frame]).into_iter().map(|(port, _)| port).collect()
    }

    /// The frame must be dropped, for this reason.
    #[track_caller]
    fn dropped(&mut self, input: u16, frame: Vec<u8>, reason: DropReason) {
        let drops = &Arc::clone(&self.counters[usize::from(input)]).drops;
        let before = (drops.get(reason), drops.total());
        assert_eq!(self.ports(input, frame), [0; 0]);
        assert_eq!((drops.get(reason), drops.total()), (before.0 + 1, before.1 + 1), "{:?}", drops.nonzero().last());
    }

    fn publish(&self, ports: &[Member], domains: &[Domain]) {
        self.tables.store(Arc::new(Table::build(ports, domains).unwrap()));
    }
}

fn domains() -> Vec<Domain> {
    ["left", "right"].map(|name| Domain { name: name.into(), age: Nanos::from_secs(300), max_learned: 16 }).into()
}

pub(super) fn vlan(id: u16) -> VlanId {
    VlanId::new(id).unwrap()
}

fn access(domain: DomainId) -> Member {
    Member { native: Some(domain), ..Member::default() }
}

fn guest(domain: DomainId, macs: &[[u8; 6]]) -> Member {
    Member { macs: macs.iter().map(|&mac| Mac(mac)).collect(), ..access(domain) }
}

fn trunk(vlans: &[(u16, DomainId)]) -> Member {
    Member { vlans: vlans.iter().map(|&(id, domain)| (vlan(id), domain)).collect(), ..Member::default() }
}

/// Two uplinks (0, 1) and two guests (2: A, 3: B) in one domain.
fn host() -> Rig {
    Rig::new(&[access(LEFT), access(LEFT), guest(LEFT, &[A]), guest(LEFT, &[B])], &domains())
}

fn frame(dst: [u8; 6], src: [u8; 6], rest: &[&[u8]]) -> Vec<u8> {
    [&[dst.as_slice(), &src], rest, &[&[0x5a; 46]]].concat().concat()
}

fn tagged(dst: [u8; 6], src: [u8; 6], tci: u16) -> Vec<u8> {
    frame(dst, src, &[&[0x81, 0], &tci.to_be_bytes(), IP])
}

fn plain(dst: [u8; 6], src: [u8; 6]) -> Vec<u8> {
    frame(dst, src, &[IP])
}

#[test]
fn a_guest_gets_what_is_for_it_and_group_frames_and_nothing_else() {
    let mut rig = host();
    assert_eq!(rig.burst(0, &[plain(A, X)]), [(2, plain(A, X))]);
    assert_eq!(rig.ports(0, plain(ALL, X)), [1, 2, 3]);
    assert_eq!(rig.ports(0, plain([0x33, 0x33, 0, 0, 0, 1], X)), [1, 2, 3]);
    assert_eq!(rig.ports(0, plain(Y, X)), [1], "unknown unicast is no guest's");
}

#[test]
fn guests_reach_each_other_and_the_world() {
    let mut rig = host();
    assert_eq!(rig.ports(2, plain(B, A)), [3]);
    assert_eq!(rig.ports(3, plain(A, B)), [2]);
    assert_eq!(rig.ports(2, plain(X, A)), [0, 1]);
    assert_eq!(rig.ports(2, plain(ALL, A)), [0, 1, 3]);
    rig.dropped(2, plain(A, A), DropReason::SamePort);
}

#[test]
fn uplinks_learn_and_stations_move() {
    let mut rig = host();
    assert_eq!(rig.ports(0, plain(ALL, X)), [1, 2, 3]);
    assert_eq!(rig.ports(2, plain(X, A)), [0]);
    rig.dropped(0, plain(X, Y), DropReason::SamePort);
    rig.ports(1, plain(ALL, X));
    assert_eq!(rig.ports(2, plain(X, A)), [1]);
}

#[test]
fn a_move_within_a_burst_counts_from_the_next_frame_on() {
    let mut rig = host();
    rig.ports(1, plain(ALL, X));
    // The second frame says that X is here now: the third is for a station on its own port.
    let sent = rig.burst(0, &[plain(X, Y), plain(A, X), plain(X, Y)]);
    assert_eq!(sent.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(rig.counters[0].drops.get(DropReason::SamePort), 1);
}

#[test]
fn what_is_learned_ages() {
    let mut rig = host();
    rig.ports(0, plain(ALL, X));
    rig.now = Nanos::from_secs(1300);
    assert_eq!(rig.ports(2, plain(X, A)), [0]);
    rig.now = Nanos::from_secs(1301);
    assert_eq!(rig.ports(2, plain(X, A)), [0, 1], "too old, swept or not");
    assert_eq!(rig.fdb.learned(LEFT), 1);
    for _ in 0..100 {
        rig.bridge.tick(&mut rig.pool, &mut rig.out, rig.now);
    }
    assert_eq!(rig.fdb.learned(LEFT), 0);
}

#[test]
fn beyond_the_bound_stations_are_flooded_to() {
    let mut rig = host();
    for n in 0..20 {
        rig.ports(0, plain(ALL, [6, 0, 0, 0, 1, n]));
    }
    assert_eq!(rig.fdb.learned(LEFT), 16);
    assert_eq!(rig.ports(2, plain([6, 0, 0, 0, 1, 15], A)), [0]);
    assert_eq!(rig.ports(2, plain([6, 0, 0, 0, 1, 16], A)), [0, 1]);
}

#[test]
fn a_guests_address_cannot_be_taken_over_from_outside() {
    let mut rig = host();
    assert_eq!(rig.ports(0, plain(ALL, A)), [1, 2, 3], "it passes, as it must while a guest moves between hosts");
    assert_eq!(rig.fdb.learned(LEFT), 0);
    assert_eq!(rig.ports(1, plain(A, X)), [2]);
    // Learned before it was configured: the configuration wins.
    let mut rig = Rig::new(&[access(LEFT), access(LEFT), access(LEFT)], &domains());
    rig.ports(0, plain(ALL, A));
    rig.publish(&[access(LEFT), access(LEFT), guest(LEFT, &[A])], &domains());
    assert_eq!(rig.ports(1, plain(A, X)), [2]);
    let shown = stations(&rig.tables.load(), &rig.fdb, rig.now);
    let shown: Vec<_> = shown.iter().map(|s| (s.mac.0, s.port.0, s.age.map(|age| age.0))).collect();
    assert_eq!(shown, [(A, 2, None), (X, 1, Some(0))]);
}

#[test]
fn a_guest_sends_from_its_own_addresses_only() {
    let mut rig = Rig::new(&[access(LEFT), guest(LEFT, &[A, B]), guest(LEFT, &[Y])], &domains());
    assert_eq!(rig.ports(1, plain(X, A)), [0]);
    assert_eq!(rig.ports(1, plain(X, B)), [0]);
    rig.dropped(1, plain(X, X), DropReason::SourceSpoofed);
    rig.dropped(1, plain(X, Y), DropReason::SourceSpoofed);
    rig.dropped(1, plain(X, [0; 6]), DropReason::SourceInvalid);
    rig.dropped(0, plain(A, ALL), DropReason::SourceInvalid);
    rig.dropped(0, plain(A, [0; 6]), DropReason::SourceInvalid);
    // A good source does not vouch for the next one.
    assert_eq!(rig.burst(1, &[plain(X, A), plain(X, Y), plain(X, A)]).len(), 2);
}

#[test]
fn reserved_addresses_are_not_forwarded() {
    let mut rig = host();
    for last in 0..16 {
        rig.dropped(0, plain([1, 0x80, 0xc2, 0, 0, last], X), DropReason::LinkLocal);
        rig.dropped(2, plain([1, 0x80, 0xc2, 0, 0, last], A), DropReason::LinkLocal);
    }
    assert_eq!(rig.ports(0, plain([1, 0x80, 0xc2, 0, 0, 16], X)), [1, 2, 3]);
    assert_eq!(rig.fdb.learned(LEFT), 1);
}

#[test]
fn runts_and_truncated_tags_are_dropped_at_every_length() {
    let mut rig = host();
    for len in 1..14 {
        rig.dropped(0, plain(A, X)[..len].to_vec(), DropReason::Runt);
    }
    assert_eq!(rig.ports(0, plain(A, X)[..14].to_vec()), [2]);
    let mut rig = Rig::new(&[trunk(&[(10, LEFT)]), guest(LEFT, &[A])], &domains());
    for len in 14..18 {
        rig.dropped(0, tagged(A, X, 10)[..len].to_vec(), DropReason::Runt);
    }
    assert_eq!(rig.burst(0, &[tagged(A, X, 10)[..18].to_vec()]), [(1, plain(A, X)[..14].to_vec())]);
}

#[test]
fn giants_are_dropped() {
    let mut rig = Rig::new(&[access(LEFT), guest(LEFT, &[A]), trunk(&[(10, LEFT)])], &domains());
    let mut longest = plain(A, X);
    longest.resize(MAX_FRAME, 7);
    assert_eq!(rig.burst(0, &[longest.clone()]), [(1, longest.clone())]);
    // With a tag it would be longer than anything is.
    longest[..6].copy_from_slice(&Y);
    rig.dropped(0, longest.clone(), DropReason::Giant);
    // Only a device can bring a longer one, in pieces.
    let mut frame = rig.pool.frame_from(&longest).unwrap();
    assert!(rig.pool.grow_front(&mut frame, HEADROOM as i16));
    let mut burst = Burst::from_iter([frame]);
    rig.bridge.forward(&mut rig.pool, PortId(0), &mut burst, &mut rig.out, rig.now);
    assert_eq!(rig.counters[0].drops.get(DropReason::Giant), 2);
    assert_eq!(rig.pool.available(), rig.pool.capacity());
}

#[test]
fn an_access_port_takes_untagged_and_priority_tagged_frames() {
    let mut rig = host();
    assert_eq!(rig.burst(0, &[tagged(A, X, 0xe000)]), [(2, plain(A, X))]);
    for vid in [1, 10, 4095] {
        rig.dropped(0, tagged(A, X, vid), DropReason::VlanNotAllowed);
        rig.dropped(2, tagged(X, A, vid), DropReason::VlanNotAllowed);
    }
}

#[test]
fn a_trunk_port_sorts_by_vlan() {
    let ports = [trunk(&[(10, LEFT), (20, RIGHT)]), guest(LEFT, &[A]), guest(RIGHT, &[A]), access(RIGHT)];
    let mut rig = Rig::new(&ports, &domains());
    assert_eq!(rig.burst(0, &[tagged(A, X, 10), tagged(A, X, 20)]), [(1, plain(A, X)), (2, plain(A, X))]);
    assert_eq!(rig.burst(1, &[plain(X, A)]), [(0, tagged(X, A, 10))]);
    assert_eq!(rig.burst(2, &[plain(X, A)]), [(0, tagged(X, A, 20))]);
    assert_eq!(rig.burst(2, &[plain(ALL, A)]), [(0, tagged(ALL, A, 20)), (3, plain(ALL, A))]);
    rig.dropped(0, tagged(A, X, 30), DropReason::VlanNotAllowed);
    rig.dropped(0, tagged(A, X, 4095), DropReason::VlanNotAllowed);
    rig.dropped(0, plain(A, X), DropReason::NoDomain);
    rig.dropped(0, tagged(A, X, 0), DropReason::NoDomain);
}

#[test]
fn domains_do_not_hear_of_each_other() {
    let mut rig = Rig::new(&[trunk(&[(10, LEFT), (20, RIGHT)]), access(LEFT), access(RIGHT)], &domains());
    rig.ports(1, plain(ALL, X));
    assert_eq!(rig.ports(0, tagged(X, Y, 10)), [1]);
    assert_eq!(rig.ports(0, tagged(X, Y, 20)), [2], "there X is unknown, and flooded to");
    assert_eq!(rig.ports(2, plain(X, A)), [0]);
}

#[test]
fn priority_stays_where_a_tag_stays() {
    let both = Member { native: Some(LEFT), ..trunk(&[(20, RIGHT)]) };
    let ports = [trunk(&[(10, LEFT), (20, RIGHT)]), trunk(&[(11, LEFT), (20, RIGHT)]), both, access(LEFT)];
    let mut rig = Rig::new(&ports, &domains());
    // Kept, translated, taken off; and given where there was none, with no priority.
    let sent = rig.burst(0, &[tagged(ALL, X, 0xb00a)]);
    assert_eq!(sent, [(1, tagged(ALL, X, 0xb00b)), (2, plain(ALL, X)), (3, plain(ALL, X))]);
    assert_eq!(rig.burst(0, &[tagged(ALL, X, 0xb014)]), [(1, tagged(ALL, X, 0xb014)), (2, tagged(ALL, X, 0xb014))]);
    let sent = rig.burst(3, &[plain(ALL, Y)]);
    assert_eq!(sent, [(0, tagged(ALL, Y, 10)), (1, tagged(ALL, Y, 11)), (2, plain(ALL, Y))]);
    // A priority tag becomes a VLAN tag of the same priority, or goes.
    let sent = rig.burst(3, &[tagged(ALL, Y, 0xe000)]);
    assert_eq!(sent, [(0, tagged(ALL, Y, 0xe00a)), (1, tagged(ALL, Y, 0xe00b)), (2, plain(ALL, Y))]);
}

#[test]
fn vlan_stacks_are_dropped_wherever_they_come_from() {
    let mut rig = Rig::new(&[trunk(&[(10, LEFT)]), access(LEFT), guest(LEFT, &[A])], &domains());
    for tpid in [[0x81, 0], [0x88, 0xa8], [0x91, 0]] {
        let inner: &[u8] = &[tpid[0], tpid[1], 0, 10];
        rig.dropped(0, frame(A, X, &[&[0x81, 0, 0, 10], inner, IP]), DropReason::VlanNotAllowed);
        rig.dropped(1, frame(A, X, &[&[0x81, 0, 0, 0], inner, IP]), DropReason::VlanNotAllowed);
        rig.dropped(2, frame(X, A, &[inner, &[0x81, 0, 0, 10], IP]), DropReason::VlanNotAllowed);
    }
    rig.dropped(0, frame(A, X, &[&[0x88, 0xa8, 0, 10], IP]), DropReason::VlanNotAllowed);
}

#[test]
fn a_port_that_is_down_is_neither_flooded_to_nor_believed() {
    let mut rig = host();
    rig.ports(0, plain(ALL, X));
    rig.out.set_up(PortId(0), false);
    assert_eq!(rig.ports(2, plain(X, A)), [1]);
    assert_eq!(rig.ports(2, plain(ALL, A)), [1, 3]);
    rig.out.set_up(PortId(1), false);
    rig.dropped(2, plain(X, A), DropReason::NoOutput);
    rig.out.set_up(PortId(3), false);
    rig.dropped(2, plain(ALL, A), DropReason::NoOutput);
    rig.out.set_up(PortId(0), true);
    assert_eq!(rig.ports(2, plain(X, A)), [0]);
}

#[test]
fn a_port_alone_in_its_domain_has_nobody_to_send_to() {
    let mut rig = Rig::new(&[access(LEFT), access(RIGHT), Member::default()], &domains());
    rig.dropped(0, plain(ALL, X), DropReason::NoOutput);
    rig.dropped(0, plain(Y, X), DropReason::NoOutput);
    rig.dropped(2, plain(Y, X), DropReason::NoDomain);
    rig.dropped(2, tagged(Y, X, 10), DropReason::VlanNotAllowed);
}

#[test]
fn a_flood_without_chunks_reaches_one_and_counts_the_rest() {
    let mut rig = host();
    let held: Vec<_> = std::iter::from_fn(|| rig.pool.alloc()).collect();
    rig.pool.free_all(held.into_iter().take(2));
    assert_eq!(rig.pool.available(), 2);
    assert_eq!(rig.ports(0, plain(ALL, X)), [1, 3]);
    assert_eq!(rig.counters[0].drops.get(DropReason::PoolExhausted), 1);
}

#[test]
fn long_frames_are_flooded_whole() {
    let ports = [access(LEFT), trunk(&[(10, LEFT)]), guest(LEFT, &[A]), trunk(&[(20, LEFT)])];
    let mut rig = Rig::new(&ports, &domains());
    for len in [CHUNK_DATA - 4, CHUNK_DATA, CHUNK_DATA + 1, 9018] {
        let long = |start: &[u8]| [start, &vec![3; len]].concat();
        let sent = rig.burst(0, &[long(&plain(ALL, X))]);
        let expected = [(1, tagged(ALL, X, 10)), (2, plain(ALL, X)), (3, tagged(ALL, X, 20))];
        assert_eq!(sent, expected.map(|(port, start)| (port, long(&start))), "{len} bytes more");
        assert_eq!(rig.burst(1, &[long(&tagged(A, Y, 10))]), [(2, long(&plain(A, Y)))]);
    }
}

#[test]
fn a_published_table_counts_from_the_next_burst_on() {
    let mut rig = host();
    assert_eq!(rig.ports(0, plain(A, X)), [2]);
    rig.publish(&[access(LEFT), access(LEFT), guest(RIGHT, &[A]), guest(LEFT, &[B])], &domains());
    assert_eq!(rig.ports(0, plain(A, X)), [1]);
    rig.dropped(2, plain(B, A), DropReason::NoOutput);
    // X was learned behind a port that then leaves the domain: it is unknown, whatever the table still says.
    rig.publish(&[access(RIGHT), access(LEFT), guest(RIGHT, &[A]), guest(LEFT, &[B])], &domains());
    assert_eq!(rig.ports(3, plain(X, B)), [1]);
}

#[test]
fn a_table_for_other_ports_forwards_nothing() {
    let mut rig = host();
    rig.publish(&[access(LEFT), access(LEFT), guest(LEFT, &[A])], &domains());
    rig.dropped(0, plain(A, X), DropReason::NoDomain);
    rig.dropped(3, plain(A, B), DropReason::NoDomain);
}

#[test]
fn every_contradiction_is_told_at_once() {
    let name = |name: &str, member: Member| Member { name: name.into(), ..member };
    let ports = [
        name("far", access(DomainId(7))),
        name("twice", trunk(&[(10, LEFT), (10, RIGHT)])),
        name("both", Member { native: Some(LEFT), ..trunk(&[(10, LEFT)]) }),
        name("group", guest(LEFT, &[ALL, [0; 6]])),
        name("a", guest(LEFT, &[A, A])),
        name("b", guest(RIGHT, &[A])),
        name("c", Member { native: Some(RIGHT), ..guest(LEFT, &[A]) }),
    ];
    let errors: Vec<_> = Table::build(&ports, &domains()).unwrap_err().iter().map(ToString::to_string).collect();
    let expected = [
        "port far: is to be in bridge domain number 7, and there are 2; add the domain",
        "port twice: VLAN 10 is given two bridge domains; leave one",
        "port both: is in bridge domain left twice, under different tags; leave one",
        "port group: ff:ff:ff:ff:ff:ff is no station's address (it is zero or a group); give a unicast address",
        "port group: 00:00:00:00:00:00 is no station's address (it is zero or a group); give a unicast address",
        "port c: station 02:00:00:00:00:0a is already behind port b in bridge domain right; change one of them",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn a_flooded_piece_to_be_cut_is_whole_or_in_segments_as_each_port_takes_it() {
    use crate::offload::tests::{Flow, Sink, pattern};
    use crate::offload::{Offloads, admit, push};
    let mut rig = Rig::new(&[access(LEFT), access(LEFT), access(LEFT), trunk(&[(10, LEFT)])], &domains());
    let flow = Flow::default();
    let payload = pattern(30_000);
    let (bytes, offload) = flow.handed_over(&payload, 1448);
    let mut frame = rig.pool.frame_from(&bytes).unwrap();
    admit(&mut rig.pool, &mut frame, offload).unwrap();
    let mut burst = Burst::new();
    burst.push(frame);
    rig.bridge.forward(&mut rig.pool, PortId(0), &mut burst, &mut rig.out, rig.now);
    let mut sinks = [Offloads::NONE, Offloads::ALL, Offloads::NONE, Offloads::NONE].map(Sink::that_accepts);
    let mut spare = Burst::new();
    rig.out.drain(|port, burst| push(&mut sinks[port.index()], &mut rig.pool, burst, &mut spare));
    let got = sinks.map(|sink| sink.got);
    assert!(got[0].is_empty());
    assert_eq!(got[1], [(bytes, Some(offload))]);
    let segments =
        |flow: &Flow| -> Vec<_> { flow.segments(&payload, 1448).into_iter().map(|bytes| (bytes, None)).collect() };
    assert_eq!(got[2], segments(&flow));
    assert_eq!(got[3], segments(&Flow { vlan: Some(10), ..flow }));
    assert_eq!((rig.pool.available(), rig.pool.offloaded()), (rig.pool.capacity(), 0));
}
