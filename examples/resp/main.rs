//! A small Redis: strings, counters, lists, keys that expire, and channels.
//!
//! It teaches frames that borrow from the input and from their decoder (`protocol.rs`), one send
//! for the replies of a batch, a peer that is not read while its replies wait, subscribers who are
//! cut off when they read too slowly, and a timer for each key that expires.
//!
//! Try it: `cargo run --release --example resp`, then `redis-cli -p 7020`.

mod protocol;

use clap::Parser;
use protocol::{Command, Commands, array, bulk, integer, number};
use sockeye::{
    Closed, ConnId, ConnMap, Context, Frames, Handler, Input, Limits, Listen, Reactor, Sent,
    TimerId,
};
use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "A small Redis. Try it with: redis-cli -p 7020")]
struct Args {
    /// Where to listen: IP:PORT or unix:PATH
    #[arg(long, default_value = "127.0.0.1:7020")]
    listen: String,
    /// KiB that may wait for a subscriber who does not read; more, and it is cut off
    #[arg(long, value_name = "KIB", default_value_t = 8192,
          value_parser = clap::value_parser!(u32).range(64..))]
    unread: u32,
}

enum Value {
    Text(Vec<u8>),
    List(VecDeque<Vec<u8>>),
}

#[derive(Default)]
struct Keys {
    values: HashMap<Vec<u8>, Value>,
    expiries: HashMap<Vec<u8>, (TimerId, Instant)>,
    timers: HashMap<TimerId, Vec<u8>>,
}

impl Keys {
    /// What a key has. One whose time is over may still wait for its timer.
    fn find(&mut self, cx: &mut Context, key: &[u8]) -> Option<&mut Value> {
        let expiry = self.expiries.get(key);
        if expiry.is_some_and(|(_, at)| *at <= cx.now()) {
            self.remove(cx, key);
        }
        self.values.get_mut(key)
    }

    fn remove(&mut self, cx: &mut Context, key: &[u8]) -> bool {
        self.forget_expiry(cx, key);
        self.values.remove(key).is_some()
    }

    fn forget_expiry(&mut self, cx: &mut Context, key: &[u8]) {
        if let Some((timer, _)) = self.expiries.remove(key) {
            cx.cancel_timer(timer);
            self.timers.remove(&timer);
        }
    }

    fn expire(&mut self, cx: &mut Context, key: &[u8], seconds: u64) {
        self.forget_expiry(cx, key);
        let after = Duration::from_secs(seconds.min(1 << 32)); // a century will do
        let timer = cx.set_timer(after, 0);
        self.timers.insert(timer, key.to_vec());
        self.expiries
            .insert(key.to_vec(), (timer, cx.now() + after));
    }
}

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const NO_INTEGER: &str = "ERR value is not an integer or out of range";
const UNKNOWN: &str = "ERR unknown command or wrong number of arguments";

type Done = Result<(), &'static str>;

#[derive(Default)]
struct Store {
    keys: Keys,
    channels: HashMap<Vec<u8>, Vec<ConnId>>,
    subscriptions: ConnMap<Vec<Vec<u8>>>,
    /// The replies of this batch.
    out: Vec<u8>,
}

impl Store {
    fn obey(&mut self, cx: &mut Context, conn: ConnId, command: &Command) -> Done {
        let mut name = [0; 9]; // the longest
        let name = name.get_mut(..command.word(0).len()).ok_or(UNKNOWN)?;
        name.copy_from_slice(command.word(0));
        name.make_ascii_uppercase();
        let (one, two, three) = (command.word(1), command.word(2), command.word(3));
        match (&*name, command.len()) {
            (b"GET", 2) => match self.keys.find(cx, one) {
                Some(Value::Text(text)) => bulk(&mut self.out, text),
                Some(_) => return Err(WRONG_TYPE),
                None => self.out.extend_from_slice(b"$-1\r\n"),
            },
            (b"SET", 3..) => return self.set(cx, command),
            (b"INCR", 2) => return self.increase(cx, one, 1),
            (b"INCRBY", 3) => return self.increase(cx, one, integer(two).ok_or(NO_INTEGER)?),
            (b"DEL", 2..) => {
                let gone = command.words(1).filter(|key| self.keys.remove(cx, key));
                number(&mut self.out, b':', gone.count() as i64);
            }
            (b"EXPIRE", 3) => {
                let seconds = integer(two).ok_or(NO_INTEGER)?;
                let found = self.keys.find(cx, one).is_some();
                match u64::try_from(seconds) {
                    Ok(seconds @ 1..) if found => self.keys.expire(cx, one, seconds),
                    _ => drop(self.keys.remove(cx, one)),
                }
                number(&mut self.out, b':', found.into());
            }
            (b"TTL", 2) => {
                let found = self.keys.find(cx, one).is_some();
                let left = self.keys.expiries.get(one).map(|(_, at)| *at - cx.now());
                let left = left.map_or(-1, |left| left.as_secs_f64().round() as i64);
                number(&mut self.out, b':', if found { left } else { -2 });
            }
            (b"LPUSH" | b"RPUSH", 3..) => return self.push(cx, command, name[0] == b'L'),
            (b"LRANGE", 4) => {
                let bounds = integer(two).zip(integer(three)).ok_or(NO_INTEGER)?;
                return self.range(cx, one, bounds);
            }
            (b"PUBLISH", 3) => self.publish(cx, conn, one, two),
            (b"SUBSCRIBE", 2..) => command.words(1).for_each(|name| self.join(conn, name)),
            (b"PING", 1) => self.out.extend_from_slice(b"+PONG\r\n"),
            (b"PING" | b"ECHO", 2) => bulk(&mut self.out, one),
            (b"CLIENT", 2..) => self.out.extend_from_slice(b"+OK\r\n"),
            (b"CONFIG", 3) => {
                array(&mut self.out, &[two, b""]); // nothing can be configured
            }
            (b"COMMAND", _) => number(&mut self.out, b'*', 0),
            (b"INFO", _) => {
                let (clients, keys) = (cx.connections().count(), self.keys.values.len());
                let text = format!("server:sockeye\r\nconnected_clients:{clients}\r\nkeys:{keys}");
                bulk(&mut self.out, text.as_bytes());
            }
            (b"", 0) => {} // an empty line
            _ => return Err(UNKNOWN),
        }
        Ok(())
    }

    fn set(&mut self, cx: &mut Context, command: &Command) -> Done {
        let (key, text) = (command.word(1), command.word(2));
        let (mut seconds, mut if_new, mut options) = (None, false, command.words(3));
        while let Some(option) = options.next() {
            if option.eq_ignore_ascii_case(b"NX") {
                if_new = true;
            } else if option.eq_ignore_ascii_case(b"EX") {
                let number = options.next().and_then(integer).ok_or(NO_INTEGER)?;
                let number = u64::try_from(number).ok().filter(|number| *number > 0);
                seconds = Some(number.ok_or("ERR invalid expire time in 'set' command")?);
            } else {
                return Err("ERR syntax error");
            }
        }
        match self.keys.find(cx, key) {
            Some(_) if if_new => {
                self.out.extend_from_slice(b"$-1\r\n");
                return Ok(());
            }
            Some(Value::Text(old)) => {
                old.clear(); // its memory serves again
                old.extend_from_slice(text);
            }
            _ => drop(
                self.keys
                    .values
                    .insert(key.to_vec(), Value::Text(text.to_vec())),
            ),
        }
        match seconds {
            Some(seconds) => self.keys.expire(cx, key, seconds),
            None => self.keys.forget_expiry(cx, key),
        }
        self.out.extend_from_slice(b"+OK\r\n");
        Ok(())
    }

    fn increase(&mut self, cx: &mut Context, key: &[u8], by: i64) -> Done {
        if self.keys.find(cx, key).is_none() {
            let zero = Value::Text(b"0".to_vec());
            self.keys.values.insert(key.to_vec(), zero);
        }
        let Some(Value::Text(text)) = self.keys.values.get_mut(key) else {
            return Err(WRONG_TYPE);
        };
        let next = integer(text).and_then(|old| old.checked_add(by));
        let next = next.ok_or(NO_INTEGER)?;
        let start = self.out.len() + 1;
        number(&mut self.out, b':', next);
        text.clear();
        text.extend_from_slice(&self.out[start..self.out.len() - 2]);
        Ok(())
    }

    fn push(&mut self, cx: &mut Context, command: &Command, left: bool) -> Done {
        let key = command.word(1);
        if self.keys.find(cx, key).is_none() {
            let list = Value::List(VecDeque::new());
            self.keys.values.insert(key.to_vec(), list);
        }
        let Some(Value::List(list)) = self.keys.values.get_mut(key) else {
            return Err(WRONG_TYPE);
        };
        for word in command.words(2) {
            match left {
                true => list.push_front(word.to_vec()),
                false => list.push_back(word.to_vec()),
            }
        }
        number(&mut self.out, b':', list.len() as i64);
        Ok(())
    }

    fn range(&mut self, cx: &mut Context, key: &[u8], (first, last): (i64, i64)) -> Done {
        let none = VecDeque::new();
        let list = match self.keys.find(cx, key) {
            Some(Value::List(list)) => list,
            Some(_) => return Err(WRONG_TYPE),
            None => &none,
        };
        // Below zero it counts from the end.
        let len = list.len() as i64;
        let place = |at: i64| at.saturating_add(if at < 0 { len } else { 0 });
        let end = place(last).saturating_add(1).clamp(0, len);
        let start = place(first).clamp(0, end);
        number(&mut self.out, b'*', end - start);
        let range = list.range(start as usize..end as usize);
        range.for_each(|word| bulk(&mut self.out, word));
        Ok(())
    }

    fn publish(&mut self, cx: &mut Context, conn: ConnId, channel: &[u8], text: &[u8]) {
        self.reply(cx, conn); // what it may hear of itself must not overtake the replies so far
        array(&mut self.out, &[b"message", channel, text]);
        let members = self.channels.get(channel).map_or(&[][..], Vec::as_slice);
        let heard = cx.broadcast(members.iter().copied(), &self.out);
        self.out.clear();
        number(&mut self.out, b':', (heard.queued + heard.waiting) as i64);
    }

    fn join(&mut self, conn: ConnId, channel: &[u8]) {
        let channels = self.subscriptions.get_or_insert_with(conn, Vec::new);
        if channels.iter().all(|other| other != channel) {
            channels.push(channel.to_vec());
            let members = self.channels.entry(channel.to_vec()).or_default();
            members.push(conn);
        }
        number(&mut self.out, b'*', 3);
        bulk(&mut self.out, b"subscribe");
        bulk(&mut self.out, channel);
        number(&mut self.out, b':', channels.len() as i64);
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

/// Replies are sent when they are this long: a hundred long ones need no memory at once.
const BATCH: usize = 32 * 1024;

impl Handler for Server {
    fn on_data(&mut self, cx: &mut Context, conn: ConnId, input: &mut Input) {
        let Server { commands, store } = self;
        let error = loop {
            match commands.try_next(cx, conn, input) {
                Ok(Some(command)) => {
                    if let Err(error) = store.obey(cx, conn, &command) {
                        store
                            .out
                            .extend_from_slice(format!("-{error}\r\n").as_bytes());
                    }
                    if store.out.len() > BATCH {
                        store.reply(cx, conn);
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if error.is_some() {
            let text = b"-ERR Protocol error\r\n";
            store.out.extend_from_slice(text);
        }
        store.reply(cx, conn);
        error.map(|error| cx.close_because(conn, error));
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
                members.retain(|member| *member != conn);
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
        commands: Frames::new(Commands::default()),
        store: Store::default(),
    })?;
    Ok(())
}
