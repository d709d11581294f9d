//! XDP inside the kernel, device to device: what the kernel can do without leaving its driver's receive side. One program
//! redirects everything, which is the ceiling; the other asks the kernel's tables of routes and neighbours first.

use std::sync::Arc;

use anyhow::Result;

use super::{Peer, Routed, linux};
use crate::testbed::Testbed;
use crate::traffic::{Attached, Programs};

/// The program on `in`, which sends all to `out`.
#[derive(Debug)]
pub(super) struct Redirect(#[expect(dead_code, reason = "held until dropped")] Attached);

impl Redirect {
    pub(super) fn start(bed: &Testbed, programs: &Arc<Programs>) -> Result<Self> {
        programs.attach_redirect(&bed.host, &bed.in_device(), &bed.out_device()).map(Self)
    }
}

impl Peer for Redirect {
    fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The program on `in`, which routes, and Linux behind it, whose tables it asks.
#[derive(Debug)]
pub(super) struct Route(#[expect(dead_code, reason = "held until dropped")] Attached, linux::Routing);

impl Route {
    pub(super) fn start(routed: &Routed<'_>, bed: &Testbed, programs: &Arc<Programs>) -> Result<Self> {
        let linux = linux::Routing::with(routed, bed)?;
        Ok(Self(programs.attach_route(&bed.host, &bed.in_device())?, linux))
    }
}

impl Peer for Route {
    fn check(&mut self) -> Result<()> {
        self.1.check()
    }
}
