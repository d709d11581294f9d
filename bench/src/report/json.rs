//! Rows, as they are written to a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::machine::Machine;

/// A row of Table I: one path with one number of routers under one load. Figures are medians over the repeats.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `linux-bridge` or `pointsman`.
    pub path: &'static str,
    /// What the virtual routers are: `linux`, `router` or `tap`.
    pub guest: &'static str,
    /// `paper` or `max`.
    pub load: &'static str,
    /// 64 or 1500.
    pub frame: u32,
    /// Virtual routers, and flows.
    pub routers: usize,
    /// Frames a second that were sent, all flows together.
    pub offered_pps: f64,
    /// Frames a second that arrived, router by router.
    pub router_pps: Vec<f64>,
    /// The part of the sent frames that did not arrive.
    pub loss: f64,
    /// The part that the modelled link alone forces to be lost.
    pub loss_floor: f64,
    /// Jain's index over the routers.
    pub jain: f64,
    /// CPU time of the machine for every frame that arrived, less that of generator and sink.
    pub cpu_ns_per_frame: f64,
}

/// A row of the comparison of forwarders.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerRow {
    /// `pointsman`, `testpmd`, `linux-bridge` or `xdp-redirect`.
    pub path: &'static str,
    /// Pairs of memifs; 0 from device to device.
    pub guests: usize,
    /// Frames a second, the median over the repeats.
    pub pps: f64,
}

/// A row of the comparison of routers, device to device, frames of 64 bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteRow {
    /// `linux-route`, `xdp-route`, `xdp-redirect` (which knows no routes) or `pointsman-vrf`.
    pub path: &'static str,
    /// Routes of each router besides its own networks; destinations are drawn over all of them.
    pub routes: usize,
    /// Routers.
    pub vrfs: usize,
    /// Whether they are in VLANs, one each.
    pub vlans: bool,
    /// Frames a second that arrived, the median over the turns.
    pub pps: f64,
    /// How far the turns lie apart, as a part of the median.
    pub spread: Option<f64>,
    /// Frames that arrived with a wrong time to live, in all turns.
    pub strays: u64,
    /// CPU time of the machine for every frame that arrived, less that of generator and sink.
    pub cpu_ns_per_frame: f64,
    /// Seconds from the start until it had its routes and forwarded.
    pub ready_seconds: f64,
}

/// What changes of routes cost frames that they do not concern.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UpdateRow {
    /// What happened to the routes meanwhile: `nothing`, `added`, `replaced` or `withdrawn`.
    pub what: &'static str,
    /// How many routes.
    pub routes: usize,
    /// From the first byte of the feed until the last of them was in force.
    pub seconds: Option<f64>,
    /// Frames that were sent meanwhile.
    pub frames: u64,
    /// Of them, those that arrived.
    pub arrived: u64,
    /// Frames that were due and that the generator, held up, did not send: they are not among the lost.
    pub unsent: u64,
    /// Frames that the engine lost meanwhile, those outside of what was counted too, by port and reason.
    pub drops: BTreeMap<String, u64>,
}

/// All that `bench route` writes.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum RouteFigure {
    /// How much comes through.
    Through(RouteRow),
    /// What changes cost.
    Update(UpdateRow),
}

#[derive(Serialize)]
struct Document<'a, R> {
    machine: &'a Machine,
    rows: &'a [R],
}

/// Writes machine and rows.
pub(crate) fn write<R: Serialize>(path: &Path, machine: &Machine, rows: &[R]) -> Result<()> {
    let mut text = serde_json::to_string_pretty(&Document { machine, rows })?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("{}: cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::cpu::{Core, Cores};

    #[test]
    fn rows_have_the_promised_keys_and_no_others() {
        let row = Row {
            path: "pointsman",
            guest: "router",
            load: "paper",
            frame: 64,
            routers: 2,
            offered_pps: 714_000.0,
            router_pps: vec![357_000.0, 357_000.0],
            loss: 0.0,
            loss_floor: 0.0,
            jain: 1.0,
            cpu_ns_per_frame: 300.0,
        };
        let machine = Machine::read(Cores { traffic: Core(0), dut: Core(1) });
        let file = std::env::temp_dir().join(format!("pmb-json-test-{}", std::process::id()));
        write(&file, &machine, &[row]).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        assert!(document["machine"]["kernel"].is_string());
        let keys: Vec<&str> = document["rows"][0].as_object().unwrap().keys().map(String::as_str).collect();
        let mut promised = [
            "path",
            "guest",
            "load",
            "frame",
            "routers",
            "offered_pps",
            "router_pps",
            "loss",
            "loss_floor",
            "jain",
            "cpu_ns_per_frame",
        ];
        promised.sort_unstable();
        let mut found = keys.clone();
        found.sort_unstable();
        assert_eq!(found, promised);
        assert_eq!(document["rows"][0]["router_pps"][1], 357_000.0);
    }

    #[test]
    fn peer_rows_have_three_keys() {
        let value = serde_json::to_value(PeerRow { path: "testpmd", guests: 8, pps: 1.5 }).unwrap();
        assert_eq!(value, serde_json::json!({"path": "testpmd", "guests": 8, "pps": 1.5}));
    }
}
