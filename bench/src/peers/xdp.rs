//! In-kernel XDP redirect, device to device: what the kernel can do without leaving it, and without a bridge's work.

use std::sync::Arc;

use anyhow::Result;

use super::Peer;
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
