//! What the prose in sources and pages may not do: lean on what stands before it, or cite what is
//! not here.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// Beginnings that say nothing where a reader meets an item alone, in a list or in a tooltip.
const LEANING: &[&str] = &[
    "The same",
    "It",
    "Its",
    "One of them",
    "They",
    "Their",
    "Them",
];

/// The first sentence of each documentation comment stands alone.
pub(crate) fn leaning_docs(path: &str, text: &str) -> Vec<String> {
    let is_test = path.ends_with("tests.rs") || path.split('/').any(|dir| dir == "tests");
    if !path.starts_with("src/") || is_test {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut goes_on = false;
    for (i, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let doc = line.strip_prefix("///").or(line.strip_prefix("//!"));
        let first = doc.filter(|_| !goes_on).map(str::trim_start);
        goes_on = doc.is_some();
        let leans = |start: &&&str| {
            let rest = first.and_then(|first| first.strip_prefix(**start));
            rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        if let Some(start) = LEANING.iter().find(leans) {
            let line = i + 1;
            found.push(format!(
                "{path}:{line}: `{start}` begins a documentation: say what the item is or does"
            ));
        }
    }
    found
}

/// Where the project lies on some machine: such paths lead nowhere elsewhere.
const MACHINES: &[&str] = &["/home/", "/root/", "/Users/", "/work/"];

/// Endings of the names of files that a page may cite; what is no page may cite pages.
const CITED: &[&str] = &[".md", ".rs", ".sh", ".patch", ".toml", ".svg"];

/// All that is cited is in this repository: `files` are the paths of all its files. A cited name
/// may leave out the folders that it begins with.
pub(crate) fn citations_of_others(path: &str, text: &str, files: &BTreeSet<String>) -> Vec<String> {
    let endings = if path.ends_with(".md") {
        CITED
    } else {
        &CITED[..1]
    };
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for (i, line) in text.lines().enumerate() {
        for cited in line.split(|c: char| !c.is_ascii_alphanumeric() && !"/._-:".contains(c)) {
            let cited = cited.trim_end_matches(['.', ':']);
            let problem = if cited.contains("://") {
                continue;
            } else if MACHINES.iter().any(|machine| cited.starts_with(machine)) {
                "is a path of one machine"
            } else if cited.starts_with("../") && !is_here(folder, cited, files) {
                "leads out of the repository, or to nothing in it"
            } else if endings.iter().any(|end| cited.ends_with(end))
                && !endings.contains(&cited) // `*.rs`
                && !is_here(folder, cited, files)
                && !is_end_of_one(cited, files)
            {
                "is no file of the repository"
            } else {
                continue;
            };
            found.push(format!("{path}:{}: `{cited}` {problem}", i + 1));
        }
    }
    found
}

/// Does a path from this folder lead to a file, or to a folder with files?
fn is_here(folder: &Path, cited: &str, files: &BTreeSet<String>) -> bool {
    // The repository itself, as a neighbour has it in its manifest.
    if cited == "../sockeye" {
        return true;
    }
    let mut at = PathBuf::new();
    for part in folder.join(cited).components() {
        match part {
            Component::ParentDir if !at.pop() => return false,
            Component::ParentDir | Component::CurDir => {}
            part => at.push(part),
        }
    }
    files.iter().any(|file| Path::new(file).starts_with(&at))
}

fn is_end_of_one(cited: &str, files: &BTreeSet<String>) -> bool {
    let ends = |file: &String| {
        let before = file.strip_suffix(cited);
        before.is_some_and(|before| before.is_empty() || before.ends_with('/'))
    };
    files.iter().any(ends)
}

mod the_rules_bite {
    use super::*;

    /// The lines of which a rule complains.
    fn lines(said: &[String]) -> Vec<usize> {
        let line = |said: &String| said.split(':').nth(1)?.parse().ok();
        said.iter().filter_map(line).collect()
    }

    #[test]
    fn on_first_sentences_that_lean() {
        let text = "//! It is.\n\n/// The same, backwards.\nfn f() {}\n    /// Its name.\n\
                    a: u8,\n/// One of them\n/// The last.\n///They go.\n";
        assert_eq!(lines(&leaning_docs("src/a.rs", text)), [1, 3, 5, 7]);
        assert_eq!(lines(&leaning_docs("src/tests/a.rs", text)), [0; 0]);
        assert_eq!(lines(&leaning_docs("tests/a.rs", text)), [0; 0]);
        let fine = "/// Items.\n/// It is a second line.\n///\n/// Its third.\nfn f() {}\n\
                    // It is no documentation.\nlet s; // Its.\n/// Iterates.\nfn g() {}\n";
        assert_eq!(lines(&leaning_docs("src/a.rs", fine)), [0; 0]);
    }

    #[test]
    fn on_citations_of_what_is_not_here() {
        let files = [
            "README.md",
            "docs/design.md",
            "src/conn/mod.rs",
            "src/lib.rs",
        ];
        let files = files.map(String::from).into();
        let said = |path, text| lines(&citations_of_others(path, text, &files));
        let text = "as ../plans/design.md says\n(plans.md)\nplans/design.md\n`../../README.md`\n\
                    in /root/plans\n\"/home/me/x\"\n../plans\ndesign.md, ../other.rs.\n";
        assert_eq!(said("src/lib.rs", text), [1, 2, 3, 4, 5, 6, 7, 8]);
        let text = "../lib.rs, `../../docs/design.md` [x](../../README.md), docs/design.md,\n\
                    ../../docs/ design.md: \"../sockeye\", https://a.b/home/c.md http://x/../y.md\n\
                    ./mod.rs /proc/self/fd a.unwork/ std::net 0../2 other.rs *.md\n";
        assert_eq!(said("src/conn/mod.rs", text), [0; 0]);
        // Pages are held to more: they name files of all kinds.
        assert_eq!(
            said("docs/design.md", "`conn/mod.rs`\n`mod.rs`\n`cond/mod.rs`\n"),
            [3]
        );
        assert_eq!(
            said("README.md", "[x](docs/design.md) ../src/lib.rs\n"),
            [1]
        );
    }
}
