//! A small Redis: texts, counters, lists, keys that expire, and channels.
//!
//! It teaches frames that borrow from the input, one send for the replies of a batch, a peer that
//! is not read while its replies wait, messages that are made once for all who hear them, of whom
//! those are cut off who read too slowly, and a timer for each key that expires. With `--workers`
//! the first has the keys and the channels; the others read commands and write replies. `keys.rs`
//! is the store.
//!
//! Try it: `cargo run --release --example resp`, then `redis-cli -p 7020`.

mod keys;

use clap::Parser;
use keys::{Keys, Result, Value, WRONG_TYPE, integer};
use sockeye::bytes::Bytes;
use sockeye::codec::resp::{self, Commands};
use sockeye::{Addr, Closed, ConnId, Context, Frames, Handler, Hold, Input, Limits};
use sockeye::{Listen, Reactor, Sent, Team, TimerId, Workers};
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::mem::take;

#[derive(Parser)]
#[command(about = "A small Redis. Try it with: redis-cli -p 7020")]
struct Args {
    /// Where to listen: IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7020")]
    listen: String,
    /// KiB that may be pending for a subscriber that does not read, before it is disconnected
    #[arg(long, value_name = "KIB", default_value_t = 8192,
          value_parser = clap::value_parser!(u32).range(64..))]
    unread: u32,
    /// How many threads serve, each with a reactor of its own
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    workers: usize,
}

const UNKNOWN: &str = "ERR unknown command or wrong number of arguments";

/// Somebody: the number of a worker, and a connection there.
type Who = (usize, ConnId);

/// What workers tell each other. Those of one worker come in order, so the replies do, too.
enum Word {
    /// Commands, for the first worker; `true`: what is behind them is none.
    Obey(Who, Vec<Vec<Vec<u8>>>, bool),
    /// Their replies; `true`: the connection ends behind them.
    Reply(ConnId, Vec<u8>, bool),
    /// For subscribers.
    Hear(Vec<ConnId>, Bytes),
    Gone(Who),
}

#[derive(Default)]
struct Store {
    keys: Keys,
    channels: HashMap<Vec<u8>, BTreeSet<Who>>,
    subscriptions: HashMap<Who, BTreeSet<Vec<u8>>>,
    /// The replies of this batch, and whether the connection ends behind them.
    out: Vec<u8>,
    ends: bool,
    /// All workers, if there are several.
    team: Option<Team<Word>>,
}

impl Store {
    /// `false`: that was the last one.
    fn answer(&mut self, cx: &mut Context, who: Who, command: &[&[u8]]) -> bool {
        if let Err(error) = self.obey(cx, who, command) {
            resp::error(&mut self.out, error);
        }
        let ends = self.ends;
        if ends || self.out.len() > BATCH {
            self.reply(cx, who);
        }
        !ends
    }

    fn obey(&mut self, cx: &mut Context, who: Who, command: &[&[u8]]) -> Result<()> {
        let Store { keys, out, .. } = self;
        match command {
            [b"GET", key] => match keys.values.get(*key) {
                Some(Value::Text(text)) => resp::bulk(out, text),
                Some(Value::List(_)) => return Err(WRONG_TYPE),
                None => resp::null(out),
            },
            [b"SET", key, text, options @ ..] => match keys.set(cx, key, text, options)? {
                true => resp::simple(out, "OK"),
                false => resp::null(out),
            },
            [b"INCR", key] => resp::integer(out, keys.increase(key, 1)?),
            [b"INCRBY", key, by] => resp::integer(out, keys.increase(key, integer(by)?)?),
            [b"DEL", all @ ..] => {
                let gone = all.iter().filter(|key| keys.remove(cx, key));
                resp::integer(out, gone.count() as i64);
            }
            [b"EXPIRE", key, seconds] => {
                let seconds = integer(seconds)?;
                let found = keys.values.contains_key(*key);
                match u64::try_from(seconds) {
                    Ok(seconds @ 1..) if found => keys.expire(cx, key, seconds),
                    _ => drop(keys.remove(cx, key)),
                }
                resp::integer(out, found.into());
            }
            [b"TTL", key] => resp::integer(out, keys.seconds_left(cx, key)),
            [name @ (b"LPUSH" | b"RPUSH"), key, words @ ..] if !words.is_empty() => {
                let len = keys.push(key, words, *name == b"LPUSH")?;
                resp::integer(out, len as i64);
            }
            [b"LRANGE", key, first, last] => {
                keys.range(out, key, integer(first)?, integer(last)?)?;
            }
            [b"PUBLISH", channel, text] => self.publish(cx, who, channel, text),
            [b"SUBSCRIBE", all @ ..] if !all.is_empty() => {
                all.iter().for_each(|channel| self.subscribe(who, channel));
            }
            [b"PING"] => resp::simple(out, "PONG"),
            [b"PING" | b"ECHO", text] => resp::bulk(out, text),
            [b"CLIENT", _, ..] => resp::simple(out, "OK"),
            [b"CONFIG", _, name] => {
                resp::array(out, 2); // nothing can be configured
                resp::bulk(out, name);
                resp::bulk(out, b"");
            }
            [b"COMMAND", ..] => resp::array(out, 0),
            [b"INFO", ..] => {
                let (clients, keys) = (cx.connections().count(), keys.values.len());
                let text = format!("server:sockeye\r\nconnected_clients:{clients}\r\nkeys:{keys}");
                resp::bulk(out, text.as_bytes());
            }
            [] => {} // an empty line
            // A page has told its browser to write to us by HTTP: nothing behind it is obeyed.
            [b"POST" | b"HOST:", ..] => self.ends = true,
            _ => return Err(UNKNOWN),
        }
        Ok(())
    }

    fn publish(&mut self, cx: &mut Context, who: Who, channel: &[u8], text: &[u8]) {
        self.reply(cx, who); // what it may hear of itself must not overtake the replies so far
        resp::array(&mut self.out, 3);
        resp::bulk(&mut self.out, b"message");
        resp::bulk(&mut self.out, channel);
        resp::bulk(&mut self.out, text);
        let members = self.channels.get(channel).into_iter().flatten().copied();
        let mine = members.clone().take_while(|who| who.0 == 0);
        let heard = cx.broadcast(mine.map(|who| who.1), &self.out);
        let others: Vec<Who> = members.skip_while(|who| who.0 == 0).collect();
        for of_one in others.chunk_by(|one, next| one.0 == next.0) {
            let to = of_one.iter().map(|who| who.1).collect();
            self.post(of_one[0].0, Word::Hear(to, self.out.clone().into()));
        }
        self.out.clear();
        let count = heard.queued + heard.waiting + others.len();
        resp::integer(&mut self.out, count as i64);
    }

    fn subscribe(&mut self, who: Who, channel: &[u8]) {
        let channels = self.subscriptions.entry(who).or_default();
        channels.insert(channel.to_vec());
        let members = self.channels.entry(channel.to_vec()).or_default();
        members.insert(who);
        resp::array(&mut self.out, 3);
        resp::bulk(&mut self.out, b"subscribe");
        resp::bulk(&mut self.out, channel);
        resp::integer(&mut self.out, channels.len() as i64);
    }

    fn post(&self, to: usize, word: Word) {
        // An error: that worker has panicked, and its connections are gone.
        self.team.as_ref().map(|team| team[to].send(word));
    }

    /// Sends the replies so far. A peer that does not read them is not read either.
    fn reply(&mut self, cx: &mut Context, who: Who) {
        let ends = take(&mut self.ends);
        match who {
            (0, conn) => write(cx, conn, &self.out, ends),
            (other, conn) => self.post(other, Word::Reply(conn, self.out.clone(), ends)),
        }
        self.out.clear();
    }

    /// The replies of a batch, and of what is behind it, if that is no command.
    fn end_batch(&mut self, cx: &mut Context, who: Who, is_wrong: bool) {
        if is_wrong {
            resp::error(&mut self.out, "ERR Protocol error");
            self.ends = true;
        }
        self.reply(cx, who);
    }

    fn forget(&mut self, who: Who) {
        for channel in self.subscriptions.remove(&who).unwrap_or_default() {
            if let Some(members) = self.channels.get_mut(&channel) {
                members.remove(&who);
                if members.is_empty() {
                    self.channels.remove(&channel);
                }
            }
        }
    }
}

fn write(cx: &mut Context, conn: ConnId, replies: &[u8], ends: bool) {
    if cx.send(conn, replies) == Sent::Wait {
        cx.pause_until_drained(conn);
    }
    if ends {
        cx.close_because(conn, "no command");
    }
}

struct Server {
    me: usize,
    commands: Frames<Commands>,
    store: Store,
}

/// Who has asked another worker for so much is not read until the replies are here.
const ASKS: usize = 8;
const ASKED: Hold = Hold::new(0);

/// Bytes of a command, at most.
const MAX: usize = 1 << 20;

/// Replies are sent when they are this long: a hundred long ones need no memory at once.
const BATCH: usize = 32 * 1024;

impl Handler<Word> for Server {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let (store, who) = (&mut self.store, (self.me, conn));
        let mut asked = Vec::new();
        let is_wrong = loop {
            match self.commands.try_next(cx, conn, input) {
                Ok(Some(command)) if self.me == 0 => _ = store.answer(cx, who, &command),
                Ok(Some(command)) => {
                    asked.push(command.iter().map(|word| word.to_vec()).collect());
                    if asked.len() == ASKS {
                        break false;
                    }
                }
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        if self.me == 0 {
            store.end_batch(cx, who, is_wrong);
        } else if is_wrong || !asked.is_empty() {
            cx.pause_reads_for(conn, ASKED);
            store.post(0, Word::Obey(who, asked, is_wrong));
        }
    }

    fn on_message(&mut self, cx: &mut Context, word: Word) {
        let store = &mut self.store;
        match word {
            Word::Obey(who, commands, is_wrong) => {
                let mut commands = commands.iter();
                let goes_on = commands.all(|command| {
                    let words: Vec<&[u8]> = command.iter().map(|word| &word[..]).collect();
                    store.answer(cx, who, &words)
                });
                store.end_batch(cx, who, is_wrong && goes_on);
            }
            Word::Reply(conn, replies, ends) => {
                write(cx, conn, &replies, ends);
                cx.resume_reads_for(conn, ASKED);
            }
            Word::Hear(to, text) => drop(cx.broadcast(to, text)),
            Word::Gone(who) => store.forget(who),
        }
    }

    fn on_timer(&mut self, cx: &mut Context, timer: TimerId, _: u64) {
        self.store.keys.timer_fired(cx, timer);
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        match self.me {
            0 => self.store.forget((0, conn)),
            me => self.store.post(0, Word::Gone((me, conn))),
        }
    }
}

fn server(me: usize, team: Option<Team<Word>>) -> Server {
    Server {
        me,
        commands: Frames::new(Commands::new(MAX)),
        store: Store {
            team,
            ..Store::default()
        },
    }
}

fn announce(addr: Option<&Addr>) {
    if let Some(addr) = addr {
        // `println` would panic if nobody can read it.
        let _ = writeln!(io::stdout(), "listening on {addr}");
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let limits = Limits::default().hard_limit(args.unread as usize * 1024);
    let listen = Listen::new(args.listen.as_str()).limits(limits);
    if args.workers > 1 {
        let mut workers = Workers::new(args.workers)?;
        let listener = workers.listen(listen)?;
        announce(workers.listener_addr(listener));
        workers.run(|worker| server(worker.number(), Some(worker.team().clone())))?;
        return Ok(());
    }
    let mut reactor = Reactor::with_messages()?;
    let listener = reactor.listen(listen)?;
    announce(reactor.context().listener_addr(listener));
    reactor.run(&mut server(0, None))?;
    Ok(())
}
