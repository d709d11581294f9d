//! Clients that lie, cheat, stop halfway and scribble: whatever one does, it is told why it must go, or loses its frames;
//! nothing panics or crashes, and the next one, which behaves, is served. `memif_hostile_server` has the other role.

mod memif_peer;

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use memif_peer::{
    BUFFER, Client, Memory, Ours, Place, SIZE, Talk, Way, buffer, honest_peer_works, init, memfd, scribble, until,
};
use pointsman_dataplane::drops::DropReason;
use pointsman_dataplane::memif::Role;
use pointsman_dataplane::memif::ring::field;
use pointsman_dataplane::memif::wire::{AddRegion, AddRing, Message};
use pointsman_dataplane::port::{Port, Sleep};

/// A server of ours, a client by hand that has said `said` of its messages and then does `evil`, and what it is told.
fn refused(said: usize, evil: impl FnOnce(&Client), reason: &str) {
    let place = Place::new();
    let mut ours = Ours::start(&place.options(Role::Server));
    let client = Client::say(&place.0, said);
    evil(&client);
    let told = client.talk.goodbye();
    assert!(told.contains(reason), "told {told:?}, not {reason:?}");
    until("down", || !ours.is_up());
    drop(client);
    honest_peer_works(&mut ours, &place.options(Role::Client));
}

fn says(message: Message) -> impl FnOnce(&Client) {
    move |client| assert!(client.talk.send(&message, &[]))
}

fn adds_region(index: u16, size: u64, fd: impl AsFd) -> impl FnOnce(&Client) {
    move |client| assert!(client.talk.send(&Message::AddRegion(AddRegion { index, size }), &[fd.as_fd()]))
}

fn adds_ring(change: fn(&mut AddRing)) -> impl FnOnce(&Client) {
    move |client| {
        let mut add = client.memory.add_ring(Way::S2m);
        change(&mut add);
        assert!(client.talk.send(&Message::AddRing(add), &[client.events[0].as_fd()]));
    }
}

/// As [`adds_ring`], but it is only when the client connects that all is there to be checked.
fn connects_with_ring(change: fn(&mut AddRing)) -> impl FnOnce(&Client) {
    move |client| {
        adds_ring(change)(client);
        client.talk.expect_ack();
        says(Message::Connect("hostile0".into()))(client);
    }
}

#[test]
fn whoever_introduces_itself_wrongly() {
    let mut wrong = init();
    wrong.version = 0x0300;
    refused(0, says(Message::Init(wrong.clone())), "incompatible memif version");
    wrong = init();
    wrong.mode = 1;
    refused(0, says(Message::Init(wrong.clone())), "only Ethernet mode");
    wrong = init();
    wrong.id = 77;
    refused(0, says(Message::Init(wrong)), "no interface with id 77");
    refused(1, says(Message::Init(init())), "unexpected INIT");
}

#[test]
fn messages_out_of_turn() {
    for said in 0..6 {
        refused(said, says(Message::Ack), "unexpected ACK");
        refused(said, says(Message::Connected("x".into())), "unexpected CONNECTED");
    }
    refused(0, says(Message::Connect("x".into())), "unexpected CONNECT");
    let file = memfd(4096, 0);
    refused(0, adds_region(0, 4096, file), "unexpected ADD_REGION");
    refused(0, adds_ring(|_| {}), "unexpected ADD_RING");
    refused(5, |client| adds_ring(|_| {})(client), "unexpected ADD_RING");
    refused(5, says(Message::Init(init())), "unexpected INIT");
}

#[test]
fn bytes_that_are_no_message() {
    let raw = |bytes: Vec<u8>| move |client: &Client| assert!(client.talk.send_raw(&bytes, &[]));
    for said in [0, 1, 3, 5] {
        refused(said, raw(vec![1; 64]), "message of 64 bytes");
        refused(said, raw(vec![1; 4000]), "message of 129 bytes");
        refused(said, raw(vec![0; 128]), "unknown message type 0");
        refused(said, raw(vec![0xff; 128]), "unknown message type 65535");
        // A message of no bytes looks like the end, and is.
        refused(said, raw(Vec::new()), "");
    }
    // Halves of a message are two messages.
    let whole = Message::Init(init()).encode();
    refused(0, raw(whole[..64].to_vec()), "message of 64 bytes");
}

#[test]
fn descriptors_missing_or_too_many() {
    let region = || Message::AddRegion(AddRegion { index: 0, size: 4096 });
    refused(1, says(region()), "0 file descriptors with a ADD_REGION");
    refused(2, |c| says(Message::AddRing(c.memory.add_ring(Way::S2m)))(c), "0 file descriptors with a ADD_RING");
    for count in [2, 4] {
        refused(1, move |c| assert!(c.talk.send(&region(), &vec![c.memory.file.as_fd(); count])), "file descriptors");
    }
    for count in [5, 28, 29, 100] {
        refused(1, move |c| assert!(c.talk.send(&region(), &vec![c.memory.file.as_fd(); count])), "too many file");
    }
    refused(0, |c| assert!(c.talk.send(&Message::Init(init()), &[c.events[0].as_fd()])), "1 file descriptors");
}

#[test]
fn regions_that_are_not_what_they_should_be() {
    let sealed = |len| memfd(len, libc::F_SEAL_SHRINK);
    refused(1, adds_region(1, 4096, sealed(4096)), "region index 1, where 0 comes next");
    refused(1, adds_region(0, 0, sealed(4096)), "region of 0 bytes");
    refused(1, adds_region(0, u64::MAX, sealed(4096)), "region of 18446744073709551615 bytes");
    refused(1, adds_region(0, 4097, sealed(4096)), "region of 4097 bytes in a file of 4096");
    // Can still shrink, and we may not forbid it.
    refused(1, adds_region(0, 4096, memfd(4096, libc::F_SEAL_SEAL)), "not a memfd sealed");
    refused(1, adds_region(0, 4096, std::fs::File::open("/dev/zero").unwrap()), "not a memfd sealed");
    refused(1, |c| adds_region(0, 4096, c.talk.0.as_fd())(c), "not a memfd sealed");
    // Not to be written: a ring cannot lie in it.
    refused(1, adds_region(0, 4096, memfd(4096, libc::F_SEAL_SHRINK | libc::F_SEAL_WRITE)), "cannot be mapped");
    let too_many = |client: &Client| {
        for index in 1..17 {
            adds_region(index, 4096, memfd(4096, libc::F_SEAL_SHRINK))(client);
            if index < 16 {
                client.talk.expect_ack();
            }
        }
    };
    refused(2, too_many, "region index 16");
    // Each would do, all together are more than a peer gets.
    let too_much = |client: &Client| {
        let big = memfd(1 << 31, libc::F_SEAL_SHRINK);
        adds_region(1, 1 << 31, big)(client);
    };
    refused(2, too_much, "for all regions");
}

#[test]
fn rings_that_are_not_where_they_should_be() {
    refused(2, adds_ring(|r| r.log2_size = 15), "ring of 2^15");
    refused(2, adds_ring(|r| r.log2_size = 255), "ring of 2^255");
    refused(2, adds_ring(|r| r.index = 1), "ring 1 is beyond the 1");
    refused(2, adds_ring(|r| r.index = u16::MAX), "ring 65535");
    refused(3, adds_ring(|_| {}), "was added before");
    refused(2, connects_with_ring(|r| r.offset = !15), "does not lie in region 0");
    refused(2, connects_with_ring(|r| r.offset = 8192 + 2 * 64 * 2048), "does not lie in region 0");
    refused(2, connects_with_ring(|r| r.offset = 8), "does not lie in region 0");
    refused(2, connects_with_ring(|r| r.region = 1), "does not lie in region 1");
    refused(2, connects_with_ring(|r| (r.log2_size, r.offset) = (14, 16384)), "does not lie in region 0");
    refused(2, connects_with_ring(|r| r.offset = 8192), "no cookie");
    refused(2, says(Message::Connect("x".into())), "no rings");
    let not_an_event = |client: &Client| {
        let add = Message::AddRing(client.memory.add_ring(Way::S2m));
        assert!(client.talk.send(&add, &[client.memory.file.as_fd()]));
    };
    refused(2, not_an_event, "not an eventfd");
}

#[test]
fn whoever_goes_in_the_middle_of_the_handshake() {
    let place = Place::new();
    let mut ours = Ours::start(&place.options(Role::Server));
    for said in 0..=5 {
        drop(Client::say(&place.0, said));
        honest_peer_works(&mut ours, &place.options(Role::Client));
    }
}

#[test]
fn whoever_says_nothing_more_is_sent_away() {
    let place = Place::new();
    let mut ours = Ours::start(&place.options(Role::Server));
    let silent: Vec<_> = [0, 1, 3].iter().map(|said| Talk::connect(&place.0).then(*said)).collect();
    let began = Instant::now();
    for talk in &silent {
        let told = talk.goodbye();
        assert!(told.contains("handshake took too long") || told.contains("already connected"), "{told:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(8));
    honest_peer_works(&mut ours, &place.options(Role::Client));
}

trait Then {
    fn then(self, said: usize) -> Self;
}

impl Then for Talk {
    /// Says the first messages without looking at the answers.
    fn then(self, said: usize) -> Self {
        let memory = Memory::new();
        if said > 0 {
            self.send(&Message::Init(init()), &[]);
        }
        if said > 1 {
            let add = Message::AddRegion(AddRegion { index: 0, size: memory.len as u64 });
            self.send(&add, &[memory.file.as_fd()]);
        }
        self
    }
}

#[test]
fn a_crowd_of_strangers_keeps_nobody_out() {
    let place = Place::new();
    let mut ours = Ours::start(&place.options(Role::Server));
    let crowd: Vec<_> = (0..200).map(|_| Talk::connect(&place.0)).collect();
    honest_peer_works(&mut ours, &place.options(Role::Client));
    drop(crowd);
    honest_peer_works(&mut ours, &place.options(Role::Client));
}

/// A connected client breaks its rings; `work` is what our worker does then; the client is told `reason`.
fn detached(evil: impl FnOnce(&Client), work: impl Fn(&mut Ours), reason: &str) {
    let place = Place::new();
    let mut ours = Ours::start(&place.options(Role::Server));
    let client = Client::connect(&place.0);
    until("up", || ours.is_up());
    let chunks = ours.pool.available();
    // It behaves for a while.
    client.memory.publish(&[60; 10], false);
    assert_eq!(ours.receive().len(), 10);
    evil(&client);
    until("detached", || {
        work(&mut ours);
        !ours.is_up()
    });
    let told = client.talk.goodbye();
    assert!(told.contains(reason), "told {told:?}, not {reason:?}");
    until("the state tells why", || ours.last_disconnect().contains(reason));
    assert_eq!(ours.drops(DropReason::DescriptorInvalid), 1);
    assert_eq!(ours.pool.available(), chunks, "chunks leaked");
    drop(client);
    honest_peer_works(&mut ours, &place.options(Role::Client));
}

fn pull(ours: &mut Ours) {
    ours.receive();
}

fn push(ours: &mut Ours) {
    ours.send(&[1; 60]);
}

fn push_long(ours: &mut Ours) {
    ours.send(&[1; 9018]);
}

#[test]
fn indices_that_jump() {
    for by in [SIZE + 1, 1000, 0x8000, 0xffff] {
        let jump = move |way| {
            move |client: &Client| {
                client.memory.head(way).fetch_add(by, SeqCst);
            }
        };
        detached(jump(Way::S2m), pull, "index moved");
        detached(jump(Way::M2s), push, "index moved");
        detached(jump(Way::M2s), push_long, "index moved");
    }
}

#[test]
fn descriptors_that_point_elsewhere() {
    let end = (8192 + 2 * u32::from(SIZE) * BUFFER) as u64;
    let cases: [([u64; 2], &str); 7] = [
        ([60 << 32 | 7 << 16, 8192], "region 7 was never added"),
        ([60 << 32 | 0xffff << 16, 8192], "region 65535 was never added"),
        ([2048 << 32, end - 2047], "ends outside region 0"),
        ([2048 << 32, 0xffff_ffff], "ends outside region 0"),
        ([0xffff_ffff << 32, 0], "ends outside region 0"),
        ([0xffff_ffff << 32, 0xffff_ffff], "ends outside region 0"),
        ([(end + 1) << 32, 0], "ends outside region 0"),
    ];
    for (words, reason) in cases {
        let fill = move |client: &Client| {
            let head = client.memory.head(Way::S2m).load(SeqCst);
            client.memory.publish(&[60, 60, 60], false);
            client.memory.describe(Way::S2m, head + 1, words);
        };
        detached(fill, pull, reason);
        let offer = move |client: &Client| {
            client.memory.describe(Way::M2s, 0, words);
            client.memory.head(Way::M2s).store(SIZE, SeqCst);
        };
        detached(offer, push, reason);
        detached(offer, push_long, reason);
    }
    let cramped = |client: &Client| {
        client.memory.describe(Way::M2s, 0, [10 << 32, 8192]);
        client.memory.head(Way::M2s).store(SIZE, SeqCst);
    };
    detached(cramped, push, "buffer of only 10 bytes");
}

#[test]
fn a_chain_without_end() {
    let place = Place::new();
    let mut ours = Ours::start(&place.options(Role::Server));
    let client = Client::connect(&place.0);
    until("up", || ours.is_up());
    for slot in 0..SIZE {
        client.memory.describe(Way::S2m, slot, [1 | 1 << 32, u64::from(buffer(Way::S2m, slot))]);
    }
    // Offered again as soon as it was taken: one more than the ring holds, and it cannot be a frame.
    until("detached", || {
        pull(&mut ours);
        let tail = client.memory.tail(Way::S2m).load(SeqCst);
        client.memory.head(Way::S2m).store(tail.wrapping_add(SIZE), SeqCst);
        !ours.is_up()
    });
    assert!(client.talk.goodbye().contains("chain of descriptors without end"));
    drop(client);
    honest_peer_works(&mut ours, &place.options(Role::Client));
}

#[test]
fn frames_of_no_length_and_of_too_much_are_dropped_and_the_peer_stays() {
    let place = Place::new();
    let mut ours = Ours::start(&place.options(Role::Server));
    let client = Client::connect(&place.0);
    until("up", || ours.is_up());
    let chunks = ours.pool.available();
    client.memory.publish(&[0, 60, 0], false);
    assert_eq!(ours.receive().len(), 1);
    assert_eq!(ours.drops(DropReason::Runt), 2);
    // 34 pieces of 2048 bytes are more than a frame may have.
    client.memory.publish(&[2048; 34], true);
    client.memory.publish(&[100], false);
    assert_eq!(ours.receive(), [vec![0; 100]]);
    assert_eq!(ours.drops(DropReason::Giant), 1);
    // One descriptor as long as the region.
    client.memory.describe(Way::S2m, 38, [200_000 << 32, 0]);
    client.memory.head(Way::S2m).fetch_add(1, SeqCst);
    assert!(ours.receive().is_empty());
    assert_eq!(ours.drops(DropReason::Giant), 2);
    // A frame that comes in pieces is whole when the last is there.
    client.memory.describe(Way::S2m, 39, [1 | 1000 << 32, u64::from(buffer(Way::S2m, 39))]);
    client.memory.head(Way::S2m).fetch_add(1, SeqCst);
    assert!(ours.receive().is_empty());
    client.memory.publish(&[500], false);
    assert_eq!(ours.receive(), [vec![0; 1500]]);
    assert!(ours.is_up());
    assert_eq!(ours.pool.available(), chunks);
    assert_eq!(ours.drops(DropReason::DescriptorInvalid), 0);
}

#[test]
fn a_frame_left_in_pieces_is_given_back_when_the_peer_goes() {
    let place = Place::new();
    let mut ours = Ours::start(&place.options(Role::Server));
    let chunks = ours.pool.available();
    let client = Client::connect(&place.0);
    until("up", || ours.is_up());
    client.memory.describe(Way::S2m, 0, [1 | 2048 << 32, u64::from(buffer(Way::S2m, 0))]);
    client.memory.head(Way::S2m).store(1, SeqCst);
    assert!(ours.receive().is_empty());
    assert!(ours.pool.available() < chunks);
    drop(client);
    until("down", || !ours.is_up());
    assert_eq!(ours.pool.available(), chunks);
}

#[test]
fn what_is_ours_to_write_is_not_read_back() {
    let place = Place::new();
    let mut ours = Ours::start(&place.options(Role::Server));
    let client = Client::connect(&place.0);
    until("up", || ours.is_up());
    client.memory.head(Way::M2s).store(SIZE, SeqCst);
    for round in 0..20u16 {
        // The server's own indices and the flags, scribbled over.
        client.memory.tail(Way::S2m).store(round.wrapping_mul(7919), SeqCst);
        client.memory.tail(Way::M2s).store(round.wrapping_mul(6007), SeqCst);
        client.memory.word16(Way::S2m, field::FLAGS).store(0xfffe, SeqCst);
        client.memory.publish(&[60], false);
        assert_eq!(ours.receive().len(), 1);
        ours.send(&[9; 60]);
        assert_eq!(client.memory.tail(Way::M2s).load(SeqCst), round + 1);
    }
    assert!(ours.is_up());
}

#[test]
fn memory_that_is_taken_away_under_us() {
    let place = Place::new();
    let mut ours = Ours::start(&place.options(Role::Server));
    let client = Client::connect(&place.0);
    until("up", || ours.is_up());
    assert!(client.memory.file.set_len(4096).is_err(), "the region can shrink");
    // A hole reads as zeros: the rings are empty, their cookies gone, and nothing crashes.
    let hole = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: no pointers.
    let done = unsafe { libc::fallocate(client.memory.file.as_raw_fd(), hole, 0, client.memory.len as i64) };
    assert_eq!(done, 0);
    for _ in 0..10 {
        ours.receive();
        ours.send(&[1; 60]);
    }
    drop(client);
    until("down", || !ours.is_up());
    honest_peer_works(&mut ours, &place.options(Role::Client));
}

#[test]
fn an_eventfd_that_would_block_a_writer() {
    let place = Place::new();
    let mut ours = Ours::start(&place.options(Role::Server));
    let client = Client::connect(&place.0);
    until("up", || ours.is_up());
    // Full, and blocking: a plain write would sleep for ever.
    let most = u64::MAX - 1;
    // SAFETY: 8 bytes are given.
    assert_eq!(unsafe { libc::write(client.events[1].as_raw_fd(), (&raw const most).cast(), 8) }, 8);
    client.memory.head(Way::M2s).store(SIZE, SeqCst);
    let began = Instant::now();
    for _ in 0..usize::from(SIZE) {
        ours.send(&[1; 60]);
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(ours.is_up());
}

#[test]
fn a_peer_that_was_parted_from_wakes_us_no_more() {
    let place = Place::new();
    let mut ours = Ours::start(&place.options(Role::Server));
    let client = Client::connect(&place.0);
    until("up", || ours.is_up());
    let sleep = Sleep::new().unwrap();
    until("armed", || ours.port.arm(&sleep));
    client.memory.head(Way::S2m).store(SIZE + 1, SeqCst);
    until("detached", || {
        ours.receive();
        !ours.is_up()
    });
    until("the control side has let go too", || ours.last_disconnect().contains("index moved"));
    until("armed again", || {
        ours.receive();
        ours.port.arm(&sleep)
    });
    sleep.wait(pointsman_dataplane::units::Nanos(0));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                // SAFETY: 8 bytes are given.
                unsafe { libc::write(client.events[0].as_raw_fd(), (&raw const ONE).cast(), 8) };
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let began = Instant::now();
        sleep.wait(pointsman_dataplane::units::Nanos::from_millis(200));
        let slept = began.elapsed();
        stop.store(true, SeqCst);
        assert!(slept >= Duration::from_millis(190), "woken after {slept:?}");
    });
}

static ONE: u64 = 1;

#[test]
fn descriptors_that_change_while_they_are_read() {
    let place = Place::new();
    let mut ours = Ours::start(&place.options(Role::Server));
    let began = Instant::now();
    let (mut rounds, mut frames) = (0, 0);
    while began.elapsed() < Duration::from_secs(2) || rounds < 3 {
        rounds += 1;
        let client = Client::connect(&place.0);
        until("up", || ours.is_up());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (memory, stop) = (&client.memory, &stop);
            scope.spawn(move || scribble(memory, rounds, stop));
            let round = Instant::now();
            while ours.is_up() && round.elapsed() < Duration::from_millis(300) {
                frames += ours.receive().len();
                ours.send(&[7; 60]);
                ours.send(&[7; 3000]);
            }
            stop.store(true, SeqCst);
        });
        drop(client);
        until("down", || !ours.is_up());
    }
    assert!(frames > 0, "the scribbler never got a frame through: the test tests nothing");
    assert_eq!(ours.pool.available(), ours.pool.capacity(), "chunks leaked");
    honest_peer_works(&mut ours, &place.options(Role::Client));
}
