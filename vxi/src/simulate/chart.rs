//! Acceptance and utilisation over time, as an SVG.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::simulate::instance::Instance;
use crate::simulate::run::Outcome;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 40.0;

/// A moment: time, share accepted so far, share of CPU and of bandwidth in use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// In the instance's unit.
    pub time: f64,
    /// Accepted of those that have arrived, 0 to 1.
    pub accepted: f64,
    /// CPU in use, 0 to 1.
    pub cpu: f64,
    /// Bandwidth in use, 0 to 1.
    pub bandwidth: f64,
}

/// What was in use after each event.
pub fn moments(instance: &Instance, outcome: &Outcome) -> Vec<Moment> {
    let cpu: u64 = instance.physical.cpu.iter().sum();
    let bandwidth: u64 = instance.physical.links.iter().map(|link| link.2).sum();
    let (mut used_cpu, mut used_bandwidth, mut arrived, mut accepted) = (0u64, 0u64, 0u32, 0u32);
    let uses = |id: usize, paths: &[Vec<u32>]| -> (u64, u64) {
        let request = &instance.requests[id];
        let links = request.links.iter().zip(paths).map(|(link, path)| link.2 * (path.len() as u64).saturating_sub(1));
        (request.cpu.iter().sum(), links.sum())
    };
    let mut there: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    let mut moments = Vec::with_capacity(instance.events.len());
    for &(time, kind, id) in &instance.events {
        if kind == 1 {
            arrived += 1;
            let Some(answer) = outcome.requests.get(id).filter(|answer| answer.accepted) else { continue };
            accepted += 1;
            for moved in &answer.moves {
                let new = uses(moved.id, &moved.paths);
                if let Some(old) = there.insert(moved.id, new) {
                    used_bandwidth = used_bandwidth - old.1 + new.1;
                }
            }
            let own = uses(id, &answer.paths);
            used_cpu += own.0;
            used_bandwidth += own.1;
            there.insert(id, own);
        } else if let Some(own) = there.remove(&id) {
            used_cpu -= own.0;
            used_bandwidth -= own.1;
        }
        moments.push(Moment {
            time,
            accepted: f64::from(accepted) / f64::from(arrived.max(1)),
            cpu: used_cpu as f64 / cpu.max(1) as f64,
            bandwidth: used_bandwidth as f64 / bandwidth.max(1) as f64,
        });
    }
    moments
}

/// The drawing.
pub fn svg(instance: &Instance, outcome: &Outcome) -> String {
    let moments = moments(instance, outcome);
    let end = moments.last().map_or(1.0, |moment| moment.time).max(1e-9);
    let x = |time: f64| LEFT + time / end * (WIDTH - LEFT - 20.0);
    let y = |share: f64| TOP + (1.0 - share) * (HEIGHT - TOP - 40.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for tenth in (0..=10).step_by(2) {
        let at = y(f64::from(tenth) / 10.0);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} %</text>",
            WIDTH - 20.0,
            LEFT - 6.0,
            at + 4.0,
            tenth * 10
        );
    }
    for quarter in 0..=4 {
        let time = end * f64::from(quarter) / 4.0;
        let (at, below) = (x(time), HEIGHT - 20.0);
        let _ = writeln!(svg, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{time:.0}</text>");
    }
    type Read = fn(&Moment) -> f64;
    let lines: [(&str, &str, Read); 3] = [
        ("accepted so far", "#1b7837", |moment| moment.accepted),
        ("CPU in use", "#2166ac", |moment| moment.cpu),
        ("bandwidth in use", "#b2182b", |moment| moment.bandwidth),
    ];
    for (at, (name, colour, read)) in lines.into_iter().enumerate() {
        let mut path = String::new();
        for moment in &moments {
            let pen = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{pen}{:.1} {:.1}", x(moment.time), y(read(moment).clamp(0.0, 1.0)));
        }
        let left = LEFT + 180.0 * at as f64;
        let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.2\"/>");
        let _ = writeln!(svg, "<text x=\"{left}\" y=\"22\" fill=\"{colour}\">{name}</text>");
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"22\" text-anchor=\"end\">RAC {:.1} %, LRC {:.3}</text>\n</svg>",
        WIDTH - 20.0,
        outcome.rac,
        outcome.lrc
    );
    svg
}
