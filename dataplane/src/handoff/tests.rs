//! Crossing frames: whole, in order, counted, and no chunk lost.

use super::*;

const OUT: PortId = PortId(7);
const FROM: GuestId = GuestId(3);

fn pools(chunks: usize, capacity: usize) -> (Pool, Pool, HandoffTx, HandoffRx) {
    let (left, right) = (Pool::new(chunks).unwrap(), Pool::new(chunks).unwrap());
    let (tx, rx) = pair(capacity, Arc::clone(left.memory()));
    (left, right, tx, rx)
}

#[cfg(not(loom))]
mod plain {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_are_received_in_rows_of_one_source() {
        let (mut left, mut right, mut tx, mut rx) = pools(64, 32);
        let (total, mut ends) = (right.available(), Vec::new());
        for source in [1, 1, 2, 2, 2, 1] {
            let frame = left.frame_from(&[source as u8; 60]).unwrap();
            assert!(tx.send(&mut left, frame, GuestId(source), OUT));
        }
        assert!(!tx.flush());
        let rows = std::iter::from_fn(|| {
            let row = rx.receive(&mut right, 64, |_, frame| ends.push(frame));
            (row > 0).then(|| (rx.source().0, row))
        });
        assert_eq!(rows.collect::<Vec<_>>(), [(1, 2), (2, 3), (1, 1)]);
        right.free_all(ends);
        assert_eq!(right.available(), total);
    }

    #[test]
    fn frames_of_every_length_cross_whole() {
        let (mut left, mut right, mut tx, mut rx) = pools(256, 64);
        let (free_left, free_right) = (left.available(), right.available());
        for len in [1, 14, 60, 1500, 1792, 1793, 9018, 65_553] {
            let data: Vec<u8> = (0..len).map(|i| (i * 31 + i / 97) as u8).collect();
            let frame = left.frame_from(&data).unwrap();
            assert!(tx.send(&mut left, frame, FROM, OUT));
            assert_eq!(rx.receive(&mut right, 64, |_, _| unreachable!()), 0, "not flushed yet");
            assert!(!tx.flush(), "nobody sleeps");
            let mut arrived = Vec::new();
            assert_eq!(rx.receive(&mut right, 64, |output, frame| arrived.push((output, frame))), 1);
            let (output, frame) = arrived.pop().unwrap();
            assert_eq!(output, OUT);
            assert_eq!(right.to_vec(&frame), data);
            right.free(frame);
            tx.reclaim(&mut left);
            assert_eq!((left.available(), right.available(), tx.outstanding()), (free_left, free_right, 0));
        }
    }

    #[test]
    fn what_is_left_to_do_crosses_with_the_frame() {
        use crate::offload::tests::{Flow, pattern};
        let (mut left, mut right, mut tx, mut rx) = pools(256, 64);
        let (free_left, free_right) = (left.available(), right.available());
        let (piece, offload) = Flow::default().handed_over(&pattern(50_000), 1448);
        let plain = vec![7; 60];
        for _ in 0..10 {
            for (bytes, offload) in [(&plain, None), (&piece, Some(offload)), (&plain, Some(Offload::Verified))] {
                let mut frame = left.frame_from(bytes).unwrap();
                if let Some(offload) = offload {
                    left.set_offload(&mut frame, offload);
                }
                assert!(tx.send(&mut left, frame, FROM, OUT));
            }
            assert!(!tx.flush());
            let mut arrived = Vec::new();
            assert_eq!(rx.receive(&mut right, 64, |_, frame| arrived.push(frame)), 3);
            let got: Vec<_> = arrived.iter().map(|frame| (right.to_vec(frame), right.offload(frame))).collect();
            let expected =
                [(plain.clone(), None), (piece.clone(), Some(offload)), (plain.clone(), Some(Offload::Verified))];
            assert_eq!(got, expected);
            right.free_all(arrived);
            tx.reclaim(&mut left);
            assert_eq!((left.offloaded(), right.offloaded(), tx.outstanding()), (0, 0, 0));
            assert_eq!((left.available(), right.available()), (free_left, free_right));
        }
        // One entry short: what is left to do takes one of its own.
        for n in 0..64 {
            let mut frame = left.frame_from(&plain).unwrap();
            left.set_offload(&mut frame, Offload::Verified);
            assert_eq!(tx.send(&mut left, frame, FROM, OUT), n < 32);
        }
        assert!(!tx.flush());
        assert_eq!(rx.receive(&mut right, 64, |_, frame| assert!(frame.has_offload())), 32);
        assert_eq!((left.offloaded(), tx.counters().drops.get(DropReason::HandoffFull)), (0, 32));
    }

    #[test]
    fn without_room_frames_are_dropped_and_counted() {
        let (mut left, mut right, mut tx, mut rx) = pools(64, 4);
        let before = left.available();
        for i in 0..6 {
            let frame = left.frame_from(&[i; 60]).unwrap();
            assert_eq!(tx.send(&mut left, frame, FROM, OUT), i < 4);
        }
        // One chunk short of what a jumbo frame needs: all of it or nothing.
        assert_eq!(tx.counters().drops.get(DropReason::HandoffFull), 2);
        assert_eq!(left.available(), before - 4);
        assert!(!tx.flush());
        assert_eq!(rx.receive(&mut right, 2, |_, _| {}), 2);
        let jumbo = left.frame_from(&[9; 5000]).unwrap();
        assert!(!tx.send(&mut left, jumbo, FROM, OUT));
        assert_eq!(rx.receive(&mut right, 64, |_, _| {}), 2);
        let jumbo = left.frame_from(&[9; 5000]).unwrap();
        assert!(tx.send(&mut left, jumbo, FROM, OUT), "sending reclaims when it must");
        assert!(!tx.flush());
        assert_eq!(rx.receive(&mut right, 64, |_, frame| assert_eq!(frame.len(), 5000)), 1);
        tx.reclaim(&mut left);
        assert_eq!((left.available(), tx.outstanding()), (before, 0));
    }

    #[test]
    fn an_empty_pool_drops_counts_and_gives_the_chunks_back() {
        let (mut left, mut right, mut tx, mut rx) = pools(64, 16);
        let before = left.available();
        let held: Vec<_> = std::iter::from_fn(|| right.alloc()).collect();
        for len in [60, 5000] {
            let frame = left.frame_from(&vec![1; len]).unwrap();
            assert!(tx.send(&mut left, frame, FROM, OUT));
        }
        assert!(!tx.flush());
        assert_eq!(rx.receive(&mut right, 64, |_, _| unreachable!()), 2);
        assert_eq!(rx.counters().drops.get(DropReason::PoolExhausted), 2);
        tx.reclaim(&mut left);
        assert_eq!(left.available(), before);
        right.free_all(held);
    }

    #[test]
    fn a_sleeper_is_rung_for_once() {
        let (mut left, mut right, mut tx, mut rx) = pools(64, 16);
        assert!(rx.arm());
        let frame = left.frame_from(&[1; 60]).unwrap();
        assert!(tx.send(&mut left, frame, FROM, OUT));
        assert!(tx.flush());
        let frame = left.frame_from(&[1; 60]).unwrap();
        assert!(tx.send(&mut left, frame, FROM, OUT));
        assert!(!tx.flush(), "it was rung for already");
        assert!(!tx.flush(), "and there is nothing new");
        rx.disarm();
        assert!(!rx.arm(), "frames are waiting");
        assert_eq!(rx.receive(&mut right, 64, |_, _| {}), 2);
        assert!(rx.arm());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Send(usize),
        Flush,
        Receive(usize),
        Reclaim,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => prop_oneof![60usize..1600, 1700usize..9100].prop_map(Step::Send),
            2 => Just(Step::Flush),
            2 => (1usize..64).prop_map(Step::Receive),
            1 => Just(Step::Reclaim),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_happens_frames_keep_their_order_and_no_chunk_is_lost(steps in prop::collection::vec(step(), 1..300)) {
            let (mut left, mut right, mut tx, mut rx) = pools(128, 32);
            let (free_left, free_right) = (left.available(), right.available());
            let mut under_way = std::collections::VecDeque::new();
            let mut visible = 0;
            for (number, step) in steps.into_iter().chain([Step::Flush, Step::Receive(1000), Step::Reclaim]).enumerate() {
                match step {
                    Step::Send(len) => {
                        let Some(frame) = left.frame_from(&vec![number as u8; len]) else { continue };
                        if tx.send(&mut left, frame, FROM, OUT) {
                            under_way.push_back(vec![number as u8; len]);
                        }
                    }
                    Step::Flush => {
                        prop_assert!(!tx.flush());
                        visible = under_way.len();
                    }
                    Step::Receive(max) => {
                        let mut arrived = Vec::new();
                        let taken = rx.receive(&mut right, max, |_, frame| arrived.push(frame));
                        prop_assert_eq!(taken, visible.min(max));
                        visible -= taken;
                        prop_assert_eq!(arrived.len(), taken);
                        for frame in arrived {
                            prop_assert_eq!(Some(right.to_vec(&frame)), under_way.pop_front());
                            right.free(frame);
                        }
                    }
                    Step::Reclaim => {
                        tx.reclaim(&mut left);
                    }
                }
            }
            prop_assert!(under_way.is_empty());
            prop_assert_eq!((left.available(), right.available(), tx.outstanding()), (free_left, free_right, 0));
        }
    }

    #[test]
    fn two_threads_lose_nothing_but_what_they_count() {
        const FRAMES: u64 = 50_000;
        let (mut left, mut right, mut tx, mut rx) = pools(512, 128);
        let free_left = left.available();
        let sender = std::thread::spawn(move || {
            for number in 0..FRAMES {
                let mut data = [0; 60];
                data[..8].copy_from_slice(&number.to_le_bytes());
                let frame = left.frame_from(&data).unwrap();
                tx.send(&mut left, frame, FROM, OUT);
                if number % 32 == 31 {
                    let _ = tx.flush();
                    std::thread::yield_now();
                }
            }
            let _ = tx.flush();
            while tx.outstanding() > 0 {
                tx.reclaim(&mut left);
                std::thread::yield_now();
            }
            assert_eq!(left.available(), free_left);
            tx.counters().drops.get(DropReason::HandoffFull)
        });
        let (mut last, mut arrived) = (None, 0);
        while !sender.is_finished() {
            let mut frames = Vec::new();
            arrived += rx.receive(&mut right, 64, |_, frame| frames.push(frame)) as u64;
            for frame in frames {
                let number = u64::from_le_bytes(right.head(&frame)[..8].try_into().unwrap());
                assert!(last < Some(number), "{number} after {last:?}");
                last = Some(number);
                right.free(frame);
            }
            std::thread::yield_now();
        }
        assert_eq!(arrived + sender.join().unwrap(), FRAMES);
    }
}

#[cfg(loom)]
mod loom_tests {
    use loom::thread;

    use super::*;

    /// The bytes of a chunk may be written again as soon as it was reclaimed, so a frame that arrives damaged means that
    /// it was reclaimed too early.
    #[test]
    fn a_chunk_is_reused_only_after_its_copy_was_made() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let (mut left, mut right, mut tx, mut rx) = pools(4, 2);
            let before = left.available();
            let sender = thread::spawn(move || {
                for number in 1..=3u8 {
                    loop {
                        let frame = left.frame_from(&[number; 60]).expect("the ring is smaller than the pool");
                        let sent = tx.send(&mut left, frame, FROM, OUT);
                        let _ = tx.flush();
                        if sent {
                            break;
                        }
                        thread::yield_now();
                    }
                }
                while tx.outstanding() > 0 {
                    if tx.reclaim(&mut left) == 0 {
                        thread::yield_now();
                    }
                }
                assert_eq!(left.available(), before);
            });
            let mut next = 1u8;
            while next <= 3 {
                let mut arrived = Vec::new();
                if rx.receive(&mut right, 64, |_, frame| arrived.push(frame)) == 0 {
                    thread::yield_now();
                }
                for frame in arrived {
                    assert_eq!(right.to_vec(&frame), [next; 60]);
                    right.free(frame);
                    next += 1;
                }
            }
            sender.join().unwrap();
        });
    }
}
