//! SVG, laid out in columns.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::layout::{Layout, lay_out};
use super::{DrawError, Drawing, Edge, Shape, Vertex};
use crate::model::Direction;

const MARGIN: f64 = 24.0;
const LINE: f64 = 15.0;
/// Mean width of a character of the fonts' sizes: 12 for vertices, 10 for links.
const WIDE: f64 = 6.7;
const NARROW: f64 = 5.6;
/// Space between columns beyond the widest label of a link.
const COLUMN_GAP: f64 = 70.0;
const BEGIN: &str = "<style>text{font-family:sans-serif;fill:#1c2733}.t{font-size:12px;text-anchor:middle}.b{font-weight:bold}\
.l{font-size:10px;text-anchor:middle;paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round}\
.p{font-size:9px;text-anchor:middle;fill:#7a3b00;paint-order:stroke;stroke:#fff;stroke-width:3px}\
.e{fill:none;stroke:#4a6076;stroke-width:1.4}.v{stroke:#33475b;stroke-width:1.4}.d{stroke-dasharray:5 4}</style>\n\
<defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
orient=\"auto-start-reverse\"><path d=\"M0 0L8 4L0 8z\" fill=\"#4a6076\"/></marker></defs>\n";

struct Point {
    x: f64,
    y: f64,
}

pub(super) fn write(drawing: &Drawing) -> Result<String, DrawError> {
    let sizes: Vec<(f64, f64)> = drawing.vertices.iter().map(size).collect();
    let heights: Vec<f64> = sizes.iter().map(|size| size.1).collect();
    let layout = lay_out(drawing, &heights)?;
    let mut widths = vec![40.0_f64; layout.columns];
    for (slot, size) in layout.slots.iter().zip(&sizes) {
        widths[slot.column] = widths[slot.column].max(size.0);
    }
    let bulges = bulges(drawing, &layout);
    let x = column_middles(drawing, &layout, &widths, &bulges);
    let last = layout.columns.saturating_sub(1);
    let width = x.last().map_or(0.0, |x| x + widths[last] / 2.0 + bulges[last]) + MARGIN;
    let height = layout.height + 2.0 * MARGIN + LINE;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\">\n<title>{}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        escape(&drawing.title)
    );
    out.push_str(BEGIN);
    let middle = |slot: usize| Point { x: x[layout.slots[slot].column], y: MARGIN + layout.slots[slot].y };
    let mut labels = String::new();
    let shifts = shifts(drawing, &layout, &heights);
    for (n, edge) in drawing.edges.iter().enumerate() {
        let way: Vec<Point> = std::iter::once(edge.from)
            .chain(layout.passes[n].iter().copied())
            .chain(std::iter::once(edge.to))
            .map(middle)
            .collect();
        let same_column = layout.slots[edge.from].column == layout.slots[edge.to].column;
        // Two links between the same ends stand beside each other.
        let twins = drawing.edges[..n].iter().filter(|e| pair(e) == pair(edge)).count() as f64;
        let (from, to) = (&layout.slots[edge.from], &layout.slots[edge.to]);
        let curve = if same_column {
            let between = layout
                .slots
                .iter()
                .filter(|slot| slot.column == from.column && slot.y > from.y.min(to.y) && slot.y < from.y.max(to.y));
            vertical(&way, sizes[edge.from], sizes[edge.to], between.count() as f64 + twins)
        } else {
            let kept = bulges[from.column.min(to.column)];
            across(&way, (sizes[edge.from], shifts[n].0), (sizes[edge.to], shifts[n].1), kept)
        };
        draw_edge(&mut out, &mut labels, edge, &curve);
    }
    for (n, vertex) in drawing.vertices.iter().enumerate() {
        draw_vertex(&mut out, vertex, &middle(n), sizes[n]);
    }
    // Labels lie above everything, so that no line crosses them out.
    out.push_str(&labels);
    out.push_str("</svg>\n");
    Ok(out)
}

fn pair(edge: &Edge) -> (usize, usize) {
    (edge.from.min(edge.to), edge.from.max(edge.to))
}

fn size(vertex: &Vertex) -> (f64, f64) {
    let longest = std::iter::once(&vertex.title).chain(&vertex.lines).map(|line| line.chars().count()).max();
    let padding = if vertex.shape == Shape::Router { 44.0 } else { 22.0 };
    let lines = 1.0 + vertex.lines.len() as f64;
    let extra = if vertex.shape == Shape::Node { 0.0 } else { 12.0 };
    (longest.unwrap_or(0) as f64 * WIDE + padding, lines * LINE + 14.0 + extra)
}

/// The middle of each column: as far apart as the labels between them are wide.
fn column_middles(drawing: &Drawing, layout: &Layout, widths: &[f64], bulges: &[f64]) -> Vec<f64> {
    let mut between = vec![0.0_f64; layout.columns];
    for edge in &drawing.edges {
        let (a, b) = (layout.slots[edge.from].column, layout.slots[edge.to].column);
        if a != b {
            between[a.min(b)] = between[a.min(b)].max(label_width(edge));
        }
    }
    let (mut x, mut middles) = (MARGIN, Vec::new());
    for (column, width) in widths.iter().enumerate() {
        middles.push(x + width / 2.0);
        x += width + between[column] + bulges[column] + COLUMN_GAP;
    }
    middles
}

fn label_width(edge: &Edge) -> f64 {
    edge.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) as f64 * NARROW
}

/// Room to the right of each column for links within it that go around what stands between their ends.
fn bulges(drawing: &Drawing, layout: &Layout) -> Vec<f64> {
    let mut room = vec![0.0_f64; layout.columns];
    for edge in &drawing.edges {
        let (from, to) = (&layout.slots[edge.from], &layout.slots[edge.to]);
        let (low, high) = (from.y.min(to.y), from.y.max(to.y));
        let between = layout.slots.iter().any(|s| s.column == from.column && s.y > low && s.y < high);
        if from.column == to.column && (between || edge.from == edge.to) {
            room[from.column] = room[from.column].max(label_width(edge) + 30.0);
        }
    }
    room
}

/// An end of a link: where it leads, which link, and whether it is its first.
type End = (f64, usize, bool);

/// How far from the middle of its side each link between columns begins and ends: those of one side stand apart, in
/// the order of where they lead, so that they do not cross at once.
fn shifts(drawing: &Drawing, layout: &Layout, heights: &[f64]) -> Vec<(f64, f64)> {
    let mut sides: BTreeMap<(usize, bool), Vec<End>> = BTreeMap::new();
    for (n, edge) in drawing.edges.iter().enumerate() {
        let (from, to) = (&layout.slots[edge.from], &layout.slots[edge.to]);
        if from.column != to.column {
            let (first, last) = match &layout.passes[n][..] {
                [] => (to.y, from.y),
                [first, .., last] => (layout.slots[*first].y, layout.slots[*last].y),
                [only] => (layout.slots[*only].y, layout.slots[*only].y),
            };
            let right = to.column > from.column;
            sides.entry((edge.from, right)).or_default().push((first, n, true));
            sides.entry((edge.to, !right)).or_default().push((last, n, false));
        }
    }
    let mut shifts = vec![(0.0, 0.0); drawing.edges.len()];
    for ((vertex, _), mut leaving) in sides {
        leaving.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let step = (heights[vertex] * 0.6 / leaving.len() as f64).min(18.0);
        for (nth, (_, n, begins)) in leaving.iter().enumerate() {
            let shift = (nth as f64 - (leaving.len() as f64 - 1.0) / 2.0) * step;
            if *begins {
                shifts[*n].0 = shift;
            } else {
                shifts[*n].1 = shift;
            }
        }
    }
    shifts
}

/// A path, where its label stands, and where those of its ends do.
struct Curve {
    path: String,
    label: Point,
    ends: [Point; 2],
}

/// From one side to the other, through the places that it passes. `kept`: room behind the left column that labels
/// leave to others.
fn across(way: &[Point], from: ((f64, f64), f64), to: ((f64, f64), f64), kept: f64) -> Curve {
    let (first, last) = (&way[0], &way[way.len() - 1]);
    let right = last.x > first.x;
    let sign = if right { 1.0 } else { -1.0 };
    let begin = Point { x: first.x + sign * from.0.0 / 2.0, y: first.y + from.1 };
    let end = Point { x: last.x - sign * to.0.0 / 2.0, y: last.y + to.1 };
    let mut path = format!("M{:.1} {:.1}", begin.x, begin.y);
    let mut points: Vec<Point> = way[1..way.len() - 1].iter().map(|p| Point { x: p.x, y: p.y }).collect();
    points.push(Point { x: end.x, y: end.y });
    // The label stands on the part next to the left column.
    let labelled = if right { 0 } else { points.len() - 1 };
    let mut at = Point { x: begin.x, y: begin.y };
    let mut label = Point { x: begin.x, y: begin.y };
    for (n, point) in points.into_iter().enumerate() {
        let half = (point.x - at.x) / 2.0;
        let (x, y) = (point.x, point.y);
        let _ = write!(path, "C{:.1} {:.1} {:.1} {y:.1} {x:.1} {y:.1}", at.x + half, at.y, x - half);
        if n == labelled {
            let run = (2.0 * half).abs().max(1.0);
            // From the left: beyond the middle, where links that leave together have parted.
            let part = if kept > 0.0 { 0.32 } else { 0.54 };
            let share = ((kept + (run - kept) * part) / run).clamp(0.3, 0.9);
            let t = parameter(if right { share } else { 1.0 - share });
            let rise = t * t * (3.0 - 2.0 * t);
            label = Point { x: at.x + 2.0 * half * (1.5 * t * (1.0 - t) + t * t * t), y: at.y + (y - at.y) * rise };
        }
        at = point;
    }
    let ends = [Point { x: begin.x + sign * 10.0, y: begin.y - 4.0 }, Point { x: end.x - sign * 18.0, y: end.y - 4.0 }];
    Curve { path, label, ends }
}

/// Where a curve with level ends has gone so far of its width.
fn parameter(share: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..20 {
        let t = (low + high) / 2.0;
        if 1.5 * t * (1.0 - t) + t * t * t < share { low = t } else { high = t }
    }
    (low + high) / 2.0
}

/// Within a column: straight to the next one, around what stands between.
fn vertical(way: &[Point], from: (f64, f64), to: (f64, f64), between: f64) -> Curve {
    let (first, last) = (&way[0], &way[way.len() - 1]);
    if (first.y - last.y).abs() < 1.0 {
        // To itself: a loop to the right.
        let (x, y) = (first.x + from.0 / 2.0, first.y);
        let path =
            format!("M{x:.1} {:.1}C{2:.1} {1:.1} {2:.1} {3:.1} {x:.1} {3:.1}", y - 8.0, y - 8.0, x + 50.0, y + 8.0);
        let ends = [Point { x: x + 8.0, y: y - 12.0 }, Point { x: x + 8.0, y: y + 20.0 }];
        return Curve { path, label: Point { x: x + 44.0, y }, ends };
    }
    let down = if last.y > first.y { 1.0 } else { -1.0 };
    if between == 0.0 {
        let (begin, end) = (first.y + down * from.1 / 2.0, last.y - down * to.1 / 2.0);
        let path = format!("M{:.1} {begin:.1}L{:.1} {end:.1}", first.x, last.x);
        let ends = [Point { x: first.x + 9.0, y: begin + down * 10.0 }, Point { x: last.x + 9.0, y: end - down * 6.0 }];
        return Curve { path, label: Point { x: (first.x + last.x) / 2.0, y: (begin + end) / 2.0 }, ends };
    }
    let (begin, end) = (first.x + from.0 / 2.0, last.x + to.0 / 2.0);
    let out = begin.max(end) + 20.0 + 16.0 * between.min(4.0);
    // Not at half of the height, where other links begin.
    let (top, bottom) = (first.y, last.y);
    let path = format!("M{begin:.1} {top:.1}C{out:.1} {top:.1} {out:.1} {bottom:.1} {end:.1} {bottom:.1}");
    let label = Point {
        x: begin.max(end) + 0.75 * (out - begin.max(end)) + 24.0,
        y: (top + bottom) / 2.0 + (bottom - top) * 0.2,
    };
    let ends = [Point { x: begin + 9.0, y: first.y - 5.0 }, Point { x: end + 9.0, y: last.y - 5.0 }];
    Curve { path, label, ends }
}

fn draw_edge(out: &mut String, labels: &mut String, edge: &Edge, curve: &Curve) {
    let (start, end) = match edge.direction {
        Direction::Forward => ("", " marker-end=\"url(#a)\""),
        Direction::Reverse => (" marker-start=\"url(#a)\"", ""),
        Direction::Both => (" marker-start=\"url(#a)\"", " marker-end=\"url(#a)\""),
    };
    let dashed = if edge.provisioned { " d" } else { "" };
    let _ = writeln!(out, "<path class=\"e{dashed}\" d=\"{}\"{start}{end}/>", curve.path);
    let height = 12.0;
    let (wide, high) = (label_width(edge) + 4.0, edge.lines.len() as f64 * height + 2.0);
    let _ = writeln!(
        labels,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{wide:.1}\" height=\"{high:.1}\" fill=\"#fff\" fill-opacity=\"0.85\"/>",
        curve.label.x - wide / 2.0,
        curve.label.y - high / 2.0
    );
    let top = curve.label.y - height * (edge.lines.len() as f64 - 1.0) / 2.0 + 3.5;
    for (n, line) in edge.lines.iter().enumerate() {
        text(labels, "l", curve.label.x, top + n as f64 * height, line);
    }
    for (end, at) in edge.ends.iter().zip(&curve.ends).filter(|(end, _)| !end.is_empty()) {
        text(labels, "p", at.x, at.y, end);
    }
}

fn draw_vertex(out: &mut String, vertex: &Vertex, at: &Point, (width, height): (f64, f64)) {
    let (left, top) = (at.x - width / 2.0, at.y - height / 2.0);
    let dashed = if vertex.provisioned { " d" } else { "" };
    let mut rect = |dx: f64, dy: f64, rx: f64, fill: &str| {
        let (x, y) = (left + dx, top + dy);
        let _ = writeln!(
            out,
            "<rect class=\"v{dashed}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             rx=\"{rx:.0}\" fill=\"{fill}\"/>"
        );
    };
    match vertex.shape {
        Shape::Node => rect(0.0, 0.0, 4.0, "#e8f1fa"),
        Shape::Router => rect(0.0, 0.0, height / 2.0, "#fdebd3"),
        Shape::Array => {
            rect(6.0, 6.0, 4.0, "#d5e6f5");
            rect(3.0, 3.0, 4.0, "#dfecf8");
            rect(0.0, 0.0, 4.0, "#e8f1fa");
        }
        Shape::AccessPoint => {
            let roof = 10.0;
            let _ = writeln!(
                out,
                "<path class=\"v{dashed}\" d=\"M{left:.1} {:.1}L{:.1} {top:.1}L{:.1} {:.1}V{:.1}H{left:.1}z\" \
                 fill=\"#efe6f7\"/>",
                top + roof,
                at.x,
                left + width,
                top + roof,
                top + height
            );
        }
        Shape::Storage => {
            let (radius, bottom, right) = (6.0, top + height - 6.0, left + width);
            let half = width / 2.0;
            let _ = writeln!(
                out,
                "<path class=\"v{dashed}\" d=\"M{left:.1} {0:.1}A{half:.1} {radius} 0 0 1 {right:.1} {0:.1}V{bottom:.1}\
                 A{half:.1} {radius} 0 0 1 {left:.1} {bottom:.1}zM{left:.1} {0:.1}A{half:.1} {radius} 0 0 0 {right:.1} \
                 {0:.1}\" fill=\"#e4f3e4\"/>",
                top + radius
            );
        }
    }
    let shift = if matches!(vertex.shape, Shape::Storage | Shape::AccessPoint) { 4.0 } else { 0.0 };
    let first = at.y - (vertex.lines.len() as f64) * LINE / 2.0 + 4.0 + shift;
    text(out, "t b", at.x, first, &vertex.title);
    for (n, line) in vertex.lines.iter().enumerate() {
        text(out, "t", at.x, first + (n as f64 + 1.0) * LINE, line);
    }
}

fn text(out: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let _ = writeln!(out, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(text));
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
