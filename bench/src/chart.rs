//! Line charts as SVG: a title, two axes, a line and a name for each series. No more than this page needs.

use std::fmt::Write;

/// A chart of lines.
pub struct Chart {
    /// What it shows.
    pub title: &'static str,
    /// What the horizontal axis measures.
    pub across: Axis,
    /// What the vertical axis measures.
    pub up: Axis,
    /// The lines.
    pub series: Vec<Series>,
}

/// An axis.
pub struct Axis {
    /// What it measures, with the unit.
    pub label: &'static str,
    /// How values are laid along it.
    pub scale: Scale,
}

/// How values are laid along an axis.
#[derive(Clone, Copy, PartialEq)]
pub enum Scale {
    /// From zero, in even steps.
    Linear,
    /// In powers of ten.
    Logarithmic,
}

/// A line.
pub struct Series {
    /// Its name.
    pub name: &'static str,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 48.0;
const COLOURS: [&str; 4] = ["#1668b8", "#d0541e", "#3c8c40", "#777777"];

impl Chart {
    /// The chart as a document of its own.
    pub fn to_svg(&self) -> String {
        stack(std::slice::from_ref(self))
    }

    fn draw(&self, out: &mut String) {
        let across = Span::of(self.across.scale, self.points().map(|(x, _)| x), LEFT, WIDTH - RIGHT);
        let up = Span::of(self.up.scale, self.points().map(|(_, y)| y), HEIGHT - BOTTOM, TOP);
        text(out, (LEFT, 22.0), "start", 15, self.title);
        for tick in up.ticks() {
            let y = up.place(tick);
            let _ = write!(out, r##"<path d="M{LEFT} {y:.1}H{}" stroke="#ddd"/>"##, WIDTH - RIGHT);
            text(out, (LEFT - 6.0, y + 4.0), "end", 11, &number(tick));
        }
        for tick in across.ticks() {
            text(out, (across.place(tick), HEIGHT - BOTTOM + 16.0), "middle", 11, &number(tick));
        }
        text(out, (f64::midpoint(LEFT, WIDTH), HEIGHT - 10.0), "middle", 12, self.across.label);
        text(out, (8.0, TOP - 8.0), "start", 12, self.up.label);
        for (place, (series, colour)) in self.series.iter().zip(COLOURS).enumerate() {
            let points: Vec<String> = series
                .points
                .iter()
                .filter(|(x, y)| across.holds(*x) && up.holds(*y))
                .map(|(x, y)| format!("{:.1},{:.1}", across.place(*x), up.place(*y)))
                .collect();
            let points = points.join(" ");
            let _ = write!(out, r#"<polyline fill="none" stroke="{colour}" stroke-width="1.8" points="{points}"/>"#);
            let x = LEFT + 130.0 + place as f64 * 150.0;
            let _ = write!(out, r#"<path d="M{x} 41h18" stroke="{colour}" stroke-width="3"/>"#);
            text(out, (x + 24.0, 45.0), "start", 12, series.name);
        }
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.series.iter().flat_map(|series| series.points.iter().copied())
    }
}

/// Several charts below each other, as one document.
pub fn stack(charts: &[Chart]) -> String {
    let height = HEIGHT * charts.len() as f64;
    let mut out = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"><rect width="{WIDTH}" height="{height}" fill="white"/>"#
    );
    for (place, chart) in charts.iter().enumerate() {
        let _ = write!(out, r#"<g transform="translate(0 {})">"#, HEIGHT * place as f64);
        chart.draw(&mut out);
        out += "</g>";
    }
    out + "</svg>\n"
}

/// Values from `low` to `high`, laid from one place on the page to another.
struct Span {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Span {
    fn of(scale: Scale, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Span {
        let usable = values.filter(|value| value.is_finite() && (scale == Scale::Linear || *value > 0.0));
        let (least, most) =
            usable.fold((f64::MAX, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
        let (low, high) = match scale {
            _ if most <= 0.0 => (1.0, 10.0),
            Scale::Linear => (0.0, most * 1.05),
            Scale::Logarithmic => (10_f64.powf(least.log10().floor()), 10_f64.powf((most * 1.001).log10().ceil())),
        };
        Span { scale, low, high, from, to }
    }

    fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => (value / self.low).log10() / (self.high / self.low).log10(),
        };
        self.from + share * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let magnitude = 10_f64.powf((self.high / 5.0).log10().floor());
                let fits = |step: &f64| self.high / (magnitude * step) <= 6.0;
                let step = magnitude * [1.0, 2.0, 5.0, 10.0].into_iter().find(fits).unwrap_or(10.0);
                (0..).map(|count| f64::from(count) * step).take_while(|tick| *tick <= self.high).collect()
            }
            Scale::Logarithmic => {
                let powers = (self.high / self.low).log10().round() as i32;
                (0..=powers).map(|power| self.low * 10_f64.powi(power)).collect()
            }
        }
    }
}

fn text(out: &mut String, (x, y): (f64, f64), anchor: &str, size: u32, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = write!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}">{words}</text>"#);
}

fn number(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    format!("{rounded}")
}
