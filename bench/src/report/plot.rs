//! Table I as a picture: frames a second over the number of routers, one line a path, the paper's beside them.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::json::Row;
use crate::figures::FrameSize;
use crate::paper;

/// A line of the picture.
struct Series {
    label: String,
    points: Vec<(f64, f64)>,
    colour: RGBColor,
}

/// Colours that people with any common colour vision tell apart (Okabe and Ito), one for each path.
fn colour(row: &Row) -> RGBColor {
    match (row.path, row.guest) {
        ("linux-bridge", _) => RGBColor(230, 159, 0),
        (_, "tap") => RGBColor(0, 158, 115),
        _ => RGBColor(0, 114, 178),
    }
}

/// Draws the two loads side by side.
pub(crate) fn plot_table1(file: &Path, frame: FrameSize, rows: &[Row]) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| anyhow!("{}: {e}", file.display());
    let area = SVGBackend::new(file, (1100, 460)).into_drawing_area();
    area.fill(&WHITE).map_err(|e| failed(&e))?;
    let halves = area.split_evenly((1, 2));
    for (half, load) in halves.iter().zip(["paper", "max"]) {
        let mut series = lines(rows, frame, load);
        if load == "paper" {
            series.push(papers(frame));
        }
        draw(half, frame, load, &series).map_err(|e| failed(&e))?;
    }
    area.present().map_err(|e| failed(&e))
}

/// The paths of the run under one load.
fn lines(rows: &[Row], frame: FrameSize, load: &str) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for row in rows.iter().filter(|r| r.frame == frame.label() && r.load == load) {
        let label = format!("{} / {}", row.path, row.guest);
        let point = (row.routers as f64, row.router_pps.iter().sum::<f64>() / 1e6);
        match series.iter_mut().find(|s| s.label == label) {
            Some(s) => s.points.push(point),
            None => series.push(Series { label, points: vec![point], colour: colour(row) }),
        }
    }
    series
}

/// What the paper has: rate per router times routers.
fn papers(frame: FrameSize) -> Series {
    let total = |n: usize| match paper::virtual_routers(n, frame) {
        Some(paper::Cell::Measured(pps, _)) => Some((n as f64, pps * n as f64 / 1e6)),
        _ => None,
    };
    Series {
        label: "2009: Xen 3.2".into(),
        points: paper::ROUTERS.into_iter().filter_map(total).collect(),
        colour: RGBColor(90, 90, 90),
    }
}

type Half<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw(area: &Half<'_>, frame: FrameSize, load: &str, series: &[Series]) -> Result<(), Box<dyn std::error::Error>> {
    let highest = series.iter().flat_map(|s| &s.points).map(|p| p.1).fold(0.0, f64::max);
    let title = match load {
        "paper" => format!("{} bytes, the paper's load over 1 Gb/s", frame.label()),
        _ => format!("{} bytes, highest rate without loss", frame.label()),
    };
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(62)
        .build_cartesian_2d(0.5..8.5, 0.0..(highest * 1.25).max(0.1))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("virtual routers")
        .y_desc("million frames/s, all routers")
        .x_labels(9)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    for s in series {
        let colour = s.colour;
        let line = LineSeries::new(s.points.iter().copied(), colour.stroke_width(2));
        chart
            .draw_series(line)?
            .label(s.label.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(s.points.iter().map(|&p| Circle::new(p, 4, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_names_every_path() {
        let row = |path, guest, load, routers| Row {
            path,
            guest,
            load,
            frame: 64,
            routers,
            offered_pps: 1e6,
            router_pps: vec![1e5; routers],
            loss: 0.0,
            loss_floor: 0.0,
            jain: 1.0,
            cpu_ns_per_frame: 1.0,
        };
        let rows = [
            row("linux-bridge", "linux", "paper", 1),
            row("pointsman", "router", "paper", 8),
            row("pointsman", "tap", "max", 2),
        ];
        let file = std::env::temp_dir().join(format!("pmb-plot-test-{}.svg", std::process::id()));
        plot_table1(&file, FrameSize::B64, &rows).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        for word in ["linux-bridge / linux", "pointsman / router", "pointsman / tap", "2009: Xen 3.2"] {
            assert!(text.contains(word), "{word}");
        }
    }
}
