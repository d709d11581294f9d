//! What a trace costs the frames of a worker, whether they are told of or not: a worker with ports in memory, one of which
//! brings bursts of 64 without end, and a bridge between them.
//!
//! `cargo bench -p pointsman-dataplane --bench trace`: nanoseconds of the worker's CPU time a frame, all that it does
//! included, the ports' share too. The cases take turns, several rounds; shown are the median of the rounds and the least
//! and most. "No trace" stands there twice: what the two differ by is what the others' differences are to be held against.

#![allow(missing_docs, reason = "a program, not a library")]

mod cpu_time;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use cpu_time::thread_time;
use pointsman_dataplane::bridge::{Bridge, Domain, DomainId, Fdb, Member, Table};
use pointsman_dataplane::frame::{BURST, Burst};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::{Counters, Port, Sleep};
use pointsman_dataplane::trace::{Filter, Protocol, Trace, Traces};
use pointsman_dataplane::units::{Mac, Nanos, PortId};
use pointsman_dataplane::wire::ipv4;
use pointsman_dataplane::worker::{Doorbell, Worker, WorkerConfig};

const ROUNDS: usize = 9;
/// Bursts of a round, of which each frame is told in the dearest case.
const BURSTS: usize = 20_000;
/// Bursts before the clock runs.
const WARM_UP: usize = 1_000;

const FROM: Mac = Mac([2, 0, 0, 0, 0, 1]);
const TO: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// A UDP packet of 64 bytes with FCS.
fn packet() -> Vec<u8> {
    let header = ipv4::Header {
        tos: 0,
        length: 46,
        ident: 1,
        fragment: 0,
        ttl: 64,
        protocol: 17,
        source: Ipv4Addr::new(10, 0, 0, 1),
        destination: Ipv4Addr::new(10, 0, 0, 2),
    };
    let mut frame = [&TO.0[..], &FROM.0, &0x0800_u16.to_be_bytes(), &header.emit()].concat();
    frame.resize(60, 0);
    frame
}

/// A port in memory: takes frames, and brings none.
#[derive(Default)]
struct Memory {
    source: Option<Source>,
    counters: Arc<Counters>,
}

/// What brings bursts, then rings for the end.
struct Source {
    frame: Vec<u8>,
    left: usize,
    begun: Duration,
    took: Arc<OnceLock<Duration>>,
    bell: Arc<OnceLock<Doorbell>>,
}

impl Port for Memory {
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst) {
        let Some(source) = &mut self.source else { return };
        if source.left == BURSTS {
            source.begun = thread_time();
        }
        if source.left == 0 {
            let _ = source.took.set(thread_time() - source.begun);
            if let Some(bell) = source.bell.get() {
                bell.stop();
            }
            return;
        }
        source.left -= 1;
        while !burst.is_full() {
            burst.push(pool.frame_from(&source.frame).expect("a free chunk"));
        }
    }

    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        pool.free_all(burst.drain(..));
    }

    fn flush(&mut self, _pool: &mut Pool) {}

    fn tick(&mut self, _pool: &mut Pool, _now: Nanos) {}

    fn arm(&mut self, _sleep: &Sleep) -> bool {
        true
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn mode(&self) -> String {
        "memory".into()
    }
}

fn bridge() -> Bridge {
    let member = Member { native: Some(DomainId(0)), ..Member::default() };
    let ports = [FROM, TO].map(|mac| Member { macs: vec![mac], ..member.clone() });
    let domains = [Domain { name: "d".into(), age: Nanos::from_secs(300), max_learned: 64 }];
    let table = Table::build(&ports, &domains).expect("a table without contradictions");
    Bridge::new(Arc::new(ArcSwap::from_pointee(table)), Arc::new(Fdb::new(&domains)))
}

/// Nanoseconds a frame.
fn round(traces: &Arc<Traces>) -> f64 {
    let (took, bell) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()));
    let source = Source {
        frame: packet(),
        left: BURSTS + WARM_UP,
        begun: Duration::ZERO,
        took: Arc::clone(&took),
        bell: Arc::clone(&bell),
    };
    let first = Memory { source: Some(source), counters: Arc::default() };
    let ports: Vec<Box<dyn Port>> = vec![Box::new(first), Box::new(Memory::default())];
    let config = WorkerConfig { name: "trace".into(), core: None, chunks: 4096, spin: Nanos(0) };
    let mut worker = Worker::simple(config, ports, Box::new(bridge())).expect("a worker");
    worker.tell(Arc::clone(traces), 0);
    let _ = bell.set(worker.doorbell());
    worker.run();
    took.get().expect("the bursts came to an end").as_nanos() as f64 / (BURSTS * BURST) as f64
}

/// Somebody traces, and takes what is told as fast as it can.
fn traced(filter: &Filter, drops: bool, most: u64) -> f64 {
    let traces = Arc::new(Traces::default());
    let trace: Trace = traces.begin(filter.clone(), drops, most).expect("the only one");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                if trace.take().is_none() {
                    std::thread::sleep(Duration::from_micros(100));
                }
            }
        });
        let took = round(&traces);
        done.store(true, Relaxed);
        took
    })
}

/// UDP between the sender and a host.
fn flow(last: u8) -> Filter {
    let hosts = [1, last].map(|last| IpAddr::from(Ipv4Addr::new(10, 0, 0, last)));
    Filter { hosts: hosts.into(), protocol: Some(Protocol::Number(17)), ..Filter::default() }
}

fn main() {
    let none = || round(&Arc::new(Traces::default()));
    type Case = (&'static str, Box<dyn Fn() -> f64>);
    let cases: [Case; 7] = [
        ("no trace", Box::new(none)),
        ("no trace, again", Box::new(none)),
        (
            "of another port",
            Box::new(|| traced(&Filter { port: Some(PortId(1)), ..Filter::default() }, false, u64::MAX)),
        ),
        ("of a flow that does not come", Box::new(|| traced(&flow(9), false, u64::MAX))),
        ("of this flow, 20 frames, which are soon told", Box::new(|| traced(&flow(2), false, 20))),
        ("of what is lost of this flow: nothing", Box::new(|| traced(&flow(2), true, u64::MAX))),
        ("of this flow, every frame", Box::new(|| traced(&flow(2), false, u64::MAX))),
    ];
    let mut rounds = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for ((_, case), values) in cases.iter().zip(&mut rounds) {
            values.push(case());
        }
    }
    println!("A frame through a worker, with a trace:");
    for ((name, _), values) in cases.iter().zip(&mut rounds) {
        values.sort_by(f64::total_cmp);
        let [least, .., most] = values[..] else { continue };
        println!("  {name:<46} {:>8.2} ns   ({least:.2} to {most:.2})", values[values.len() / 2]);
    }
}
