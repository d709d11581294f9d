//! Grant copies, both ways: all of a burst with one call.

use crate::{CopyOp, GrantStatus, Grants};

/// Copies that are tried again after one call, because a page was not in memory.
const RETRIES: usize = 4;

/// Makes all copies. False when nothing is known of any.
#[inline]
pub(super) fn copy(grants: &mut dyn Grants, ops: &mut [CopyOp]) -> bool {
    let known = grants.copy(ops).is_ok();
    if known && ops.iter().any(|op| op.status() == GrantStatus::EAGAIN) {
        return copy_again(grants, ops);
    }
    known
}

/// Tries those again whose page was not in memory, a few times.
#[cold]
fn copy_again(grants: &mut dyn Grants, ops: &mut [CopyOp]) -> bool {
    let mut tries = RETRIES;
    for op in ops {
        while op.status() == GrantStatus::EAGAIN && tries > 0 {
            tries -= 1;
            if grants.copy(std::slice::from_mut(op)).is_err() {
                return false;
            }
        }
    }
    true
}
