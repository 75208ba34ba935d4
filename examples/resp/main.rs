//! A small Redis: texts, counters, lists, keys that expire, and channels.
//!
//! It teaches frames that borrow from the input, one send for the replies of a batch, a peer that
//! is not read while its replies wait, messages that are made once for all who hear them, of whom
//! those are cut off who read too slowly, and a timer for each key that expires.
//!
//! Try it: `cargo run --release --example resp`, then `redis-cli -p 7020`.

use clap::Parser;
use sockeye::codec::resp::{self, Commands};
use sockeye::{
    Closed, ConnId, ConnMap, Context, Frames, Handler, Input, Limits, Listen, Reactor, Sent,
    TimerId,
};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{self, Write};
use std::time::{Duration, Instant};

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
}

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const NO_INTEGER: &str = "ERR value is not an integer or out of range";
const NO_TIME: &str = "ERR invalid expire time in 'set' command";
const NO_OPTION: &str = "ERR syntax error";
const UNKNOWN: &str = "ERR unknown command or wrong number of arguments";

type Result<T> = std::result::Result<T, &'static str>;

fn integer(text: &[u8]) -> Result<i64> {
    let text = str::from_utf8(text).map_err(|_| NO_INTEGER)?;
    text.parse().map_err(|_| NO_INTEGER)
}

enum Value {
    Text(Vec<u8>),
    /// Each word as it is sent: a list is read more often than written.
    List(VecDeque<Vec<u8>>),
}

/// A key is there until its timer fires, in the turn of its time.
#[derive(Default)]
struct Keys {
    values: HashMap<Vec<u8>, Value>,
    expiries: HashMap<Vec<u8>, (TimerId, Instant)>,
    timers: HashMap<TimerId, Vec<u8>>,
}

impl Keys {
    fn remove(&mut self, cx: &mut Context, key: &[u8]) -> bool {
        self.persist(cx, key);
        self.values.remove(key).is_some()
    }

    /// It does not expire any more.
    fn persist(&mut self, cx: &mut Context, key: &[u8]) {
        if let Some((timer, _)) = self.expiries.remove(key) {
            cx.cancel_timer(timer);
            self.timers.remove(&timer);
        }
    }

    fn expire(&mut self, cx: &mut Context, key: &[u8], seconds: u64) {
        self.persist(cx, key);
        let after = Duration::from_secs(seconds.min(1 << 32)); // a century will do
        let timer = cx.set_timer(after, 0);
        let at = cx.now() + after;
        self.timers.insert(timer, key.to_vec());
        self.expiries.insert(key.to_vec(), (timer, at));
    }

    fn seconds_left(&self, cx: &Context, key: &[u8]) -> i64 {
        match (self.values.get(key), self.expiries.get(key)) {
            (Some(_), Some((_, at))) => (*at - cx.now()).as_secs_f64().round() as i64,
            (Some(_), None) => -1,
            (None, _) => -2,
        }
    }

    /// `false`: it is there, and should have been new.
    fn set(&mut self, cx: &mut Context, key: &[u8], text: &[u8], rest: &[&[u8]]) -> Result<bool> {
        let (mut seconds, mut if_new, mut options) = (None, false, rest.iter());
        while let Some(option) = options.next() {
            match &*option.to_ascii_uppercase() {
                b"NX" => if_new = true,
                b"EX" => {
                    let number = integer(options.next().ok_or(NO_OPTION)?)?;
                    seconds = Some(u64::try_from(number).map_err(|_| NO_TIME)?);
                }
                _ => return Err(NO_OPTION),
            }
        }
        match self.values.get_mut(key) {
            _ if seconds == Some(0) => return Err(NO_TIME),
            Some(_) if if_new => return Ok(false),
            Some(Value::Text(old)) => text.clone_into(old), // its memory serves again
            _ => drop(self.values.insert(key.to_vec(), Value::Text(text.to_vec()))),
        }
        match seconds {
            Some(seconds) => self.expire(cx, key, seconds),
            None => self.persist(cx, key),
        }
        Ok(true)
    }

    fn increase(&mut self, key: &[u8], by: i64) -> Result<i64> {
        match self.values.get_mut(key) {
            Some(Value::Text(text)) => {
                let next = integer(text)?.checked_add(by).ok_or(NO_INTEGER)?;
                text.clear();
                write!(text, "{next}").map_err(|_| NO_INTEGER)?;
                Ok(next)
            }
            Some(Value::List(_)) => Err(WRONG_TYPE),
            None => {
                let text = by.to_string().into_bytes();
                self.values.insert(key.to_vec(), Value::Text(text));
                Ok(by)
            }
        }
    }

    /// Answers how long the list is then.
    fn push(&mut self, key: &[u8], words: &[&[u8]], at_front: bool) -> Result<usize> {
        let empty = || Value::List(VecDeque::new());
        let Value::List(list) = self.values.entry(key.to_vec()).or_insert_with(empty) else {
            return Err(WRONG_TYPE);
        };
        for word in words {
            let mut reply = Vec::new();
            resp::bulk(&mut reply, word);
            match at_front {
                true => list.push_front(reply),
                false => list.push_back(reply),
            }
        }
        Ok(list.len())
    }

    fn range(&self, out: &mut Vec<u8>, key: &[u8], first: i64, last: i64) -> Result<()> {
        let list = match self.values.get(key) {
            Some(Value::List(list)) => list,
            Some(Value::Text(_)) => return Err(WRONG_TYPE),
            None => &VecDeque::new(),
        };
        // Below zero it counts from the end.
        let len = list.len() as i64;
        let place = |at: i64| at.saturating_add(if at < 0 { len } else { 0 });
        let end = place(last).saturating_add(1).clamp(0, len) as usize;
        let start = place(first).clamp(0, end as i64) as usize;
        resp::array(out, end - start);
        let range = list.range(start..end);
        range.for_each(|word| out.extend_from_slice(word));
        Ok(())
    }
}

#[derive(Default)]
struct Store {
    keys: Keys,
    channels: HashMap<Vec<u8>, BTreeSet<ConnId>>,
    subscriptions: ConnMap<BTreeSet<Vec<u8>>>,
    /// The replies of this batch.
    out: Vec<u8>,
}

impl Store {
    fn obey(&mut self, cx: &mut Context, conn: ConnId, command: &[&[u8]]) -> Result<()> {
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
            [b"PUBLISH", channel, text] => self.publish(cx, conn, channel, text),
            [b"SUBSCRIBE", all @ ..] if !all.is_empty() => {
                all.iter().for_each(|channel| self.subscribe(conn, channel));
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
            [b"POST" | b"HOST:", ..] => drop(cx.close(conn)),
            _ => return Err(UNKNOWN),
        }
        Ok(())
    }

    fn publish(&mut self, cx: &mut Context, conn: ConnId, channel: &[u8], text: &[u8]) {
        self.reply(cx, conn); // what it may hear of itself must not overtake the replies so far
        resp::array(&mut self.out, 3);
        resp::bulk(&mut self.out, b"message");
        resp::bulk(&mut self.out, channel);
        resp::bulk(&mut self.out, text);
        let members = self.channels.get(channel).into_iter().flatten();
        let heard = cx.broadcast(members.copied(), &self.out);
        self.out.clear();
        resp::integer(&mut self.out, (heard.queued + heard.waiting) as i64);
    }

    fn subscribe(&mut self, conn: ConnId, channel: &[u8]) {
        let channels = self.subscriptions.get_or_insert_with(conn, BTreeSet::new);
        channels.insert(channel.to_vec());
        let members = self.channels.entry(channel.to_vec()).or_default();
        members.insert(conn);
        resp::array(&mut self.out, 3);
        resp::bulk(&mut self.out, b"subscribe");
        resp::bulk(&mut self.out, channel);
        resp::integer(&mut self.out, channels.len() as i64);
    }

    /// Sends the replies so far. A peer that does not read them is not read either.
    fn reply(&mut self, cx: &mut Context, conn: ConnId) {
        if cx.send(conn, &self.out) == Sent::Wait {
            cx.pause_until_drained(conn);
        }
        self.out.clear();
    }
}

struct Server {
    commands: Frames<Commands>,
    store: Store,
}

/// Bytes of a command, at most.
const MAX: usize = 1 << 20;

/// Replies are sent when they are this long: a hundred long ones need no memory at once.
const BATCH: usize = 32 * 1024;

impl Handler for Server {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let Server { commands, store } = self;
        let error = loop {
            match commands.try_next(cx, conn, input) {
                Ok(Some(command)) => {
                    if let Err(error) = store.obey(cx, conn, &command) {
                        resp::error(&mut store.out, error);
                    }
                    if store.out.len() > BATCH {
                        store.reply(cx, conn);
                    }
                }
                Ok(None) => return store.reply(cx, conn),
                Err(error) => break error,
            }
        };
        resp::error(&mut store.out, "ERR Protocol error");
        store.reply(cx, conn);
        cx.close_because(conn, error);
    }

    fn on_timer(&mut self, cx: &mut Context, timer: TimerId, _: u64) {
        let keys = &mut self.store.keys;
        if let Some(key) = keys.timers.remove(&timer) {
            keys.remove(cx, &key);
        }
    }

    fn on_close(&mut self, _: &mut Context, conn: ConnId, _: Closed) {
        let store = &mut self.store;
        for channel in store.subscriptions.remove(conn).unwrap_or_default() {
            if let Some(members) = store.channels.get_mut(&channel) {
                members.remove(&conn);
                if members.is_empty() {
                    store.channels.remove(&channel);
                }
            }
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let limits = Limits::default().hard_limit(args.unread as usize * 1024);
    let mut reactor = Reactor::new()?;
    let listener = reactor.listen(Listen::new(args.listen.as_str()).limits(limits))?;
    if let Some(addr) = reactor.context().listener_addr(listener) {
        // `println` would panic if nobody can read it.
        let _ = writeln!(io::stdout(), "listening on {addr}");
    }
    reactor.run(&mut Server {
        commands: Frames::new(Commands::new(MAX)),
        store: Store::default(),
    })?;
    Ok(())
}
