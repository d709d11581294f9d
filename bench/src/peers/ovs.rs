//! Open vSwitch with its userspace datapath, device to device: a bridge of type `netdev` that learns addresses.
//!
//! Both of its daemons are ours, with their files in the testbed's folder: a switch that the machine runs is not touched.

use std::time::Duration;

use anyhow::Result;

use super::Peer;
use crate::interrupt;
use crate::process::{Running, run};
use crate::testbed::Testbed;

/// The program that forwards.
pub const OVS: &str = "ovs-vswitchd";

/// Where Debian puts what a database of it looks like.
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// Dropped in order: the switch goes before its database.
#[derive(Debug)]
pub(super) struct Switch {
    switch: Running,
    database: Running,
}

impl Switch {
    pub(super) fn start(bed: &Testbed) -> Result<Self> {
        let folder = bed.folder.path();
        let path = |name: &str| folder.join(name).display().to_string();
        let (file, socket) = (path("conf.db"), path("db.sock"));
        run("ovsdb-tool", &["create", &file, SCHEMA])?;
        bed.receive_first()?;
        let environment = format!("OVS_RUNDIR={}", folder.display());
        let (remote, control) = (format!("--remote=punix:{socket}"), format!("--unixctl={}", path("db.ctl")));
        let words = ["env", &environment, "ovsdb-server", &file, &remote, &control];
        let mut database = Running::start("ovsdb-server", None, bed.cores.dut, &words, folder)?.polite();
        interrupt::wait_for("OVS's database", Duration::from_secs(5), || {
            database.check()?;
            Ok(folder.join("db.sock").exists())
        })?;
        let (at, control) = (format!("unix:{socket}"), format!("--unixctl={}", path("switch.ctl")));
        let words = ["env", &environment, OVS, &at, &control];
        let mut switch = Running::start(OVS, Some(bed.host.name()), bed.cores.dut, &words, folder)?.polite();
        let (input, output) = (bed.in_device(), bed.out_device());
        let (to, device) = (format!("--db={at}"), ["--", "add-port", "bridge"]);
        let bridge = ["--timeout=10", &to, "add-br", "bridge", "--", "set", "bridge", "bridge", "datapath_type=netdev"];
        let words = [&bridge[..], &device, &[&input], &device, &[&output]].concat();
        // Waits until the switch has done it.
        run("ovs-vsctl", &words)?;
        switch.check()?;
        Ok(Self { switch, database })
    }
}

impl Peer for Switch {
    fn check(&mut self) -> Result<()> {
        self.switch.check()?;
        self.database.check()
    }
}
