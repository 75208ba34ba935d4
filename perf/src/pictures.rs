//! The plots of a page, drawn from its tables: so they show what the tables say, and a page of
//! another machine can be drawn anew.

use std::collections::BTreeMap;

use crate::peers::OURS;
use crate::plot::{Drawing, Panel, Row, Scale};

/// Longer bars are cut here, so that one outlier does not flatten all others.
const CUT: f64 = 3.0;

/// The plots, from their file names to their SVG. A table that is not there gives no plot.
pub(crate) fn draw(page: &str) -> BTreeMap<&'static str, String> {
    let tables = tables(page);
    let footer = footer(page, &tables);
    let mut drawn = BTreeMap::new();
    let mut add = |file, drawing: Drawing| {
        if drawing.panels.iter().any(|panel| !panel.rows.is_empty()) {
            drawn.insert(file, drawing.svg(&footer));
        }
    };
    let works = works(&tables);
    let of = |title: &'static str| tables.iter().filter(move |table| table.section == title);
    let mut ratios = of("CPU time and throughput").filter(|table| table.head[0] == "server");
    if let Some(table) = ratios.next() {
        let title = "CPU time of the server for each operation (shorter is better)";
        add("cpu.svg", compared(title, table, &works));
    }
    if let Some(table) = ratios.next() {
        let title = "Operations a second (longer is better)";
        add("throughput.svg", compared(title, table, &works));
    }
    let paced: Vec<&Table> = of("Latency at a moderate load").collect();
    add("latency.svg", latency(&paced));
    if let Some(table) = of("Memory of idle connections").next() {
        add("memory.svg", memory(table));
    }
    if let Some(table) = of("User instructions for each operation").next() {
        add("instructions.svg", instructions(table, &works));
    }
    drawn
}

/// A table of a page, with where it stands.
#[derive(Debug)]
struct Table {
    section: String,
    /// The paragraph before it.
    before: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

fn tables(page: &str) -> Vec<Table> {
    let mut found: Vec<Table> = Vec::new();
    let (mut section, mut before, mut inside) = (String::new(), String::new(), false);
    for line in page.lines() {
        let was_inside = std::mem::replace(&mut inside, line.starts_with('|'));
        if !inside {
            if let Some(title) = line.strip_prefix("## ") {
                section = title.to_owned();
            } else if !line.is_empty() {
                before = line.to_owned();
            }
            continue;
        }
        let cells = line.trim_matches('|').split('|');
        let cells = cells.map(|cell| cell.trim().to_owned()).collect();
        match found.last_mut().filter(|_| was_inside) {
            Some(table) if !line.starts_with("|---") => table.rows.push(cells),
            Some(_) => {}
            None => found.push(Table {
                section: section.clone(),
                before: before.clone(),
                head: cells,
                rows: Vec::new(),
            }),
        }
    }
    found
}

/// From the name of a workload to what it is, and to what an operation is one of.
fn works(tables: &[Table]) -> BTreeMap<&str, (&str, &str)> {
    let table = tables.iter().find(|table| table.head[0] == "workload");
    let rows = table.into_iter().flat_map(|table| &table.rows);
    rows.filter_map(|row| match &row[..] {
        [name, about, unit] => Some((&**name, (&**about, &**unit))),
        _ => None,
    })
    .collect()
}

/// What stands under every plot: the machine, the run, the versions.
fn footer(page: &str, tables: &[Table]) -> String {
    let machine = page.lines().find(|line| line.starts_with("Machine: "));
    let mut text = machine.unwrap_or_default().to_owned();
    if let Some((before, _)) = text.split_once(" One thread for each server") {
        text = before.to_owned();
    }
    let servers = tables
        .iter()
        .find(|table| table.head[..] == ["server", "version", "what it is"]);
    let versions = servers.iter().flat_map(|table| &table.rows);
    let versions: Vec<String> = versions
        .map(|row| format!("{} {}", plain(&row[0]), row[1]))
        .collect();
    format!("{text} Versions: {}.", versions.join(", "))
}

/// A cell without its marks of Markdown.
fn plain(cell: &str) -> &str {
    cell.trim_matches('*').trim_matches('`')
}

/// The number of a cell, in the unit that its first factor is for: `58.4k`, `8.07 µs`, `89 B`.
fn number(cell: &str) -> f64 {
    let cell = plain(cell);
    let end = cell.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (digits, unit) = cell.split_at(end.unwrap_or(cell.len()));
    let factor = match unit.trim() {
        "" | "B" | "ns" => 1.0,
        "k" | "µs" => 1e3,
        "M" | "ms" => 1e6,
        "G" | "s" => 1e9,
        _ => f64::NAN,
    };
    digits.parse::<f64>().unwrap_or(f64::NAN) * factor
}

/// The rows of a table that are servers.
fn servers(table: &Table) -> impl Iterator<Item = &Vec<String>> {
    table.rows.iter().filter(|row| row[0] != "*the same twice*")
}

fn row(server: &str, values: Vec<f64>, text: String) -> Row {
    Row {
        label: plain(server).to_owned(),
        strong: plain(server) == OURS,
        values,
        text,
    }
}

/// The title of a panel, and what it is about.
fn titles(name: &str, works: &BTreeMap<&str, (&str, &str)>) -> (String, String) {
    match works.get(name) {
        Some((about, unit)) => (format!("{name}: {unit}"), (*about).to_owned()),
        None => (name.to_owned(), String::new()),
    }
}

fn compared<'a>(
    title: &'a str,
    table: &Table,
    works: &BTreeMap<&str, (&str, &str)>,
) -> Drawing<'a> {
    let panels = table.head.iter().enumerate().skip(1).map(|(column, name)| {
        let (title, about) = titles(name, works);
        let rows = servers(table).enumerate().map(|(index, cells)| {
            let cell = &*cells[column];
            // The baseline's cell is the value itself.
            match index {
                0 => row(&cells[0], vec![1.0], format!("= {}", plain(cell))),
                _ => row(&cells[0], vec![number(cell)], cell.to_owned()),
            }
        });
        Panel {
            title,
            about,
            rows: rows.collect(),
        }
    });
    let panels: Vec<Panel> = panels.collect();
    let baseline = table.rows.first().map_or("", |row| plain(&row[0]));
    Drawing {
        title,
        axis: format!("ratio to {baseline}"),
        columns: 3,
        scale: Scale::Bars {
            cut: CUT,
            mark: 1.0,
        },
        legend: &[],
        panels,
    }
}

fn latency(tables: &[&Table]) -> Drawing<'static> {
    let panels = tables.iter().map(|table| {
        let rows = servers(table).map(|cells| {
            let values = cells.iter().skip(1).take(3).map(|cell| number(cell) / 1e3);
            let text = cells.get(1).cloned().unwrap_or_default();
            row(&cells[0], values.collect(), text)
        });
        Panel {
            title: table.before.trim_matches('*').to_owned(),
            about: "64 bytes each, at fixed times; the number is p50".to_owned(),
            rows: rows.collect(),
        }
    });
    Drawing {
        title: "Latency (further left is better)",
        axis: "µs, logarithmic".to_owned(),
        columns: 2,
        scale: Scale::Dots,
        legend: &["p50", "p99", "p99.9"],
        panels: panels.collect(),
    }
}

fn memory(table: &Table) -> Drawing<'static> {
    let rows = servers(table).map(|cells| {
        let text = cells.last().cloned().unwrap_or_default();
        row(&cells[0], vec![number(&text).max(1.0)], text)
    });
    Drawing {
        title: "Memory of an idle connection (further left is better)",
        axis: "resident bytes, logarithmic".to_owned(),
        columns: 1,
        scale: Scale::Dots,
        legend: &[],
        panels: vec![Panel {
            title: "resident bytes of each".to_owned(),
            about: "after 64 bytes there and back".to_owned(),
            rows: rows.collect(),
        }],
    }
}

fn instructions(table: &Table, works: &BTreeMap<&str, (&str, &str)>) -> Drawing<'static> {
    let panels = table.head.iter().enumerate().skip(1).map(|(column, name)| {
        let (title, about) = titles(name, works);
        let rows = servers(table).map(|cells| {
            let text = cells[column].clone();
            row(&cells[0], vec![number(&text)], text)
        });
        Panel {
            title,
            about,
            rows: rows.collect(),
        }
    });
    Drawing {
        title: "User instructions for each operation (further left is better)",
        axis: "instructions, logarithmic".to_owned(),
        columns: 2,
        scale: Scale::Dots,
        legend: &[],
        panels: panels.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Performance\n\n## The machine and the servers\n\n\
        Machine: 2 cores. Run: today. One thread for each server.\n\n\
        | server | version | what it is |\n|---|---|---|\n| c-epoll | 12 | a loop |\n\n\
        ## CPU time and throughput\n\n\
        | workload | what | an operation is one of |\n|---|---|---|\n\
        | pp1 | 1 connection | messages |\n\nText.\n\n\
        | server | pp1 |\n|---|--:|\n| c-epoll | *8.07 µs* |\n| **sockeye** | 0.97 |\n\
        | libevent | 17.60 |\n| *the same twice* | ±0.03 |\n";

    #[test]
    fn numbers_have_units() {
        assert_eq!(number("**0.97**"), 0.97);
        assert_eq!(number("58.4k"), 58.4e3);
        assert_eq!(number("8.07 µs"), 8070.0);
        assert_eq!(number("89 B"), 89.0);
        assert!(number("failed").is_nan() && number("–").is_nan());
    }

    #[test]
    fn tables_know_where_they_stand() {
        let found = tables(PAGE);
        assert_eq!(found.len(), 3);
        assert_eq!(found[2].section, "CPU time and throughput");
        assert_eq!(found[2].before, "Text.");
        assert_eq!(found[2].rows[1], ["**sockeye**", "0.97"]);
        assert_eq!(works(&found)["pp1"], ("1 connection", "messages"));
    }

    #[test]
    fn a_page_is_drawn_from_its_tables() {
        let drawn = draw(PAGE);
        assert_eq!(drawn.keys().copied().collect::<Vec<_>>(), ["cpu.svg"]);
        let svg = &drawn["cpu.svg"];
        for part in [
            "1 connection",
            "= 8.07 µs",
            "17.60",
            "arrow: more than 3",
            "c-epoll 12",
            "today",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("±0.03"));
    }
}
