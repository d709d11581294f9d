//! Frames of every kind in, the same bytes out, and every chunk back.

use super::*;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256) as u8).collect()
}

#[test]
fn frames_of_every_length_come_back_whole_and_leak_nothing() {
    let mut pool = Pool::new(256).unwrap();
    let before = pool.available();
    for len in [1, 14, 60, CHUNK_DATA - 1, CHUNK_DATA, CHUNK_DATA + 1, 2 * CHUNK_DATA, 9018, MAX_FRAME] {
        let data = pattern(len);
        let frame = pool.frame_from(&data).unwrap();
        assert_eq!(frame.len(), len);
        assert_eq!(pool.to_vec(&frame), data);
        let copy = pool.copy(&frame).unwrap();
        assert_eq!(pool.to_vec(&copy), data);
        pool.free(frame);
        assert_eq!(pool.to_vec(&copy), data);
        pool.free(copy);
        assert_eq!(pool.available(), before, "length {len}");
    }
    assert!(pool.frame_from(&pattern(MAX_FRAME + 1)).is_none());
    assert!(pool.frame_from(&[]).is_none());
}

#[test]
fn an_unfilled_frame_has_room_for_all_of_its_bytes() {
    let mut pool = Pool::new(64).unwrap();
    let before = pool.available();
    for len in [1, CHUNK_DATA, CHUNK_DATA + 1, 3 * CHUNK_DATA, MAX_FRAME] {
        let frame = pool.unfilled(len).unwrap();
        let data = pattern(len);
        let mut rest = &data[..];
        for (at, n) in pool.parts(&frame) {
            // SAFETY: a part of a frame of ours.
            unsafe { std::ptr::copy_nonoverlapping(rest.as_ptr(), at, n) };
            rest = &rest[n..];
        }
        assert!(rest.is_empty());
        assert_eq!(pool.to_vec(&frame), data);
        pool.free(frame);
        assert_eq!(pool.available(), before, "length {len}");
    }
    assert!(pool.unfilled(0).is_none());
    assert!(pool.unfilled(MAX_FRAME + 1).is_none());
    let mut pool = Pool::new(16).unwrap();
    let held = pool.unfilled((pool.available() - 1) * CHUNK_DATA).unwrap();
    assert!(pool.unfilled(CHUNK_DATA + 1).is_none());
    assert_eq!(pool.available(), 1, "a frame that was not had kept chunks");
    pool.free(held);
}

#[test]
fn any_range_of_a_frame_can_be_appended_to_another() {
    let mut pool = Pool::new(64).unwrap();
    let before = pool.available();
    let data = pattern(9018);
    let from = pool.frame_from(&data).unwrap();
    for (at, len) in [(0, 9018), (0, 1), (CHUNK_DATA - 1, 2), (CHUNK_DATA, CHUNK_DATA), (1000, 8000), (9017, 1)] {
        let mut frame = pool.frame_from(&[7; 34]).unwrap();
        assert!(pool.append_from(&mut frame, &from, at, len));
        assert_eq!(pool.to_vec(&frame), [&[7; 34], &data[at..at + len]].concat());
        pool.free(frame);
    }
    let mut frame = pool.frame_from(&[7; 34]).unwrap();
    assert!(!pool.append_from(&mut frame, &from, 9000, 19), "beyond the end");
    pool.free(frame);
    pool.free(from);
    assert_eq!(pool.available(), before);
}

#[test]
fn an_exhausted_pool_refuses_and_recovers() {
    let mut pool = Pool::new(4).unwrap();
    let held: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert!(pool.frame_from(&[1; 60]).is_none());
    pool.free_all(held);
    let before = pool.available();
    assert!(pool.frame_from(&vec![1; CHUNK_DATA * (before + 1)]).is_none());
    assert_eq!(pool.available(), before);
}

#[test]
fn a_chunk_from_the_kernel_must_lie_in_the_pool() {
    let pool = Pool::new(4).unwrap();
    let end = (pool.capacity() * CHUNK) as u64;
    assert!(pool.adopt(HEADROOM as u64, CHUNK_DATA as u32).is_some());
    assert!(pool.adopt(HEADROOM as u64, CHUNK_DATA as u32 + 1).is_none());
    assert!(pool.adopt(end, 60).is_none());
    assert!(pool.adopt(u64::MAX, u32::MAX).is_none());
}

#[test]
fn the_front_grows_into_the_headroom_and_no_further() {
    let mut pool = Pool::new(4).unwrap();
    let mut frame = pool.frame_from(&pattern(60)).unwrap();
    assert!(pool.grow_front(&mut frame, 4));
    assert_eq!((frame.len(), frame.head_len()), (64, 64));
    assert!(pool.grow_front(&mut frame, -4));
    assert_eq!(pool.to_vec(&frame), pattern(60));
    assert!(!pool.grow_front(&mut frame, 257));
    assert!(!pool.grow_front(&mut frame, -60));
}
