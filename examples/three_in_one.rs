//! Three protocols in one loop: a chat, its administration, and a client of a news server. Each is
//! a handler of its own; the tag of an event says whose it is.
//!
//! Try it: `cargo run --example daytime` and `cargo run --example three_in_one`, then
//! `nc 127.0.0.1 7007` to chat, and `nc 127.0.0.1 7008` to administrate: `who`, `stop`.

use clap::Parser;
use sockeye::{
    Closed, ConnId, ConnMap, Connect, Context, Event, Handler, Input, Listen, Origin, Reactor, Tag,
    TimerId,
};
use std::io::{self, Write};
use std::time::Duration;

#[derive(Parser)]
#[command(about = "A chat with news. Try it with: nc 127.0.0.1 7007")]
struct Args {
    /// Where to listen for members: IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7007")]
    listen: String,
    /// Where to listen for administrators: IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7008")]
    admin: String,
    /// The news server, which sends something and closes: NAME:PORT, IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7013")]
    news: String,
}

const CHAT: Tag = Tag(1);
const ADMIN: Tag = Tag(2);
const NEWS: Tag = Tag(3);

/// What comes from one goes to all others.
#[derive(Default)]
struct Chat {
    members: ConnMap<()>,
}

impl Handler for Chat {
    fn on_open(&mut self, _: &mut Context, conn: ConnId, _: Origin) {
        self.members.insert(conn, ());
    }

    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let others = self.members.ids().filter(|id| *id != conn);
        cx.broadcast(others, input.take_all());
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        self.members.remove(conn);
    }
}

/// Says how many there are, and stops them all.
struct Admin;

impl Handler for Admin {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        while let Some(end) = input.find(b'\n') {
            match input.take(end + 1).trim_ascii() {
                b"who" => {
                    let chatting = cx.connections().filter(|id| cx.tag(*id) == Some(CHAT));
                    let answer = format!("{} are chatting\n", chatting.count());
                    cx.send(conn, answer);
                }
                b"stop" => cx.finish(Duration::from_secs(5)),
                _ => drop(cx.send(conn, "who or stop?\n")),
            }
        }
    }
}

/// Asks again and again, and keeps what it hears until somebody takes it.
struct News {
    from: String,
    heard: Vec<u8>,
}

impl Handler for News {
    fn on_data(&mut self, _: &mut Context, _: ConnId, input: &mut Input) {
        self.heard.extend_from_slice(&input.take_all());
    }

    fn on_close(&mut self, cx: &mut Context, _: ConnId, _: Closed) {
        cx.set_timer(Duration::from_secs(1), 0); // it inherits our tag
    }

    fn on_timer(&mut self, cx: &mut Context, _: TimerId, _: u64) {
        cx.connect(&self.from); // and so does this
    }
}

struct App {
    chat: Chat,
    admin: Admin,
    news: News,
}

impl Handler for App {
    fn on_event(&mut self, cx: &mut Context, event: Event<'_>) {
        match event.tag {
            ADMIN => self.admin.on_event(cx, event),
            NEWS => {
                self.news.on_event(cx, event);
                let heard = std::mem::take(&mut self.news.heard);
                cx.broadcast(self.chat.members.ids(), heard);
            }
            _ => self.chat.on_event(cx, event),
        }
    }

    /// Never called, for `on_event` is before it; but it is the one hook without a default.
    fn on_data(&mut self, _: &mut Context, _: ConnId, _: &mut Input) {}
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut reactor = Reactor::new()?;
    for (what, addr, tag) in [("chat", &args.listen, CHAT), ("admin", &args.admin, ADMIN)] {
        let listener = reactor.listen(Listen::new(addr).tag(tag))?;
        if let Some(addr) = reactor.context().listener_addr(listener) {
            // `println` would panic if nobody can read it.
            let _ = writeln!(io::stdout(), "{what}: listening on {addr}");
        }
    }
    reactor
        .context()
        .connect(Connect::new(&args.news).tag(NEWS));
    let mut app = App {
        chat: Chat::default(),
        admin: Admin,
        news: News {
            from: args.news,
            heard: Vec::new(),
        },
    };
    reactor.run(&mut app)?;
    Ok(())
}
