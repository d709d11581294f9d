//! Where a feed's routes go.

use crate::rib::{Change, InterfaceId};

use super::{Address, IfIndex, Link, Refusal, TableId};

/// Takes what a feed says. All calls come from the feed's one thread, and may take their time.
///
/// Of next hop groups that a change names, each is told before the first route that names it if it is known by then, and
/// again whenever it changes; its number is the feed's and never that of another group that any route still names, across
/// restarts of the client too. A group that is taken back and not there is none to complain about.
pub trait Sink: Send {
    /// The interface of the table's VRF that a device of the client's namespace stands for.
    fn interface(&self, table: TableId, device: IfIndex) -> Option<InterfaceId>;

    /// Does what is asked for. Only tables of the feed's configuration are named.
    ///
    /// # Errors
    /// Why it is not done. The feed counts it, and goes on.
    fn change(&mut self, table: TableId, change: Change) -> Result<(), Refusal>;

    /// Marks: what the feed has said until now must be said again until [`end_sync`](Self::end_sync), or goes then. It is
    /// forwarded by until then. Called again before the end, it begins anew.
    fn begin_sync(&mut self);

    /// Sweeps: what was marked and not said again is gone.
    fn end_sync(&mut self);

    /// Nothing more has come yet: a good moment to publish what was changed.
    fn settle(&mut self) {}

    /// A device of the client's namespace is there (or gone). Only our own agent says so, before its routes.
    fn link(&mut self, link: &Link, present: bool) {
        let _ = (link, present);
    }

    /// Such a device has (or has lost) an address. Only our own agent says so, before its routes.
    fn address(&mut self, address: &Address, present: bool) {
        let _ = (address, present);
    }
}
