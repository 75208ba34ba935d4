//! Pausing: reads that are held back for a reason, and go on when the last one is gone.

use super::Context;
use crate::hold::Hold;
use crate::id::ConnId;

impl Context {
    /// Holds back `on_data` and `on_eof`, also for bytes already read: in a callback of this
    /// connection the rest of its [`Input`](crate::Input) looks empty from now on.
    /// The loop reads no more from it, so the peer is soon held back too, by TCP. An end waits as
    /// well; deadlines do not. If the peer is gone for certain (it has reset the connection, or a
    /// write has failed), sends answer `Gone`, and `on_close` comes when
    /// [`Limits::write_stall`](crate::Limits::write_stall) is over, unless reads are resumed before
    /// that. Pausing twice is pausing once. No callback tells of a pause.
    ///
    /// An application with several reasons to pause names them:
    /// [`pause_reads_for`](Self::pause_reads_for). While the peer does not take what is sent to it,
    /// [`pause_until_drained`](Self::pause_until_drained) ends by itself.
    /// `false`: no such connection, or it is closing.
    #[doc(alias("backpressure", "pause_reading", "uv_read_stop"))]
    pub fn pause_reads(&mut self, conn: ConnId) -> bool {
        self.pause_reads_for(conn, Hold::NAMELESS)
    }

    /// Pauses reads for a reason of yours: as [`pause_reads`](Self::pause_reads), and reads go on
    /// when no reason is left. Pausing twice for one reason is pausing once. No callback tells of
    /// it. `false`: no such connection, or it is closing.
    pub fn pause_reads_for(&mut self, id: ConnId, hold: Hold) -> bool {
        let Some(conn) = self.conns.get_mut(id.0).filter(|conn| conn.is_live()) else {
            return false;
        };
        conn.hold(hold);
        self.lending.hide(id.0.slot, true);
        // An error that was seen before is asked for, as one that comes in the pause.
        self.lists.want_read(id.0.slot, conn);
        true
    }

    /// Pauses reads until what is pending has fallen to the low watermark, or can never be sent
    /// because a write failed. Then `on_data` and `on_eof` come again by themselves, unless another
    /// reason holds them back. Call it when a `send` was answered
    /// [`Sent::Wait`](crate::Sent::Wait) and you have nothing else to send: a peer that does not
    /// read is not read from. The `on_drain` of a `Sent::Wait` comes as always, just before reads
    /// resume.
    ///
    /// `false`: not paused, because so little is pending that nothing would end the pause; or no
    /// such connection, or it is closing.
    #[doc(alias("backpressure", "flow control"))]
    pub fn pause_until_drained(&mut self, id: ConnId) -> bool {
        let lent = self.lending.lent_to(id.0.slot);
        let Some(conn) = self.conns.get_mut(id.0).filter(|conn| conn.is_live()) else {
            return false;
        };
        if !conn.hold_until_drained(conn.pending() + lent) {
            return false;
        }
        self.lending.hide(id.0.slot, true);
        self.lists.want_read(id.0.slot, conn);
        true
    }

    /// Ends the pause that `pause_reads` began. `on_data` comes with what was left over, then with
    /// what has arrived meanwhile; no new packet is needed. Then `on_eof`, if the peer sends no
    /// more. A pause for another reason stays (`pause_reads_for`, `pause_until_drained`). Without a
    /// pause it does nothing. `false`: no such connection, or it is closing.
    #[doc(alias("resume_reading", "uv_read_start"))]
    pub fn resume_reads(&mut self, conn: ConnId) -> bool {
        self.resume_reads_for(conn, Hold::NAMELESS)
    }

    /// Lifts one reason of a pause, and no other. If it was the last, `on_data` and `on_eof` come
    /// as after [`resume_reads`](Self::resume_reads); if it was none, nothing happens.
    /// `false`: no such connection, or it is closing.
    pub fn resume_reads_for(&mut self, id: ConnId, hold: Hold) -> bool {
        let Some(conn) = self.conns.get_mut(id.0).filter(|conn| conn.is_live()) else {
            return false;
        };
        if conn.release(hold) {
            // What is left belongs to a TLS session that has begun: no resume brings it back.
            self.lending.hide(id.0.slot, conn.is_handshaking());
            self.lists.want_read(id.0.slot, conn);
        }
        true
    }
}
