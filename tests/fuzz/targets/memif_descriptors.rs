//! A connected memif client that scribbles over the rings: its port drops, or detaches, and loses no memory.

#![no_main]

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use pointsman_dataplane::frame::Burst;
use pointsman_dataplane::memif::descriptor::{DESCRIPTOR_LEN, Descriptor};
use pointsman_dataplane::memif::ring::{field, ring_len};
use pointsman_dataplane::memif::{Memif, MemifOptions, MemifPort, Role};
use pointsman_dataplane::pool::{MAX_FRAME, Pool};
use pointsman_dataplane::port::{Port, Sleep};
use pointsman_dataplane::units::Nanos;
use pointsman_fuzz::{Client, Input, Joined, LOG2_RING};

struct Rig {
    path: PathBuf,
    _memif: Memif,
    port: MemifPort,
    pool: Pool,
    chunks: usize,
    sleep: Sleep,
    client: Option<Joined>,
}

fn rig() -> Rig {
    let path = std::env::temp_dir().join(format!("pointsman-fuzz-descriptors-{}.sock", std::process::id()));
    let (memif, ports) = Memif::start(&MemifOptions::new("fuzz", &path, 0, Role::Server)).expect("a server");
    let port = ports.into_iter().next().expect("a port");
    let pool = Pool::new(1024).expect("memory");
    let chunks = pool.available();
    Rig { path, _memif: memif, port, pool, chunks, sleep: Sleep::new().expect("an epoll"), client: None }
}

impl Rig {
    /// Ticks until the port is up or down, as wanted.
    fn until(&mut self, up: bool) {
        let limit = Instant::now() + Duration::from_secs(5);
        loop {
            self.port.tick(&mut self.pool, Nanos::now());
            if self.port.is_up() == up {
                return;
            }
            assert!(Instant::now() < limit, "the port does not come {}", if up { "up" } else { "down" });
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    fn joined(&mut self) {
        if self.client.is_some() && self.port.is_up() {
            return;
        }
        self.client = None;
        self.until(false);
        self.pull();
        assert_eq!(self.pool.available(), self.chunks, "chunks are lost");
        let limit = Instant::now() + Duration::from_secs(5);
        // The server may not have noticed yet that the last client has gone.
        self.client = loop {
            match Client::connect(&self.path).and_then(|client| client.join(0)) {
                Ok(joined) => break Some(joined),
                Err(e) => assert!(Instant::now() < limit, "nobody can connect any more: {e}"),
            }
            std::thread::sleep(Duration::from_micros(100));
        };
        self.until(true);
    }

    fn pull(&mut self) {
        let mut burst = Burst::new();
        self.port.pull(&mut self.pool, &mut burst);
        for frame in burst.drain(..) {
            assert!((1..=MAX_FRAME).contains(&frame.len()), "{} bytes", frame.len());
            self.pool.free(frame);
        }
    }
}

thread_local! {
    static RIG: RefCell<Rig> = RefCell::new(rig());
}

fuzz_target!(|data: &[u8]| RIG.with_borrow_mut(|rig| run(rig, Input(data))));

fn run(rig: &mut Rig, mut input: Input<'_>) {
    rig.joined();
    let size = 1_u16 << LOG2_RING;
    let write = |rig: &Rig, offset, bytes: &[u8]| {
        if let Some(client) = &rig.client {
            client.scribble(offset, bytes);
        }
    };
    while let Some(step) = input.byte() {
        let ring = if step & 0x80 == 0 { 0 } else { ring_len(LOG2_RING) };
        match step & 0xf {
            0..=2 => {
                let index = u16::from_ne_bytes(input.take()) % size;
                let at = ring + field::DESCRIPTORS + usize::from(index) * DESCRIPTOR_LEN;
                write(rig, at, &input.take::<DESCRIPTOR_LEN>());
            }
            3 => {
                // A descriptor that is nearly sound.
                let [index, flags, length, high, offset, far] = input.take();
                let at = ring + field::DESCRIPTORS + usize::from(u16::from(index) % size) * DESCRIPTOR_LEN;
                let length = u32::from(length) | u32::from(high) << 8;
                let first = Descriptor::first_word(u16::from(flags & 1), u16::from(flags & 2) >> 1, length);
                let second = u64::from(offset) << 8 | u64::from(far & 1) << 16;
                write(rig, at, &[first.to_ne_bytes(), second.to_ne_bytes()].concat());
            }
            4 => write(rig, ring + field::HEAD, &input.take::<2>()),
            5 => write(rig, ring + field::HEAD, &u16::from(input.byte().unwrap_or_default() % 33).to_ne_bytes()),
            6 => write(rig, ring + field::TAIL, &input.take::<2>()),
            7 => write(rig, ring + field::COOKIE, &input.take::<6>()),
            8 | 9 => rig.pull(),
            10 | 11 => {
                let len = usize::from(u16::from_ne_bytes(input.take()) % 9_000).max(1);
                let mut burst: Burst = rig.pool.frame_from(&vec![0x5a; len]).into_iter().collect();
                rig.port.push(&mut rig.pool, &mut burst);
                assert!(burst.is_empty());
            }
            12 => rig.port.flush(&mut rig.pool),
            13 => rig.port.tick(&mut rig.pool, Nanos::now()),
            14 => {
                rig.port.arm(&rig.sleep);
                rig.sleep.wait(Nanos(0));
                rig.port.disarm(&rig.sleep);
            }
            _ => write(rig, usize::from(u16::from_ne_bytes(input.take())), &input.take::<8>()),
        }
    }
    rig.pull();
    rig.port.flush(&mut rig.pool);
}
