//! Pictures, as SVG: figures over the number of routers or over a share, one line a contender, its runs' range as a bar.
//!
//! Contenders are told apart by dashes and marks as well as by colour, so that a page printed in black says the same.

use std::fmt::Write as _;

/// Size of one chart without its legend, and where its frame lies within.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
/// A line of the legend.
const LINE: f64 = 18.0;
/// Between chart and legend.
const GAP: f64 = 8.0;

/// One point of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// The smallest and the largest of the runs.
    pub(crate) range: Option<(f64, f64)>,
}

/// One contender.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    pub(crate) label: String,
    pub(crate) points: Vec<Point>,
}

/// What lies along the bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Across {
    /// Values are spaced evenly, in order. Zero is another experiment, and no line leads there.
    Steps,
    /// Seconds, at their distances. Something happens at zero. Points are many: a mark stands at some of them, and their
    /// ranges are a band.
    Time,
}

/// One chart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) across: Across,
    /// Powers of ten are spaced evenly.
    pub(crate) logarithmic: bool,
    pub(crate) series: Vec<Series>,
}

/// How a contender is drawn: colour, dashes, and which mark.
struct Style(&'static str, &'static str, Mark);

#[derive(Clone, Copy)]
enum Mark {
    Disc,
    Ring,
    Square,
    Diamond,
    Up,
    Down,
    Cross,
}

/// The same contender looks the same in every picture. Colours are Okabe and Ito's.
fn style(label: &str) -> Style {
    match label {
        l if l.starts_with("2009") => Style("#000000", "2 3", Mark::Cross),
        l if l.starts_with("linux-bridge") => Style("#e69f00", "8 4", Mark::Square),
        l if l.starts_with("linux-route") => Style("#d55e00", "8 3 2 3", Mark::Diamond),
        l if l.starts_with("pointsman-vrf") => Style("#f0e442", "6 2", Mark::Up),
        l if l.starts_with("pointsman") && l.ends_with("start, then stop") => Style("#56b4e9", "7 3", Mark::Down),
        l if l.starts_with("pointsman") && l.contains("tap") => Style("#009e73", "", Mark::Ring),
        l if l.starts_with("pointsman") => Style("#0072b2", "", Mark::Disc),
        "testpmd" => Style("#cc79a7", "4 2", Mark::Up),
        "ovs-userspace" => Style("#999999", "4 2", Mark::Diamond),
        "xdp-redirect" => Style("#56b4e9", "4 2", Mark::Down),
        _ => Style("#666666", "4 2", Mark::Diamond),
    }
}

/// Charts side by side.
pub(crate) fn svg(charts: &[Chart]) -> String {
    let lines = charts.iter().map(|c| c.series.len()).max().unwrap_or(0) as f64;
    let (width, height) = (WIDTH * charts.len() as f64, HEIGHT + GAP + lines * LINE);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (i, chart) in charts.iter().enumerate() {
        let _ = writeln!(text, "<g transform=\"translate({} 0)\">", WIDTH * i as f64);
        chart.draw(&mut text);
        text += "</g>\n";
    }
    text + "</svg>\n"
}

/// For text between tags and in attributes.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

impl Chart {
    fn draw(&self, text: &mut String) {
        let mut xs: Vec<f64> = self.series.iter().flat_map(|s| &s.points).map(|p| p.x).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        let axis = Axis::new(self.logarithmic, self.series.iter().flat_map(|s| &s.points));
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let _ = writeln!(
            text,
            "<text x=\"{LEFT}\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{}</text>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escape(&self.title),
            (LEFT + right) / 2.0,
            HEIGHT - 10.0,
            escape(&self.x),
            (TOP + bottom) / 2.0,
            escape(&self.y)
        );
        for tick in axis.ticks() {
            let y = axis.place(tick);
            let _ = writeln!(
                text,
                "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>\
                 <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        let step = (right - LEFT) / xs.len().max(1) as f64;
        let (first, last) = (xs.first().copied().unwrap_or(0.0), xs.last().copied().unwrap_or(1.0));
        let place = |x: f64| match self.across {
            Across::Steps => LEFT + step * (xs.iter().position(|&other| other == x).unwrap_or(0) as f64 + 0.5),
            Across::Time => LEFT + (right - LEFT) * (x - first) / (last - first).max(1e-9),
        };
        let named = match self.across {
            Across::Steps => xs.clone(),
            Across::Time => {
                let zero = place(0.0);
                let _ =
                    writeln!(text, "<path d=\"M{zero:.1} {TOP}V{bottom}\" stroke=\"#000\" stroke-dasharray=\"1 3\"/>");
                halves(first, last)
            }
        };
        for x in named {
            let _ =
                writeln!(text, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{x}</text>", place(x), bottom + 16.0);
        }
        let _ = writeln!(text, "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#000\"/>");
        for (i, series) in self.series.iter().enumerate() {
            // A little apart, so that bars do not hide each other.
            let aside = (i as f64 - (self.series.len() as f64 - 1.0) / 2.0) * 4.0;
            match self.across {
                Across::Steps => series.draw(text, |x| place(x) + aside, &axis),
                Across::Time => series.draw_over_time(text, place, &axis, MARKED / 2 + i * MARKED / self.series.len()),
            }
            let y = HEIGHT + GAP + LINE * i as f64;
            let Style(colour, dashes, mark) = style(&series.label);
            let _ = writeln!(
                text,
                "<path d=\"M{LEFT} {y}h40\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>\
                 <text x=\"{}\" y=\"{}\">{}</text>",
                LEFT + 50.0,
                y + 4.0,
                escape(&series.label)
            );
            mark.draw(text, LEFT + 20.0, y, colour);
        }
    }
}

impl Series {
    fn draw(&self, text: &mut String, place: impl Fn(f64) -> f64, axis: &Axis) {
        let Style(colour, dashes, mark) = style(&self.label);
        let joined = self.points.iter().filter(|p| p.x != 0.0);
        let points: Vec<String> = joined.map(|p| format!("{:.1},{:.1}", place(p.x), axis.place(p.y))).collect();
        let _ = writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>",
            points.join(" ")
        );
        for point in &self.points {
            let x = place(point.x);
            if let Some((least, most)) = point.range {
                let (low, high) = (axis.place(least), axis.place(most));
                let _ = writeln!(
                    text,
                    "<path d=\"M{:.1} {high:.1}h6m-3 0V{low:.1}m-3 0h6\" fill=\"none\" stroke=\"{colour}\"/>",
                    x - 3.0
                );
            }
            mark.draw(text, x, axis.place(point.y), colour);
        }
    }
}

/// Every so many points of a line over time have a mark.
const MARKED: usize = 9;

impl Series {
    /// A line and the band of its runs. `phase` moves its marks, so that those of lines that cover each other are seen.
    fn draw_over_time(&self, text: &mut String, place: impl Fn(f64) -> f64, axis: &Axis, phase: usize) {
        let Style(colour, dashes, mark) = style(&self.label);
        let corner = |p: &Point, y: f64| format!("{:.1},{:.1}", place(p.x), axis.place(y));
        let edges = |p: &Point| p.range.unwrap_or((p.y, p.y));
        // Where there is nothing, no line says that there was.
        let step = self.points.windows(2).map(|pair| pair[1].x - pair[0].x).fold(f64::INFINITY, f64::min);
        for row in self.points.chunk_by(|a, b| b.x - a.x < 1.5 * step) {
            let above = row.iter().map(|p| corner(p, edges(p).1));
            let below = row.iter().rev().map(|p| corner(p, edges(p).0));
            let band: Vec<String> = above.chain(below).collect();
            let line: Vec<String> = row.iter().map(|p| corner(p, p.y)).collect();
            let _ = writeln!(
                text,
                "<polygon points=\"{}\" fill=\"{colour}\" fill-opacity=\"0.15\"/>\n\
                 <polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>",
                band.join(" "),
                line.join(" ")
            );
        }
        for point in self.points.iter().skip(phase % MARKED).step_by(MARKED) {
            mark.draw(text, place(point.x), axis.place(point.y), colour);
        }
    }
}

/// The half seconds from one time to another.
fn halves(first: f64, last: f64) -> Vec<f64> {
    ((first * 2.0).ceil() as i32..=(last * 2.0).floor() as i32).map(|n| f64::from(n) / 2.0).collect()
}

impl Mark {
    fn draw(self, text: &mut String, x: f64, y: f64, colour: &str) {
        let path = match self {
            Self::Disc | Self::Ring => {
                let fill = if matches!(self, Self::Ring) { "#fff" } else { colour };
                let _ = writeln!(
                    text,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"2\"/>"
                );
                return;
            }
            Self::Square => "m-4 -4h8v8h-8z",
            Self::Diamond => "m0 -5l5 5l-5 5l-5 -5z",
            Self::Up => "m0 -5l5 9h-10z",
            Self::Down => "m0 5l5 -9h-10z",
            Self::Cross => "m-4 -4l8 8m0 -8l-8 8",
        };
        let _ = writeln!(
            text,
            "<path d=\"M{x:.1} {y:.1}{path}\" fill=\"{colour}\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        );
    }
}

/// The upright axis.
struct Axis {
    logarithmic: bool,
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    fn new<'a>(logarithmic: bool, points: impl Iterator<Item = &'a Point>) -> Self {
        let values: Vec<f64> =
            points.flat_map(|p| [p.y, p.range.map_or(p.y, |r| r.1)]).filter(|v| v.is_finite()).collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        if logarithmic {
            let least = values.iter().copied().filter(|&v| v > 0.0).fold(most.max(1.0), f64::min);
            let (low, high) = (least.log10().floor(), most.max(least * 10.0).log10().ceil());
            return Self { logarithmic, low, high, step: 1.0 };
        }
        // Four to eight steps of 1, 2 or 5 times a power of ten.
        let most = if most > 0.0 { most } else { 1.0 };
        let power = 10_f64.powf((most / 4.0).log10().floor());
        let step = [5.0, 2.0, 1.0].map(|n| n * power).into_iter().find(|step| most / step >= 4.0).unwrap_or(power);
        Self { logarithmic, low: 0.0, high: (most / step).ceil() * step, step }
    }

    fn ticks(&self) -> Vec<f64> {
        let count = ((self.high - self.low) / self.step).round() as i32;
        (0..=count)
            .map(|i| self.low + f64::from(i) * self.step)
            .map(|value| if self.logarithmic { 10_f64.powf(value) } else { value })
            // Without the last places that powers and products leave.
            .map(|value| format!("{value:.6}").parse().unwrap_or(value))
            .collect()
    }

    fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.max(1e-9).log10() } else { value };
        let part = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[f64]) -> Vec<Point> {
        values.iter().map(|&y| Point { x: y, y, range: None }).collect()
    }

    #[test]
    fn axes_begin_and_end_at_round_numbers() {
        let axis = Axis::new(false, points(&[3.0, 957.0]).iter());
        assert_eq!(axis.ticks(), [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]);
        let axis = Axis::new(true, points(&[17.0, 3_800.0]).iter());
        assert_eq!(axis.ticks(), [10.0, 100.0, 1_000.0, 10_000.0]);
        assert_eq!(axis.place(10.0), HEIGHT - BOTTOM);
        assert_eq!(axis.place(10_000.0), TOP);
        assert!(Axis::new(false, points(&[]).iter()).ticks().len() > 1, "an empty chart is a chart");
    }

    #[test]
    fn a_contender_is_told_by_more_than_its_colour() {
        let labels = [
            "2009: Xen 3.2",
            "linux-bridge / linux",
            "linux-route",
            "pointsman-vrf",
            "pointsman / router",
            "pointsman / router: start, then stop",
            "pointsman / tap",
            "testpmd",
            "xdp-redirect",
        ];
        let mut looks: Vec<String> = labels
            .iter()
            .map(|label| {
                let Style(_, dashes, mark) = style(label);
                let mut text = dashes.to_owned();
                mark.draw(&mut text, 0.0, 0.0, "");
                text
            })
            .collect();
        looks.sort();
        looks.dedup();
        assert_eq!(looks.len(), labels.len());
    }

    #[test]
    fn labels_cannot_break_the_page() {
        let series = vec![Series { label: "<b>&\"".into(), points: points(&[1.0]) }];
        let chart = Chart {
            title: "t".into(),
            x: "x".into(),
            y: "y".into(),
            across: Across::Steps,
            logarithmic: false,
            series,
        };
        let text = svg(&[chart]);
        assert!(text.contains("&lt;b&gt;&amp;&quot;") && !text.contains("<b>"), "{text}");
    }

    #[test]
    fn times_stand_at_their_distances() {
        let point = |x, y| Point { x, y, range: Some((y - 10.0, y + 10.0)) };
        let points = vec![point(-0.5, 100.0), point(0.0, 100.0), point(1.0, 200.0), point(1.5, 200.0)];
        let series = vec![Series { label: "pointsman / router: stop, then start".into(), points }];
        let chart =
            Chart { title: "t".into(), x: "x".into(), y: "y".into(), across: Across::Time, logarithmic: false, series };
        let text = svg(&[chart]);
        let right = WIDTH - RIGHT;
        let zero = LEFT + (right - LEFT) / 4.0;
        assert!(
            text.contains(&format!("<path d=\"M{zero:.1} {TOP}V")),
            "where it happens, a quarter of the way: {text}"
        );
        // The axis ends at 250, the band at 210.
        let top = TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - 210.0 / 250.0);
        assert!(text.contains(&format!("{right:.1},{top:.1}")), "the band reaches the highest of all: {text}");
        assert_eq!(text.matches("<polyline").count(), 2, "half a second without a point is a gap in the line: {text}");
        assert_eq!(halves(-0.6, 1.25), [-0.5, 0.0, 0.5, 1.0]);
    }
}
