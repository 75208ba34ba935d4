//! Plots as SVG text: light, with labelled axes, without a library.

use std::fmt::Write as _;

/// Panels with a row for each server.
pub(crate) struct Drawing<'a> {
    pub(crate) title: &'a str,
    /// What is measured, with its unit.
    pub(crate) axis: String,
    /// How many panels stand beside each other.
    pub(crate) columns: usize,
    pub(crate) scale: Scale,
    /// The names of the values of a row, if it has several.
    pub(crate) legend: &'a [&'a str],
    pub(crate) panels: Vec<Panel>,
}

pub(crate) enum Scale {
    /// Bars from zero to the value, for ratios. A longer one is cut, and marked; a dashed line
    /// stands at `mark`.
    Bars { cut: f64, mark: f64 },
    /// Dots on a logarithmic axis, for values that differ by powers of ten: a bar would begin
    /// nowhere.
    Dots,
}

pub(crate) struct Panel {
    pub(crate) title: String,
    /// A line below the title.
    pub(crate) about: String,
    pub(crate) rows: Vec<Row>,
}

pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) values: Vec<f64>,
    /// The value as it is written: at the end of the row, or beside the first of several dots.
    pub(crate) text: String,
    /// Ours, which the eye should find.
    pub(crate) strong: bool,
}

const ROW: f64 = 20.0;
/// From the top of a row to the line that its text stands on.
const BASE: f64 = ROW / 2.0 + 4.0;
const LABELS: f64 = 92.0;
/// Room for the text at the end of the row: no bar and no line reaches it.
const TEXTS: f64 = 78.0;
/// What lies between that room and the next panel.
const GAP: f64 = 16.0;
const PANEL: f64 = 440.0;
const MARGIN: f64 = 16.0;
const HEAD: f64 = 44.0;
/// Above and below the rows of a panel: its titles, and its axis.
const TOP: f64 = 46.0;
const BOTTOM: f64 = 46.0;
const FOOTER_LINE: f64 = 14.0;
/// The width of a letter of the footer, about.
const FOOTER_LETTER: f64 = 5.6;

/// Colours.
const OURS: &str = "#d1495b";
const OTHERS: &str = "#5b8db8";
const DOTS: [&str; 3] = ["#2a9d8f", "#e9a23b", "#7a4fa3"];

impl Drawing<'_> {
    /// Draws it, with a text below.
    pub(crate) fn svg(&self, footer: &str) -> String {
        let columns = self.columns.min(self.panels.len()).max(1);
        let width = MARGIN * 2.0 + PANEL * columns as f64;
        let rows = |panels: &[Panel]| panels.iter().map(|p| p.rows.len()).max().unwrap_or(0);
        let heights: Vec<f64> = self
            .panels
            .chunks(columns)
            .map(|panels| TOP + ROW * rows(panels) as f64 + BOTTOM)
            .collect();
        let footer = wrapped(footer, width);
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
        self.legend(&mut out, width);
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

    fn legend(&self, out: &mut String, width: f64) {
        let mut x = width - MARGIN - 70.0 * self.legend.len() as f64;
        for (name, color) in self.legend.iter().zip(DOTS) {
            let _ = writeln!(out, r#"<circle cx="{x:.1}" cy="22" r="4" fill="{color}"/>"#);
            text(out, x + 8.0, 26.0, "start", 12, name);
            x += 70.0;
        }
    }

    fn panel(&self, out: &mut String, left: f64, top: f64, panel: &Panel) {
        let axis = self.axis(panel, left + LABELS);
        let first = top + TOP;
        let below = first + ROW * panel.rows.len() as f64;
        text(out, left + LABELS, top + 18.0, "start", 13, &panel.title);
        text(out, left + LABELS, top + 34.0, "start", 11, &panel.about);
        for tick in axis.ticks() {
            let x = axis.x(tick);
            let _ = writeln!(
                out,
                r##"<path d="M{x:.1} {first:.1}V{below:.1}" stroke="#dddddd"/>"##
            );
            text(out, x, below + 14.0, "middle", 10, &short(tick));
        }
        if let Scale::Bars { mark, .. } = self.scale {
            let x = axis.x(mark);
            let _ = writeln!(
                out,
                r##"<path d="M{x:.1} {first:.1}V{below:.1}" stroke="#333" stroke-dasharray="4"/>"##
            );
        }
        for (index, row) in panel.rows.iter().enumerate() {
            let y = first + ROW * index as f64;
            text(out, left + LABELS - 8.0, y + BASE, "end", 12, &row.label);
            self.row(out, &axis, y, row);
        }
        let middle = axis.left + axis.width / 2.0;
        let label = match self.scale {
            Scale::Bars { cut, .. } if panel.values().any(|value| value > cut) => {
                format!("{} (arrow: more than {cut})", self.axis)
            }
            _ => self.axis.clone(),
        };
        text(out, middle, below + 30.0, "middle", 11, &label);
    }

    fn row(&self, out: &mut String, axis: &Axis, top: f64, row: &Row) {
        let values: Vec<f64> = row
            .values
            .iter()
            .copied()
            .filter(|v| v.is_finite())
            .collect();
        let end = axis.left + axis.width + TEXTS;
        let (Some(&first), Some(&last)) = (values.first(), values.last()) else {
            return text(out, end, top + BASE, "end", 11, &row.text);
        };
        let color = if row.strong { OURS } else { OTHERS };
        match self.scale {
            Scale::Bars { cut, .. } => bar(out, axis, top, last, cut, color),
            Scale::Dots => {
                let middle = top + ROW / 2.0;
                guide(out, axis, middle);
                if values.len() == 1 {
                    dot(out, axis.x(first), middle, 5.0, color);
                } else {
                    let (from, to) = (axis.x(first), axis.x(last));
                    let _ = writeln!(
                        out,
                        r#"<path d="M{from:.1} {middle:.1}H{to:.1}" stroke="{color}"/>"#
                    );
                    for (value, color) in values.iter().zip(DOTS) {
                        dot(out, axis.x(*value), middle, 4.0, color);
                    }
                    // On white, for the guide runs behind it.
                    out.push_str("<g paint-order=\"stroke\" stroke=\"#fff\" stroke-width=\"4\">\n");
                    text(out, from - 8.0, top + BASE, "end", 11, &row.text);
                    out.push_str("</g>\n");
                    return;
                }
            }
        }
        text(out, end, top + BASE, "end", 11, &row.text);
    }

    fn axis(&self, panel: &Panel, left: f64) -> Axis {
        let width = PANEL - LABELS - TEXTS - GAP;
        let most = panel.values().fold(1e-9, f64::max);
        match self.scale {
            Scale::Bars { cut, mark } => Axis {
                left,
                width,
                low: 0.0,
                high: most.max(mark).min(cut) * 1.05,
                log: false,
            },
            Scale::Dots => {
                let least = panel.values().filter(|&v| v > 0.0).fold(most, f64::min);
                let (low, high) = (least.log10(), most.log10());
                // The text of the first of several dots stands before it.
                let before = if self.legend.is_empty() { 0.08 } else { 0.3 };
                let span = (high - low).max(0.5);
                Axis {
                    left,
                    width,
                    low: low - span * before,
                    high: high + span * 0.06,
                    log: true,
                }
            }
        }
    }
}

impl Panel {
    fn values(&self) -> impl Iterator<Item = f64> {
        let all = self.rows.iter().flat_map(|row| row.values.iter().copied());
        all.filter(|value| value.is_finite())
    }
}

/// From values to places.
struct Axis {
    left: f64,
    width: f64,
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
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

/// A bar to the value; one that is cut has a gap and an arrow, beyond the end of the axis.
fn bar(out: &mut String, axis: &Axis, top: f64, value: f64, cut: f64, color: &str) {
    let (above, height) = (top + 3.0, ROW - 6.0);
    let end = axis.x(value.min(cut));
    let _ = writeln!(
        out,
        r#"<rect x="{:.1}" y="{above:.1}" width="{:.1}" height="{height:.1}" fill="{color}"/>"#,
        axis.left,
        (end - axis.left).max(1.0)
    );
    if value <= cut {
        return;
    }
    let middle = above + height / 2.0;
    let _ = writeln!(
        out,
        r#"<path d="M{end:.1} {:.1}L{:.1} {middle:.1}L{end:.1} {:.1}Z" fill="{color}"/>"#,
        above - 2.0,
        end + 10.0,
        above + height + 2.0
    );
    let _ = writeln!(
        out,
        r##"<path d="M{:.1} {:.1}l6 -{:.1}" stroke="#fff" stroke-width="4"/>"##,
        end - 18.0,
        above + height + 2.0,
        height + 4.0
    );
}

/// A faint line that leads the eye from the label to its dot and its text.
fn guide(out: &mut String, axis: &Axis, middle: f64) {
    let (from, to) = (axis.left, axis.left + axis.width);
    let _ = writeln!(
        out,
        r##"<path d="M{from:.1} {middle:.1}H{to:.1}" stroke="#cccccc" stroke-dasharray="1 4"/>"##
    );
}

fn dot(out: &mut String, x: f64, y: f64, radius: f64, color: &str) {
    let _ = writeln!(
        out,
        r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius:.0}" fill="{color}"/>"#
    );
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, size: u32, text: &str) {
    if text.is_empty() {
        return;
    }
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

/// A text in lines of this width.
fn wrapped(text: &str, width: f64) -> Vec<String> {
    let most = ((width - 2.0 * MARGIN) / FOOTER_LETTER) as usize;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
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
