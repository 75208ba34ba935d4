//! tokio: the current_thread runtime, a task for each connection.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, spawn_local};

use super::lines::Lines;
use super::{Mode, OWN_BUFFER, listen};
use crate::Result;

type Members = Rc<RefCell<BTreeMap<usize, UnboundedSender<Bytes>>>>;

pub(super) fn serve(mode: Mode) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, accept(mode))
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
                spawn_local(echo(stream));
            }
            Mode::Broadcast => {
                let (reader, writer) = stream.into_split();
                let (sender, receiver) = unbounded_channel();
                members.borrow_mut().insert(number, sender);
                spawn_local(write(writer, receiver));
                spawn_local(read(reader, number, Rc::clone(&members)));
            }
        }
    }
    Ok(())
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
            for member in members.borrow().values() {
                // A member whose writer has failed is about to be removed.
                let _ = member.send(block.clone());
            }
        }
    }
    members.borrow_mut().remove(&number);
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
