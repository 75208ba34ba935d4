//! Plots as SVG text: light, with labelled axes, without a library.

use std::fmt::Write as _;

/// Horizontal bars, in panels beside each other.
pub(crate) struct Bars<'a> {
    pub(crate) title: &'a str,
    /// What the bars measure, with its unit.
    pub(crate) axis: &'a str,
    /// How many panels stand beside each other.
    pub(crate) columns: usize,
    /// For values that differ by powers of ten.
    pub(crate) log: bool,
    /// A dashed line at this value.
    pub(crate) mark: Option<f64>,
    pub(crate) panels: Vec<Panel>,
}

pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) bars: Vec<Bar>,
}

/// One row of a panel: a bar to its first value, or several dots on a line.
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) values: Vec<f64>,
    /// The values as they are written at the end of the row.
    pub(crate) text: String,
    /// Ours, which the eye should find.
    pub(crate) strong: bool,
}

const ROW: f64 = 20.0;
const LABELS: f64 = 112.0;
/// Room for the text at the end of the row.
const TEXTS: f64 = 92.0;
const PANEL: f64 = 440.0;
const MARGIN: f64 = 16.0;
const HEAD: f64 = 48.0;
/// Above and below the rows of a panel: its title, and its axis.
const TOP: f64 = 26.0;
const BOTTOM: f64 = 46.0;

const OURS: &str = "#d1495b";
const OTHERS: &str = "#5b8db8";
const DOTS: [&str; 3] = ["#2a9d8f", "#e9a23b", "#7a4fa3"];

impl Bars<'_> {
    /// Draws them. `legend` names the values of a row when it has several.
    pub(crate) fn svg(&self, legend: &[&str]) -> String {
        let columns = self.columns.min(self.panels.len()).max(1);
        let width = MARGIN * 2.0 + PANEL * columns as f64;
        let rows = |panels: &[Panel]| panels.iter().map(|p| p.bars.len()).max().unwrap_or(0);
        let heights: Vec<f64> = self
            .panels
            .chunks(columns)
            .map(|panels| TOP + ROW * rows(panels) as f64 + BOTTOM)
            .collect();
        let height = HEAD + heights.iter().sum::<f64>() + MARGIN;
        let mut out = String::new();
        let _ = writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" "#
        );
        let _ = writeln!(
            out,
            r#"  width="{width:.0}" height="{height:.0}" font-family="sans-serif" font-size="12">"#
        );
        let _ = writeln!(
            out,
            r##"<rect width="100%" height="100%" fill="#ffffff"/>"##
        );
        text(&mut out, MARGIN, 26.0, "start", 16, self.title);
        self.legend(&mut out, width, legend);
        let mut y = HEAD;
        for (line, panels) in self.panels.chunks(columns).enumerate() {
            for (column, panel) in panels.iter().enumerate() {
                self.panel(&mut out, MARGIN + PANEL * column as f64, y, panel);
            }
            y += heights[line];
        }
        out + "</svg>\n"
    }

    fn legend(&self, out: &mut String, width: f64, names: &[&str]) {
        let mut x = width - MARGIN - 70.0 * names.len() as f64;
        for (name, color) in names.iter().zip(DOTS) {
            let _ = writeln!(out, r#"<circle cx="{x:.1}" cy="22" r="4" fill="{color}"/>"#);
            text(out, x + 8.0, 26.0, "start", 12, name);
            x += 70.0;
        }
    }

    fn panel(&self, out: &mut String, left: f64, top: f64, panel: &Panel) {
        let scale = self.scale(panel, left + LABELS, PANEL - LABELS - TEXTS);
        let below = top + TOP + ROW * panel.bars.len() as f64;
        text(out, left + LABELS, top + 16.0, "start", 13, &panel.title);
        for tick in scale.ticks() {
            let x = scale.x(tick);
            let _ = writeln!(
                out,
                r##"<path d="M{x:.1} {:.1}V{below:.1}" stroke="#dddddd"/>"##,
                top + TOP
            );
            text(out, x, below + 14.0, "middle", 10, &short(tick));
        }
        for (row, bar) in panel.bars.iter().enumerate() {
            draw_row(out, &scale, left, top + TOP + ROW * row as f64, bar);
        }
        if let Some(mark) = self.mark {
            let x = scale.x(mark);
            let _ = writeln!(
                out,
                r##"<path d="M{x:.1} {:.1}V{below:.1}" stroke="#333333" stroke-dasharray="4 3"/>"##,
                top + TOP
            );
        }
        let middle = left + LABELS + (PANEL - LABELS - TEXTS) / 2.0;
        text(out, middle, below + 30.0, "middle", 11, self.axis);
    }

    fn scale(&self, panel: &Panel, left: f64, width: f64) -> Scale {
        let values = || {
            let all = panel.bars.iter().flat_map(|bar| bar.values.iter().copied());
            all.chain(self.mark).filter(|v| v.is_finite())
        };
        let most = values().fold(0.0, f64::max).max(1e-9);
        if !self.log {
            return Scale {
                left,
                width,
                low: 0.0,
                high: most * 1.05,
                log: false,
            };
        }
        let least = values().filter(|&v| v > 0.0).fold(most, f64::min);
        Scale {
            left,
            width,
            // The shortest bar must be seen too.
            low: least.log10().floor().min((least / 1.5).log10()),
            high: (most * 1.1).log10(),
            log: true,
        }
    }
}

/// From values to places.
struct Scale {
    left: f64,
    width: f64,
    low: f64,
    high: f64,
    log: bool,
}

impl Scale {
    fn x(&self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        let share = (value - self.low) / (self.high - self.low);
        self.left + self.width * share.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        if self.log {
            let first = self.low.ceil() as i32;
            return (first..=self.high.floor() as i32)
                .map(|power| 10f64.powi(power))
                .collect();
        }
        // A step of 1, 2 or 5 times a power of ten, for four to eight ticks.
        let rough = self.high / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [5.0, 2.0, 1.0]
            .into_iter()
            .map(|digit| digit * power)
            .find(|step| *step <= rough)
            .unwrap_or(power);
        (0..=(self.high / step) as usize)
            .map(|i| i as f64 * step)
            .collect()
    }
}

fn draw_row(out: &mut String, scale: &Scale, left: f64, top: f64, bar: &Bar) {
    let middle = top + ROW / 2.0;
    let baseline = middle + 4.0;
    text(out, left + LABELS - 8.0, baseline, "end", 12, &bar.label);
    let known: Vec<f64> = bar
        .values
        .iter()
        .copied()
        .filter(|v| v.is_finite())
        .collect();
    let Some(&first) = known.first() else {
        text(out, scale.left + 6.0, baseline, "start", 11, &bar.text);
        return;
    };
    let last = known[known.len() - 1];
    let end = scale.x(last);
    if known.len() == 1 {
        let color = if bar.strong { OURS } else { OTHERS };
        let _ = writeln!(
            out,
            r#"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" fill="{color}"/>"#,
            scale.left,
            top + 3.0,
            (end - scale.left).max(1.0),
            ROW - 6.0
        );
    } else {
        let color = if bar.strong { OURS } else { "#999999" };
        let _ = writeln!(
            out,
            r#"<path d="M{:.1} {middle:.1}H{end:.1}" stroke="{color}" stroke-width="2"/>"#,
            scale.x(first)
        );
        for (value, color) in known.iter().zip(DOTS) {
            let x = scale.x(*value);
            let _ = writeln!(
                out,
                r#"<circle cx="{x:.1}" cy="{middle:.1}" r="4" fill="{color}"/>"#
            );
        }
    }
    text(out, end + 7.0, baseline, "start", 11, &bar.text);
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, size: u32, text: &str) {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        out,
        r##"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-size="{size}" fill="#222">"##
    );
    let _ = writeln!(out, "{text}</text>");
}

/// A tick's number, as short as it can be.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{}G", v / 1e9),
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e3 => format!("{}k", v / 1e3),
        v => format!("{}", (v * 1e6).round() / 1e6),
    }
}
