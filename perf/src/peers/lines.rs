//! The lines of a member, as far as they have come.

/// Keeps the piece of a line that was not complete.
#[derive(Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Appends all lines that `data` completes to `out`.
    pub(super) fn complete(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let end = last_newline(data);
        if end > 0 {
            out.append(&mut self.rest);
            out.extend_from_slice(&data[..end]);
        }
        self.rest.extend_from_slice(&data[end..]);
    }
}

/// Where the last complete line ends; 0 if there is none.
fn last_newline(data: &[u8]) -> usize {
    data.iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let text = b"one\ntwo\n\nthree\nfo";
        for cut in 1..text.len() {
            let (mut lines, mut out) = (Lines::default(), Vec::new());
            for piece in text.chunks(cut) {
                lines.complete(piece, &mut out);
                assert!(out.is_empty() || out.ends_with(b"\n"));
            }
            assert_eq!(out, b"one\ntwo\n\nthree\n");
        }
    }
}
