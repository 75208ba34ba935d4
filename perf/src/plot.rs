//! Plots as SVG text: light, with labelled axes, without a library.

use std::fmt::Write as _;
use std::sync::OnceLock;

/// What stands under every plot: the command, the machine, the versions.
static FOOTER: OnceLock<String> = OnceLock::new();

/// Sets the text under every plot that is drawn from now on.
pub(crate) fn footer(text: String) {
    // Only the first counts; there is one run in a process.
    let _ = FOOTER.set(text);
}

/// Horizontal bars, in panels beside each other.
pub(crate) struct Bars<'a> {
    pub(crate) title: &'a str,
    /// What the bars measure, with its unit.
    pub(crate) axis: &'a str,
    /// How many panels stand beside each other.
    pub(crate) columns: usize,
    /// For values that differ by powers of ten.
    pub(crate) log: bool,
    /// Longer bars are cut here, so that one outlier does not flatten all others.
    pub(crate) cap: Option<f64>,
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
/// From the top of a row to the line that its text stands on.
const BASE: f64 = ROW / 2.0 + 4.0;
const LABELS: f64 = 112.0;
/// Room for the text at the end of the row.
const TEXTS: f64 = 92.0;
const PANEL: f64 = 440.0;
const MARGIN: f64 = 16.0;
const HEAD: f64 = 48.0;
/// Above and below the rows of a panel: its title, and its axis.
const TOP: f64 = 26.0;
const BOTTOM: f64 = 46.0;
const FOOTER_LINE: f64 = 14.0;
/// The width of a letter of the footer, about.
const FOOTER_LETTER: f64 = 5.6;

/// Colours.
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
        let footer = wrapped(width);
        let below = HEAD + heights.iter().sum::<f64>();
        let height = below + FOOTER_LINE * footer.len() as f64 + MARGIN;
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
        for (line, words) in footer.iter().enumerate() {
            let y = below + FOOTER_LINE * (line + 1) as f64;
            text(&mut out, MARGIN, y, "start", 10, words);
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
        let rows = || {
            let numbered = panel.bars.iter().enumerate();
            numbered.map(|(row, bar)| (top + TOP + ROW * row as f64, bar))
        };
        for (y, bar) in rows() {
            text(out, left + LABELS - 8.0, y + BASE, "end", 12, &bar.label);
            draw(out, &scale, y, &bar.known(), bar.strong);
        }
        if let Some(x) = self.mark.map(|mark| scale.x(mark)) {
            let _ = writeln!(
                out,
                r##"<path d="M{x:.1} {:.1}V{below:.1}" stroke="#333333" stroke-dasharray="4 3"/>"##,
                top + TOP
            );
        }
        // On white, for a line may run behind them.
        let _ = writeln!(
            out,
            r##"<g paint-order="stroke" stroke="#fff" stroke-width="4">"##
        );
        for (y, bar) in rows() {
            let end = bar.known().last().map_or(scale.left, |&last| scale.x(last));
            text(out, end + 7.0, y + BASE, "start", 11, &bar.text);
        }
        out.push_str("</g>\n");
        let middle = left + LABELS + (PANEL - LABELS - TEXTS) / 2.0;
        text(out, middle, below + 30.0, "middle", 11, self.axis);
    }

    fn scale(&self, panel: &Panel, left: f64, width: f64) -> Scale {
        let values = || {
            let all = panel.bars.iter().flat_map(|bar| bar.values.iter().copied());
            all.chain(self.mark).filter(|v| v.is_finite())
        };
        let most = values().fold(0.0, f64::max).max(1e-9);
        let most = most.min(self.cap.unwrap_or(f64::INFINITY));
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
            let wide = self.high - self.low > 2.5;
            let digits: &[f64] = if wide { &[1.0] } else { &[1.0, 2.0, 5.0] };
            let powers = self.low.floor() as i32..=self.high.floor() as i32;
            return powers
                .flat_map(|power| digits.iter().map(move |digit| digit * 10f64.powi(power)))
                .filter(|tick| (self.low..=self.high).contains(&tick.log10()))
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

impl Bar {
    fn known(&self) -> Vec<f64> {
        let values = self.values.iter().copied();
        values.filter(|value| value.is_finite()).collect()
    }
}

/// Draws a bar to the only value, or dots at all of them.
fn draw(out: &mut String, scale: &Scale, top: f64, values: &[f64], strong: bool) {
    let middle = top + ROW / 2.0;
    let (Some(&first), Some(&last)) = (values.first(), values.last()) else {
        return;
    };
    let end = scale.x(last);
    if values.len() == 1 {
        let color = if strong { OURS } else { OTHERS };
        let _ = writeln!(
            out,
            r#"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" fill="{color}"/>"#,
            scale.left,
            top + 3.0,
            (end - scale.left).max(1.0),
            ROW - 6.0
        );
        return;
    }
    let color = if strong { OURS } else { "#999999" };
    let _ = writeln!(
        out,
        r#"<path d="M{:.1} {middle:.1}H{end:.1}" stroke="{color}" stroke-width="2"/>"#,
        scale.x(first)
    );
    for (value, color) in values.iter().zip(DOTS) {
        let x = scale.x(*value);
        let _ = writeln!(
            out,
            r#"<circle cx="{x:.1}" cy="{middle:.1}" r="4" fill="{color}"/>"#
        );
    }
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

/// The footer in lines of this width.
fn wrapped(width: f64) -> Vec<String> {
    let most = ((width - 2.0 * MARGIN) / FOOTER_LETTER) as usize;
    let mut lines = vec![String::new()];
    for word in FOOTER.get().into_iter().flat_map(|text| text.split(' ')) {
        let last = lines.len() - 1;
        if lines[last].len() + word.len() > most {
            lines.push(word.to_owned());
        } else {
            lines[last] = format!("{} {word}", lines[last]).trim().to_owned();
        }
    }
    lines
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
