//! The shaper as its port sees it: rate, conservation, fairness.

use proptest::prelude::*;

use super::*;
use crate::units::PortId;

/// Keeps what is sent, with the time that the test says it is.
#[derive(Default)]
struct Sink {
    now: Nanos,
    /// When, how many bytes on the wire, from which input.
    sent: Vec<(Nanos, u64, u8)>,
    counters: Arc<Counters>,
}

impl Port for Sink {
    fn pull(&mut self, _: &mut Pool, _: &mut Burst) {}

    fn push(&mut self, pool: &mut Pool, burst: &mut Burst) {
        for frame in burst.drain(..) {
            self.sent.push((self.now, wire_len(frame.len()), pool.head(&frame)[13]));
            pool.free(frame);
        }
    }

    fn flush(&mut self, _: &mut Pool) {}

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

fn frame(pool: &mut Pool, source: Mac, input: PortId, len: usize) -> Frame {
    let mut data = vec![0; len];
    data[6..12].copy_from_slice(&source.0);
    data[13] = input.0 as u8;
    pool.frame_from(&data).unwrap()
}

fn router(input: PortId) -> Mac {
    Mac([2, 0x50, 0x4d, 0, 1, input.0 as u8])
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_window_exceeds_the_rate_and_no_frame_is_lost_uncounted(
        bits in prop_oneof![Just(1_000_000_000u64), 1_000_000u64..20_000_000_000],
        breaths in prop::collection::vec(breath(), 1..120),
    ) {
        let mut pool = Pool::new(16_384).unwrap();
        let before = pool.available();
        let (mut shaper, mut sink) = (Shaper::new(LineRate::new(bits).unwrap()), Sink::default());
        let mut now = Nanos::from_secs(1);
        let mut given = 0;
        // When the shaper was looked at: what was due in between leaves at the next look.
        let mut looks = vec![now];
        for Breath { pause, frames } in breaths {
            now = now.plus(Nanos(pause));
            let mut burst = Burst::new();
            for (input, len) in frames {
                let input = PortId(input.into());
                burst.push(frame(&mut pool, router(input), input, len));
                given += 1;
            }
            shaper.push(&mut pool, now, &mut burst, &sink.counters);
            prop_assert!(burst.is_empty());
            prop_assert!(shaper.queued <= shaper.limit.max(shaper.queue.front().map_or(Nanos(0), |first| first.cost)));
            prop_assert!(shaper.queue.capacity() <= 2 * QUEUE_CHUNKS, "the queue has grown");
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
        prop_assert_eq!(shaper.queued, Nanos(0));

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

/// Eight inputs offer twice what the line carries, in bursts, served in a fixed order. What each got through.
fn overload(len: usize, duration: Nanos, sources: impl Fn(PortId) -> Mac, arrivals_a_breath: usize) -> ([u64; 8], u64) {
    const RATE: u64 = 1_000_000_000;
    let mut pool = Pool::new(16_384).unwrap();
    let (mut shaper, mut sink) = (Shaper::new(LineRate::new(RATE).unwrap()), Sink::default());
    let start = Nanos::from_secs(1);
    let mut now = start;
    // Of the line's time, half is what all inputs' frames of one breath take: twice the rate.
    let breath = wire_len(len) * 8 * (8 * arrivals_a_breath) as u64 / 2;
    while now.since(start) < duration {
        now = now.plus(Nanos(breath));
        sink.now = now;
        for input in 0..8 {
            let mut burst = Burst::new();
            for _ in 0..arrivals_a_breath {
                burst.push(frame(&mut pool, sources(PortId(input)), PortId(input), len));
            }
            shaper.push(&mut pool, now, &mut burst, &sink.counters);
        }
        shaper.release(&mut pool, now, &mut sink);
    }
    let mut through = [0; 8];
    let mut wire = 0;
    for (_, bytes, input) in sink.sent {
        through[usize::from(input)] += 1;
        wire += bytes;
    }
    (through, wire * 8 * 1_000_000_000 / now.since(start).0)
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
            let (through, bits) = overload(len, duration, router, arrivals);
            assert!(jain(&through) >= 0.99, "{len} bytes, {arrivals} a breath: {through:?}");
            // The tolerance is a bonus of 200 us, once.
            let bonus = 1_000_000_000 * TOLERANCE.0 / duration.0;
            assert!(
                (999_000_000..=1_001_000_000 + bonus).contains(&bits),
                "{len} bytes, {arrivals} a breath: {bits} bit/s"
            );
        }
    }
}

/// Why streams are told apart: when they are not, the first in the worker's order takes what there is.
#[test]
fn a_plain_tail_drop_locks_the_last_inputs_out() {
    let (through, _) = overload(1514, Nanos::from_millis(300), |_| router(PortId(0)), 16);
    assert!(jain(&through) < 0.7, "{through:?}");
}

#[test]
fn a_late_worker_costs_the_line_nothing() {
    let mut pool = Pool::new(16_384).unwrap();
    let (mut shaper, mut sink) = (Shaper::new(LineRate::new(1_000_000_000).unwrap()), Sink::default());
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
                burst.push(frame(&mut pool, router(PortId(1)), PortId(1), 1514));
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
    let (mut shaper, mut sink) = (Shaper::new(LineRate::parse("10kbit").unwrap()), Sink::default());
    let now = Nanos::from_secs(100);
    let mut burst = Burst::new();
    burst.push(frame(&mut pool, router(PortId(1)), PortId(1), 9000));
    shaper.push(&mut pool, now, &mut burst, &sink.counters);
    let due = shaper.deadline().unwrap();
    assert_eq!(due, now.since(TOLERANCE).plus(Nanos(9024 * 8 * 100_000)));
    assert_eq!(shaper.release(&mut pool, Nanos(due.0 - 1), &mut sink), 0);
    assert_eq!(shaper.release(&mut pool, due, &mut sink), 1);
    assert_eq!(sink.counters.drops.total(), 0);
}

#[test]
fn a_small_pool_is_never_used_up_by_the_queue() {
    let mut pool = Pool::new(256).unwrap();
    let total = pool.available();
    let (mut shaper, sink) = (Shaper::new(LineRate::parse("1Mbit").unwrap()), Sink::default());
    for _ in 0..20 {
        let mut burst = Burst::new();
        for _ in 0..BURST {
            burst.push(frame(&mut pool, router(PortId(1)), PortId(1), 60));
        }
        shaper.push(&mut pool, Nanos::from_secs(1), &mut burst, &sink.counters);
    }
    assert!(pool.available() >= total - total / 4 - 2, "{} of {total} left", pool.available());
    assert!(sink.counters.drops.get(DropReason::LineRate) > 0);
}

#[test]
fn a_shaped_port_keeps_the_real_clock() {
    let mut pool = Pool::new(1024).unwrap();
    let before = pool.available();
    let mut shaped = Shaped::new(Box::new(Sink::default()), LineRate::parse("10Mbit").unwrap());
    let began = Nanos::now();
    let mut burst = Burst::new();
    for _ in 0..10 {
        burst.push(frame(&mut pool, router(PortId(1)), PortId(1), 1514));
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
    assert_eq!(shaped.mode(), "sink, line rate 10Mbit");
}
