//! VRFs as tables: interfaces, routes, neighbours, and why a packet goes where it goes.

use comfy_table::Table;
use pointsman_dataplane::control::{Explanation, InterfaceReport, NeighbourReport, RouteReport, RoutesReport};

use super::{grid, total, up};

fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".into(), |text| text.to_string())
}

fn port(port: Option<&String>, vlan: Option<u16>, domain: Option<&String>) -> String {
    match (port, vlan, domain) {
        (Some(port), Some(vlan), _) => format!("{port} vlan {vlan}"),
        (Some(port), None, Some(domain)) => format!("{port} in domain {domain}"),
        (Some(port), None, None) => port.clone(),
        (None, _, Some(domain)) => format!("domain {domain}"),
        (None, ..) => "-".into(),
    }
}

pub fn interfaces(interfaces: &[InterfaceReport]) -> Table {
    let head = [
        "vrf",
        "interface",
        "port",
        "station",
        "addresses",
        "mtu",
        "state",
        "punt",
        "rx frames",
        "tx frames",
        "punted",
        "from stack",
        "lost",
    ];
    grid(
        head,
        &[5, 8, 9, 10, 11, 12],
        interfaces.iter().map(|i| {
            let numbers = [i.rx_frames, i.tx_frames, i.punted_frames, i.stack_frames, total(&i.drops)];
            let [rx, tx, punted, stack, lost] = numbers.map(|n| n.to_string());
            let (place, addresses) = (port(i.port.as_ref(), i.vlan, i.domain.as_ref()), i.addresses.join("\n"));
            let (vrf, name, mac) = (i.vrf.clone(), i.interface.clone(), i.mac.clone());
            let punt = or_dash(i.punt.as_ref());
            [vrf, name, place, mac, addresses, i.mtu.to_string(), up(i.up), punt, rx, tx, punted, stack, lost]
        }),
    )
}

fn row(route: &RouteReport) -> [String; 6] {
    let state = match (route.chosen, route.usable) {
        (true, true) => "used",
        (true, false) => "leads nowhere",
        (false, _) => "another is preferred",
    };
    let RouteReport { vrf, prefix, owner, metric, action, .. } = route.clone();
    [vrf, prefix, owner, metric.to_string(), action, state.into()]
}

const ROUTE: [&str; 6] = ["vrf", "prefix", "owner", "metric", "action", "state"];

pub fn routes(report: &RoutesReport) -> Table {
    let mut table = grid(ROUTE, &[3], report.routes.iter().map(row));
    if report.more > 0 {
        table.add_row([format!("and {} more: --limit N lists more", report.more)]);
    }
    if report.refused > 0 {
        table.add_row([format!("{} were refused: max_routes, or memory", report.refused)]);
    }
    table
}

pub fn neighbours(neighbours: &[NeighbourReport]) -> Table {
    grid(
        ["vrf", "interface", "address", "station", "state", "used"],
        &[],
        neighbours.iter().map(|n| {
            let used = n.used_ms.map_or_else(|| "never".into(), |ms| format!("{:.1} s ago", ms as f64 / 1e3));
            let (vrf, interface) = (n.vrf.clone(), n.interface.clone());
            [vrf, interface, n.address.to_string(), or_dash(n.mac.as_ref()), n.state.clone(), used]
        }),
    )
}

pub fn explanation(told: &Explanation) -> Table {
    let mut rows = Vec::new();
    let mut say = |what: &str, is: String| rows.push([what.to_owned(), is]);
    say("address", format!("{} in vrf {}", told.address, told.vrf));
    match &told.route {
        None => say("route", "none: senders are told that the network is unreachable".into()),
        Some(route) => {
            say("route", format!("{} of {}, metric {}: {}", route.prefix, route.owner, route.metric, route.action));
            if !route.usable {
                say("", "leads nowhere at present: senders are told that the host is unreachable".into());
            }
        }
    }
    for other in &told.others {
        say("preferred to", format!("that of {}, metric {}: {}", other.owner, other.metric, other.action));
    }
    for (gateway, prefix) in &told.recursion {
        say("gateway", format!("{gateway} is behind {}", prefix.as_deref().unwrap_or("no route")));
    }
    for hop in &told.hops {
        let station = hop.mac.as_deref().unwrap_or("no address");
        let of = if told.hops.len() > 1 { format!(", weight {}", hop.weight) } else { String::new() };
        let place = port(hop.port.as_ref(), hop.vlan, hop.domain.as_ref());
        say("way out", format!("{} ({place}) to {}, {station} ({}){of}", hop.interface, hop.neighbour, hop.state));
    }
    grid(["", ""], &[], rows.into_iter())
}

pub fn feeds(feeds: &[serde_json::Value]) -> Table {
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::Null => "-".into(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let sum = |value: &serde_json::Value| {
        value.as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum::<u64>().to_string()
    };
    let head = ["feed", "listens", "client", "in sync", "routes", "taken back", "refused", "last refusal"];
    grid(
        head,
        &[4, 5, 6],
        feeds.iter().map(|f| {
            let sync = if f["client"].is_null() {
                "-"
            } else if f["syncing"] == true {
                "not yet"
            } else {
                "yes"
            };
            let (name, listen, client) = (text(&f["name"]), text(&f["listen"]), text(&f["client"]));
            let (routes, gone, refused) = (text(&f["routes"]), text(&f["withdrawals"]), sum(&f["refused"]));
            [name, listen, client, sync.into(), routes, gone, refused, text(&f["last_refusal"])]
        }),
    )
}
