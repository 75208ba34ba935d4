//! tokio: a task for each connection, on the current_thread runtime or on two threads.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::spawn;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::lines::Lines;
use super::{Mode, OWN_BUFFER, listen};
use crate::Result;

/// As in tokio's own example of a chat: tasks that are spawned must be `Send`. (On a `LocalSet`
/// they need not be, but each wakeup then costs more instructions.)
type Members = Arc<Mutex<BTreeMap<usize, UnboundedSender<Bytes>>>>;

pub(super) fn serve(mode: Mode) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move { spawn(accept(mode)).await? })
}

/// As `#[tokio::main]` makes it, with two threads.
pub(super) fn serve_by_two(mode: Mode) -> Result<()> {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build()?;
    runtime.block_on(async move { spawn(accept(mode)).await? })
}

async fn accept(mode: Mode) -> Result<()> {
    let listener = TcpListener::from_std(listen()?)?;
    let members = Members::default();
    for number in 0.. {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        match mode {
            Mode::Echo => {
                spawn(echo(stream));
            }
            Mode::Broadcast => {
                let (reader, writer) = stream.into_split();
                let (sender, receiver) = unbounded_channel();
                lock(&members).insert(number, sender);
                spawn(write(writer, receiver));
                spawn(read(reader, number, Arc::clone(&members)));
            }
        }
    }
    Ok(())
}

fn lock(members: &Members) -> MutexGuard<'_, BTreeMap<usize, UnboundedSender<Bytes>>> {
    members.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(OWN_BUFFER);
    loop {
        buffer.clear();
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        stream.write_all(&buffer).await?;
    }
}

async fn read(mut reader: OwnedReadHalf, number: usize, members: Members) -> io::Result<()> {
    let mut buffer = BytesMut::with_capacity(OWN_BUFFER);
    let mut lines = Lines::default();
    loop {
        buffer.clear();
        match reader.read_buf(&mut buffer).await {
            Ok(read) if read > 0 => {}
            _ => break,
        }
        let mut block = Vec::new();
        lines.complete(&buffer, &mut block);
        if !block.is_empty() {
            let block = Bytes::from(block);
            for member in lock(&members).values() {
                // A member whose writer has failed is about to be removed.
                let _ = member.send(block.clone());
            }
        }
    }
    lock(&members).remove(&number);
    Ok(())
}

/// Writes what is due in one piece.
async fn write(mut writer: OwnedWriteHalf, mut due: UnboundedReceiver<Bytes>) -> io::Result<()> {
    let mut joined = Vec::new();
    while let Some(first) = due.recv().await {
        let Ok(second) = due.try_recv() else {
            writer.write_all(&first).await?;
            continue;
        };
        joined.clear();
        joined.extend_from_slice(&first);
        joined.extend_from_slice(&second);
        while let Ok(next) = due.try_recv() {
            joined.extend_from_slice(&next);
        }
        writer.write_all(&joined).await?;
    }
    Ok(())
}
