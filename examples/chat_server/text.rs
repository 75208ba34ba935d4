//! What users type, made fit for other users' terminals and for the log.

/// The text of a line. What is no UTF-8 is shown as U+FFFD, and so is
/// what could steer a terminal: escape sequences begin with a control character.
pub(crate) fn clean(line: &[u8]) -> String {
    String::from_utf8_lossy(line)
        .chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() || reorders(c) => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// Marks that break lines or change the direction of writing, and with it what is read.
fn reorders(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}')
}

/// May somebody be called so? No blanks and no `*` or `:`, so that nobody can pass for the server.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=20).contains(&name.chars().count())
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}
