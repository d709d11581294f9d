//! Tables for people.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, CellAlignment, Table};

use super::json::{PeerRow, Row};
use crate::figures::FrameSize;
use crate::paper;
use crate::xen::XenRow;

/// Figures of backends, one row a figure, one column a backend; the others beside the first.
pub(crate) fn xen(rows: &[XenRow]) -> String {
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
    let mut table = empty(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    for (what, unit) in whats {
        let row =
            |backend: &&str| rows.iter().find(|r| r.what == what && &r.backend == backend).map(|r| (r.value, r.spread));
        let found: Vec<_> = backends.iter().map(row).collect();
        let mut cells = vec![what.to_owned(), unit.to_owned()];
        for figure in &found {
            cells.push(match figure {
                Some((value, Some(spread))) => format!("{} ({})", figure_of(*value), percent(*spread)),
                Some((value, None)) => figure_of(*value),
                None => "-".into(),
            });
        }
        for other in found.iter().skip(1) {
            cells.push(match (found[0], other) {
                (Some((first, _)), Some((other, _))) if first > 0.0 => format!("{:.2}", other / first),
                _ => "-".into(),
            });
        }
        table.add_row(right(&cells));
    }
    format!("Backends on emulated Xen: medians (spread)\n{table}")
}

/// Large ones without a fraction.
fn figure_of(value: f64) -> String {
    if value >= 100.0 { thousands(value) } else { format!("{value:.2}") }
}

/// Table I with one frame size. `spreads[i]` is how far the repeats of row i lie apart.
pub(crate) fn table1(frame: FrameSize, rows: &[Row], spreads: &[Option<f64>]) -> String {
    let mut table = empty(&[
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
    ]);
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
        let then = match paper::virtual_routers(row.routers, frame).filter(|_| row.load == "paper") {
            Some(paper::Cell::Measured(pps, loss)) => format!("{} ({})", thousands(pps), percent(loss)),
            Some(paper::Cell::Saturated) => "saturated".into(),
            None => String::new(),
        };
        table.add_row(right(&[
            row.load.into(),
            row.routers.to_string(),
            format!("{} / {}", row.path, row.guest),
            thousands(total / row.routers as f64),
            thousands(total),
            spread.map_or_else(|| "-".into(), percent),
            format!("{} ({})", percent(row.loss), percent(row.loss_floor)),
            format!("{:.3}", row.jain),
            format!("{:.0}", row.cpu_ns_per_frame),
            ratio,
            then,
        ]));
    }
    let linux = match paper::plain_linux(frame) {
        paper::Cell::Measured(pps, loss) => format!("{} frames/s, loss {}", thousands(pps), percent(loss)),
        paper::Cell::Saturated => "saturated".into(),
    };
    format!("Table I, {} bytes\n{table}\n2009, Linux without Xen: {linux}\n", frame.label())
}

/// Forwarders side by side.
pub(crate) fn peers(title: &str, rows: &[PeerRow], spreads: &[Option<f64>]) -> String {
    let mut table = empty(&["guests", "path", "frames/s", "spread", "vs testpmd"]);
    for (row, spread) in rows.iter().zip(spreads) {
        let testpmd = rows.iter().find(|r| r.path == "testpmd" && r.guests == row.guests);
        let ratio = testpmd.map_or_else(|| "-".into(), |t| format!("{:.2}", row.pps / t.pps));
        let cells = [
            row.guests.to_string(),
            row.path.into(),
            thousands(row.pps),
            spread.map_or_else(|| "-".into(), percent),
            ratio,
        ];
        table.add_row(right(&cells));
    }
    format!("{title}\n{table}\n")
}

fn empty(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header(header.iter().map(|h| Cell::new(h).add_attribute(Attribute::Bold)));
    table
}

fn right(cells: &[String]) -> Vec<Cell> {
    cells.iter().map(|c| Cell::new(c).set_alignment(CellAlignment::Right)).collect()
}

/// 1234567.8 as 1,234,568.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part of one in percent: with the digits that matter, as 0.001 % does.
fn percent(part: f64) -> String {
    match part * 100.0 {
        0.0 => "0 %".into(),
        p if p < 0.1 => format!("{p:.4} %"),
        p => format!("{p:.1} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(1_234_567.8), "1,234,568");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(thousands(0.0), "0");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.00001), "0.0010 %");
        assert_eq!(percent(0.479), "47.9 %");
    }

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
        let text = table1(FrameSize::B64, &rows, &[Some(0.02), None]);
        assert!(text.contains("109,685") && text.contains("3.00"), "{text}");
        let rows = [row("max", "linux-bridge", 100_000.0)];
        assert!(!table1(FrameSize::B64, &rows, &[None]).contains("109,685"));
    }
}
