//! Servers that misbehave: a client of ours says why it leaves, nothing panics or crashes, and the next server, which behaves,
//! is used. `memif_hostile` has the other role.

mod memif_peer;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering::SeqCst;

use memif_peer::{Memory, Ours, Place, Talk, Way, honest_peer_works, init, listen, until};
use pointsman_dataplane::drops::DropReason;
use pointsman_dataplane::memif::Role;
use pointsman_dataplane::memif::ring::field;
use pointsman_dataplane::memif::wire::{Hello, Message, VERSION};

/// A client of ours, and a server by hand that does `evil` after the hello.
fn client_meets(evil: impl FnOnce(&Talk), reason: &str) {
    let place = Place::new();
    let listener = listen(&place.0);
    let mut ours = Ours::start(&place.options(Role::Client));
    let talk = Talk::accept(&listener);
    evil(&talk);
    until("told", || ours.last_disconnect().contains(reason));
    until("down", || !ours.is_up());
    drop((talk, listener));
    honest_peer_works(&mut ours, &place.options(Role::Server));
}

fn hello() -> Hello {
    Hello {
        name: "hostile".into(),
        min_version: VERSION,
        max_version: VERSION,
        max_region: 0,
        max_m2s_ring: 0,
        max_s2m_ring: 0,
        max_log2_ring_size: 6,
    }
}

#[test]
fn servers_that_misbehave_in_the_handshake() {
    let mut other = hello();
    other.min_version = 0x0300;
    other.max_version = 0x0400;
    client_meets(move |t| assert!(t.send(&Message::Hello(other), &[])), "incompatible memif version");
    client_meets(|t| assert!(t.send(&Message::Connected("x".into()), &[])), "unexpected CONNECTED");
    client_meets(|t| assert!(t.send(&Message::Init(init()), &[])), "unexpected INIT");
    client_meets(|t| assert!(t.send_raw(&[9; 77], &[])), "message of 77 bytes");
    let early = |t: &Talk| {
        t.send(&Message::Hello(hello()), &[]);
        t.send(&Message::Connected("x".into()), &[]);
    };
    client_meets(early, "unexpected CONNECTED");
    let twice = |t: &Talk| {
        t.send(&Message::Hello(hello()), &[]);
        t.send(&Message::Hello(hello()), &[]);
    };
    client_meets(twice, "unexpected HELLO");
    let rejects = |t: &Talk| {
        t.send(&Message::Hello(hello()), &[]);
        t.send(&Message::Disconnect { code: 1, reason: "not today\x1b[31m".into() }, &[]);
    };
    client_meets(rejects, "disconnected by the peer: not today?[31m");
    client_meets(|t| drop(t.0.try_clone().map(|fd| shut(fd.as_fd()))), "the peer is gone");
    client_meets(|_| {}, "handshake took too long");
}

fn shut(fd: BorrowedFd<'_>) {
    // SAFETY: no pointers.
    unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR) };
}

/// A server by hand that plays along; the client's memory, as it sees it.
fn serve(talk: &Talk) -> Memory {
    assert!(talk.send(&Message::Hello(hello()), &[]));
    let mut memory = None;
    loop {
        match talk.receive() {
            Some((Message::AddRegion(add), Some(fd))) => memory = Some(Memory::map(fd.into(), add.size as usize)),
            Some((Message::AddRing(add), Some(_))) => assert_eq!(add.log2_size, 6, "the hello's limit is not heeded"),
            Some((Message::Init(_), None)) => {}
            Some((Message::Connect(_), None)) => {
                assert!(talk.send(&Message::Connected("hostile".into()), &[]));
                return memory.unwrap();
            }
            other => panic!("{other:?}"),
        }
        assert!(talk.send(&Message::Ack, &[]));
    }
}

/// Our client and a server that has behaved so far.
fn joined() -> (Place, OwnedFd, Ours, Talk, Memory) {
    let place = Place::new();
    let listener = listen(&place.0);
    let mut ours = Ours::start(&place.options(Role::Client));
    let talk = Talk::accept(&listener);
    let memory = serve(&talk);
    until("up", || ours.is_up());
    (place, listener, ours, talk, memory)
}

#[test]
fn servers_that_break_the_rings() {
    // The second ring follows the first at the next 128 bytes; `Memory` expects it at 4096.
    let tail = |memory: &Memory| {
        let at = 128 + 16 * 64 + field::TAIL;
        memory.word16(Way::S2m, at).store(65, SeqCst);
    };
    let too_long = |memory: &Memory| {
        let ring = 128 + 16 * 64;
        memory.word32(Way::S2m, ring + field::DESCRIPTORS + 4).store(2049, SeqCst);
        memory.word16(Way::S2m, ring + field::TAIL).store(1, SeqCst);
    };
    type Case = (fn(&Memory), fn(&mut Ours), &'static str);
    let cases: [Case; 3] = [
        (tail, pull, "index moved to 65"),
        (too_long, pull, "2049 bytes in a buffer of 2048"),
        (|memory| memory.tail(Way::S2m).store(5, SeqCst), push_much, "index moved"),
    ];
    for (evil, work, reason) in cases {
        let (place, listener, mut ours, talk, memory) = joined();
        evil(&memory);
        until("detached", || {
            work(&mut ours);
            !ours.is_up()
        });
        assert!(talk.goodbye().contains(reason));
        assert_eq!(ours.drops(DropReason::DescriptorInvalid), 1);
        drop((talk, listener, memory));
        honest_peer_works(&mut ours, &place.options(Role::Server));
    }
}

fn pull(ours: &mut Ours) {
    ours.receive();
}

/// More than fits, so that the server's index is looked at.
fn push_much(ours: &mut Ours) {
    for _ in 0..70 {
        ours.send(&[1; 60]);
    }
}

#[test]
fn a_server_may_scribble_over_offsets_in_vain() {
    let (_place, _listener, mut ours, _talk, memory) = joined();
    ours.receive();
    let ring = 128 + 16 * 64;
    for slot in 0..64 {
        for base in [0, ring] {
            memory.word32(Way::S2m, base + field::DESCRIPTORS + 16 * slot + 8).store(0xffff_fff0, SeqCst);
        }
    }
    ours.send(&[1; 60]);
    memory.word32(Way::S2m, ring + field::DESCRIPTORS + 4).store(60, SeqCst);
    memory.word16(Way::S2m, ring + field::TAIL).store(1, SeqCst);
    assert_eq!(ours.receive(), [vec![0; 60]]);
    assert!(ours.is_up());
}
