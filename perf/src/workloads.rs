//! The workloads that servers are compared on.

use crate::load::{Load, Options};
use crate::peers::Mode;

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) mode: Mode,
    pub(crate) about: &'static str,
    /// What an operation is.
    pub(crate) unit: &'static str,
    pub(crate) load: Options,
    /// Part of a quick run too.
    pub(crate) quick: bool,
    /// Two numbers of operations whose difference tells the instructions of one.
    pub(crate) counts: Option<(u64, u64)>,
}

const ECHO: Options = Options::plain(Load::Echo);
const FAN: Options = Options::plain(Load::Fan);

pub(crate) const ALL: &[Workload] = &[
    Workload {
        name: "pp1",
        mode: Mode::Echo,
        about: "1 connection, 64 bytes back and forth",
        unit: "messages",
        load: ECHO,
        quick: true,
        counts: Some((500, 2500)),
    },
    Workload {
        name: "pp100",
        mode: Mode::Echo,
        about: "100 connections, 64 bytes back and forth on each",
        unit: "messages",
        load: Options { conns: 100, ..ECHO },
        quick: true,
        counts: Some((1000, 6000)),
    },
    Workload {
        name: "pp100-16k",
        mode: Mode::Echo,
        about: "100 connections, 16 KiB back and forth on each",
        unit: "messages",
        load: Options {
            conns: 100,
            size: 16 * 1024,
            ..ECHO
        },
        quick: false,
        counts: None,
    },
    Workload {
        name: "pipe100",
        mode: Mode::Echo,
        about: "100 connections, on each 32 messages of 64 bytes under way",
        unit: "messages",
        load: Options {
            conns: 100,
            depth: 32,
            ..ECHO
        },
        quick: true,
        counts: None,
    },
    Workload {
        name: "stream4",
        mode: Mode::Echo,
        about: "4 connections, on each 1 MiB under way, in pieces of 64 KiB",
        unit: "pieces",
        load: Options {
            conns: 4,
            size: 64 * 1024,
            depth: 16,
            ..ECHO
        },
        quick: true,
        counts: None,
    },
    Workload {
        name: "churn",
        mode: Mode::Echo,
        about: "connect, 64 bytes and back, close; 32 at a time",
        unit: "connections",
        load: Options {
            conns: 32,
            ..Options::plain(Load::Churn)
        },
        quick: true,
        counts: Some((200, 1200)),
    },
    Workload {
        name: "fan100",
        mode: Mode::Broadcast,
        about: "100 members; one sends lines of 64 bytes, 16 under way",
        unit: "deliveries",
        load: Options {
            conns: 100,
            depth: 16,
            ..FAN
        },
        quick: true,
        counts: Some((160, 800)),
    },
    Workload {
        name: "fan100-d1",
        mode: Mode::Broadcast,
        about: "100 members; one sends lines of 64 bytes, 1 under way",
        unit: "deliveries",
        load: Options { conns: 100, ..FAN },
        quick: false,
        counts: None,
    },
    Workload {
        name: "fan100-k10",
        mode: Mode::Broadcast,
        about: "100 members; 10 of them send, each with 4 lines under way",
        unit: "deliveries",
        load: Options {
            conns: 100,
            depth: 4,
            senders: 10,
            ..FAN
        },
        quick: true,
        counts: None,
    },
];
