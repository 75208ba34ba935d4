//! Holds the house rules over the sources of this repository.
//!
//! Each rule is a function from the path and the text of a file to the list of its violations.
//! The rules read text, not syntax trees: `rust::code` blanks all that is no code, and a brace
//! matcher does the rest. The module `the_rules_bite` shows each rule on made-up sources.

mod promises;
mod prose;
mod rust;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use promises::broken_promises;
use prose::{citations_of_others, leaning_docs};
use rust::{code, is_ident, item_end, line_of, paths, shipped_code, words};

const MAX_FILE_LINES: usize = 600;
const MAX_LIBRARY_FILE_LINES: usize = 500;
const MAX_COLUMNS: usize = 100;
const MAX_FN_LINES: usize = 70;
const MAX_README_LINES: usize = 150;

/// The modules of the crate, from the top layer to the bottom one.
const LAYERS: &[&[&str]] = &[
    &["guide"], // text only
    &["sim"],
    &["workers"],
    &["reactor"],
    &["framed"],
    &["frames"],
    &["handler"],
    &["context"],
    &["conn", "listener", "watch"],
    &["transport"],
    PURE,
    &["backend"],
    &["stats", "options", "names"],
    &["hold", "id", "addr", "config", "closed", "readiness"],
];

/// The one layer whose modules may use each other: they do no I/O, so there is no order to keep.
const PURE: &[&str] = &[
    "tables", "buffer", "mailbox", "post", "codec", "clock", "quietly",
];

/// What touches the operating system or the time; only the backend may, so that `sim` can
/// stand in for all of it.
const BACKEND_ONLY: &[&str] = &[
    "net::Tcp*",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "unix::net",
];

type Rule = fn(&str, &str) -> Vec<String>;

// ---- The rules, held over this repository ----

#[test]
fn no_file_is_longer_than_600_lines_and_none_of_the_library_than_500() {
    hold(long_files);
}

#[test]
fn no_line_is_wider_than_100_columns() {
    hold(wide_lines);
}

#[test]
fn no_function_is_longer_than_70_lines() {
    hold(long_functions);
}

#[test]
fn the_library_has_no_unwrap_and_no_panicking_macro() {
    hold(panics);
}

#[test]
fn nothing_is_unsafe() {
    hold(unsafe_code);
}

#[test]
fn modules_use_only_the_layers_below_them() {
    hold(upward_imports);
}

#[test]
fn only_the_mio_backend_names_the_socket_crates() {
    hold(socket_crates);
}

#[test]
fn only_the_backend_touches_the_operating_system_and_the_time() {
    hold(backend_only);
}

#[test]
fn nothing_sleeps() {
    hold(sleeps);
}

#[test]
fn the_readme_has_at_most_150_lines() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = fs::read_to_string(readme).unwrap_or_default();
    report(&long_readme("README.md", &text));
}

#[test]
fn the_first_sentence_of_a_documentation_stands_alone() {
    hold(leaning_docs);
}

#[test]
fn nothing_cites_what_is_not_in_the_repository() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    read_files(root, root, &|_| true, &mut files);
    let names: BTreeSet<String> = files.iter().map(|(path, _)| path.clone()).collect();
    assert!(names.contains("README.md") && names.contains(".ci/run"));
    let mut violations = Vec::new();
    for (path, text) in &files {
        if path != "tests/house/prose.rs" {
            violations.extend(citations_of_others(path, text, &names));
        }
    }
    report(&violations);
}

#[test]
fn promises_and_tests_agree() {
    let page = "docs/promises.md";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let promises = fs::read_to_string(path).expect("the page of the promises");
    report(&broken_promises(page, &promises, &sources()));
}

/// Runs one rule over all sources, and fails with all its violations at once.
fn hold(rule: Rule) {
    let mut violations = Vec::new();
    for (path, text) in &sources() {
        violations.extend(rule(path, text));
    }
    report(&violations);
}

/// All sources of this repository, as (path from the root, text).
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in ["src", "examples", "tests", "checks", "perf", "fuzz"] {
        let is_rust = |path: &Path| path.extension().is_some_and(|e| e == "rs");
        read_files(root, &root.join(dir), &is_rust, &mut files);
    }
    // A rule that reads nothing holds always.
    assert!(files.iter().any(|(path, _)| path == "tests/house/main.rs"));
    assert!(files.iter().any(|(path, _)| path == "src/lib.rs"));
    files
}

fn report(violations: &[String]) {
    let list = violations.join("\n");
    assert!(
        violations.is_empty(),
        "{} violations:\n{list}",
        violations.len()
    );
}

/// What is built or found, and belongs to nobody: `perf` and `fuzz` are packages of their own and
/// build into themselves.
const NOT_SOURCES: &[&str] = &["target", ".git", "corpus", "artifacts", "coverage"];

/// Collects the texts below `dir` of files with such a name, as (path from the root, text).
fn read_files(
    root: &Path,
    dir: &Path,
    wanted: &dyn Fn(&Path) -> bool,
    files: &mut Vec<(String, String)>,
) {
    // Not every directory has to exist.
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let mut paths: Vec<_> = entries
        .map(|e| e.expect("a readable entry").path())
        .collect();
    paths.sort(); // for messages in a stable order
    for path in paths {
        if NOT_SOURCES.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        if path.is_dir() {
            read_files(root, &path, wanted, files);
        } else if wanted(&path) {
            let bytes = fs::read(&path).expect("a readable file");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let name = path.strip_prefix(root).expect("a path below the root");
            files.push((name.display().to_string().replace('\\', "/"), text));
        }
    }
}

// ---- The rules ----

fn long_files(path: &str, text: &str) -> Vec<String> {
    let max = match path.starts_with("src/") {
        true => MAX_LIBRARY_FILE_LINES,
        false => MAX_FILE_LINES,
    };
    too_many_lines(path, text, max)
}

fn long_readme(path: &str, text: &str) -> Vec<String> {
    too_many_lines(path, text, MAX_README_LINES)
}

fn too_many_lines(path: &str, text: &str, max: usize) -> Vec<String> {
    let lines = text.lines().count();
    if lines <= max {
        return Vec::new();
    }
    vec![format!("{path}:{}: {lines} lines, max {max}", max + 1)]
}

fn wide_lines(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let width = line.chars().count();
        if width > MAX_COLUMNS {
            let line = i + 1;
            found.push(format!("{path}:{line}: {width} columns, max {MAX_COLUMNS}"));
        }
    }
    found
}

fn long_functions(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut found = Vec::new();
    for at in words(&code, "fn") {
        // `fn(u8)` is a type; only a name makes it a function (`$name` in a macro).
        let name: String = code[at + 2..]
            .trim_start()
            .chars()
            .take_while(|&c| is_ident(c) || c == '$' || c == '#')
            .collect();
        let end = item_end(&code, at);
        let lines = code[at..end].matches('\n').count() + 1;
        if !name.is_empty() && lines > MAX_FN_LINES {
            let line = line_of(&code, at);
            found.push(format!(
                "{path}:{line}: fn {name} has {lines} lines, max {MAX_FN_LINES}"
            ));
        }
    }
    found
}

fn panics(path: &str, text: &str) -> Vec<String> {
    // The simulation is a test harness: its assertions are what it is for.
    if !is_shipped(path) || path.starts_with("src/sim/") || path.starts_with("src/backend/simnet/")
    {
        return Vec::new();
    }
    let code = shipped_code(text);
    let mut found = Vec::new();
    for what in ["panic!", "todo!", "unimplemented!", "dbg!"] {
        found.extend(words(&code, what).into_iter().map(|at| (at, what)));
    }
    found.extend(code.match_indices(".unwrap()"));
    found
        .into_iter()
        .map(|(at, what)| format!("{path}:{}: `{what}` in the library", line_of(&code, at)))
        .collect()
}

fn unsafe_code(path: &str, text: &str) -> Vec<String> {
    // The borders to C of hosts and guests: packages of their own, which nobody depends on.
    if ["examples/hosts/c/", "examples/hosts/redis/"]
        .iter()
        .any(|dir| path.starts_with(dir))
    {
        return Vec::new();
    }
    // The lint's name, `unsafe_code`, is another word and passes.
    let code = code(text);
    words(&code, "unsafe")
        .into_iter()
        .map(|at| format!("{path}:{}: `unsafe`", line_of(&code, at)))
        .collect()
}

fn upward_imports(path: &str, text: &str) -> Vec<String> {
    // lib.rs is above all layers: it declares them.
    if !is_shipped(path) || path == "src/lib.rs" {
        return Vec::new();
    }
    let mut tree: Vec<&str> = path
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .split('/')
        .collect();
    if tree.last() == Some(&"mod") {
        tree.pop();
    }
    let module = tree[0];
    let Some(own) = layer_of(module) else {
        return vec![format!(
            "{path}:1: no layer has the module `{module}`: add it to a layer"
        )];
    };

    let mut found = Vec::new();
    for (line, used) in paths(&shipped_code(text)) {
        let Some(target) = used_module(&used, tree.len()) else {
            continue;
        };
        let problem = match layer_of(target) {
            _ if target == module => continue,
            // A re-export at the root would hide which layer is meant.
            None => format!("no layer has the module `{target}`: add it to a layer"),
            Some(other) if other > own => continue,
            Some(other) if other == own && LAYERS[own] == PURE => continue,
            Some(other) if other == own => {
                format!("`{module}` and `{target}` share a layer and may not use each other")
            }
            Some(_) => format!("`{module}` may not use `{target}`, which is in a layer above it"),
        };
        found.push(format!("{path}:{line}: {used}: {problem}"));
    }
    found
}

fn socket_crates(path: &str, text: &str) -> Vec<String> {
    let is_mio_backend = path.starts_with("src/backend/os/");
    if !is_shipped(path) || is_mio_backend {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut before = String::new();
    for (line, used) in paths(&shipped_code(text)) {
        let mut parts = used.trim_start_matches("::").split("::");
        let is_socket_crate = matches!(parts.next(), Some("mio" | "socket2" | "rustix"));
        // A lone `mio` is a crate after `use` only; it may also be a module or a variable.
        if is_socket_crate && (parts.next().is_some() || before == "use") {
            found.push(format!("{path}:{line}: {used}: for src/backend/os only"));
        }
        before = used;
    }
    found
}

fn backend_only(path: &str, text: &str) -> Vec<String> {
    let is_edge = path.starts_with("src/backend/") || path.starts_with("src/sim/");
    if !is_shipped(path) || is_edge {
        return Vec::new();
    }
    name_any(
        path,
        &shipped_code(text),
        BACKEND_ONLY,
        "for src/backend only",
    )
}

fn sleeps(path: &str, text: &str) -> Vec<String> {
    if !path.starts_with("src/") && !path.starts_with("tests/") && !path.starts_with("checks/") {
        return Vec::new();
    }
    let why = "wait for an event, not for some time";
    name_any(path, &code(text), &["thread::sleep*"], why)
}

/// The paths in `code` that contain one of `patterns`.
fn name_any(path: &str, code: &str, patterns: &[&str], why: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (line, used) in paths(code) {
        if patterns.iter().any(|pattern| has_part(&used, pattern)) {
            found.push(format!("{path}:{line}: {used}: {why}"));
        }
    }
    found
}

// ---- What the rules ask about paths ----

/// Whether a file is part of what users compile.
fn is_shipped(path: &str) -> bool {
    let Some(below_src) = path.strip_prefix("src/") else {
        return false;
    };
    let mut parts = below_src.split('/').rev();
    let is_test = matches!(parts.next(), Some("tests.rs" | "script.rs"));
    !is_test && parts.all(|dir| dir != "tests")
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The top module that a path names, seen from a file `depth` modules below the root.
fn used_module(used: &str, depth: usize) -> Option<&str> {
    if let Some(rest) = used.strip_prefix("crate::") {
        return rest.split("::").next();
    }
    // Enough `super`s reach the root too. They reach less far from an inline module, so an
    // unknown name proves nothing here.
    let supers = used.split("::").take_while(|&part| part == "super").count();
    let target = used.split("::").nth(supers)?;
    (supers >= depth && layer_of(target).is_some()).then_some(target)
}

/// Whether `pattern` is a run of whole parts of `used`; a final `*` matches the rest of a part.
fn has_part(used: &str, pattern: &str) -> bool {
    let used: Vec<&str> = used.split("::").collect();
    let pattern: Vec<&str> = pattern.split("::").collect();
    used.windows(pattern.len()).any(|run| {
        run.iter()
            .zip(&pattern)
            .all(|(part, want)| match want.strip_suffix('*') {
                Some(start) => part.starts_with(start),
                None => part == want,
            })
    })
}

mod the_rules_bite {
    use super::*;

    /// Asserts the number of violations that `rule` finds, and that each names its line.
    #[track_caller]
    fn bites(rule: Rule, path: &str, text: &str, lines: &[usize]) {
        let mut got: Vec<String> = rule(path, text);
        got.sort();
        let same = got.len() == lines.len()
            && got
                .iter()
                .zip(lines)
                .all(|(v, line)| v.starts_with(&format!("{path}:{line}: ")));
        assert!(same, "{path}, want lines {lines:?}:\n{text}\ngot {got:#?}");
    }

    #[test]
    fn on_long_files_and_wide_lines() {
        bites(long_files, "src/a.rs", &"\n".repeat(500), &[]);
        bites(long_files, "src/a.rs", &"\n".repeat(501), &[501]);
        bites(long_files, "tests/a.rs", &"\n".repeat(600), &[]);
        bites(long_files, "tests/a.rs", &"\n".repeat(601), &[601]);
        bites(long_readme, "README.md", &"\n".repeat(150), &[]);
        bites(long_readme, "README.md", &"\n".repeat(151), &[151]);
        // Columns are characters, not bytes.
        let text = format!("{}\n{}\n", "é".repeat(100), "a".repeat(101));
        bites(wide_lines, "src/a.rs", &text, &[2]);
    }

    #[test]
    fn on_long_functions() {
        let function = |lines: usize| format!("\nfn f<'a>() {{{}}}\n", "\n".repeat(lines - 1));
        bites(long_functions, "src/a.rs", &function(70), &[]);
        bites(long_functions, "src/a.rs", &function(71), &[2]);
        // Braces in literals and comments count for nothing.
        let lines = "\n".repeat(40);
        let two = format!("fn f() {{ \"{{\"; '{{'; // {{ {lines} }}\nfn g() {{ {lines} }}");
        bites(long_functions, "src/a.rs", &two, &[]);
        let types = format!("type F = fn(u8);\ntrait T {{ fn f(x: [u8; 2]);\n{lines}{lines} }}");
        bites(long_functions, "src/a.rs", &types, &[]);
    }

    #[test]
    fn on_panics_and_unsafe() {
        let text = "a.unwrap();\npanic!(\"\");\ntodo!();\nunimplemented!();\ndbg!(x);\n";
        bites(panics, "src/conn/mod.rs", text, &[1, 2, 3, 4, 5]);
        for path in [
            "src/conn/tests.rs",
            "src/tests/a.rs",
            "src/backend/script.rs",
            "tests/a.rs",
        ] {
            bites(panics, path, text, &[]);
        }
        let fine = "/// a.unwrap()\nlet s = \"panic!()\"; a.unwrap_or(1); my_panic!();\n";
        bites(panics, "src/conn.rs", fine, &[]);
        // What follows the tests is judged again.
        let text = format!("#[cfg(test)]\nmod tests {{\n{text}}}\nb.unwrap();\n");
        bites(panics, "src/conn.rs", &text, &[9]);

        let text = "#![forbid(unsafe_code)] // unsafe\nunsafe { f() }\n";
        bites(unsafe_code, "examples/a.rs", text, &[2]);
    }

    #[test]
    fn on_upward_imports() {
        let judge = |path, text, lines: &[usize]| bites(upward_imports, path, text, lines);
        judge(
            "src/conn/read.rs",
            "use crate::tables::slots::Slots;\nuse crate::conn::Conn;",
            &[],
        );
        judge("src/conn/read.rs", "\nuse crate::context::Context;", &[2]);
        judge(
            "src/conn.rs",
            "use crate::{\n  tables,\n  watch::Watch,\n  id::{Id}};",
            &[3],
        );
        judge(
            "src/tables/slots.rs",
            "use super::timers::T;\nfn f(x: &crate::conn::Conn) {}",
            &[2],
        );
        judge("src/reactor.rs", "use crate::sim::Sim;", &[1]);
        judge(
            "src/id.rs",
            "pub(crate) struct Id;\nuse crate::addr::A;",
            &[2],
        );
        // Unknown modules, as user and as used; the root's re-exports are none.
        judge("src/new.rs", "", &[1]);
        judge("src/conn.rs", "use crate::Id;\nuse crate::*;", &[1, 2]);
        // `super` reaches other modules too, from the file's own depth.
        judge("src/clock.rs", "use super::reactor::Reactor;", &[1]);
        judge(
            "src/conn/read.rs",
            "use super::Conn;\nuse super::super::context::C;",
            &[2],
        );
        // What users do not compile may use all.
        judge("src/lib.rs", "use crate::reactor::Reactor;", &[]);
        judge("src/conn/tests.rs", "use crate::reactor::Reactor;", &[]);
        judge(
            "src/id.rs",
            "// crate::conn\n#[cfg(test)]\nmod t { use crate::sim::S; }",
            &[],
        );
    }

    #[test]
    fn on_the_socket_crates() {
        let text = "use mio::Poll;\nuse {socket2::Socket};\nuse mio;\nfn f(_: ::mio::Token) {}";
        bites(socket_crates, "src/conn.rs", text, &[1, 2, 3, 4]);
        bites(socket_crates, "src/backend/other.rs", text, &[1, 2, 3, 4]);
        bites(socket_crates, "src/backend/os/mod.rs", text, &[]);
        bites(socket_crates, "src/backend/os/poll.rs", text, &[]);
        let fine = "mod mio;\nuse self::mio::A;\nuse crate::backend::{mio::A};\n/// mio::Poll\n";
        bites(socket_crates, "src/backend/mod.rs", fine, &[]);
    }

    #[test]
    fn on_the_operating_system_and_the_time() {
        let text = "use std::net::{SocketAddr, TcpStream};\nuse std::{fmt, thread};\n\
                    let t = Instant::now();\nSystemTime::now();\n\
                    use std::os::unix::{net::UnixStream};\n";
        bites(backend_only, "src/conn.rs", text, &[1, 2, 3, 4, 5]);
        bites(backend_only, "src/backend/os/mod.rs", text, &[]);
        bites(backend_only, "tests/a.rs", text, &[]);
        let fine =
            "use std::net::SocketAddr;\nuse std::time::{Instant, SystemTime}; // Instant::now\n";
        bites(backend_only, "src/conn.rs", fine, &[]);
    }

    #[test]
    fn on_sleeps() {
        let text = "use std::thread::{self, sleep};\nthread::sleep(d);\n// thread::sleep\n";
        bites(sleeps, "src/conn/tests.rs", text, &[1, 2]);
        bites(sleeps, "tests/a.rs", text, &[1, 2]);
        bites(sleeps, "examples/a.rs", text, &[]);
    }
}
