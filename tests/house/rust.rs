//! Reads Rust well enough for the house rules, without a parser.

/// The text with all comments and literals blanked; lines stay where they are.
/// The result is ASCII, so that byte offsets are safe to cut at.
pub(crate) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        if let Some(end) = literal_end(&chars, i) {
            let end = end.min(chars.len()); // a broken source must not break the test
            code.extend(chars[i..end].iter().map(|&c| blank(c)));
            i = end;
        } else {
            code.push(if chars[i].is_ascii() { chars[i] } else { 'x' });
            i += 1;
        }
    }
    code
}

/// The code without what `#[cfg(test)]` takes out of it.
pub(crate) fn shipped_code(text: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut code = code(text);
    while let Some(start) = code.find(MARK) {
        let end = item_end(&code, start + MARK.len());
        let blanks: String = code[start..end].chars().map(blank).collect();
        code.replace_range(start..end, &blanks);
    }
    code
}

fn blank(c: char) -> char {
    if c == '\n' { '\n' } else { ' ' }
}

/// Where the comment or literal ends that starts at `i`, if one does.
fn literal_end(s: &[char], i: usize) -> Option<usize> {
    let next = s.get(i + 1).copied();
    match (s[i], next) {
        ('/', Some('/')) => Some(find(s, i, '\n')),
        ('/', Some('*')) => Some(block_comment_end(s, i)),
        ('"', _) => Some(string_end(s, i)),
        ('r', Some('"' | '#')) => raw_string_end(s, i),
        // After the backslash comes one character that may itself be a quote.
        ('\'', Some('\\')) => Some(find(s, i + 3, '\'') + 1),
        // Without the closing quote it is a lifetime.
        ('\'', Some(_)) if s.get(i + 2) == Some(&'\'') => Some(i + 3),
        _ => None,
    }
}

fn find(s: &[char], from: usize, what: char) -> usize {
    (from..s.len()).find(|&i| s[i] == what).unwrap_or(s.len())
}

fn block_comment_end(s: &[char], start: usize) -> usize {
    let mut depth = 0; // block comments nest
    let mut i = start;
    while i + 1 < s.len() {
        match (s[i], s[i + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
        if depth == 0 {
            return i;
        }
    }
    s.len()
}

fn string_end(s: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < s.len() && s[i] != '"' {
        i += if s[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

fn raw_string_end(s: &[char], start: usize) -> Option<usize> {
    // `br"` and `cr"` are raw too, but `for"` is not.
    let before = s[..start]
        .iter()
        .rev()
        .take_while(|&&c| is_ident(c))
        .count();
    if before > 1 || (before == 1 && !matches!(s[start - 1], 'b' | 'c')) {
        return None;
    }
    let hashes = s[start + 1..].iter().take_while(|&&c| c == '#').count();
    let mut i = start + 1 + hashes;
    if s.get(i) != Some(&'"') {
        return None; // a raw identifier
    }
    loop {
        i = find(s, i + 1, '"');
        let close = s.get(i + 1..i + 1 + hashes);
        match close {
            Some(close) if close.iter().all(|&c| c == '#') => return Some(i + 1 + hashes),
            Some(_) => {}
            None => return Some(s.len()),
        }
    }
}

pub(crate) fn is_ident(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where the item ends that starts at `start`: behind its block or its `;`, and in any case
/// before the end of what it is in.
pub(crate) fn item_end(code: &str, start: usize) -> usize {
    let mut parens = 0; // `[u8; 4]` has a `;` that ends nothing
    let mut braces = 0;
    for (i, c) in code[start..].char_indices() {
        let i = start + i;
        match c {
            '(' | '[' => parens += 1,
            ')' | ']' => parens -= 1,
            '{' if parens == 0 => braces += 1,
            '}' if parens == 0 => braces -= 1,
            ';' if parens == 0 && braces == 0 => return i + 1,
            _ => continue,
        }
        if parens < 0 || braces < 0 {
            return i;
        }
        if c == '}' && parens == 0 && braces == 0 {
            return i + 1;
        }
    }
    code.len()
}

/// Where `word` stands as a whole word.
pub(crate) fn words(code: &str, word: &str) -> Vec<usize> {
    let is_free = |&at: &usize| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        // Nothing has to part a macro's `!` from what follows.
        !before.is_some_and(is_ident) && (word.ends_with('!') || !after.is_some_and(is_ident))
    };
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(is_free)
        .collect()
}

pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// All paths in the code with their lines, groups written out: `a::{b, c::d}` gives `a::b` and
/// `a::c::d`. A single word is a path too. A path ends in `::` before a `*` or a `<`.
pub(crate) fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut groups = Vec::new(); // what stands before each open brace
    let mut path = String::new();
    let mut path_line = 1;
    let mut line = 1;
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let word = rest.find(|c| !is_ident(c)).unwrap_or(rest.len());
        let len = if word > 0 {
            word
        } else if rest.starts_with("::") {
            2
        } else {
            1
        };
        let token = &rest[..len];
        rest = &rest[len..];
        line += usize::from(c == '\n');

        let goes_on = token == "::" || (word > 0 && path.ends_with("::"));
        let opens_group = c == '{' && path.ends_with("::");
        if c.is_whitespace() {
            continue; // a path may be broken over lines
        }
        if !goes_on && !opens_group && !path.is_empty() {
            found.push((path_line, std::mem::take(&mut path)));
        }
        if path.is_empty() && (word > 0 || token == "::") {
            path_line = line;
            // An alias is a name of its own, in no group.
            let after_as = found.last().is_some_and(|(_, path)| path == "as");
            if token != "as" && !after_as {
                path = groups.last().cloned().unwrap_or_default();
            }
        }
        match c {
            '{' => groups.push(std::mem::take(&mut path)),
            '}' => drop(groups.pop()),
            _ if word > 0 || token == "::" => path.push_str(token),
            _ => {}
        }
    }
    found
}

#[test]
fn comments_and_literals_are_no_code() {
    let blanked = |text: &str| {
        let words: Vec<String> = code(text).split_whitespace().map(String::from).collect();
        words.join(" ")
    };
    assert_eq!(blanked("a // b { \n/* c /* d */ e */ f"), "a f");
    assert_eq!(blanked(r##"a "b \" {" c r#"d " {"# br"e\" f"##), "a c b f");
    assert_eq!(blanked(r"a '{' '\'' '\\' '\u{7b}' 'é' b"), "a b");
    assert_eq!(
        blanked("fn f<'a, 'b>(x: &'a str) {"),
        "fn f<'a, 'b>(x: &'a str) {"
    );
    assert_eq!(blanked("r#type + for_r"), "r#type + for_r");
    assert_eq!(code("é\n\"é\n\"\n").lines().count(), 3);
    // Sources that end too early must not panic.
    for broken in ["\"", "\"\\", "'\\", "r#\"", "r", "/*", "/", "'"] {
        assert_eq!(code(broken).len(), broken.len());
    }
}

#[test]
fn an_item_ends_with_its_block_or_semicolon() {
    let rest = |text: &'static str| &text[item_end(text, 0)..];
    assert_eq!(
        rest("fn f(x: [u8; 2]) -> u8 { g({ 1 }); { 2 } } rest"),
        " rest"
    );
    assert_eq!(rest("fn f(); rest"), " rest");
    assert_eq!(rest("x: u8 } rest"), "} rest");
}

#[test]
fn only_the_test_items_are_cut_out() {
    let text = "a\n#[cfg(test)]\nmod tests;\nb\n#[cfg(test)]\nmod t { c }\nd\n";
    assert_eq!(
        shipped_code(text).split_whitespace().collect::<Vec<_>>(),
        ["a", "b", "d"]
    );
    assert_eq!(shipped_code(text).len(), text.len());
}

#[test]
fn groups_are_written_out_as_paths() {
    let text = "use a::{\n  b, c::{d as e, f},\n  self, g::*};\nX { y: ::z::w\n  ::v };";
    let got = paths(text);
    let got: Vec<String> = got
        .iter()
        .map(|(line, path)| format!("{line} {path}"))
        .collect();
    let want = "1 use|2 a::b|2 a::c::d|2 as|2 e|2 a::c::f|3 a::self|3 a::g::|4 X|4 y|4 ::z::w::v";
    assert_eq!(got.join("|"), want);
}
