//! The shaper as its port sees it: rate, conservation, fairness.

use proptest::prelude::*;

use super::limit::Gate;
use super::shaper::{QUEUE_CHUNKS, Shaper};
use super::*;
use crate::drops::DropReason;
use crate::frame::{BURST, Burst, Frame};
use crate::link_rate::{LineRate, TOLERANCE, wire_len};
use crate::pool::Pool;
use crate::port::{Counters, Port, Sleep};
use crate::units::{Mac, Nanos, PortId};

/// Keeps what is sent, with the time that the test says it is.
struct Sink {
    now: Nanos,
    /// Chunks that it still takes.
    room: usize,
    up: bool,
    /// When, how many bytes on the wire, from which input.
    sent: Vec<(Nanos, u64, u8)>,
    counters: Arc<Counters>,
    /// How often its peer was told.
    told: Arc<AtomicU16>,
}

impl Default for Sink {
    fn default() -> Self {
        Self {
            now: Nanos(0),
            room: usize::MAX,
            up: true,
            sent: Vec::new(),
            counters: Arc::default(),
            told: Arc::default(),
        }
    }
}

impl Port for Sink {
    fn pull(&mut self, _: &mut Pool, _: &mut Burst) {}

    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        for frame in burst.drain(..) {
            self.sent.push((self.now, wire_len(frame.len()), pool.head(&frame)[13]));
            self.room = self.room.checked_sub(frame.chunks()).expect("no more than there is room for");
            pool.free(frame);
        }
    }

    fn room(&mut self) -> usize {
        self.room
    }

    fn is_up(&self) -> bool {
        self.up
    }

    fn flush(&mut self, _: &mut Pool) {}

    fn notify(&mut self) {
        self.told.fetch_add(1, Relaxed);
    }

    fn tick(&mut self, _: &mut Pool, _: Nanos) {}

    fn arm(&mut self, _: &Sleep) -> bool {
        true
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn mode(&self) -> String {
        "sink".to_owned()
    }
}

fn frame(pool: &mut Pool, input: PortId, len: usize) -> Frame {
    let mut data = vec![0; len];
    data[6..12].copy_from_slice(&Mac([2, 0x50, 0x4d, 0, 1, input.0 as u8]).0);
    data[13] = input.0 as u8;
    pool.frame_from(&data).unwrap()
}

/// Eight guests of these weights, one a source; the last weight is that of all others.
fn shares(weights: &[u16]) -> Arc<Shares> {
    let terms = |n: usize| {
        let times = weights.get(n).or(weights.last()).copied().unwrap_or(1);
        GuestTerms { weight: Weight::new(times).unwrap(), ..GuestTerms::default() }
    };
    let names: Vec<String> = (0..8).map(|n| format!("r{n}")).collect();
    Arc::new(Shares::new(names.iter().enumerate().map(|(n, name)| (name.as_str(), terms(n))), 0))
}

/// A line of this rate, and no other limit.
fn line(rate: Option<LineRate>, shares: &Arc<Shares>) -> Shaper {
    let gate = Gate::new([Arc::new(Limit::line(rate)), Arc::new(Limit::none(Counts::Frame))]);
    Shaper::new(gate, Arc::clone(shares))
}

fn rate(text: &str) -> Option<LineRate> {
    LineRate::parse(text).ok()
}

/// The guest whose frames carry this number.
fn guest(input: PortId) -> GuestId {
    GuestId(input.0 + 1)
}

/// One step of a worker's life: some time passes, then frames are pushed, then it flushes.
#[derive(Clone, Debug)]
struct Breath {
    pause: u64,
    frames: Vec<(u8, usize)>,
}

fn breath() -> impl Strategy<Value = Breath> {
    let len = prop_oneof![4 => Just(60usize), 4 => Just(1514), 2 => 14usize..9000];
    let pause = prop_oneof![6 => 1_000u64..80_000, 1 => 100_000u64..3_000_000];
    (pause, prop::collection::vec((0u8..8, len), 0..BURST)).prop_map(|(pause, frames)| Breath { pause, frames })
}

/// A worker tells a peer of what it pushed. Of what leaves later, the port itself must tell.
#[test]
fn a_peer_that_sleeps_is_told_of_what_a_rate_held_back() {
    let mut pool = Pool::new(256).unwrap();
    let (shares, receiver, sink) = (shares(&[1]), guest(PortId(0)), Sink::default());
    shares.change(receiver, "rate-to", "10Mbit").unwrap();
    let (told, counters) = (Arc::clone(&sink.told), Arc::clone(&sink.counters));
    let mut port = Shaped::new(Box::new(sink), &PortLimits::default(), &shares, receiver);
    let mut burst: Burst = (0..16).map(|_| frame(&mut pool, PortId(1), 1514)).collect();
    port.push(&mut pool, &mut burst);
    port.flush(&mut pool);
    assert_eq!((told.load(Relaxed), counters.drops.total()), (0, 0));
    let end = Nanos::now().plus(Nanos::from_secs(5));
    while told.load(Relaxed) == 0 && Nanos::now() < end {
        port.pull(&mut pool, &mut burst);
    }
    assert!(told.load(Relaxed) > 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_window_exceeds_the_rate_and_no_frame_is_lost_uncounted(
        bits in prop_oneof![Just(1_000_000_000u64), 1_000_000u64..20_000_000_000],
        breaths in prop::collection::vec(breath(), 1..120),
    ) {
        let mut pool = Pool::new(16_384).unwrap();
        let before = pool.available();
        let (mut shaper, mut sink) = (line(LineRate::new(bits), &shares(&[1, 2, 4, 1])), Sink::default());
        let mut now = Nanos::from_secs(1);
        let mut given = 0;
        // When the shaper was looked at: what was due in between leaves at the next look.
        let mut looks = vec![now];
        for Breath { pause, frames } in breaths {
            now = now.plus(Nanos(pause));
            for (input, len) in frames {
                let input = PortId(input.into());
                let mut burst = Burst::new();
                burst.push(frame(&mut pool, input, len));
                given += 1;
                shaper.set_source(guest(input));
                shaper.push(&mut pool, now, &mut burst, &sink.counters);
                prop_assert!(burst.is_empty());
            }
            // One source alone has all of the room, a second half of it, a third a third; and a frame always passes.
            let (taken, limit) = shaper.taken();
            prop_assert!(taken <= limit * 3 + 8 * 9024, "{taken} of {limit}");
            prop_assert!(before - pool.available() <= 3 * QUEUE_CHUNKS, "{} chunks", before - pool.available());
            sink.now = now;
            shaper.release(&mut pool, now, &mut sink);
            looks.push(now);
        }
        while let Some(due) = shaper.deadline() {
            now = now.max(due);
            sink.now = now;
            shaper.release(&mut pool, now, &mut sink);
            looks.push(now);
        }
        prop_assert_eq!(sink.sent.len() as u64 + sink.counters.drops.get(DropReason::LineRate), given);
        prop_assert_eq!(pool.available(), before);
        prop_assert_eq!(shaper.taken().0, 0);

        // From one look to any later one, the line can have sent what it sends in that time, in the time since the look
        // before, and in the tolerance; and the frame that was on it.
        for (index, &from) in looks.iter().enumerate().skip(1) {
            let start = looks[index - 1];
            let mut wire = 0u128;
            for &(at, bytes, _) in sink.sent.iter().filter(|sent| sent.0 >= from) {
                wire += u128::from(bytes);
                let allowed = u128::from(at.since(start).plus(TOLERANCE).0) * u128::from(bits) / 8_000_000_000;
                prop_assert!(wire <= allowed + 9_024, "{wire} bytes from {start:?} to {at:?}, {allowed} allowed");
            }
        }
    }
}

/// Eight inputs offer twice what the line carries, in bursts, served in a fixed order. Wire bytes of each that got through,
/// and bits a second of all.
fn overload(len: usize, duration: Nanos, shares: &Arc<Shares>, arrivals_a_breath: usize) -> ([u64; 8], u64) {
    const RATE: u64 = 1_000_000_000;
    let mut pool = Pool::new(16_384).unwrap();
    let (mut shaper, mut sink) = (line(LineRate::new(RATE), shares), Sink::default());
    let start = Nanos::from_secs(1);
    let mut now = start;
    // Of the line's time, half is what all inputs' frames of one breath take: twice the rate.
    let breath = wire_len(len) * 8 * (8 * arrivals_a_breath) as u64 / 2;
    while now.since(start) < duration {
        now = now.plus(Nanos(breath));
        sink.now = now;
        for input in (0..8).map(PortId) {
            let mut burst = Burst::new();
            for _ in 0..arrivals_a_breath {
                burst.push(frame(&mut pool, input, len));
            }
            shaper.set_source(guest(input));
            shaper.push(&mut pool, now, &mut burst, &sink.counters);
        }
        shaper.release(&mut pool, now, &mut sink);
    }
    let mut through = [0; 8];
    for &(_, bytes, input) in &sink.sent {
        through[usize::from(input)] += bytes;
    }
    (through, through.iter().sum::<u64>() * 8 * 1_000_000_000 / now.since(start).0)
}

fn jain(shares: &[u64]) -> f64 {
    let sum: u64 = shares.iter().sum();
    let squares: u64 = shares.iter().map(|n| n * n).sum();
    (sum * sum) as f64 / (shares.len() as u64 * squares) as f64
}

#[test]
fn equal_inputs_get_equal_parts_of_an_overloaded_line_and_it_carries_its_rate() {
    // Up to a breath of 0.8 ms of the line's time; a worker's are a tenth of that.
    for (len, duration, bursts) in
        [(1514, Nanos::from_secs(1), &[1, 7, 16][..]), (60, Nanos::from_millis(150), &[1, 7, 16, 63, 64])]
    {
        for &arrivals in bursts {
            let (through, bits) = overload(len, duration, &shares(&[1]), arrivals);
            assert!(jain(&through) >= 0.999, "{len} bytes, {arrivals} a breath: {through:?}");
            // The tolerance is a bonus of 200 us, once.
            let bonus = 1_000_000_000 * TOLERANCE.0 / duration.0;
            assert!(
                (999_000_000..=1_001_000_000 + bonus).contains(&bits),
                "{len} bytes, {arrivals} a breath: {bits} bit/s"
            );
        }
    }
}

#[test]
fn an_overloaded_line_is_divided_as_the_weights_say() {
    for (len, duration) in [(1514, Nanos::from_secs(1)), (60, Nanos::from_millis(150))] {
        let weights = [1, 2, 4, 1, 1, 1, 1, 1];
        let (through, _) = overload(len, duration, &shares(&weights), 16);
        let unit = through.iter().sum::<u64>() as f64 / weights.iter().sum::<u16>() as f64;
        // At twice the rate in all, an eighth each: who has a weight of 4 offers less than its share, and gets it all.
        for (n, (&got, times)) in through.iter().zip(weights).enumerate().filter(|(n, _)| *n != 2) {
            let rest = (through.iter().sum::<u64>() - through[2]) as f64 / 8.0 * f64::from(times);
            assert!((got as f64 / rest - 1.0).abs() < 0.02, "{n} got {got} of {rest}, {len} bytes: {through:?}");
        }
        assert!(through[2] as f64 > 2.9 * unit, "{through:?}");
    }
}

/// Three that offer far too much, by a worker that serves them in a fixed order.
#[test]
fn one_two_four_is_what_three_get_that_all_want_everything() {
    for len in [60, 1514] {
        let mut pool = Pool::new(16_384).unwrap();
        let shares = shares(&[1, 2, 4]);
        let (mut shaper, mut sink) = (line(rate("1Gbit"), &shares), Sink::default());
        let mut now = Nanos::from_secs(1);
        while now < Nanos::from_millis(1_500) {
            now = now.plus(Nanos::from_micros(if len == 60 { 40 } else { 100 }));
            for input in (0..3).map(PortId) {
                let mut burst = Burst::new();
                for _ in 0..BURST {
                    burst.push(frame(&mut pool, input, len));
                }
                shaper.set_source(guest(input));
                shaper.push(&mut pool, now, &mut burst, &sink.counters);
            }
            shaper.release(&mut pool, now, &mut sink);
        }
        let got = |n| sink.sent.iter().filter(|sent| sent.2 == n).map(|sent| sent.1).sum::<u64>() as f64;
        let [one, two, four] = [0, 1, 2].map(got);
        for (ratio, exact) in [(two / one, 2.0), (four / one, 4.0)] {
            assert!((ratio / exact - 1.0).abs() < 0.02, "{one} {two} {four} bytes, frames of {len}");
        }
        // The same words, changed while it runs.
        shares.change(GuestId(3), "weight", "1").unwrap();
    }
}

#[test]
fn a_late_worker_costs_the_line_nothing() {
    let mut pool = Pool::new(16_384).unwrap();
    let (mut shaper, mut sink) = (line(rate("1Gbit"), &shares(&[1])), Sink::default());
    let start = Nanos::from_secs(1);
    let mut now = start;
    let mut step = 0;
    while now.since(start) < Nanos::from_secs(1) {
        // From 20 us to 2 ms, and never what the deadline asked for.
        step = (step * 7 + 5) % 100;
        now = now.plus(Nanos::from_micros(20 * (1 + step)));
        sink.now = now;
        for _ in 0..6 {
            let mut burst = Burst::new();
            for _ in 0..BURST {
                burst.push(frame(&mut pool, PortId(1), 1514));
            }
            shaper.push(&mut pool, now, &mut burst, &sink.counters);
        }
        shaper.release(&mut pool, now, &mut sink);
    }
    let wire: u64 = sink.sent.iter().map(|sent| sent.1).sum();
    let carried = wire as f64 * 8e9 / now.since(start).plus(TOLERANCE).0 as f64;
    assert!((carried / 1e9 - 1.0).abs() < 0.001, "{carried} bit/s");
}

#[test]
fn a_slow_line_still_takes_frames() {
    let mut pool = Pool::new(64).unwrap();
    let (mut shaper, mut sink) = (line(rate("10kbit"), &shares(&[1])), Sink::default());
    let now = Nanos::from_secs(100);
    let mut burst = Burst::new();
    burst.push(frame(&mut pool, PortId(1), 9000));
    shaper.push(&mut pool, now, &mut burst, &sink.counters);
    assert_eq!(shaper.release(&mut pool, now, &mut sink), 0);
    let due = shaper.deadline().unwrap();
    assert_eq!(due, now.since(TOLERANCE).plus(Nanos(9024 * 8 * 100_000)));
    assert_eq!(shaper.release(&mut pool, Nanos(due.0 - 1), &mut sink), 0);
    assert_eq!(shaper.release(&mut pool, due, &mut sink), 1);
    assert_eq!(shaper.deadline(), None);
    assert_eq!(sink.counters.drops.total(), 0);
}

#[test]
fn a_small_pool_is_never_used_up_by_the_queue() {
    let mut pool = Pool::new(256).unwrap();
    let total = pool.available();
    let (mut shaper, sink) = (line(rate("1Mbit"), &shares(&[1])), Sink::default());
    for _ in 0..20 {
        let mut burst = Burst::new();
        for _ in 0..BURST {
            burst.push(frame(&mut pool, PortId(1), 60));
        }
        shaper.push(&mut pool, Nanos::from_secs(1), &mut burst, &sink.counters);
    }
    assert!(pool.available() >= total - total / 4 - 2, "{} of {total} left", pool.available());
    assert!(sink.counters.drops.get(DropReason::LineRate) > 0);
}

/// A hundred guests that read nothing, before ports without a rate, leave the others frames to receive into, and the
/// hundred-and-first source its place.
#[test]
fn many_that_do_not_read_leave_the_pool_to_the_others() {
    let mut pool = Pool::new(8192).unwrap();
    let total = pool.available();
    let shares = shares(&[1]);
    let counters = Counters::default();
    let mut stuck: Vec<_> = (0..100).map(|_| line(None, &shares)).collect();
    for _ in 0..20 {
        for shaper in &mut stuck {
            let mut burst = Burst::new();
            burst.extend((0..BURST).map(|_| frame(&mut pool, PortId(1), 1514)));
            shaper.push(&mut pool, Nanos::from_secs(1), &mut burst, &counters);
        }
    }
    assert!(pool.available() >= total / 8, "{} of {total} left", pool.available());
    assert!(counters.drops.get(DropReason::OutputFull) > 0);
    let (mut shaper, mut sink) = (line(rate("1Gbit"), &shares), Sink::default());
    let mut burst = Burst::new();
    burst.push(frame(&mut pool, PortId(2), 1514));
    shaper.push(&mut pool, Nanos::from_secs(1), &mut burst, &sink.counters);
    assert_eq!(shaper.release(&mut pool, Nanos::from_secs(2), &mut sink), 1);
    stuck.iter_mut().for_each(|shaper| shaper.clear(&mut pool));
    assert_eq!(pool.available(), total);
}

/// A ring that empties slowly is divided too, though nobody gave it a rate.
#[test]
fn a_full_ring_is_divided_as_the_weights_say() {
    let mut pool = Pool::new(16_384).unwrap();
    let (mut shaper, mut sink) = (line(None, &shares(&[1, 3])), Sink { room: 0, ..Sink::default() });
    let mut now = Nanos::from_secs(1);
    for _ in 0..4000 {
        now = now.plus(Nanos::from_micros(50));
        sink.room += 16;
        for input in (0..2).map(PortId) {
            let mut burst = Burst::new();
            burst.extend((0..32).map(|_| frame(&mut pool, input, 600)));
            shaper.set_source(guest(input));
            shaper.push(&mut pool, now, &mut burst, &sink.counters);
        }
        shaper.release(&mut pool, now, &mut sink);
        assert!(shaper.deadline().is_some_and(|due| due > now), "it must look again");
    }
    let got = |n| sink.sent.iter().filter(|sent| sent.2 == n).count() as f64;
    assert_eq!(got(0) + got(1), 16.0 * 4000.0, "all that it took");
    assert!((got(1) / got(0) / 3.0 - 1.0).abs() < 0.02, "{} {}", got(0), got(1));
    // It goes: what waited is lost, and counted.
    let waiting = pool.capacity() - pool.available();
    sink.up = false;
    assert_eq!(shaper.release(&mut pool, now, &mut sink), 0);
    assert_eq!(sink.counters.drops.get(DropReason::OutputDown), waiting as u64);
    assert_eq!((pool.available(), shaper.deadline()), (pool.capacity(), None));
}

/// Who is marked in XDP: from three quarters of the queue until half of it.
#[test]
fn a_guest_whose_queue_is_long_is_full_until_it_is_half_empty() {
    let mut pool = Pool::new(16_384).unwrap();
    let limits = [Arc::new(Limit::line(None)), Arc::new(Limit::none(Counts::Frame))];
    limits[1].set(rate("100Mbit"), Some(0));
    let (mut shaper, mut sink) = (Shaper::new(Gate::new(limits), shares(&[1])), Sink::default());
    let mut now = Nanos::from_secs(1);
    let mut marked = 0;
    let begin = now;
    while now < Nanos::from_secs(3) {
        now = now.plus(Nanos::from_micros(50));
        if !shaper.is_full() {
            let mut burst = Burst::new();
            burst.extend((0..32).map(|_| frame(&mut pool, PortId(0), 1514)));
            shaper.push(&mut pool, now, &mut burst, &sink.counters);
        }
        marked += u32::from(shaper.is_full());
        shaper.release(&mut pool, now, &mut sink);
    }
    assert!(marked > 1000, "{marked}");
    assert_eq!(sink.counters.drops.total(), 0, "who heeds the mark loses nothing");
    let bits = sink.sent.len() as u64 * 1514 * 8;
    let exact = 100_000_000 * now.since(begin).0 / 1_000_000_000;
    assert!(bits.abs_diff(exact) < exact / 100, "{bits} of {exact}");
}

#[test]
fn a_shaped_port_keeps_the_real_clock() {
    let mut pool = Pool::new(1024).unwrap();
    let before = pool.available();
    let limits = PortLimits { line: Arc::new(Limit::line(rate("10Mbit"))), ..PortLimits::default() };
    let mut shaped = Shaped::new(Box::new(Sink::default()), &limits, &shares(&[1]), GuestId::UPLINKS);
    let began = Nanos::now();
    let mut burst = Burst::new();
    for _ in 0..10 {
        burst.push(frame(&mut pool, PortId(1), 1514));
    }
    shaped.push(&mut pool, &mut burst);
    shaped.flush(&mut pool);
    assert!(pool.available() < before, "all at once");
    let mut nothing = Burst::new();
    while shaped.deadline().is_some() {
        shaped.pull(&mut pool, &mut nothing);
        std::thread::yield_now();
    }
    // Ten frames of 1230.4 us, less the tolerance.
    let took = Nanos::now().since(began);
    assert!(took >= Nanos(12_304_000 - TOLERANCE.0), "{took:?}");
    assert_eq!(pool.available(), before);
}

/// Has frames of one length without end.
struct Source {
    len: usize,
    counters: Arc<Counters>,
}

impl Port for Source {
    fn pull(&mut self, pool: &mut Pool, burst: &mut Burst) {
        while !burst.is_full() {
            burst.push(frame(pool, PortId(0), self.len));
        }
    }

    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        pool.free_all(burst.drain(..));
    }

    fn flush(&mut self, _: &mut Pool) {}

    fn tick(&mut self, _: &mut Pool, _: Nanos) {}

    fn arm(&mut self, _: &Sleep) -> bool {
        false
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn mode(&self) -> String {
        "source".to_owned()
    }
}

/// Two ports of a guest that may send 80 Mb/s; then more, then what it likes.
#[test]
fn a_guest_is_listened_to_at_its_rate_over_all_of_its_ports() {
    let mut pool = Pool::new(1024).unwrap();
    let before = pool.available();
    let shares = shares(&[1]);
    let one = GuestId(1);
    let mut ports = [60, 1514].map(|len| {
        Shaped::new(Box::new(Source { len, counters: Arc::default() }), &PortLimits::default(), &shares, one)
    });
    let mut burst = Burst::new();
    for megabits in [80, 160] {
        shares.change(one, "burst", "0").unwrap();
        shares.change(one, "rate-from", &format!("{megabits}Mbit")).unwrap();
        let began = Nanos::now();
        let (mut bytes, mut last, mut held_up) = (0, began, 0);
        while Nanos::now().since(began) < Nanos::from_millis(200) {
            // A busy machine takes us off the core for longer than a worker makes good.
            let gap = Nanos::now().since(last);
            held_up += if gap > Nanos::from_millis(5) { gap.0 } else { 0 };
            last = last.plus(gap);
            for port in &mut ports {
                port.pull(&mut pool, &mut burst);
                bytes += burst.iter().map(|frame| frame.len() as u64).sum::<u64>();
                pool.free_all(burst.drain(..));
                let now = Nanos::now();
                assert!(port.deadline().is_none_or(|due| due < now.plus(Nanos::from_millis(2))), "when to go on");
            }
        }
        let over = |nanos| megabits * 125_000 * nanos / 1_000_000_000;
        let elapsed = Nanos::now().since(began).0;
        let exact = over(elapsed);
        // What a worker that was held up makes good, at most.
        assert!(
            bytes >= over(elapsed - held_up) * 97 / 100 && bytes <= exact * 101 / 100 + 600_000 * megabits / 80,
            "{bytes} of {exact}"
        );
    }
    shares.change(one, "rate-from", "none").unwrap();
    for port in &mut ports {
        for _ in 0..3 {
            port.pull(&mut pool, &mut burst);
            assert!(!burst.is_empty());
            pool.free_all(burst.drain(..));
        }
        port.detach(&mut pool);
    }
    assert_eq!(pool.available(), before);
}
