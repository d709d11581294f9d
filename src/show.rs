//! `pointsman show`: what a running engine tells of itself.

mod vrf;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use pointsman_dataplane::config::DEFAULT_CONTROL;
use pointsman_dataplane::control::{GuestReport, Reply, Request, Topic, VrfRequest, VrfTopic, ask};

use crate::output::print;

/// Show what a running engine does.
#[derive(Debug, Args)]
pub struct Show {
    #[arg(value_enum)]
    what: What,
    /// Of `route`: for which address
    #[arg(required_if_eq("what", "route"))]
    address: Option<IpAddr>,
    /// Of one VRF only
    #[arg(long, value_name = "NAME")]
    vrf: Option<String>,
    /// Of `routes`: list at most so many
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    limit: usize,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
    /// The engine's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_CONTROL)]
    control: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Every port: mode, counters
    Ports,
    /// Every guest with its ports and stations
    Guests,
    /// Stations of the bridge domains, configured and learned
    Fdb,
    /// Every worker: what it owns, how busy it is
    Workers,
    /// Every lost frame, by place and reason
    Drops,
    /// Interfaces of the VRFs: addresses, counters
    Interfaces,
    /// Routes of the VRFs, and who wants them
    Routes,
    /// Neighbours of the VRFs
    Neighbours,
    /// Where a packet for ADDRESS goes, and why
    Route,
    /// Feeds of routes: clients, counters
    Feeds,
}

impl Show {
    pub fn run(&self) -> anyhow::Result<()> {
        let of_vrf = |what| Request::Vrf(VrfRequest { vrf: self.vrf.clone(), what });
        let request = match (self.what, self.address) {
            (What::Route, Some(address)) => of_vrf(VrfTopic::Route(address)),
            (What::Route, None) => bail!("give the address that the packet is for: show route ADDRESS"),
            (_, Some(_)) => bail!("only `show route` takes an address"),
            (What::Interfaces, None) => of_vrf(VrfTopic::Interfaces),
            (What::Routes, None) => of_vrf(VrfTopic::Routes(self.limit)),
            (What::Neighbours, None) => of_vrf(VrfTopic::Neighbours),
            (What::Feeds, None) => Request::Vrf(VrfRequest { vrf: None, what: VrfTopic::Feeds }),
            (_, None) if self.vrf.is_some() => bail!("--vrf belongs to interfaces, routes, neighbours and route"),
            (What::Ports, None) => Request::Show(Topic::Ports),
            (What::Guests, None) => Request::Show(Topic::Guests),
            (What::Fdb, None) => Request::Show(Topic::Fdb),
            (What::Workers, None) => Request::Show(Topic::Workers),
            (What::Drops, None) => Request::Show(Topic::Drops),
        };
        let reply = ask(&self.control, request)?;
        if let Reply::Error(reason) = reply {
            bail!("the engine refused: {reason}");
        }
        if self.json { print(&format!("{}\n", json(&reply)?)) } else { print(&format!("{}\n", table(&reply))) }
    }
}

/// The list alone: which one it is was asked for.
fn json(reply: &Reply) -> serde_json::Result<String> {
    match reply {
        Reply::Ports(list) => serde_json::to_string_pretty(list),
        Reply::Guests(list) => serde_json::to_string_pretty(list),
        Reply::Fdb(list) => serde_json::to_string_pretty(list),
        Reply::Workers(list) => serde_json::to_string_pretty(list),
        Reply::Drops(list) => serde_json::to_string_pretty(list),
        Reply::Interfaces(list) => serde_json::to_string_pretty(list),
        Reply::Routes(list) => serde_json::to_string_pretty(list),
        Reply::Neighbours(list) => serde_json::to_string_pretty(list),
        Reply::Feeds(list) => serde_json::to_string_pretty(list),
        Reply::Route(explanation) => serde_json::to_string_pretty(explanation),
        Reply::Done => serde_json::to_string_pretty("done"),
        Reply::Error(reason) => serde_json::to_string_pretty(reason),
    }
}

fn table(reply: &Reply) -> Table {
    match reply {
        Reply::Ports(ports) => {
            let head =
                ["port", "kind", "guest", "worker", "state", "rate", "rx frames", "tx frames", "lost", "attached"];
            grid(
                head,
                &[5, 6, 7, 8],
                ports.iter().map(|p| {
                    let guest = p.guest.clone().unwrap_or_else(|| "-".into());
                    let lost = total(&p.drops);
                    let numbers = [p.rx_frames, p.tx_frames, lost].map(|n| n.to_string());
                    let [rx, tx, lost] = numbers;
                    let workers = join(&p.workers);
                    let rate = p.line_rate.clone().unwrap_or_else(|| "-".into());
                    [p.name.clone(), p.kind.clone(), guest, workers, up(p.up), rate, rx, tx, lost, p.mode.clone()]
                }),
            )
        }
        Reply::Guests(guests) => {
            let head = [
                "guest",
                "weight",
                "rates",
                "cpu s",
                "port",
                "stations",
                "state",
                "rx frames",
                "tx frames",
                "lost",
                "why",
                "attached",
            ];
            let rows = guests.iter().flat_map(|g| g.ports.iter().map(move |p| (g, p)));
            grid(
                head,
                &[1, 3, 7, 8, 9],
                rows.map(|(g, p)| {
                    let port = &p.port;
                    let numbers = [port.rx_frames, port.tx_frames, total(&port.drops)].map(|n| n.to_string());
                    let [rx, tx, lost] = numbers;
                    let stations = p.macs.join("\n");
                    let (weight, cpu) = (g.weight.to_string(), format!("{:.3}", g.cpu_nanos as f64 / 1e9));
                    let (name, port_name, mode) = (g.name.clone(), port.name.clone(), port.mode.clone());
                    [
                        name,
                        weight,
                        rates(g),
                        cpu,
                        port_name,
                        stations,
                        up(port.up),
                        rx,
                        tx,
                        lost,
                        reasons(&port.drops),
                        mode,
                    ]
                }),
            )
        }
        Reply::Fdb(stations) => grid(
            ["domain", "station", "port", "last seen"],
            &[],
            stations.iter().map(|s| {
                let age = s.age.map_or_else(|| "configured".into(), |age| format!("{age} s ago"));
                [s.domain.clone(), s.mac.clone(), s.port.clone(), age]
            }),
        ),
        Reply::Workers(workers) => {
            let head =
                ["worker", "core", "queues", "frames", "a busy breath", "ns a frame", "sleeps", "free chunks", "lost"];
            grid(
                head,
                &[3, 4, 5, 6, 7, 8],
                workers.iter().map(|w| {
                    let core = w.core.map_or_else(|| "any".into(), |core| core.to_string());
                    let huge = if w.huge_pages { " (huge pages)" } else { "" };
                    [
                        w.worker.to_string(),
                        core,
                        w.queues.join(" "),
                        w.frames.to_string(),
                        ratio(w.frames, w.busy_breaths),
                        ratio(w.busy_nanos, w.frames),
                        w.sleeps.to_string(),
                        format!("{}/{}{huge}", w.chunks_free, w.chunks),
                        total(&w.drops).to_string(),
                    ]
                }),
            )
        }
        Reply::Drops(drops) => grid(
            ["place", "reason", "frames"],
            &[2],
            drops.iter().map(|d| [d.place.clone(), d.reason.clone(), d.frames.to_string()]),
        ),
        Reply::Interfaces(interfaces) => vrf::interfaces(interfaces),
        Reply::Routes(routes) => vrf::routes(routes),
        Reply::Neighbours(neighbours) => vrf::neighbours(neighbours),
        Reply::Feeds(feeds) => vrf::feeds(feeds),
        Reply::Route(explanation) => vrf::explanation(explanation),
        Reply::Done => grid(["done"], &[], std::iter::empty()),
        Reply::Error(reason) => grid(["error"], &[], [[reason.clone()]].into_iter()),
    }
}

fn grid<const N: usize>(head: [&str; N], numbers: &[usize], rows: impl Iterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(head);
    for row in rows {
        table.add_row(row);
    }
    for &column in numbers {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What a guest may send and be sent.
fn rates(guest: &GuestReport) -> String {
    match (&guest.rate_from, &guest.rate_to) {
        (None, None) => "-".into(),
        (Some(from), Some(to)) if from == to => from.clone(),
        (from, to) => {
            let or_none = |rate: &Option<String>| rate.clone().unwrap_or_else(|| "-".into());
            format!("from {}, to {}", or_none(from), or_none(to))
        }
    }
}

fn total(drops: &BTreeMap<String, u64>) -> u64 {
    drops.values().sum()
}

/// What was lost, by reason: a line each.
fn reasons(drops: &BTreeMap<String, u64>) -> String {
    let lines: Vec<String> = drops.iter().map(|(reason, frames)| format!("{reason} {frames}")).collect();
    if lines.is_empty() { "-".into() } else { lines.join("\n") }
}

fn up(up: bool) -> String {
    if up { "up" } else { "down" }.into()
}

fn join(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn ratio(a: u64, b: u64) -> String {
    if b == 0 { "-".into() } else { format!("{:.1}", a as f64 / b as f64) }
}
