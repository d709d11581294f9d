//! What happens to a frame's tag on its way out.
//!
//! A frame comes in with one tag or none, and leaves as the output's membership of its domain demands. Where a tag
//! remains its priority bits remain too; a tag that is made says priority 0, one that is taken off takes its priority
//! with it. A priority tag (VLAN 0) never leaves: to a bridge such a frame is untagged (802.1Q-2018, 6.9.1).

use super::table::Egress;
use crate::drops::DropReason;
use crate::frame::Frame;
use crate::pool::{MAX_FRAME, Pool};
use crate::wire::ethernet::{self, TAG, Tci};

/// How a tag changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rewrite {
    /// Not at all: the ordinary case.
    Keep,
    /// It goes.
    Pop,
    /// There was none.
    Push(Tci),
    /// It names another VLAN.
    Set(Tci),
}

impl Rewrite {
    /// What turns `tag` into what `egress` demands.
    #[inline]
    pub(super) fn between(tag: Option<Tci>, egress: Egress) -> Self {
        match (tag, egress.vid()) {
            (None, None) => Self::Keep,
            (None, Some(vid)) => Self::Push(Tci(vid)),
            (Some(_), None) => Self::Pop,
            (Some(tag), Some(vid)) if tag.vid() == vid => Self::Keep,
            (Some(tag), Some(vid)) => Self::Set(tag.with_vid(vid)),
        }
    }

    /// Changes `frame`, or frees it and says why that was not possible.
    #[inline]
    pub(super) fn apply(self, pool: &mut Pool, frame: Frame) -> Result<Frame, DropReason> {
        match self {
            Self::Keep => Ok(frame),
            _ => self.change(pool, frame),
        }
    }

    fn change(self, pool: &mut Pool, mut frame: Frame) -> Result<Frame, DropReason> {
        let done = match self {
            Self::Keep => true,
            Self::Set(tci) => ethernet::set_tag(pool.head_mut(&mut frame), tci),
            Self::Pop => return pop(pool, frame),
            Self::Push(tci) => return push(pool, frame, tci),
        };
        if done {
            return Ok(frame);
        }
        // The header was there when it was parsed, so this does not happen.
        pool.free(frame);
        Err(DropReason::Runt)
    }
}

/// Takes the tag off `frame`, or frees it and says why that was not possible.
#[inline]
pub(crate) fn pop(pool: &mut Pool, mut frame: Frame) -> Result<Frame, DropReason> {
    if ethernet::pop_tag(pool.head_mut(&mut frame)) && pool.grow_front(&mut frame, -(TAG as i16)) {
        return Ok(frame);
    }
    pool.free(frame);
    Err(DropReason::Runt)
}

/// Puts a tag into `frame`, or frees it and says why that was not possible.
#[inline]
pub(crate) fn push(pool: &mut Pool, frame: Frame, tci: Tci) -> Result<Frame, DropReason> {
    if frame.len() + TAG > MAX_FRAME {
        pool.free(frame);
        return Err(DropReason::Giant);
    }
    let mut frame = with_room(pool, frame)?;
    if ethernet::push_tag(pool.head_mut(&mut frame), tci) {
        return Ok(frame);
    }
    pool.free(frame);
    Err(DropReason::Runt)
}

/// The frame with room for a tag before it: moved to other chunks when it has no headroom.
fn with_room(pool: &mut Pool, mut frame: Frame) -> Result<Frame, DropReason> {
    if pool.grow_front(&mut frame, TAG as i16) {
        return Ok(frame);
    }
    let copy = pool.copy(&frame);
    pool.free(frame);
    let mut copy = copy.ok_or(DropReason::PoolExhausted)?;
    if pool.grow_front(&mut copy, TAG as i16) {
        return Ok(copy);
    }
    pool.free(copy);
    Err(DropReason::PoolExhausted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::HEADROOM;

    const UNTAGGED: [u8; 18] = [2, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 2, 8, 0, 0xa, 0xb, 0xc, 0xd];
    const TAGGED: [u8; 22] = [2, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 2, 0x81, 0, 0xa0, 10, 8, 0, 0xa, 0xb, 0xc, 0xd];

    fn rewritten(rewrite: Rewrite, bytes: &[u8]) -> Vec<u8> {
        let mut pool = Pool::new(8).unwrap();
        let frame = pool.frame_from(bytes).unwrap();
        let frame = rewrite.apply(&mut pool, frame).unwrap();
        let bytes = pool.to_vec(&frame);
        pool.free(frame);
        assert_eq!(pool.available(), pool.capacity());
        bytes
    }

    #[test]
    fn tags_come_go_and_change() {
        assert_eq!(rewritten(Rewrite::Push(Tci(0xa00a)), &UNTAGGED), TAGGED);
        assert_eq!(rewritten(Rewrite::Pop, &TAGGED), UNTAGGED);
        assert_eq!(rewritten(Rewrite::Set(Tci(0xa00a).with_vid(20)), &TAGGED)[14..16], [0xa0, 20]);
        assert_eq!(rewritten(Rewrite::Keep, &TAGGED), TAGGED);
    }

    #[test]
    fn a_frame_without_headroom_is_moved_to_get_its_tag() {
        let mut pool = Pool::new(8).unwrap();
        let mut frame = pool.frame_from(&[&[0; HEADROOM], UNTAGGED.as_slice()].concat()).unwrap();
        assert!(pool.grow_front(&mut frame, -(HEADROOM as i16)));
        assert!(pool.grow_front(&mut frame, HEADROOM as i16) && pool.grow_front(&mut frame, HEADROOM as i16));
        let mut at_front = frame;
        pool.head_mut(&mut at_front)[..UNTAGGED.len()].copy_from_slice(&UNTAGGED);
        let frame = Rewrite::Push(Tci(0xa00a)).apply(&mut pool, at_front).unwrap();
        assert_eq!(pool.to_vec(&frame)[..18], TAGGED[..18]);
        pool.free(frame);
        assert_eq!(pool.available(), pool.capacity());
    }

    #[test]
    fn without_headroom_and_without_chunks_the_frame_is_lost_but_its_chunk_is_not() {
        let mut pool = Pool::new(2).unwrap();
        let mut frame = pool.frame_from(&UNTAGGED).unwrap();
        assert!(pool.grow_front(&mut frame, HEADROOM as i16));
        let held: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
        assert_eq!(Rewrite::Push(Tci(10)).apply(&mut pool, frame).unwrap_err(), DropReason::PoolExhausted);
        assert_eq!(pool.available(), 1);
        pool.free_all(held);
    }

    #[test]
    fn the_longest_frame_has_no_room_for_a_tag() {
        let mut pool = Pool::new(64).unwrap();
        let before = pool.available();
        for (len, fits) in [(MAX_FRAME - TAG, true), (MAX_FRAME - TAG + 1, false)] {
            let frame = pool.frame_from(&vec![2; len]).unwrap();
            match Rewrite::Push(Tci(10)).apply(&mut pool, frame) {
                Ok(frame) => {
                    assert!(fits);
                    assert_eq!(frame.len(), MAX_FRAME);
                    pool.free(frame);
                }
                Err(reason) => assert_eq!((fits, reason), (false, DropReason::Giant)),
            }
            assert_eq!(pool.available(), before);
        }
    }
}
