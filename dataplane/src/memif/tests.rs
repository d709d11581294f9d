//! Server and client of ours against each other, in one process, through the real socket and shared memory.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Memif, MemifError, MemifOptions, MemifPort, Role};
use crate::drops::DropReason;
use crate::frame::{BURST, Burst};
use crate::pool::{MAX_FRAME, Pool};
use crate::port::{Port, Sleep};
use crate::units::Nanos;

/// A socket path of this test's own.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Relaxed);
        let path = std::env::temp_dir().join(format!("pointsman-memif-{}-{n}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    fn options(&self, role: Role) -> MemifOptions {
        MemifOptions::new(format!("{role}0"), &self.0, 0, role)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// One side: its handle, its ports, and a worker's pool.
struct Side {
    memif: Memif,
    ports: Vec<MemifPort>,
    pool: Pool,
}

impl Side {
    fn start(options: &MemifOptions) -> Self {
        let (memif, ports) = Memif::start(options).unwrap();
        Self { memif, ports, pool: Pool::new(4096).unwrap() }
    }

    fn send(&mut self, queue: usize, frames: &[Vec<u8>]) {
        for some in frames.chunks(BURST) {
            let mut burst: Burst = some.iter().map(|f| self.pool.frame_from(f).unwrap()).collect();
            self.ports[queue].push(&mut self.pool, &mut burst);
            assert!(burst.is_empty());
        }
        self.ports[queue].flush(&mut self.pool);
        self.ports[queue].notify();
    }

    fn receive(&mut self, queue: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        loop {
            let mut burst = Burst::new();
            self.ports[queue].pull(&mut self.pool, &mut burst);
            if burst.is_empty() {
                return frames;
            }
            for frame in burst.drain(..) {
                frames.push(self.pool.to_vec(&frame));
                self.pool.free(frame);
            }
        }
    }

    fn is_up(&mut self) -> bool {
        for port in &mut self.ports {
            port.tick(&mut self.pool, Nanos::now());
        }
        self.ports[0].is_up()
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.ports[0].counters().drops.get(reason)
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < limit, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn both(server: &MemifOptions, client: &MemifOptions) -> (Side, Side) {
    let (mut a, mut b) = (Side::start(server), Side::start(client));
    until("both up", || a.is_up() && b.is_up());
    (a, b)
}

fn pair(place: &Place) -> (Side, Side) {
    both(&place.options(Role::Server), &place.options(Role::Client))
}

fn frame(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + seed * 7 + i / 251) as u8).collect()
}

#[test]
fn frames_of_every_length_cross_both_ways_in_order() {
    let place = Place::new();
    let (mut a, mut b) = pair(&place);
    let lengths = [1, 14, 31, 32, 33, 60, 64, 65, 127, 128, 129, 1514, 1792, 1793, 2048, 2049, 4096, 9018, MAX_FRAME];
    let frames: Vec<_> = lengths.iter().enumerate().map(|(i, len)| frame(i, *len)).collect();
    let before = (a.pool.available(), b.pool.available());
    // Often enough to go round the ring several times.
    for round in 0..100 {
        a.send(0, &frames);
        assert_eq!(b.receive(0), frames, "server to client, round {round}");
        b.send(0, &frames);
        assert_eq!(a.receive(0), frames, "client to server, round {round}");
    }
    assert_eq!((a.pool.available(), b.pool.available()), before, "chunks leaked");
    let (sent, got) = (a.ports[0].counters(), b.ports[0].counters());
    assert_eq!(sent.tx_frames.load(Relaxed), 100 * lengths.len() as u64);
    assert_eq!(sent.tx_bytes.load(Relaxed), got.rx_bytes.load(Relaxed));
    assert_eq!(sent.drops.total() + got.drops.total(), 0);
}

#[test]
fn a_full_ring_drops_what_is_too_much_and_says_so() {
    let place = Place::new();
    let mut options = place.options(Role::Client);
    options.ring_size = 128;
    let (mut a, mut b) = both(&place.options(Role::Server), &options);
    for (from, to) in [(0, 1), (1, 0)] {
        let sides = [&mut a, &mut b];
        let [from_side, to_side] = if from < to {
            sides
        } else {
            let [x, y] = sides;
            [y, x]
        };
        // The client offers its buffers when its worker first pulls.
        to_side.receive(0);
        assert!(!from_side.ports[0].is_full());
        let frames: Vec<_> = (0..192).map(|i| frame(i, 60)).collect();
        from_side.send(0, &frames);
        assert!(from_side.ports[0].is_full());
        assert_eq!(from_side.drops(DropReason::OutputFull), 64);
        assert_eq!(to_side.receive(0), frames[..128]);
        assert!(!from_side.ports[0].is_full());
        // A long frame does not go in halves.
        from_side.send(0, &[frame(1, 60), frame(2, MAX_FRAME), frame(3, 9018)]);
        assert_eq!(to_side.receive(0).len(), 3);
    }
    let small = Place::new();
    options.ring_size = 8;
    options.socket = small.0.clone();
    let (mut a, mut b) = both(&small.options(Role::Server), &options);
    b.receive(0);
    a.send(0, &[frame(1, 60), frame(2, 20_000), frame(3, 60)]);
    assert_eq!(b.receive(0), [frame(1, 60)], "what follows a frame that has no room waits its turn: it is dropped");
    assert_eq!(a.drops(DropReason::OutputFull), 2);
    b.send(0, &[frame(1, 60), frame(2, 20_000), frame(3, 60)]);
    assert_eq!(a.receive(0), [frame(1, 60)]);
}

#[test]
fn an_empty_pool_loses_frames_not_the_peer() {
    let place = Place::new();
    let (mut a, mut b) = pair(&place);
    b.send(0, &[frame(0, 60), frame(1, 9018), frame(2, 60)]);
    let held: Vec<_> = std::iter::from_fn(|| a.pool.alloc()).collect();
    assert!(a.receive(0).is_empty());
    assert_eq!(a.drops(DropReason::PoolExhausted), 3);
    a.pool.free_all(held);
    b.send(0, &[frame(3, 9018)]);
    assert_eq!(a.receive(0), [frame(3, 9018)]);
}

#[test]
fn every_ring_pair_is_a_port_and_a_surplus_one_is_down() {
    let place = Place::new();
    let mut server = place.options(Role::Server);
    let mut client = place.options(Role::Client);
    (server.rings, client.rings) = (4, 2);
    let (mut a, mut b) = both(&server, &client);
    assert_eq!((a.ports.len(), b.ports.len()), (4, 2));
    for queue in 0..2 {
        b.receive(queue);
        a.send(queue, &[frame(queue, 100)]);
        b.send(queue, &[frame(queue + 10, 100)]);
    }
    for queue in 0..2 {
        assert_eq!(b.receive(queue), [frame(queue, 100)]);
        assert_eq!(a.receive(queue), [frame(queue + 10, 100)]);
    }
    assert_eq!(a.ports.iter().map(|p| p.is_up()).collect::<Vec<_>>(), [true, true, false, false]);
    let state = a.memif.state();
    let peer = state.peer.unwrap();
    assert_eq!((peer.rx_rings, peer.tx_rings, peer.ring_size), (2, 2, 1024));
    assert_eq!(peer.interface, "client0");
    // The other way: a client that asks for more than the server has.
    drop(b);
    client.rings = 8;
    let mut b = Side::start(&client);
    until("up again", || b.is_up() && a.is_up());
    until("all four", || a.is_up() && a.ports.iter().all(|p| p.is_up()));
    assert_eq!(b.ports.iter().filter(|p| p.is_up()).count(), 4);
}

#[test]
fn either_side_may_go_and_come_back() {
    let place = Place::new();
    let (mut a, mut b) = pair(&place);
    for round in 0..5 {
        drop(b);
        until("server down", || !a.is_up());
        assert_eq!(a.memif.state().last_disconnect.as_deref(), Some("disconnected by the peer: interface removed"));
        a.send(0, &[frame(0, 60)]);
        assert_eq!(a.drops(DropReason::OutputDown), round + 1);
        b = Side::start(&place.options(Role::Client));
        until("up again", || a.is_up() && b.is_up());
        b.send(0, &[frame(1, 60)]);
        assert_eq!(a.receive(0), [frame(1, 60)]);
        assert_eq!(a.memif.state().connects, round + 2);
    }
    for _ in 0..5 {
        drop(a);
        until("client down", || !b.is_up());
        assert!(!place.0.exists());
        a = Side::start(&place.options(Role::Server));
        until("up again", || a.is_up() && b.is_up());
        b.receive(0);
        a.send(0, &[frame(2, 60)]);
        assert_eq!(b.receive(0), [frame(2, 60)]);
    }
}

#[test]
fn several_interfaces_share_a_socket_and_an_id_is_given_once() {
    let place = Place::new();
    let mut sides = Vec::new();
    for id in 0..3 {
        let (mut server, mut client) = (place.options(Role::Server), place.options(Role::Client));
        (server.id, client.id) = (id, id);
        sides.push(both(&server, &client));
    }
    for (i, (a, b)) in sides.iter_mut().enumerate() {
        b.send(0, &[frame(i, 200)]);
        assert_eq!(a.receive(0), [frame(i, 200)]);
    }
    let again = Memif::start(&place.options(Role::Server));
    assert!(matches!(again, Err(MemifError::IdTaken { id: 0, .. })));
    // One of three goes: the socket stays.
    sides.remove(0);
    assert!(place.0.exists());
    sides.clear();
    assert!(!place.0.exists());
}

#[test]
fn the_secret_must_be_the_same() {
    let place = Place::new();
    let mut server = place.options(Role::Server);
    server.secret = "swordfish".into();
    let mut a = Side::start(&server);
    let mut wrong = place.options(Role::Client);
    for secret in ["", "sword", "swordfish2"] {
        wrong.secret = secret.into();
        let b = Side::start(&wrong);
        until("refused", || b.memif.state().last_disconnect.is_some_and(|r| r.contains("incorrect secret")));
        assert!(!a.is_up());
    }
    wrong.secret = "swordfish".into();
    let mut b = Side::start(&wrong);
    until("up", || a.is_up() && b.is_up());
}

#[test]
fn a_second_client_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    let (mut a, mut b) = pair(&place);
    let refused = second_client(&place.0);
    assert_eq!(refused, "id 0 is already connected");
    b.send(0, &[frame(1, 60)]);
    assert_eq!(a.receive(0), [frame(1, 60)]);
    assert!(a.is_up() && b.is_up());
    assert_eq!(a.memif.state().connects, 1);
}

/// Connects by hand, and returns why the server refuses.
fn second_client(path: &std::path::Path) -> String {
    use std::os::fd::AsFd;

    use super::socket::{self, Received};
    use super::wire::{Init, Message, VERSION};

    let socket = socket::connect(path).unwrap();
    let mut reason = String::new();
    let init = Message::Init(Init { version: VERSION, id: 0, mode: 0, secret: [0; 24], name: "second".into() });
    until("an answer", || match socket::receive(socket.as_fd()) {
        Received::Message(bytes, _) => match Message::decode(&bytes).unwrap() {
            Message::Hello(_) => {
                socket::send(socket.as_fd(), &init.encode(), None).unwrap();
                false
            }
            Message::Disconnect { reason: text, .. } => {
                reason = text;
                true
            }
            other => panic!("{other:?}"),
        },
        _ => false,
    });
    reason
}

#[test]
fn a_sleeper_is_woken_by_frames_by_connecting_and_after_reconnecting() {
    let place = Place::new();
    let mut a = Side::start(&place.options(Role::Server));
    let sleep = Sleep::new().unwrap();
    assert!(a.ports[0].arm(&sleep));
    let mut b = Side::start(&place.options(Role::Client));
    let slept = Instant::now();
    sleep.wait(Nanos::from_secs(10));
    assert!(slept.elapsed() < Duration::from_secs(5), "connecting does not wake");
    a.ports[0].disarm(&sleep);
    for round in 0..3 {
        until("up", || a.is_up() && b.is_up());
        a.receive(0);
        until("armed", || {
            sleep.wait(Nanos(0));
            a.receive(0);
            a.ports[0].arm(&sleep)
        });
        sleep.wait(Nanos(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(20));
                b.send(0, &[frame(round, 60)]);
            });
            let slept = Instant::now();
            sleep.wait(Nanos::from_secs(10));
            assert!(slept.elapsed() < Duration::from_secs(5), "a frame does not wake, round {round}");
        });
        a.ports[0].disarm(&sleep);
        assert_eq!(a.receive(0), [frame(round, 60)]);
        // Awake: the peer makes no system call for us, so nothing is left to wake a later sleep.
        b.send(0, &[frame(0, 60)]);
        assert_eq!(a.receive(0).len(), 1);
        drop(b);
        until("down", || !a.is_up());
        b = Side::start(&place.options(Role::Client));
    }
}

#[test]
fn arming_with_frames_waiting_does_not_sleep() {
    let place = Place::new();
    let (mut a, mut b) = pair(&place);
    let sleep = Sleep::new().unwrap();
    b.send(0, &[frame(0, 60)]);
    assert!(!a.ports[0].arm(&sleep));
    assert_eq!(a.receive(0).len(), 1);
    assert!(a.ports[0].arm(&sleep));
}

#[test]
fn options_out_of_range_are_named() {
    let place = Place::new();
    let bad = |change: fn(&mut MemifOptions), word: &str| {
        let mut options = place.options(Role::Client);
        change(&mut options);
        let error = Memif::start(&options).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("want") || error.contains("more than"), "{error}");
    };
    bad(|o| o.rings = 0, "rings");
    bad(|o| o.rings = 256, "rings");
    bad(|o| o.ring_size = 1000, "ring_size");
    bad(|o| o.ring_size = 32768, "ring_size");
    bad(|o| o.buffer_size = 63, "buffer_size");
    bad(|o| o.secret = "x".repeat(25), "secret");
    bad(|o| (o.rings, o.ring_size) = (255, 16384), "rings");
    let mut options = place.options(Role::Server);
    options.socket = "/".repeat(200).into();
    assert!(matches!(Memif::start(&options), Err(MemifError::Listen(_))));
}
