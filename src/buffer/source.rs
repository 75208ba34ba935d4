//! Sources: output that the loop asks for, when little is pending.

use super::payload::{Payload, ToPayload};
use super::write_queue::WriteQueue;
use crate::quietly::drop_quietly;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Output that the loop asks for whenever little is pending; what
/// [`Context::send_from`](crate::Context::send_from) takes.
///
/// It is a part of a file, an iterator, a reader, or what you make of [`Pull`]. The loop owns it,
/// and drops it when it has come to its end or can give no more: once in any case.
pub struct Source {
    /// `None` while it is dropped.
    kind: Option<Kind>,
}

enum Kind {
    File(FilePart),
    Pulled(Box<dyn Pull + Send>),
}

/// What gives the bytes of a source.
///
/// It is called by the loop, between callbacks, when no more is pending than the low watermark. So
/// it must not block, as a callback must not. It sees neither the handler nor a `Context`; what it
/// shares with them is its author's affair.
pub trait Pull {
    /// Puts bytes into `out`: about as many as there is [`room`](Output::room) for.
    ///
    /// To put none and say `More` is to say `Later`. A panic counts as an error.
    ///
    /// # Errors
    ///
    /// The connection is reset, and its `on_close` says `Reason::Source` with the error: half of an
    /// answer must not pass for a whole one. Who can end in an orderly way puts that into `out`,
    /// and says `End`.
    fn pull(&mut self, out: &mut Output<'_>) -> io::Result<Pulled>;
}

/// What came of a pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// There is more, and the next bytes can be asked for as soon as these are out.
    More,
    /// There is no more now: [`Context::wake_source`](crate::Context::wake_source) says when to ask
    /// again.
    Later,
    /// That was all.
    End,
}

/// Where a source puts its bytes: the queue of its connection.
pub struct Output<'a> {
    queue: &'a mut WriteQueue,
    /// How long the queue is to become.
    full: usize,
}

impl fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output {{ room: {} }}", self.room())
    }
}

impl Output<'_> {
    /// Bytes that are wanted now. More are taken all the same, and cost that much more memory.
    pub fn room(&self) -> usize {
        self.full.saturating_sub(self.queue.len())
    }

    /// Puts bytes: few are copied, many that are given are shared, as with
    /// [`Context::send`](crate::Context::send).
    pub fn put<'a>(&mut self, bytes: impl ToPayload<'a>) {
        self.queue.push(bytes.into());
    }

    /// Reads once, straight into the queue, at most `limit` bytes and no more than there is room
    /// for. Answers how many; 0 is the reader's end, or that there was no room.
    ///
    /// # Errors
    ///
    /// Those of the reader.
    pub fn read_from(&mut self, from: &mut impl Read, limit: usize) -> io::Result<usize> {
        let most = self.room().min(limit);
        self.queue.read_in(most, |block| {
            let start = block.len();
            block.resize(start + most, 0);
            let read = from.read(&mut block[start..]);
            let count = read.as_ref().map_or(0, |count| *count);
            block.truncate(start + count);
            read
        })
    }
}

/// Each item of an iterator.
struct Each<I>(I);

impl<I: Iterator<Item: ToPayload<'static>>> Pull for Each<I> {
    fn pull(&mut self, out: &mut Output<'_>) -> io::Result<Pulled> {
        while out.room() > 0 {
            let Some(item) = self.0.next() else {
                return Ok(Pulled::End);
            };
            let payload: Payload<'_> = item.into();
            if payload.is_empty() {
                return Ok(Pulled::Later);
            }
            out.put(payload);
        }
        Ok(Pulled::More)
    }
}

/// All that a reader gives.
struct Reader<R>(R);

impl<R: Read> Pull for Reader<R> {
    fn pull(&mut self, out: &mut Output<'_>) -> io::Result<Pulled> {
        loop {
            return match out.read_from(&mut self.0, usize::MAX) {
                Ok(0) => Ok(Pulled::End),
                Ok(_) => Ok(Pulled::More),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Pulled::Later),
                Err(error) => Err(error),
            };
        }
    }
}

/// A part of a file, which is read by its position: others may use the file too.
pub(crate) struct FilePart {
    pub(crate) file: Arc<File>,
    /// What is still to be sent.
    pub(crate) range: Range<u64>,
    /// The system cannot send this one by itself.
    pub(crate) must_be_read: bool,
}

impl FilePart {
    pub(crate) fn is_done(&self) -> bool {
        self.range.start >= self.range.end
    }

    /// At most so many bytes of it that are still to come.
    pub(crate) fn at_most(&self, most: usize) -> usize {
        let left = self.range.end.saturating_sub(self.range.start);
        usize::try_from(left).map_or(most, |left| left.min(most))
    }

    /// So many bytes have gone from it; none, where some were wanted: the file ends here.
    pub(crate) fn advance(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            let text = "the file has become shorter";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.range.start += count as u64;
        Ok(())
    }

    fn pull(&mut self, out: &mut Output<'_>, limit: usize) -> io::Result<Pulled> {
        let most = self.at_most(out.room().min(limit));
        if most > 0 {
            let count = out.queue.read_in(most, |block| {
                crate::backend::read_file(&self.file, self.range.start, most, block)
            })?;
            self.advance(count)?;
        }
        match self.is_done() {
            true => Ok(Pulled::End),
            false => Ok(Pulled::More),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Some(Kind::File(part)) => write!(f, "Source(bytes {:?} of a file)", part.range),
            _ => f.write_str("Source"),
        }
    }
}

impl Source {
    /// A source of your own.
    pub fn new(pull: impl Pull + Send + 'static) -> Source {
        Source::of(Kind::Pulled(Box::new(pull)))
    }

    /// The items of an iterator, each asked for when there is room for it: `Bytes`, `Vec<u8>`,
    /// `String`, whatever `send` takes and is not borrowed.
    ///
    /// An item that is empty means "later": the next one is asked for after
    /// [`Context::wake_source`](crate::Context::wake_source).
    pub fn each<I>(items: I) -> Source
    where
        I: IntoIterator<Item: ToPayload<'static>, IntoIter: Send + 'static>,
    {
        Source::new(Each(items.into_iter()))
    }

    /// All that a reader gives, read into the connection's queue. It must not block for long. One
    /// that answers `WouldBlock` is asked again after
    /// [`Context::wake_source`](crate::Context::wake_source).
    pub fn read(reader: impl Read + Send + 'static) -> Source {
        Source::new(Reader(reader))
    }

    /// These bytes of a file: `Source::file(file, 0..len)`. An `Arc<File>` is shared, for the
    /// position of the file is neither used nor moved.
    ///
    /// On Linux they go to the socket without passing through this process (sendfile(2)), if
    /// SIGPIPE is ignored, as it is in every program of Rust's: that call cannot be told to raise
    /// none. The process is asked once. Elsewhere they are read into the connection's queue, as
    /// many as the high watermark allows.
    ///
    /// If the file ends before the range does, because it has become shorter meanwhile, the
    /// connection is reset, with `Reason::Source`. A file that does not lie in memory holds up the
    /// loop while the disk is read: see [`guide::sources`](crate::guide::sources).
    pub fn file(file: impl Into<Arc<File>>, range: Range<u64>) -> Source {
        Source::of(Kind::File(FilePart {
            file: file.into(),
            range,
            must_be_read: false,
        }))
    }

    fn of(kind: Kind) -> Source {
        Source { kind: Some(kind) }
    }

    /// The file that it is a part of, if it is one.
    pub(crate) fn as_file(&mut self) -> Option<&mut FilePart> {
        match &mut self.kind {
            Some(Kind::File(part)) => Some(part),
            _ => None,
        }
    }

    /// Asks for bytes, so that the queue becomes `full`; of a file for no more than `of_file`. What
    /// a panic leaves behind is dropped with the connection.
    pub(crate) fn pull(
        &mut self,
        queue: &mut WriteQueue,
        full: usize,
        of_file: usize,
    ) -> io::Result<Pulled> {
        let mut out = Output { queue, full };
        match &mut self.kind {
            Some(Kind::File(part)) => part.pull(&mut out, of_file),
            Some(Kind::Pulled(pull)) => {
                match catch_unwind(AssertUnwindSafe(|| pull.pull(&mut out))) {
                    Ok(pulled) => pulled,
                    Err(panic) => {
                        drop_quietly(panic);
                        Err(io::Error::other("the source panicked"))
                    }
                }
            }
            None => Ok(Pulled::End),
        }
    }
}

/// A panic of one that is dropped must not end the others.
impl Drop for Source {
    fn drop(&mut self) {
        drop_quietly(self.kind.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails in these ways, and then gives a byte.
    struct Fails(Vec<io::ErrorKind>);

    impl Read for Fails {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            match self.0.pop() {
                Some(kind) => Err(kind.into()),
                None => {
                    bytes[0] = 7;
                    Ok(1)
                }
            }
        }
    }

    #[test]
    fn a_reader_that_is_interrupted_is_asked_again_and_one_that_would_block_later() {
        use io::ErrorKind::{Interrupted, Other, WouldBlock};
        for (errors, answer, given) in [
            (vec![Interrupted, Interrupted], Ok(Pulled::More), 1),
            (vec![WouldBlock], Ok(Pulled::Later), 0),
            (vec![Other], Err(Other), 0),
        ] {
            let (mut queue, mut source) = (WriteQueue::default(), Source::read(Fails(errors)));
            let pulled = source.pull(&mut queue, 10, usize::MAX);
            assert_eq!(
                (pulled.map_err(|error| error.kind()), queue.len()),
                (answer, given)
            );
        }
    }

    #[test]
    fn it_shows_what_it_is_and_no_bytes() {
        let file = File::open(file!()).or_else(|_| File::open("Cargo.toml"));
        let shown = format!("{:?}", Source::file(file.unwrap(), 3..9));
        assert_eq!(shown, "Source(bytes 3..9 of a file)");
        assert_eq!(format!("{:?}", Source::each(["secret"])), "Source");
        let mut queue = WriteQueue::default();
        queue.push("abc".into());
        let output = Output {
            queue: &mut queue,
            full: 10,
        };
        assert_eq!(format!("{output:?}"), "Output { room: 7 }");
    }
}
