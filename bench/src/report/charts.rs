//! The pictures of the paper's tables and figures, made of the run's figures and the paper's own.

use super::figure::{Figure, part};
use super::picture::{Across, Chart, Point, Series};
use crate::figures::FrameSize;
use crate::paper;

/// One line a contender: the figures named `what` under a load, divided by `unit`, over what `x` says.
fn lines(
    figures: &[&Figure],
    what: &str,
    load: impl Fn(&str) -> bool,
    unit: f64,
    x: impl Fn(&Figure) -> f64,
) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for figure in figures.iter().filter(|f| f.what == what && load(&f.load)) {
        let Some(median) = figure.median() else { continue };
        let range = figure.range().filter(|_| figure.values.len() > 1).map(|(a, b)| (a / unit, b / unit));
        let point = Point { x: x(figure), y: median / unit, range };
        let label = figure.contender();
        match series.iter_mut().find(|s| s.label == label) {
            Some(s) => s.points.push(point),
            None => series.push(Series { label, points: vec![point] }),
        }
    }
    for s in &mut series {
        s.points.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    series
}

fn routers(figure: &Figure) -> f64 {
    figure.routers as f64
}

/// What the paper has, over the number of routers. Nothing if it has nothing.
fn papers(value: impl Fn(usize) -> Option<f64>) -> Option<Series> {
    let point = |n| Some(Point { x: n as f64, y: value(n)?, range: None });
    let points: Vec<Point> = paper::ROUTERS.into_iter().filter_map(point).collect();
    (!points.is_empty()).then(|| Series { label: "2009: Xen 3.2".into(), points })
}

/// Table I with one frame size: both loads side by side.
pub(crate) fn table1(frame: FrameSize, figures: &[Figure]) -> Vec<Chart> {
    let figures = part(figures, "table1");
    let chart = |load: &str, title: &str| Chart {
        title: format!("{} bytes, {title}", frame.label()),
        x: "virtual routers (0: from device to device)".into(),
        y: "million frames/s, all routers".into(),
        across: Across::Steps,
        logarithmic: false,
        series: lines(&figures, "total", |l| l == format!("{load} {} B", frame.label()), 1e6, routers),
    };
    let mut charts = vec![chart("paper", "the paper's load over 1 Gb/s"), chart("max", "highest rate without loss")];
    charts[0].series.extend(papers(|n| match paper::virtual_routers(n, frame) {
        Some(paper::Cell::Measured(pps, _)) => Some(pps * n as f64 / 1e6),
        _ => None,
    }));
    charts
}

/// Figure 5: UDP and TCP side by side.
pub(crate) fn fig5(figures: &[Figure]) -> Vec<Chart> {
    let figures = part(figures, "fig5");
    let mut charts: Vec<Chart> = ["udp", "tcp"]
        .map(|load| Chart {
            title: format!("{}, all routers", load.to_uppercase()),
            x: "virtual routers".into(),
            y: "Mbit/s".into(),
            across: Across::Steps,
            logarithmic: false,
            series: lines(&figures, "total", |l| l == load, 1.0, routers),
        })
        .into();
    charts[0].series.extend(papers(|_| Some(paper::UDP_TOTAL)));
    charts
}

/// Table II: means, and what one probe in a hundred exceeds, side by side.
pub(crate) fn table2(figures: &[Figure]) -> Vec<Chart> {
    let figures = part(figures, "table2");
    let chart = |load: &str, what: &str| {
        let mut series = lines(&figures, what, |l| l == load, 1.0, routers);
        if what == "mean" {
            let then = |n| paper::latency("", n, load != "idle").map(|ms| ms * 1e3);
            series.extend(papers(then));
        }
        Chart {
            title: format!("others {load}: {what}"),
            x: "virtual routers (0: the cable alone)".into(),
            y: "microseconds, one way".into(),
            across: Across::Steps,
            logarithmic: true,
            series,
        }
    };
    [("idle", "mean"), ("stressed", "mean"), ("stressed", "p99"), ("stressed, 1 Gb/s", "mean")]
        .map(|(load, what)| chart(load, what))
        .into()
}

/// Figure 7 over time, rows of two: UDP of the router that moves and of the one that stays, TCP of both, and latencies.
pub(crate) fn fig7(figures: &[Figure]) -> Vec<Vec<Chart>> {
    let figures: Vec<&Figure> = part(figures, "fig7").into_iter().filter(|f| f.at.is_some()).collect();
    let chart = |load: &str, what: &str| {
        let (title, y) = match what {
            "moves" => ("the router that moves", "Mbit/s"),
            "stays" => ("the router that stays", "Mbit/s"),
            _ => ("latency through the one that moves", "milliseconds, one way"),
        };
        let mut series: Vec<Series> = Vec::new();
        for figure in figures.iter().filter(|f| f.what == what) {
            let (Some((of, way)), Some(at), Some(median)) = (figure.load.split_once(", "), figure.at, figure.median())
            else {
                continue;
            };
            if of != load {
                continue;
            }
            let label = format!("{}: {way}", figure.contender());
            let range = figure.range().filter(|_| figure.values.len() > 1);
            let point = Point { x: f64::from(at) / 1e3, y: median, range };
            match series.iter_mut().find(|s| s.label == label) {
                Some(s) => s.points.push(point),
                None => series.push(Series { label, points: vec![point] }),
            }
        }
        Chart {
            title: format!("{}, {title}", load.to_uppercase()),
            x: "seconds after the move began".into(),
            y: y.into(),
            across: Across::Time,
            logarithmic: what == "latency",
            series,
        }
    };
    [
        [("udp", "moves"), ("udp", "stays")],
        [("tcp", "moves"), ("tcp", "stays")],
        [("udp", "latency"), ("tcp", "latency")],
    ]
    .map(|row| row.map(|(load, what)| chart(load, what)).into())
    .into()
}

/// Shares of the CPU: throughput above what was lost, UDP beside TCP. Empty if there was nothing to divide.
pub(crate) fn cpushare(figures: &[Figure]) -> Vec<Vec<Chart>> {
    let figures = part(figures, "cpushare");
    let mut loads: Vec<&str> = figures.iter().map(|f| f.load.as_str()).collect();
    loads.sort_unstable_by_key(|load| (!load.contains("one core"), !load.starts_with("udp")));
    loads.dedup();
    let chart = |load: &str, what: &str| {
        let (y, unit) = match (what, load.starts_with("udp")) {
            ("loss", true) => ("percent lost", 0.01),
            ("loss", false) => ("percent sent again", 0.01),
            (_, true) => ("million frames/s", 1e6),
            (_, false) => ("Mbit/s", 1.0),
        };
        Chart {
            title: load.replace("udp", "UDP").replace("tcp", "TCP"),
            x: "percent of the CPU for the engine".into(),
            y: y.into(),
            across: Across::Steps,
            logarithmic: false,
            series: lines(&figures, what, |l| l == load, unit, |f| f.share.map_or(0.0, f64::from)),
        }
    };
    let row = |pair: &[&str], what| pair.iter().map(|load| chart(load, what)).collect();
    loads.chunks(2).flat_map(|pair| [row(pair, "total"), row(pair, "loss")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_paper_stands_beside_the_run() {
        let mut idle = sample("table2", "pointsman", 8, &[10.0, 30.0, 20.0]);
        idle.guest = "router";
        let charts = table2(&[idle, sample("table2", "pointsman", 1, &[])]);
        let labels: Vec<&str> = charts[0].series.iter().map(|s| s.label.as_str()).collect();
        assert_eq!(labels, ["pointsman / router", "2009: Xen 3.2"], "a row without a run is no line");
        assert_eq!(charts[0].series[0].points, [Point { x: 8.0, y: 20.0, range: Some((10.0, 30.0)) }]);
        let then: Vec<f64> = charts[1].series[0].points.iter().map(|p| p.y).collect();
        assert_eq!(then, [888.0, 1376.0, 3851.5]);
    }

    #[test]
    fn a_saturated_dom0_is_no_point() {
        let charts = table1(FrameSize::B64, &[]);
        assert_eq!(charts[0].series[0].points.len(), 2);
        assert!(charts[1].series.is_empty(), "the paper has one load only, its own");
    }
}
