//! The WebSocket that `.ci/websocket` measures ours beside: `tokio-tungstenite`, an echo as in its
//! own example, on one thread.

use std::error::Error;
use std::future::ready;

use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio_tungstenite::{accept_async, tungstenite};

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve())
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(echo(stream));
    }
}

async fn echo(stream: TcpStream) -> Result<(), tungstenite::Error> {
    stream.set_nodelay(true)?;
    let (sink, stream) = accept_async(stream).await?.split();
    let messages = stream.try_filter(|message| ready(message.is_text() || message.is_binary()));
    messages.forward(sink).await
}
