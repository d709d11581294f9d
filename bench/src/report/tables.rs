//! The tables that the benchmarks show, on the terminal and on the page.

use super::figure::{Figure, contender, part};
use super::grid::{Grid, number, percent, thousands};
use super::json::{PeerRow, RouteRow, Row, UpdateRow};
use crate::figures::FrameSize;
use crate::paper;
use crate::xen::XenRow;

/// Figures of backends, one row a figure, one column a backend; the others beside the first.
pub(crate) fn xen(rows: &[XenRow]) -> Grid {
    let mut backends: Vec<&str> = Vec::new();
    let mut whats: Vec<(&str, &str)> = Vec::new();
    for row in rows {
        if !backends.contains(&row.backend) {
            backends.push(row.backend);
        }
        if !whats.contains(&(&row.what, row.unit)) {
            whats.push((&row.what, row.unit));
        }
    }
    let others = || backends.iter().skip(1);
    let mut headings = vec!["what".to_owned(), "unit".to_owned()];
    headings.extend(backends.iter().map(|backend| (*backend).to_owned()));
    headings.extend(others().map(|backend| format!("{} x", backend.rsplit(' ').next().unwrap_or(backend))));
    let title = "Backends on emulated Xen: medians (spread)".to_owned();
    let mut grid = Grid { title, headings, rows: Vec::new() };
    for (what, unit) in whats {
        let row =
            |backend: &&str| rows.iter().find(|r| r.what == what && &r.backend == backend).map(|r| (r.value, r.spread));
        let found: Vec<_> = backends.iter().map(row).collect();
        let mut cells = vec![what.to_owned(), unit.to_owned()];
        for figure in &found {
            cells.push(match figure {
                Some((value, Some(spread))) => format!("{} ({})", number(*value), percent(*spread)),
                Some((value, None)) => number(*value),
                None => "-".into(),
            });
        }
        for other in found.iter().skip(1) {
            cells.push(match (found[0], other) {
                (Some((first, _)), Some((other, _))) if first > 0.0 => format!("{:.2}", other / first),
                _ => "-".into(),
            });
        }
        grid.rows.push(cells);
    }
    grid
}

/// Table I with one frame size. `spreads[i]` is how far the repeats of row i lie apart.
pub(crate) fn table1(frame: FrameSize, rows: &[Row], spreads: &[Option<f64>]) -> Grid {
    let linux = match paper::plain_linux(frame) {
        paper::Cell::Measured(pps, loss) => format!("{} frames/s, loss {}", thousands(pps), percent(loss)),
        paper::Cell::Saturated => "saturated".into(),
    };
    let title = format!("Table I, {} bytes (2009, Linux without Xen: {linux})", frame.label());
    let mut grid = Grid::new(
        title,
        &[
            "load",
            "routers",
            "path / guest",
            "per router/s",
            "total/s",
            "spread",
            "loss (floor)",
            "Jain",
            "CPU ns/frame",
            "x Linux",
            "2009 per VM/s (loss)",
        ],
    );
    let selected = || rows.iter().zip(spreads).filter(|(row, _)| row.frame == frame.label());
    for (row, spread) in selected() {
        let total: f64 = row.router_pps.iter().sum();
        let linux = selected()
            .map(|(r, _)| r)
            .find(|r| r.path == "linux-bridge" && r.load == row.load && r.routers == row.routers);
        let ratio = match linux.map(|r| r.router_pps.iter().sum::<f64>()) {
            Some(base) if base > 0.0 => format!("{:.2}", total / base),
            _ => "-".into(),
        };
        // The paper has one load only, its own.
        let papers = match row.path {
            "linux-route" => Some(paper::plain_linux(frame)),
            _ => paper::virtual_routers(row.routers, frame),
        };
        let then = match papers.filter(|_| row.load == "paper") {
            Some(paper::Cell::Measured(pps, loss)) => format!("{} ({})", thousands(pps), percent(loss)),
            Some(paper::Cell::Saturated) => "saturated".into(),
            None => String::new(),
        };
        grid.rows.push(vec![
            row.load.into(),
            row.routers.to_string(),
            contender(row.path, row.guest),
            thousands(total / row.routers.max(1) as f64),
            thousands(total),
            spread.map_or_else(|| "-".into(), percent),
            format!("{} ({})", percent(row.loss), percent(row.loss_floor)),
            format!("{:.3}", row.jain),
            format!("{:.0}", row.cpu_ns_per_frame),
            ratio,
            then,
        ]);
    }
    grid
}

/// How a figure is shown.
type Show = fn(f64) -> String;

/// Figures of one part, a row for each contender in each situation. A column that is shown with its spread is marked so.
fn pivot(title: &str, situation: &str, figures: &[&Figure], columns: &[(&str, Show, bool)]) -> Grid {
    let mut headings = vec![situation, "routers", "path / guest"];
    headings.extend(columns.iter().map(|column| column.0));
    let mut grid = Grid::new(title, &headings);
    let mut seen: Vec<&Figure> = Vec::new();
    for &row in figures {
        if seen.iter().any(|other| other.same_row(row)) {
            continue;
        }
        seen.push(row);
        let share = row.share.map_or_else(String::new, |share| format!(", engine {share} %"));
        let mut cells = vec![row.load.clone() + &share, row.routers.to_string(), row.contender()];
        for &(what, show, with_spread) in columns {
            let figure = figures.iter().find(|f| f.what == what && f.same_row(row));
            let spread = figure.and_then(|f| f.spread()).filter(|_| with_spread);
            let spread = spread.map_or_else(String::new, |s| format!(" ({})", percent(s)));
            cells.push(figure.and_then(|f| f.median()).map_or("-".into(), show) + &spread);
        }
        grid.rows.push(cells);
    }
    // What went wrong is told where the figure would be.
    if seen.iter().any(|row| row.note.is_some()) {
        grid.headings.push("what happened".into());
        for (cells, row) in grid.rows.iter_mut().zip(&seen) {
            cells.push(row.note.clone().unwrap_or_default());
        }
    }
    grid
}

/// Table II: one row for each path, number of routers, and what the others did.
pub(crate) fn table2(figures: &[Figure]) -> Grid {
    let title = "Table II: one way through router 0, microseconds: medians over the runs (spread)";
    let columns: [(&str, Show, bool); 7] = [
        ("mean", number, true),
        ("p50", number, true),
        ("p99", number, true),
        ("p99.9", number, true),
        ("max", number, true),
        ("loss", percent, false),
        ("stress", number, false),
    ];
    let mut grid = pivot(title, "others", &part(figures, "table2"), &columns);
    let at = 3 + columns.len();
    if let Some(heading) = grid.headings.get_mut(at - 1) {
        *heading = "TCP Mbit/s".into();
    }
    grid.headings.insert(at, "2009 mean".into());
    for cells in &mut grid.rows {
        let path = cells[2].split(" / ").next().unwrap_or_default();
        let then = paper::latency(path, cells[1].parse().unwrap_or(0), cells[0] != "idle");
        cells.insert(at, then.map_or_else(String::new, |ms| number(ms * 1e3)));
    }
    grid
}

/// Figure 5: one row for each path and number of routers, UDP above TCP.
pub(crate) fn fig5(figures: &[Figure]) -> Grid {
    let title = "Figure 5: Mbit/s over a link of 1 Gb/s, 1500 bytes: medians over the runs (spread)";
    let mut figures = part(figures, "fig5");
    figures.sort_by_key(|f| f.load != "udp");
    let columns: [(&str, Show, bool); 6] = [
        ("total", number, true),
        ("per router", number, false),
        ("slowest router", number, false),
        ("fastest router", number, false),
        ("jain", |index| format!("{index:.3}"), false),
        ("loss", percent, false),
    ];
    pivot(title, "load", &figures, &columns)
}

/// Figure 7: one row for each way of each path, UDP above TCP, and what the paper says in its last rows.
pub(crate) fn fig7(figures: &[Figure]) -> Grid {
    let title = "Figure 7: a router moves: Mbit/s, ms, and what is lost: medians over the runs (spread)";
    let mut figures: Vec<&Figure> = part(figures, "fig7").into_iter().filter(|f| f.at.is_none()).collect();
    figures.sort_by_key(|f| !f.load.starts_with("udp"));
    let columns: [(&str, Show, bool); 10] = [
        ("moves, before", number, true),
        ("moves, after", number, true),
        ("stays, before", number, false),
        ("stays, after", number, false),
        ("latency before", number, false),
        ("latency most", number, true),
        ("latency after", number, false),
        ("gap", number, true),
        ("lost in gap", thousands, true),
        ("lost later", thousands, false),
    ];
    let mut grid = pivot(title, "load, way", &figures, &columns);
    let papers = [
        ["udp, live migration", "100", "200", "100", "200", "10", "20", "", "", "", ""],
        ["tcp, live migration", "100", "200", "100", "200", "", "above 50", "", "some seconds", "", ""],
    ];
    for [load, values @ ..] in papers {
        let mut cells = vec![load.to_owned(), "2".into(), "2009: Xen 3.2".into()];
        cells.extend(values.map(String::from));
        cells.resize(grid.headings.len(), String::new());
        grid.rows.push(cells);
    }
    grid
}

/// Shares of the CPU: one row for each.
pub(crate) fn cpushare(figures: &[Figure]) -> Grid {
    let columns: [(&str, Show, bool); 2] = [("total", number, true), ("loss", percent, false)];
    let title = "CPU shares: frames/s of UDP, Mbit/s of TCP: medians over the runs (spread)";
    pivot(title, "load", &part(figures, "cpushare"), &columns)
}

/// Forwarders side by side.
pub(crate) fn peers(title: &str, rows: &[PeerRow], spreads: &[Option<f64>]) -> Grid {
    let mut grid = Grid::new(title, &["guests", "path", "frames/s", "spread", "vs testpmd"]);
    for (row, spread) in rows.iter().zip(spreads) {
        let testpmd = rows.iter().find(|r| r.path == "testpmd" && r.guests == row.guests);
        let ratio = testpmd.map_or_else(|| "-".into(), |t| format!("{:.2}", row.pps / t.pps));
        grid.rows.push(vec![
            row.guests.to_string(),
            row.path.into(),
            thousands(row.pps),
            spread.map_or_else(|| "-".into(), percent),
            ratio,
        ]);
    }
    grid
}

/// Routers from device to device, beside Linux with as many routes.
pub(crate) fn route(rows: &[RouteRow]) -> Grid {
    let title = "Routing from device to device, 64 bytes, destinations over all routes";
    let headings = ["path", "routes", "VRFs", "frames/s", "spread", "x Linux", "CPU ns/frame", "ready after s"];
    let mut grid = Grid::new(title, &headings);
    for row in rows {
        let linux = rows.iter().find(|r| r.path == "linux-route" && r.routes == row.routes && !row.vlans);
        let routes = if row.path == "xdp-redirect" { "-".into() } else { thousands(row.routes as f64) };
        grid.rows.push(vec![
            row.path.into(),
            routes,
            if row.vlans { format!("{} in VLANs", row.vrfs) } else { row.vrfs.to_string() },
            thousands(row.pps),
            row.spread.map_or_else(|| "-".into(), percent),
            linux.map_or_else(|| "-".into(), |linux| format!("{:.2}", row.pps / linux.pps)),
            format!("{:.0}", row.cpu_ns_per_frame),
            format!("{:.2}", row.ready_seconds),
        ]);
    }
    grid
}

/// Changes of routes, and frames that they do not concern.
pub(crate) fn updates(rate: f64, rows: &[UpdateRow]) -> Grid {
    let title = format!("Routes through a feed while {} frames/s cross the VRF by another route", thousands(rate));
    let mut grid = Grid::new(title, &["routes", "what", "seconds", "changes/s", "frames", "lost", "part", "engine"]);
    for row in rows {
        let lost = row.frames.saturating_sub(row.arrived);
        let drops: Vec<String> = row.drops.iter().map(|(place, frames)| format!("{place} {frames}")).collect();
        let per_second = row.seconds.map(|seconds| row.routes as f64 / seconds);
        grid.rows.push(vec![
            thousands(row.routes as f64),
            row.what.into(),
            row.seconds.map_or_else(|| "-".into(), |seconds| format!("{seconds:.2}")),
            per_second.map_or_else(|| "-".into(), thousands),
            thousands(row.frames as f64),
            lost.to_string(),
            format!("{:.3} %", 100.0 * lost as f64 / row.frames.max(1) as f64),
            if drops.is_empty() { "-".into() } else { drops.join(", ") },
        ]);
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_paper_stands_beside_its_own_load_only() {
        let row = |load, path, pps| Row {
            path,
            guest: "linux",
            load,
            frame: 64,
            routers: 1,
            offered_pps: 357_000.0,
            router_pps: vec![pps],
            loss: 0.0,
            loss_floor: 0.0,
            jain: 1.0,
            cpu_ns_per_frame: 1.0,
        };
        let rows = [row("paper", "linux-bridge", 100_000.0), row("paper", "pointsman", 300_000.0)];
        let text = table1(FrameSize::B64, &rows, &[Some(0.02), None]).to_string();
        assert!(text.contains("109,685") && text.contains("3.00"), "{text}");
        let rows = [row("paper", "linux-route", 100_000.0)];
        assert_eq!(table1(FrameSize::B64, &rows, &[None]).rows[0][10], "356,494 (0.0600 %)", "no virtual router");
        let rows = [row("max", "linux-bridge", 100_000.0)];
        assert!(!table1(FrameSize::B64, &rows, &[None]).to_string().contains("109,685"));
    }

    #[test]
    fn what_happened_stands_in_its_row() {
        let mut broken = sample("table2", "pointsman", 2, &[]);
        broken.note = Some("run 1: the engine ended early".into());
        let grid = table2(&[sample("table2", "linux-route", 1, &[84.0]), broken]);
        assert_eq!(grid.rows.len(), 2);
        assert_eq!(grid.rows[0][10], "84.00");
        assert_eq!(grid.rows[1][3], "-");
        assert_eq!(grid.rows[1].last().unwrap(), "run 1: the engine ended early");
        assert!(grid.rows.iter().all(|row| row.len() == grid.headings.len()));
    }
}
