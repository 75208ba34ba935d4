//! Holds `docs/promises.md` against the codes above the tests.

use std::collections::BTreeMap;

/// One row of the page.
struct Promise<'a> {
    line: usize,
    code: &'a str,
    state: &'a str,
    /// The tests that the row names, as `file: test`.
    shown_by: Vec<&'a str>,
}

/// Where each code stands.
#[derive(Default)]
struct Carriers {
    /// Above these tests, as `file: test`.
    tests: Vec<String>,
    /// In these lines, which are above none, as `path:line`.
    others: Vec<String>,
}

/// What is wrong with the page, or with codes that it does not have.
pub(crate) fn broken_promises(
    page: &str,
    promises: &str,
    sources: &[(String, String)],
) -> Vec<String> {
    let carried = carried(sources);
    let promises = rows(promises);
    let mut found = Vec::new();
    for (i, promise) in promises.iter().enumerate() {
        let before = &promises[..i];
        let tests = carried
            .get(promise.code)
            .map_or(&[][..], |carriers| &carriers.tests);
        let mut problems = Vec::new();
        if before.iter().any(|other| other.code == promise.code) {
            problems.push("is there twice".to_owned());
        }
        match promise.state {
            "kept" | "in part" if tests.is_empty() => problems.push(
                "is kept, and no test carries its code: write the test, or say `not yet`"
                    .to_owned(),
            ),
            "kept" | "in part" if promise.shown_by.is_empty() => {
                problems.push(format!("names no test; {} is one", tests[0]));
            }
            "kept" | "in part" => {}
            "not yet" if !tests.is_empty() => {
                let tests = tests.join(", ");
                problems.push(format!(
                    "is not kept yet, and has tests; is it kept? {tests}"
                ));
            }
            "not yet" => {}
            state => problems.push(format!("has the state `{state}`: kept, in part or not yet")),
        }
        for shown in &promise.shown_by {
            if !tests.iter().any(|test| test == shown) {
                problems.push(format!("names `{shown}`, which does not carry the code"));
            }
        }
        let (line, code) = (promise.line, promise.code);
        found.extend(
            problems
                .iter()
                .map(|what| format!("{page}:{line}: {code} {what}")),
        );
    }
    for (code, Carriers { tests, others }) in &carried {
        if promises.iter().all(|promise| promise.code != code) {
            let tests = [&tests[..], others].concat().join(", ");
            found.push(format!(
                "{page}:1: there is no {code}, which is the code of {tests}"
            ));
        }
    }
    found
}

/// The rows of the page's tables that begin with a code.
fn rows(promises: &str) -> Vec<Promise<'_>> {
    let mut rows = Vec::new();
    for (i, line) in promises.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, code, _, _, state, shown_by, _] = cells[..]
            && is_code(code)
        {
            // What is between backticks.
            let shown_by = shown_by.split('`').skip(1).step_by(2).collect();
            let line = i + 1;
            rows.push(Promise {
                line,
                code,
                state,
                shown_by,
            });
        }
    }
    rows
}

/// All codes in the comments of the sources, with the tests below them.
fn carried(sources: &[(String, String)]) -> BTreeMap<String, Carriers> {
    let mut carried = BTreeMap::<String, Carriers>::new();
    for (path, text) in sources {
        if path.starts_with("tests/house") {
            continue; // made-up sources
        }
        let file = path
            .trim_start_matches("checks/")
            .trim_start_matches("tests/");
        let file = file.trim_end_matches(".rs");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (i, line) in lines.iter().enumerate() {
            for code in codes(line) {
                let carriers = carried.entry(code.to_owned()).or_default();
                match test_below(&lines[i + 1..]) {
                    Some(name) => carriers.tests.push(format!("{file}: {name}")),
                    None => carriers.others.push(format!("{path}:{}", i + 1)),
                }
            }
        }
    }
    carried
}

/// The codes that a comment begins with: `// X5`, `// J4, W10: why`, `// C1 and C2`.
fn codes(line: &str) -> Vec<&str> {
    let Some(comment) = line.strip_prefix("// ") else {
        return Vec::new();
    };
    let end = comment.find([':', ';', '.']).unwrap_or(comment.len());
    let words = comment[..end]
        .split([',', ' '])
        .filter(|word| !word.is_empty());
    let words: Vec<&str> = words.filter(|word| *word != "and").collect();
    // `// A5 is a paper size` is no list of codes.
    match words.iter().all(|word| is_code(word)) {
        true => words,
        false => Vec::new(),
    }
}

fn is_code(word: &str) -> bool {
    let mut chars = word.chars();
    let is_series = |c| "CLRWXTMEJFHNSAKU".contains(c);
    let number = word.len().wrapping_sub(1);
    chars.next().is_some_and(is_series)
        && (1..=2).contains(&number)
        && chars.all(|c| c.is_ascii_digit())
}

/// The test that a comment stands above, if it does: only comments and attributes come between. A
/// scenario has no attribute, and takes the edge that it is to run on.
fn test_below<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let mut is_test = false;
    for line in lines {
        let is_between = line.starts_with("//") || line.starts_with("#[");
        is_test |= *line == "#[test]";
        if !is_between {
            let signature = line.strip_prefix("fn ")?;
            let name = signature.split('(').next()?;
            return (is_test || signature.contains("on: On")).then_some(name);
        }
    }
    None
}

mod the_rule_bites {
    use super::*;

    const TESTS: &str = "\
// X5
#[test]
fn one() {}
// J4, W10: why
// it is so
#[cfg(unix)]
#[test]
fn two() {
    // A5 is a paper size, and this is no code: H1 neither.
}
// W10
fn three(on: On) {}
";

    /// What the rule says of a page with these rows.
    fn said(rows: &[&str], tests: &str) -> Vec<String> {
        let sources = [("tests/a/b.rs".to_owned(), tests.to_owned())];
        let page = format!("# Title\n\n{}\n", rows.join("\n"));
        broken_promises("p", &page, &sources)
    }

    #[test]
    fn on_codes_without_a_promise_and_promises_without_a_test() {
        let x5 = "| X5 | It. | RFC | kept | `a/b: one` |";
        let j4 = "| J4 | It. | RFC | in part | `a/b: two` |";
        let w10 = "| W10 | It. | RFC | kept | `a/b: two`, `a/b: three` |";
        let none: &[&str] = &[];
        assert_eq!(
            said(&[x5, j4, w10, "| N1 | It. | RFC | not yet | |"], TESTS),
            none
        );
        let bites = |rows: &[&str], tests: &str, what: &str| {
            let said = said(rows, tests);
            assert!(
                said.len() == 1 && said[0].starts_with(what),
                "{what}:\n{said:#?}"
            );
        };
        bites(
            &[x5, w10],
            TESTS,
            "p:1: there is no J4, which is the code of a/b: two",
        );
        bites(&[x5, j4, w10, x5], TESTS, "p:6: X5 is there twice");
        let kept = "| N1 | It. | RFC | kept | |";
        bites(&[x5, j4, w10, kept], TESTS, "p:6: N1 is kept, and no test");
        let later = "| X5 | It. | RFC | not yet | |";
        bites(
            &[later, j4, w10],
            TESTS,
            "p:3: X5 is not kept yet, and has tests",
        );
        let soon = "| N1 | It. | RFC | soon | |";
        bites(&[x5, j4, w10, soon], TESTS, "p:6: N1 has the state `soon`");
        let nameless = "| X5 | It. | RFC | kept | |";
        bites(
            &[nameless, j4, w10],
            TESTS,
            "p:3: X5 names no test; a/b: one",
        );
        let stale = "| X5 | It. | RFC | kept | `a/b: two` |";
        bites(&[stale, j4, w10], TESTS, "p:3: X5 names `a/b: two`");
        // A code in a function is held to exist, and shows nothing.
        let inside = "fn f() {\n    // N2\n    g();\n}\n";
        bites(
            &[],
            inside,
            "p:1: there is no N2, which is the code of tests/a/b.rs:2",
        );
        let helper = "// N2\nfn f() {}\n";
        let shown = "| N2 | It. | RFC | kept | `a/b: f` |";
        let said = said(&[shown], helper);
        assert!(
            said[0].starts_with("p:3: N2 is kept, and no test"),
            "{said:?}"
        );
        assert!(said[1].starts_with("p:3: N2 names `a/b: f`"), "{said:?}");
    }
}
