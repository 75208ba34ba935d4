//! mill-net: `TcpServer` on an event loop that calls its handlers itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mill_io::EventLoop;
use mill_io::error::Result as MillResult;
use mill_net::tcp::config::TcpServerConfig;
use mill_net::tcp::traits::{ConnectionId, NetworkHandler};
use mill_net::tcp::{SendError, ServerContext, TcpServer};

use super::lines::Lines;
use super::{Mode, OWN_BUFFER, announce};
use crate::Result;

const EVENTS: usize = 512;
const TIMEOUT_MILLIS: u64 = 1000;

struct Server {
    mode: Mode,
    members: Mutex<BTreeMap<ConnectionId, Member>>,
}

#[derive(Default)]
struct Member {
    lines: Lines,
    /// What was refused, until the queue is short again.
    refused: Vec<u8>,
}

impl NetworkHandler for Server {
    fn on_connect(&self, _: &ServerContext, conn: ConnectionId) -> MillResult<()> {
        self.members().insert(conn, Member::default());
        Ok(())
    }

    fn on_data(&self, cx: &ServerContext, conn: ConnectionId, data: &[u8]) -> MillResult<()> {
        match self.mode {
            Mode::Echo => self.echo(cx, conn, data),
            Mode::Broadcast => self.broadcast(cx, conn, data),
        }
        Ok(())
    }

    fn on_drained(&self, cx: &ServerContext, conn: ConnectionId) -> MillResult<()> {
        let mut members = self.members();
        if let (Some(member), Some(sender)) = (members.get_mut(&conn), cx.sender(conn)) {
            let refused = std::mem::take(&mut member.refused);
            if let Err(SendError::Backpressure) = sender.send(&refused) {
                member.refused = refused;
            } else if self.mode == Mode::Echo {
                drop(members); // more input may come at once
                sender.resume_reads();
            }
        }
        Ok(())
    }

    fn on_disconnect(&self, _: &ServerContext, conn: ConnectionId) -> MillResult<()> {
        self.members().remove(&conn);
        Ok(())
    }
}

impl Server {
    fn members(&self) -> std::sync::MutexGuard<'_, BTreeMap<ConnectionId, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn echo(&self, cx: &ServerContext, conn: ConnectionId, data: &[u8]) {
        let Some(sender) = cx.sender(conn) else {
            return;
        };
        if let Err(SendError::Backpressure) = sender.send(data) {
            sender.pause_reads();
            if let Some(member) = self.members().get_mut(&conn) {
                member.refused.extend_from_slice(data);
            }
        }
    }

    fn broadcast(&self, cx: &ServerContext, conn: ConnectionId, data: &[u8]) {
        let mut members = self.members();
        let mut block = Vec::new();
        if let Some(member) = members.get_mut(&conn) {
            member.lines.complete(data, &mut block);
        }
        if block.is_empty() {
            return;
        }
        for (conn, member) in members.iter_mut() {
            let waits = !member.refused.is_empty();
            let sent = cx.sender(*conn).map(|sender| match waits {
                true => Err(SendError::Backpressure),
                false => sender.send(&block),
            });
            if let Some(Err(SendError::Backpressure)) = sent {
                member.refused.extend_from_slice(&block);
            }
        }
    }
}

pub(super) fn serve(mode: Mode) -> Result<()> {
    let text = |error: Box<dyn std::error::Error>| error.to_string();
    let event_loop = Arc::new(EventLoop::new_low_latency(EVENTS, TIMEOUT_MILLIS).map_err(text)?);
    let config = TcpServerConfig::builder()
        .address(([127, 0, 0, 1], 0).into())
        .buffer_size(OWN_BUFFER)
        .no_delay(true)
        .keep_alive(None)
        .build();
    let server = Server {
        mode,
        members: Mutex::default(),
    };
    let server = Arc::new(TcpServer::new(config, server).map_err(text)?);
    announce(server.local_addr().map_err(text)?)?;
    server
        .start(&event_loop, event_loop.alloc_token())
        .map_err(text)?;
    Ok(event_loop.run().map_err(text)?)
}
