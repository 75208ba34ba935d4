//! Weaves all changes that `cargo mutants` lists into the sources, each behind a question of its
//! own (`crate::woven::is`), so that one build can make any of them: `weave LIST.json ROOT OUT`.
//! `OUT` has numbers of changes to pass over, and gets those that were woven: see `.ci/mutants`.

use proc_macro2::LineColumn;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{read_to_string, write};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// One change: its number, of which kind it is, and what takes the place of what is there.
#[derive(Clone)]
struct Change {
    number: u32,
    genre: String,
    replacement: String,
}

/// By where they begin: line and column, from 1.
type Changes = HashMap<(usize, usize), Vec<Change>>;

/// Text that goes before and behind a piece of code. Of two at the same piece the one of the lower
/// rank is outside.
struct Wrap {
    start: usize,
    end: usize,
    rank: i64,
    before: String,
    behind: &'static str,
}

struct Weaver<'a> {
    text: &'a [char],
    lines: Vec<usize>,
    changes: &'a Changes,
    wraps: Vec<Wrap>,
    woven: HashSet<u32>,
}

impl Weaver<'_> {
    fn at(&self, place: LineColumn) -> usize {
        self.lines[place.line - 1] + place.column
    }

    fn part(&self, start: usize, end: usize) -> String {
        self.text[start..end].iter().collect()
    }

    /// The changes of this kind that begin here, from now on woven.
    fn take(&mut self, place: LineColumn, genre: &str) -> Vec<Change> {
        let here = self.changes.get(&(place.line, place.column + 1));
        let is_wanted = |change: &&Change| change.genre == genre;
        let changes: Vec<_> = here.into_iter().flatten().filter(is_wanted).cloned().collect();
        self.woven.extend(changes.iter().map(|change| change.number));
        changes
    }

    fn wrap(&mut self, piece: (usize, usize), rank: i64, before: String, behind: &'static str) {
        let (start, end) = piece;
        self.wraps.push(Wrap {
            start,
            end,
            rank,
            before,
            behind,
        });
    }

    /// A function that answers at once.
    fn body(&mut self, block: &syn::Block) {
        let (Some(first), Some(last)) = (block.stmts.first(), block.stmts.last()) else {
            return;
        };
        let place = first.span().start();
        let piece = (self.at(place), self.at(last.span().end()));
        for change in self.take(place, "FnValue") {
            let (number, value) = (change.number, change.replacement);
            let before = format!("if crate::woven::is({number}) {{ return {value}; }} ");
            self.wrap(piece, 0, before, "");
        }
    }

    /// The text of all pieces, each in its wraps.
    fn woven_text(&self) -> String {
        // What ends somewhere comes before what begins there, and the inner end first.
        let mut inserts = Vec::new();
        for wrap in &self.wraps {
            let len = (wrap.end - wrap.start) as i64;
            inserts.push((wrap.start, (1, -len, wrap.rank), wrap.before.as_str()));
            inserts.push((wrap.end, (0, len, -wrap.rank), wrap.behind));
        }
        inserts.sort();
        let (mut text, mut at) = (String::new(), 0);
        for (place, _, insert) in inserts {
            text.extend(&self.text[at..place]);
            text += insert;
            at = place;
        }
        text.extend(&self.text[at..]);
        text
    }
}

/// A chain with a `let` cannot be wrapped, and what changes it does not compile.
fn has_let(expr: &syn::Expr) -> bool {
    match expr {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Weaver<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.body(&item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.body(&item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        item.default.iter().for_each(|block| self.body(block));
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        if !has_let(&expr.left) && !has_let(&expr.right) {
            let place = expr.op.span().start();
            let (start, end) = (
                self.at(expr.left.span().start()),
                self.at(expr.right.span().end()),
            );
            let left = self.part(start, self.at(place));
            let right = self.part(self.at(expr.op.span().end()), end);
            for change in self.take(place, "BinaryOperator") {
                let (number, op) = (change.number, change.replacement);
                let before =
                    format!("(if crate::woven::is({number}) {{ {left} {op} {right} }} else {{ ");
                self.wrap((start, end), 5, before, " })");
            }
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        let place = expr.span().start();
        let piece = (self.at(place), self.at(expr.expr.span().end()));
        let operand = self.part(self.at(expr.expr.span().start()), piece.1);
        for change in self.take(place, "UnaryOperator") {
            let number = change.number;
            let before = format!("(if crate::woven::is({number}) {{ {operand} }} else {{ ");
            self.wrap(piece, 5, before, " })");
        }
        visit::visit_expr_unary(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let place = arm.span().start();
        match &arm.guard {
            Some((_, guard)) if !has_let(guard) => {
                let piece = (
                    self.at(guard.span().start()),
                    self.at(guard.span().end()),
                );
                for Change { number, .. } in self.take(place, "MatchArm") {
                    let before = format!("(!crate::woven::is({number}) && (");
                    self.wrap(piece, 2, before, "))");
                }
                for change in self.take(guard.span().start(), "MatchArmGuard") {
                    let number = change.number;
                    let before = match change.replacement.as_str() {
                        "true" => format!("(crate::woven::is({number}) || ("),
                        _ => format!("(!crate::woven::is({number}) && ("),
                    };
                    self.wrap(piece, 3, before, "))");
                }
            }
            Some(_) => {}
            None => {
                let end = self.at(arm.pat.span().end());
                for Change { number, .. } in self.take(place, "MatchArm") {
                    let before = format!(" if !crate::woven::is({number}) ");
                    self.wrap((end, end), 9, before, "");
                }
            }
        }
        visit::visit_arm(self, arm);
    }
}

/// The changes of each file. One of a constant has no function, and cannot be chosen as it runs.
fn changes_of(list: &[Value], passed: &HashSet<u32>) -> BTreeMap<String, Changes> {
    let mut files: BTreeMap<String, Changes> = BTreeMap::new();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for (number, entry) in (1..).zip(list) {
        if passed.contains(&number) || entry["function"].is_null() {
            continue;
        }
        let start = &entry["span"]["start"];
        let count = |name: &str| start[name].as_u64().unwrap() as usize;
        let change = Change {
            number,
            genre: text(&entry["genre"]),
            replacement: text(&entry["replacement"]),
        };
        let file = files.entry(text(&entry["file"])).or_default();
        let place = (count("line"), count("column"));
        file.entry(place).or_default().push(change);
    }
    files
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [list, root, out] = &args[..] else {
        panic!("weave LIST.json ROOT OUT");
    };
    let list: Vec<Value> = serde_json::from_str(&read_to_string(list).unwrap()).unwrap();
    let passed = read_to_string(out).unwrap_or_default();
    let passed = passed.split_whitespace().map(|number| number.parse().unwrap());
    let mut woven = Vec::new();
    for (file, changes) in changes_of(&list, &passed.collect()) {
        let path = format!("{root}/{file}");
        let source = read_to_string(&path).unwrap();
        let text: Vec<char> = source.chars().collect();
        let ends = text.iter().enumerate().filter(|(_, c)| **c == '\n');
        let mut weaver = Weaver {
            text: &text,
            lines: [0].into_iter().chain(ends.map(|(end, _)| end + 1)).collect(),
            changes: &changes,
            wraps: Vec::new(),
            woven: HashSet::new(),
        };
        weaver.visit_file(&syn::parse_file(&source).unwrap());
        write(&path, weaver.woven_text()).unwrap();
        woven.extend(weaver.woven);
    }
    woven.sort();
    let lines: Vec<_> = woven.iter().map(u32::to_string).collect();
    write(out, lines.join("\n")).unwrap();
}
