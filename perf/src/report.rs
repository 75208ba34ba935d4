//! The report: sections of texts, tables and plots, written as Markdown.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::Result;
use crate::pictures;

/// Where the plots are, seen from the report.
const PLOTS: &str = "performance";

#[derive(Default)]
pub(crate) struct Report {
    intro: String,
    sections: Vec<Section>,
}

impl Report {
    /// What stands above all sections, with the title of the page.
    pub(crate) fn intro(&mut self, text: String) {
        self.intro = text + "\n\n";
    }

    /// Appends a section.
    pub(crate) fn section(&mut self, title: &str) -> &mut Section {
        self.sections.push(Section {
            title: title.to_owned(),
            blocks: Vec::new(),
        });
        let last = self.sections.len() - 1;
        &mut self.sections[last]
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = self.intro.clone();
        for section in &self.sections {
            text += &section.markdown();
        }
        text
    }

    /// Writes the plots into `dir`.
    pub(crate) fn write_plots(&self, dir: &Path) -> Result<()> {
        write_plots(&self.markdown(), dir)
    }
}

/// Writes the plots of a page into `dir`.
pub(crate) fn write_plots(page: &str, dir: &Path) -> Result<()> {
    for (file, svg) in pictures::draw(page) {
        fs::create_dir_all(dir)?;
        fs::write(dir.join(file), svg)?;
    }
    Ok(())
}

pub(crate) struct Section {
    title: String,
    blocks: Vec<Block>,
}

enum Block {
    Text(String),
    Table(Table),
    Plot { file: String, about: String },
}

impl Section {
    /// A paragraph of Markdown.
    pub(crate) fn text(&mut self, text: impl Into<String>) -> &mut Self {
        self.blocks.push(Block::Text(text.into()));
        self
    }

    pub(crate) fn table(&mut self, table: Table) -> &mut Self {
        self.blocks.push(Block::Table(table));
        self
    }

    /// A picture, which `pictures` draws of the tables; `file` is its name, with `.svg`, and
    /// `about` says what it shows.
    pub(crate) fn plot(&mut self, file: &str, about: &str) -> &mut Self {
        self.blocks.push(Block::Plot {
            file: file.to_owned(),
            about: about.to_owned(),
        });
        self
    }

    fn markdown(&self) -> String {
        let mut text = format!("## {}\n\n", self.title);
        for block in &self.blocks {
            match block {
                Block::Text(paragraph) => text += paragraph.trim_end(),
                Block::Table(table) => text += table.markdown().trim_end(),
                Block::Plot { file, about } => {
                    let _ = write!(text, "![{about}]({PLOTS}/{file})");
                }
            }
            text += "\n\n";
        }
        text
    }
}

/// A table; the first column is text, the others are numbers and stand to the right.
pub(crate) struct Table {
    /// All columns are text.
    text: bool,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self {
            text: false,
            head: head.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// A table of texts only.
    pub(crate) fn text<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self {
            text: true,
            ..Self::new(head)
        }
    }

    /// Appends a row; what it lacks to the right is filled with dashes.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        while row.len() < self.head.len() {
            row.push("–".to_owned());
        }
        self.rows.push(row);
    }

    fn markdown(&self) -> String {
        let mut text = line(&self.head);
        text += "|---|";
        let column = if self.text { "---|" } else { "--:|" };
        text += &column.repeat(self.head.len().saturating_sub(1));
        text += "\n";
        for row in &self.rows {
            text += &line(row);
        }
        text
    }
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// A number with three digits that count, and a prefix: `58.4k`, `1.54M`.
pub(crate) fn si(value: f64) -> String {
    let (value, prefix) = match value.abs() {
        v if v >= 1e9 => (value / 1e9, "G"),
        v if v >= 1e6 => (value / 1e6, "M"),
        v if v >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{}{prefix}", three(value))
}

/// A time that is given in nanoseconds: `318 ns`, `8.18 µs`.
pub(crate) fn nanos(value: f64) -> String {
    match value.abs() {
        v if v >= 1e9 => format!("{} s", three(value / 1e9)),
        v if v >= 1e6 => format!("{} ms", three(value / 1e6)),
        v if v >= 1e3 => format!("{} µs", three(value / 1e3)),
        _ => format!("{} ns", three(value)),
    }
}

/// A ratio: `1.03`.
pub(crate) fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

/// Three digits that count, and no more.
fn three(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 || v == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
