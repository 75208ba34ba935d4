//! Why reads of a connection are paused.

/// A reason to pause reads, of an application that has several of them.
///
/// Reads go on when the last reason is gone; to lift one leaves the others in force. So "it
/// floods", "its answer is under way" and "it has not logged in" do not undo each other's pause.
/// Each is a constant with a number of its own; parts that share a connection agree on the numbers.
///
/// ```
/// use sockeye::{ConnId, Context, Hold};
///
/// const FLOOD: Hold = Hold::new(0);
/// const LOGIN: Hold = Hold::new(1);
///
/// fn logged_in(cx: &mut Context, conn: ConnId) {
///     cx.resume_reads_for(conn, LOGIN); // if it also floods, it stays paused
/// }
/// # let _ = (FLOOD, logged_in);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hold(u8);

impl Hold {
    /// The one of `pause_reads` and `resume_reads`, which have no name for it.
    pub(crate) const NAMELESS: Hold = Hold(1 << 7);

    /// The reason with this number, 0 to 6.
    ///
    /// # Panics
    ///
    /// With a number above 6; in a constant that is an error of the compiler.
    pub const fn new(number: u8) -> Hold {
        assert!(number < 7, "the number of a hold must be from 0 to 6");
        Hold(1 << number)
    }

    /// The bit of this reason in the mask of a connection.
    pub(crate) fn bit(self) -> u8 {
        self.0
    }
}
