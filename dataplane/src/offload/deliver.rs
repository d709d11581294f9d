//! Where what is left to do is done: at the last moment, when the port is known.

use super::checksum::complete;
use super::{Offload, Offloads, Segments};
use crate::drops::DropReason;
use crate::frame::{Burst, Frame};
use crate::pool::Pool;
use crate::port::Port;

/// Pushes `burst` to `port`, and leaves it empty: every frame as the port takes it, in order. `spare` is an empty burst
/// to work with, and empty again afterwards.
///
/// Worth calling only while the pool has frames for which something is left to do.
pub fn push(port: &mut dyn Port, pool: &mut Pool, burst: &mut Burst, spare: &mut Burst) {
    let accepts = port.accepts();
    if accepts.contains(Offloads::ALL) {
        return port.push(pool, burst);
    }
    for mut frame in burst.drain(..) {
        let pushed = match pool.offload(&frame) {
            Some(offload) if accepts.contains(Offloads::needed(offload, pool.head(&frame))) => {
                if accepts == Offloads::NONE {
                    pool.take_offload(&mut frame);
                }
                stage(port, pool, spare, frame);
                Ok(())
            }
            Some(Offload::Segment(..)) => cut(port, pool, spare, frame),
            Some(Offload::Checksum(partial)) => {
                pool.take_offload(&mut frame);
                if complete(pool, &mut frame, partial) {
                    stage(port, pool, spare, frame);
                    Ok(())
                } else {
                    pool.free(frame);
                    Err(DropReason::ChecksumRequest)
                }
            }
            Some(Offload::Verified) | None => {
                stage(port, pool, spare, frame);
                Ok(())
            }
        };
        if let Err(reason) = pushed {
            port.counters().dropped(reason, 1);
        }
    }
    if !spare.is_empty() {
        port.push(pool, spare);
    }
}

/// Sends `frame` with what came before it, when that is a burst.
fn stage(port: &mut dyn Port, pool: &mut Pool, spare: &mut Burst, frame: Frame) {
    spare.push(frame);
    if spare.is_full() {
        port.push(pool, spare);
    }
}

/// Sends the segments of `frame`: all of them, or none when there are not the chunks for all.
fn cut(port: &mut dyn Port, pool: &mut Pool, spare: &mut Burst, frame: Frame) -> Result<(), DropReason> {
    let mut segments = match Segments::of(pool, frame) {
        Ok(segments) => segments,
        Err(frame) => {
            pool.free(frame);
            return Err(DropReason::SegmentRequest);
        }
    };
    let mut result = Ok(());
    if segments.chunks_left() > pool.available() {
        result = Err(DropReason::PoolExhausted);
    } else {
        while let Some(segment) = segments.next(pool) {
            stage(port, pool, spare, segment);
        }
        if segments.left() > 0 {
            result = Err(DropReason::PoolExhausted);
        }
    }
    segments.end(pool);
    result
}
