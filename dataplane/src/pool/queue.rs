//! Frames that wait, in lists through the pool's own chunks.
//!
//! A frame is its first chunk's only tenant, so that chunk's place in a table beside the pool is where the rest of the
//! frame's description can lie, with the number of the next one. Any number of queues then takes no memory beyond that
//! table, none can grow, and none allocates.

use super::Pool;
use crate::frame::Frame;

/// A frame that waits in the chunk whose place this is, and who comes after it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    next: u32,
    len: u32,
    offset: u16,
    head: u16,
    chunks: u16,
    flags: u16,
}

/// Frames in a row, first in, first out. All of them are of one pool.
#[derive(Debug, Default)]
pub struct FrameQueue {
    first: u32,
    last: u32,
    frames: u32,
}

impl FrameQueue {
    /// How many frames wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.frames as usize
    }

    /// Whether none does.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }
}

impl Pool {
    /// Puts `frame` at the end of `queue`.
    #[inline]
    pub fn enqueue(&mut self, queue: &mut FrameQueue, frame: Frame) {
        let Frame { chunk, offset, head, len, chunks, flags } = frame;
        self.waiting[chunk as usize] = Waiting { next: 0, len, offset, head, chunks, flags };
        if queue.is_empty() {
            queue.first = chunk;
        } else {
            self.waiting[queue.last as usize].next = chunk;
        }
        queue.last = chunk;
        queue.frames += 1;
    }

    /// Takes the first frame of `queue`.
    #[inline]
    pub fn dequeue(&mut self, queue: &mut FrameQueue) -> Option<Frame> {
        if queue.is_empty() {
            return None;
        }
        let chunk = queue.first;
        let Waiting { next, len, offset, head, chunks, flags } = self.waiting[chunk as usize];
        queue.first = next;
        queue.frames -= 1;
        Some(Frame { chunk, offset, head, len, chunks, flags })
    }

    /// Bytes and chunks of the first frame of `queue`.
    #[inline]
    pub fn first_in(&self, queue: &FrameQueue) -> Option<(usize, usize)> {
        if queue.is_empty() {
            return None;
        }
        let first = self.waiting[queue.first as usize];
        Some((first.len as usize, first.chunks as usize))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn queues_are_what_a_deque_would_be(steps in prop::collection::vec((0usize..3, 1usize..6000, any::<bool>()), 1..200)) {
            let mut pool = Pool::new(256).unwrap();
            let before = pool.available();
            let mut queues = [const { FrameQueue { first: 0, last: 0, frames: 0 } }; 3];
            let mut models: [VecDeque<Vec<u8>>; 3] = Default::default();
            for (n, (which, len, put)) in steps.into_iter().enumerate() {
                let (queue, model) = (&mut queues[which], &mut models[which]);
                if put {
                    let bytes = vec![n as u8; len];
                    let Some(frame) = pool.frame_from(&bytes) else { continue };
                    pool.enqueue(queue, frame);
                    model.push_back(bytes);
                } else {
                    prop_assert_eq!(pool.first_in(queue).map(|(len, _)| len), model.front().map(Vec::len));
                    let frame = pool.dequeue(queue);
                    prop_assert_eq!(frame.as_ref().map(|frame| pool.to_vec(frame)), model.pop_front());
                    pool.free_all(frame);
                }
                prop_assert_eq!(queue.len(), model.len());
            }
            for (queue, model) in queues.iter_mut().zip(&mut models) {
                while let Some(frame) = pool.dequeue(queue) {
                    prop_assert_eq!(pool.to_vec(&frame), model.pop_front().unwrap());
                    pool.free(frame);
                }
                prop_assert!(model.is_empty());
            }
            prop_assert_eq!(pool.available(), before);
        }
    }
}
