//! `xen-ring`: frames to and from a domU that runs our agent, over memif's rings in pages that it granted once.
//!
//! A vif costs a copy by the hypervisor for every frame, and the guest an event for every burst. A guest that runs
//! [`RingAgent`] grants its pages once, and from then on both sides only read and write memory; an event channel wakes a
//! side that sleeps, and nothing else.
//!
//! The ring is a second way to a vif that the toolstack gave the guest: address, bridge domain, VLAN and rate are the vif's.
//! While it is up, the engine sends to the guest through it, and hears both. When the agent ends, the vif is what it was.
//!
//! # How they meet
//! The agent writes below its part of the vif, `device/vif/N/pointsman-ring/`:
//!
//! | key | what |
//! |---|---|
//! | `version` | 1 |
//! | `directory` | grants of the pages that list the grants of all others, 1024 in each, separated by blanks |
//! | `pages` | how many those are: the control page (`page.rs`), then memif's region |
//! | `log2-ring-size`, `buffer-size` | the region's [`Geometry`](pointsman_dataplane::memif::foreign::Geometry) |
//! | `event-channel` | unbound, for the backend |
//! | `session` | a number that was not used before; written with the others or last |
//!
//! The backend maps everything and answers in its part: `pointsman-ring` becomes the session's number, or that number and
//! why it was refused. `feature-pointsman-ring` there tells beforehand that it would.
//!
//! # When a side dies
//! Its kernel clears that side's byte in the control page. Both sides look twice a second. A session is never served twice:
//! what a dead engine left in the rings is of no known state, so the agent lays them out anew and takes the next number.
//! Frames that were in the rings are lost; connections through them are not.

mod agent;
mod bell;
mod channel;
mod keys;
mod page;

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use pointsman_dataplane::memif::region::Mapping;

use crate::{PAGE, Shared};

pub use agent::{RingAgent, RingOptions, vif_mac};
pub(crate) use channel::{Channel, Host};
pub(crate) use keys::{FEATURE, RING};

/// How often a side looks whether the other lives.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// The region behind the control page.
#[derive(Debug)]
struct Behind(Arc<Shared>);

// SAFETY: the shared pages stay mapped for writing until the last Arc goes. A page that was granted to us stays ours, mapped
// or not, whatever its owner does: nothing makes touching it fail.
unsafe impl Mapping for Behind {
    fn base(&self) -> NonNull<u8> {
        // SAFETY: there are at least two pages, by `keys`' limits and by the agent's.
        unsafe { self.0.base().add(PAGE) }
    }

    fn len(&self) -> usize {
        self.0.len() - PAGE
    }
}
