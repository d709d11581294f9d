//! Whether guests get what they are entitled to, measured on an engine with memif guests.
//!
//! `cargo bench -p pointsman-dataplane --bench shares`, with the names of parts (isolation, weights, rates, overload) behind
//! `--` to run only those. It takes two cores and about a minute: the engine's worker has the first, the second is everybody else, who send and take what comes out. Each line says what was measured, what is
//! wanted, and whether that was reached; a machine that does other things at the same time reaches less.

#![allow(missing_docs, reason = "a program, not a library")]

use std::path::Path;
use std::time::Duration;

use pointsman_dataplane::config::Config;
use pointsman_dataplane::control::{Change, GuestReport, Reply, Request, Thing, Topic, ask};
use pointsman_dataplane::engine::Engine;
use pointsman_dataplane::frame::{BURST, Burst};
use pointsman_dataplane::memif::{Memif, MemifOptions, MemifPort, Role};
use pointsman_dataplane::pool::Pool;
use pointsman_dataplane::port::Port;
use pointsman_dataplane::units::Nanos;

const GUESTS: usize = 8;
/// Frames that a flooding guest brings between two looks at the others.
const GUST: usize = 64;

/// What a guest sends, and to whom.
#[derive(Clone, Copy)]
struct Offer {
    load: Load,
    /// Bytes of each frame, without FCS.
    len: usize,
    sink: usize,
}

#[derive(Clone, Copy)]
enum Load {
    Nothing,
    /// Frames a second.
    Paced(f64),
    Flood,
    /// Whenever there is room in its ring, until there is none.
    Backlog,
}

/// What came of it, by guest.
#[derive(Clone, Default)]
struct Got {
    offered: u64,
    /// Found no room in the guest's own ring: the engine was not reading.
    refused: u64,
    frames: u64,
    bytes: u64,
    latencies: Vec<u32>,
}

struct Bench {
    engine: Option<Engine>,
    folder: std::path::PathBuf,
    pool: Pool,
    sources: Vec<(Memif, MemifPort)>,
    sinks: Vec<(Memif, MemifPort)>,
}

impl Bench {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("pointsman-shares-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for sockets");
        let at = folder.display();
        let mut text = format!("control = \"{at}/control\"\n[[worker]]\ncore = 0\n[[domain]]\nname = \"d\"\n");
        for (kind, id) in [("source", 1), ("sink", 2)] {
            for n in 0..GUESTS {
                text += &format!(
                    "[[guest]]\nname = \"{kind}{n}\"\n[[guest.port]]\nname = \"{kind}{n}\"\nkind = \"memif\"\n\
                     socket = \"{at}/{kind}{n}\"\nmac = \"02:00:00:00:0{id}:0{n}\"\ndomain = \"d\"\n"
                );
            }
        }
        let config = Config::parse(&text, Path::new("shares.toml")).expect("a sound configuration");
        let engine = Engine::start(&config).expect("an engine");
        let connect = |kind: &str| -> Vec<(Memif, MemifPort)> {
            let port = |n: usize| {
                let name = format!("{kind}{n}");
                let options = MemifOptions::new(&name, folder.join(&name), 0, Role::Client);
                let (memif, mut ports) = Memif::start(&options).expect("a memif");
                (memif, ports.remove(0))
            };
            (0..GUESTS).map(port).collect()
        };
        let (sources, sinks) = (connect("source"), connect("sink"));
        let mut bench = Self { engine: Some(engine), folder, pool: Pool::new(65_536).expect("memory"), sources, sinks };
        let limit = Nanos::now().plus(Nanos::from_secs(10));
        while bench.sources.iter().chain(&bench.sinks).any(|(_, port)| !port.is_up()) {
            assert!(Nanos::now() < limit, "the guests do not connect");
            for (_, port) in bench.sources.iter_mut().chain(&mut bench.sinks) {
                port.tick(&mut bench.pool, Nanos::now());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // The engine's side takes a tick to notice.
        std::thread::sleep(Duration::from_millis(1500));
        bench
    }

    fn ask(&self, request: Request) -> Reply {
        ask(&self.folder.join("control"), request).expect("an answer")
    }

    fn set(&self, thing: Thing, name: &str, key: &str, value: &str) {
        let (name, key, value) = (name.into(), key.into(), value.into());
        assert_eq!(self.ask(Request::Set(Change { thing, name, key, value })), Reply::Done);
    }

    fn cpu(&self) -> Vec<u64> {
        let Reply::Guests(guests) = self.ask(Request::Show(Topic::Guests)) else { panic!("no guests") };
        guests.iter().map(|guest: &GuestReport| guest.cpu_nanos).collect()
    }

    /// Lets the guests send for `warm`, and for `span`, of which is told what came of it.
    fn run(&mut self, offers: &[Offer], warm: Nanos, span: Nanos) -> Vec<Got> {
        let begin = Nanos::now();
        let (from, end) = (begin.plus(warm), begin.plus(warm).plus(span));
        let mut got = vec![Got::default(); offers.len()];
        let mut sent = vec![0u64; offers.len()];
        let mut burst = Burst::new();
        let mut drained = None;
        loop {
            let now = Nanos::now();
            let counting = now >= from && now < end;
            for (n, offer) in offers.iter().enumerate().filter(|_| now < end) {
                // At least one burst that is refused: then the ring was full.
                let gusts =
                    if matches!(offer.load, Load::Backlog) { (self.sources[n].1.room() / GUST).min(7) + 1 } else { 1 };
                for _ in 0..gusts {
                    let due = match offer.load {
                        Load::Nothing => 0,
                        Load::Paced(rate) => (now.since(begin).0 as f64 * rate / 1e9) as u64 - sent[n],
                        Load::Flood | Load::Backlog => GUST as u64,
                    }
                    .min(BURST as u64);
                    sent[n] += due;
                    let refused = self.send(n, offer, due, now);
                    if counting {
                        got[n].offered += due;
                        got[n].refused += refused;
                    }
                }
            }
            let mut any = false;
            for (_, port) in &mut self.sinks {
                port.pull(&mut self.pool, &mut burst);
                any |= !burst.is_empty();
                let taken = Nanos::now();
                for frame in burst.drain(..) {
                    let head = self.pool.head(&frame);
                    let (n, stamp) =
                        (usize::from(head[11]), Nanos(u64::from_be_bytes(head[14..22].try_into().unwrap())));
                    // By when it was sent, so that what is still under way at the end is not lost.
                    if stamp >= from && stamp < end {
                        got[n].frames += 1;
                        got[n].bytes += frame.len() as u64;
                        if matches!(offers[n].load, Load::Paced(_)) {
                            got[n].latencies.push(taken.since(stamp).0.min(u64::from(u32::MAX)) as u32);
                        }
                    }
                    self.pool.free(frame);
                }
            }
            if now >= end {
                let since = *drained.get_or_insert(now);
                if any {
                    drained = Some(now);
                } else if now.since(since) > Nanos::from_millis(50) {
                    return got;
                }
            }
        }
    }

    /// Sends a burst of so many frames; how many of them found no room.
    fn send(&mut self, n: usize, offer: &Offer, due: u64, now: Nanos) -> u64 {
        let mut burst = Burst::new();
        for _ in 0..due {
            burst.extend(frame(&mut self.pool, n, offer, now));
        }
        let port = &mut self.sources[n].1;
        let before = port.counters().drops.total();
        if !burst.is_empty() {
            port.push(&mut self.pool, &mut burst);
            port.flush(&mut self.pool);
            port.notify();
        }
        port.counters().drops.total() - before
    }

    /// Bits a second that get through of a flood of one source, between the frames' arrivals.
    fn rate(&mut self, len: usize, seconds: u64) -> f64 {
        let offers = [Offer { load: Load::Flood, len, sink: 0 }];
        self.run(&offers, Nanos::from_millis(600), Nanos::from_millis(1));
        let (mut bytes, mut burst) = (0, Burst::new());
        let begin = Nanos::now();
        let end = begin.plus(Nanos::from_secs(seconds));
        let mut first = None;
        let mut last = begin;
        while last < end {
            let now = Nanos::now();
            for _ in 0..GUST {
                burst.extend(frame(&mut self.pool, 0, &offers[0], now));
            }
            let port = &mut self.sources[0].1;
            port.push(&mut self.pool, &mut burst);
            port.flush(&mut self.pool);
            port.notify();
            self.sinks[0].1.pull(&mut self.pool, &mut burst);
            last = Nanos::now();
            // What was saved up in silence is not the rate: it is counted from half a second on.
            if last.since(begin) > Nanos::from_millis(500) {
                let first = *first.get_or_insert(last);
                bytes += if first == last { 0 } else { burst.iter().map(|frame| frame.len() as u64).sum() };
            }
            self.pool.free_all(burst.drain(..));
        }
        let took = last.since(first.unwrap_or(begin));
        bytes as f64 * 8e9 / took.0 as f64
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.engine = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn frame(pool: &mut Pool, n: usize, offer: &Offer, now: Nanos) -> Option<pointsman_dataplane::frame::Frame> {
    let mut frame = pool.frame_from(&[0; 1514][..offer.len])?;
    let head = pool.head_mut(&mut frame);
    head[..14].copy_from_slice(&[2, 0, 0, 0, 2, offer.sink as u8, 2, 0, 0, 0, 1, n as u8, 0x88, 0xb5]);
    head[14..22].copy_from_slice(&now.0.to_be_bytes());
    Some(frame)
}

fn p99(latencies: &mut [u32]) -> f64 {
    latencies.sort_unstable();
    latencies.get(latencies.len() * 99 / 100).copied().unwrap_or(0).into()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    sum * sum / (shares.len() as f64 * shares.iter().map(|n| n * n).sum::<f64>())
}

fn tell(what: &str, measured: &str, wanted: &str, reached: bool) {
    println!("{what:<66} {measured:<34} {wanted:<22} {}", if reached { "reached" } else { "NOT REACHED" });
}

/// One that takes all it can beside seven of 20,000 frames a second, in turn with the seven alone.
fn isolation(bench: &mut Bench) {
    let seven = |flood: Load| -> Vec<Offer> {
        (0..GUESTS)
            .map(|n| Offer { load: if n == 0 { flood } else { Load::Paced(20_000.0) }, len: 60, sink: n })
            .collect()
    };
    let (mut quiet, mut loud, mut lost, mut flooded) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..5 {
        for (flood, p99s) in [(Load::Nothing, &mut quiet), (Load::Flood, &mut loud)] {
            let got = bench.run(&seven(flood), Nanos::from_millis(200), Nanos::from_secs(1));
            lost += got[1..].iter().map(|got| got.offered - got.frames).sum::<u64>();
            flooded += got[0].frames;
            let mut all: Vec<u32> = got[1..].iter().flat_map(|got| &got.latencies).copied().collect();
            p99s.push(p99(&mut all) / 1000.0);
        }
    }
    let what = format!("7 guests at 20,000/s beside one that floods ({:.2} M/s get through)", flooded as f64 / 5e6);
    tell(&what, &format!("{lost} frames of the seven lost"), "0", lost == 0);
    let (quiet, loud) = (median(&mut quiet), median(&mut loud));
    let measured = format!("p99 {loud:.1} us, without {quiet:.1} us");
    tell("  their latency", &measured, "at most 2 times", loud <= 2.0 * quiet);
}

fn ratios(got: &[f64]) -> (String, bool) {
    let (two, four) = (got[1] / got[0], got[2] / got[0]);
    (format!("1 : {two:.3} : {four:.3}"), (two / 2.0 - 1.0).abs() <= 0.02 && (four / 4.0 - 1.0).abs() <= 0.02)
}

fn weights(bench: &mut Bench) {
    for (n, weight) in ["1", "2", "4"].iter().enumerate() {
        bench.set(Thing::Guest, &format!("source{n}"), "weight", weight);
    }
    let second = Nanos::from_secs(2);
    let flood = |len, sink| Offer { load: Load::Backlog, len, sink };
    for lens in [[60; 3], [1514; 3], [60, 1514, 60]] {
        let offers: Vec<Offer> = (0..3).map(|n| flood(lens[n], n)).collect();
        let before = bench.cpu();
        let got = bench.run(&offers, Nanos::from_millis(300), second);
        let used: Vec<f64> = bench.cpu().iter().zip(before).map(|(after, before)| (after - before) as f64).collect();
        let busy = got.iter().all(|got| got.refused > 0);
        let (measured, reached) = ratios(&used[..3]);
        let frames: Vec<String> = got.iter().map(|got| format!("{:.2}", got.frames as f64 / 2e6)).collect();
        let what = format!("the worker's time at weights 1:2:4, frames of {lens:?} ({} M/s)", frames.join(", "));
        tell(&what, &measured, "1:2:4 within 2 %", reached && busy);
    }
    bench.set(Thing::Port, "sink0", "rate", "200Mbit");
    for len in [60, 1514] {
        let offers: Vec<Offer> = (0..3).map(|_| flood(len, 0)).collect();
        let got = bench.run(&offers, Nanos::from_millis(300), second);
        let bytes: Vec<f64> = got.iter().map(|got| got.bytes as f64).collect();
        let (measured, reached) = ratios(&bytes);
        tell(&format!("a line of 200 Mb/s at weights 1:2:4, frames of {len}"), &measured, "1:2:4 within 2 %", reached);
    }
    bench.set(Thing::Port, "sink0", "rate", "none");
    for n in 0..3 {
        bench.set(Thing::Guest, &format!("source{n}"), "weight", "1");
    }
}

fn rates(bench: &mut Bench) {
    for (guest, key) in [("source0", "rate-from"), ("sink0", "rate-to")] {
        for (text, rate, seconds) in [("1Mbit", 1e6, 5), ("100Mbit", 1e8, 2), ("1Gbit", 1e9, 2)] {
            bench.set(Thing::Guest, guest, key, text);
            for len in [60, 1514] {
                let measured = bench.rate(len, seconds);
                let off = measured / rate - 1.0;
                let what = format!("{key} {text}, frames of {len}");
                tell(
                    &what,
                    &format!("{:.3} Mb/s ({:+.2} %)", measured / 1e6, off * 100.0),
                    "within 1 %",
                    off.abs() <= 0.01,
                );
            }
        }
        bench.set(Thing::Guest, guest, key, "none");
    }
}

fn overload(bench: &mut Bench) {
    let all = |load| -> Vec<Offer> { (0..GUESTS).map(|n| Offer { load, len: 60, sink: n }).collect() };
    let window = (Nanos::from_millis(100), Nanos::from_millis(500));
    let (mut low, mut high) = (0.2e6, 8e6);
    while high / low > 1.02 {
        let rate = (low + high) / 2.0;
        let got = bench.run(&all(Load::Paced(rate / GUESTS as f64)), window.0, window.1);
        let (offered, arrived) = got.iter().fold((0, 0), |(o, a), got| (o + got.offered, a + got.frames));
        // The senders themselves may be the ones that do not keep up.
        let kept_up = offered as f64 >= rate * 0.5 * 0.99;
        if kept_up && arrived >= offered - offered / 100_000 { low = rate } else { high = rate }
    }
    let mut through = Vec::new();
    let mut index: f64 = 1.0;
    for _ in 0..3 {
        let got = bench.run(&all(Load::Flood), window.0, Nanos::from_secs(1));
        let frames: Vec<f64> = got.iter().map(|got| got.frames as f64).collect();
        index = index.min(jain(&frames));
        through.push(frames.iter().sum());
    }
    let flood = median(&mut through);
    tell("8 equal guests that flood", &format!("Jain's index {index:.5}"), "at least 0.99", index >= 0.99);
    let measured = format!("{:.2} M/s, no loss {:.2} M/s", flood / 1e6, low / 1e6);
    tell("  what gets through", &measured, "at least 0.95 of it", flood >= 0.95 * low);
    for share in [0.3, 0.9, 1.2] {
        let rate = low * share / GUESTS as f64;
        let got = bench.run(&all(Load::Paced(rate)), window.0, window.1);
        let frames: Vec<f64> = got.iter().map(|got| got.frames as f64).collect();
        let index = jain(&frames);
        let what = format!("8 equal guests at {share} times that");
        tell(&what, &format!("Jain's index {index:.5}"), "at least 0.99", index >= 0.99);
    }
}

type Part = fn(&mut Bench);

const PARTS: [(&str, Part); 4] =
    [("isolation", isolation), ("weights", weights), ("rates", rates), ("overload", overload)];

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if cores.len() < 2 {
        println!("skipped: the engine and its guests need a core each, this machine gives {}", cores.len());
        return;
    }
    let mut bench = Bench::new();
    // Only now: what the engine starts is not to be bound to this core.
    core_affinity::set_for_current(cores[1]);
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (_, part) in PARTS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|word| word == name)) {
        part(&mut bench);
    }
}
