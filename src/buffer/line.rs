//! Sources that wait for their turn, each with what was sent after it.

use super::source::{FilePart, Pulled, Source};
use super::write_queue::WriteQueue;
use std::collections::VecDeque;
use std::io;

/// Sources in the order of the calls. The first is the one that is asked, and what it gives goes
/// into the connection's own queue.
#[derive(Default)]
pub(crate) struct Line {
    places: VecDeque<Place>,
    /// Bytes that were sent behind a source.
    behind: usize,
}

struct Place {
    source: Source,
    /// The source had nothing to give, and waits to be woken.
    sleeps: bool,
    /// What was sent after it, and before the next one.
    behind: WriteQueue,
}

/// How often sources are asked for one write: one that gives a byte each time costs as many calls.
const PULLS: usize = 16;

/// What is read of a file that the system can send by itself: enough to fill the packet that begins
/// with a header.
const HEAD_OF_FILE: usize = 16 * 1024;

impl Line {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes that were sent behind a source.
    pub(crate) fn behind(&self) -> usize {
        self.behind
    }

    pub(crate) fn push(&mut self, source: Source) {
        self.places.push_back(Place {
            source,
            sleeps: false,
            behind: WriteQueue::default(),
        });
    }

    /// Queues what `push` pushes behind the last source.
    pub(crate) fn push_behind(&mut self, push: impl FnOnce(&mut WriteQueue)) {
        if let Some(last) = self.places.back_mut() {
            let before = last.behind.len();
            push(&mut last.behind);
            self.behind += last.behind.len() - before;
        }
    }

    /// May the first source have something?
    pub(crate) fn is_awake(&self) -> bool {
        self.places.front().is_some_and(|first| !first.sleeps)
    }

    /// The first source is to be asked again. Answers whether it had waited for that.
    pub(crate) fn wake(&mut self) -> bool {
        let first = self.places.front_mut();
        first.is_some_and(|first| std::mem::replace(&mut first.sleeps, false))
    }

    /// The first source, if it is a file that the system may send by itself.
    pub(crate) fn file_to_send(&mut self) -> Option<&mut FilePart> {
        let part = self.places.front_mut()?.source.as_file()?;
        (!part.must_be_read && !part.is_done()).then_some(part)
    }

    /// The first source has come to its end: what was sent after it is next.
    pub(crate) fn next(&mut self, queue: &mut WriteQueue) {
        if let Some(first) = self.places.pop_front() {
            self.behind -= first.behind.len();
            queue.append(first.behind);
        }
    }

    /// Asks for bytes until the queue is `full`, or all sources sleep. Files that the system sends
    /// by itself give their beginning only. Answers how much they gave.
    pub(crate) fn fill(
        &mut self,
        queue: &mut WriteQueue,
        full: usize,
        sends_files: bool,
    ) -> io::Result<usize> {
        let mut given = 0;
        for _ in 0..PULLS {
            let Some(first) = self.places.front_mut() else {
                break;
            };
            if first.sleeps || queue.len() >= full {
                break;
            }
            let is_sent = sends_files && first.source.as_file().is_some_and(|f| !f.must_be_read);
            let of_file = if is_sent { HEAD_OF_FILE } else { usize::MAX };
            let before = queue.len();
            let pulled = first.source.pull(queue, full, of_file)?;
            let count = queue.len() - before;
            given += count;
            match pulled {
                Pulled::End => self.next(queue),
                // Asked again at once it would have nothing again.
                Pulled::More if count == 0 => first.sleeps = true,
                Pulled::More if is_sent => break,
                Pulled::More => {}
                Pulled::Later => first.sleeps = true,
            }
        }
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::{Output, Pull};
    use super::*;

    #[test]
    fn what_was_sent_behind_a_source_counts_until_its_turn_comes() {
        let (mut line, mut queue) = (Line::default(), WriteQueue::default());
        line.push(Source::each(["a"]));
        line.push_behind(|queue| queue.push("123".into()));
        line.push(Source::each(["b"]));
        line.push_behind(|queue| queue.push(vec![7; 5_000].into()));
        assert_eq!((line.len(), line.behind()), (2, 5_003));
        line.next(&mut queue);
        assert_eq!((line.len(), line.behind(), queue.len()), (1, 5_000, 3));
        line.next(&mut queue);
        assert_eq!(
            (line.is_empty(), line.behind(), queue.len()),
            (true, 0, 5_003)
        );
        line.next(&mut queue);
        assert_eq!(line.behind(), 0);
    }

    #[test]
    fn of_a_file_that_the_system_sends_only_the_head_is_read() {
        let path = std::env::temp_dir().join(format!("sockeye-line-{}", std::process::id()));
        std::fs::write(&path, [7; 100_000]).unwrap();
        let file = std::sync::Arc::new(std::fs::File::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        for (is_sent, must_be_read, given) in [
            (true, false, HEAD_OF_FILE),
            (true, true, 60_000),
            (false, false, 60_000),
        ] {
            let (mut line, mut queue) = (Line::default(), WriteQueue::default());
            line.push(Source::file(file.clone(), 0..100_000));
            if let Some(part) = line.file_to_send() {
                part.must_be_read = must_be_read;
            }
            assert_eq!(line.fill(&mut queue, 60_000, is_sent).unwrap(), given);
            assert_eq!(
                (queue.len(), line.file_to_send().is_some()),
                (given, !must_be_read)
            );
        }
    }

    #[test]
    fn one_that_gives_a_little_each_time_is_asked_until_it_is_enough_or_often() {
        for (full, pulls) in [(3, 3), (100, PULLS)] {
            let (mut line, mut queue) = (Line::default(), WriteQueue::default());
            let mut reader = io::repeat(7);
            line.push(Source::new(OneByte(move |out: &mut Output<'_>| {
                out.read_from(&mut reader, 1)
            })));
            assert_eq!(line.fill(&mut queue, full, true).unwrap(), pulls);
        }
    }

    struct OneByte<F>(F);

    impl<F: FnMut(&mut Output<'_>) -> io::Result<usize>> Pull for OneByte<F> {
        fn pull(&mut self, out: &mut Output<'_>) -> io::Result<Pulled> {
            (self.0)(out).map(|_| Pulled::More)
        }
    }
}
