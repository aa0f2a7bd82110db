//! Small line plots as SVG text, readable in light and dark.

use std::fmt::Write;

/// One line of a plot.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Points from left to right.
    pub points: Vec<(f64, f64)>,
    /// Whether to mark each point.
    pub marked: bool,
}

/// What stands around the lines.
#[derive(Clone, Debug, Default)]
pub struct Plot {
    /// Under the horizontal axis.
    pub x_label: String,
    /// Above the vertical axis.
    pub y_label: String,
    /// Fixed ends of the vertical axis; from the data if none.
    pub y_range: Option<(f64, f64)>,
    /// Whether the horizontal axis is logarithmic.
    pub logarithmic: bool,
    /// Whether to draw the diagonal from corner to corner.
    pub diagonal: bool,
    /// The lines.
    pub series: Vec<Series>,
}

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 40.0;

/// Colours that are apart for colour-blind readers too (Okabe and Ito, 2008).
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00"];

impl Plot {
    /// The plot as an `<svg>` element.
    pub fn render(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (x_low, x_high) = range(points().map(|point| self.x_value(point.0)));
        let (y_low, y_high) = self.y_range.unwrap_or_else(|| padded(range(points().map(|point| point.1))));
        let x = |value: f64| LEFT + (value - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - (value - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} by {}\">",
            escape(&self.y_label),
            escape(&self.x_label)
        );
        for tick in ticks(y_low, y_high) {
            let at = y(tick);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
                WIDTH - RIGHT
            );
            let _ = write!(
                svg,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                number(tick)
            );
        }
        for (value, label) in self.x_ticks(x_low, x_high) {
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
                x(value),
                HEIGHT - BOTTOM + 16.0
            );
        }
        if self.diagonal {
            let _ = write!(
                svg,
                "<line class=\"diagonal\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
                x(x_low),
                y(y_low),
                x(x_high),
                y(y_high)
            );
        }
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let places = series
                .points
                .iter()
                .map(|point| format!("{:.1},{:.1}", x(self.x_value(point.0)), y(point.1)));
            let places: Vec<String> = places.collect();
            let _ = write!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
                places.join(" ")
            );
            if series.marked {
                for place in &places {
                    let (cx, cy) = place.split_once(',').unwrap_or(("0", "0"));
                    let _ = write!(svg, "<circle r=\"3\" cx=\"{cx}\" cy=\"{cy}\" fill=\"{colour}\"/>");
                }
            }
        }
        let _ = write!(svg, "<text x=\"{LEFT}\" y=\"14\">{}</text>", escape(&self.y_label));
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            HEIGHT - 6.0,
            escape(&self.x_label)
        );
        svg.push_str("</svg>");
        svg + &self.legend()
    }

    fn legend(&self) -> String {
        if self.series.len() < 2 {
            return String::new();
        }
        let entries = self.series.iter().zip(COLOURS.iter().cycle()).map(|(series, colour)| {
            format!("<span><i style=\"background:{colour}\"></i>{}</span>", escape(&series.name))
        });
        format!("<div class=\"legend\">{}</div>", entries.collect::<String>())
    }

    fn x_value(&self, value: f64) -> f64 {
        if self.logarithmic { value.ln() } else { value }
    }

    fn x_ticks(&self, low: f64, high: f64) -> Vec<(f64, String)> {
        if !self.logarithmic {
            return ticks(low, high).into_iter().map(|tick| (tick, number(tick))).collect();
        }
        let values = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0];
        let inside =
            values.into_iter().filter(|value: &f64| (low - 1e-9..=high + 1e-9).contains(&value.ln()));
        inside.map(|value| (value.ln(), number(value))).collect()
    }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    match (low.is_finite(), high > low) {
        (false, _) => (0.0, 1.0),
        (true, false) => (low - 0.5, low + 0.5),
        (true, true) => (low, high),
    }
}

fn padded((low, high): (f64, f64)) -> (f64, f64) {
    let margin = (high - low) * 0.05;
    (low - margin, high + margin)
}

/// Three to seven round numbers between two ends.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let raw = (high - low) / 4.0;
    let magnitude = 10f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * magnitude).find(|&step| step >= raw).unwrap_or(raw);
    let first = (low / step).ceil() as i64;
    (first..).map(|i| i as f64 * step).take_while(|&tick| tick <= high + step * 1e-9).take(20).collect()
}

fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Text as HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
