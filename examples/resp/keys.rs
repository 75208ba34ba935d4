//! The keys of a small Redis: texts, lists, and a timer for each that expires.

use sockeye::codec::resp;
use sockeye::{Context, TimerId};
use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::time::{Duration, Instant};

pub(crate) const WRONG_TYPE: &str =
    "WRONGTYPE Operation against a key holding the wrong kind of value";
const NO_INTEGER: &str = "ERR value is not an integer or out of range";
const NO_TIME: &str = "ERR invalid expire time in 'set' command";
const NO_OPTION: &str = "ERR syntax error";

pub(crate) type Result<T> = std::result::Result<T, &'static str>;

pub(crate) fn integer(text: &[u8]) -> Result<i64> {
    let text = str::from_utf8(text).map_err(|_| NO_INTEGER)?;
    text.parse().map_err(|_| NO_INTEGER)
}

pub(crate) enum Value {
    Text(Vec<u8>),
    /// Each word as it is sent: a list is read more often than written.
    List(VecDeque<Vec<u8>>),
}

/// A key is there until its timer fires, in the turn of its time.
#[derive(Default)]
pub(crate) struct Keys {
    pub(crate) values: HashMap<Vec<u8>, Value>,
    expiries: HashMap<Vec<u8>, (TimerId, Instant)>,
    timers: HashMap<TimerId, Vec<u8>>,
}

impl Keys {
    pub(crate) fn remove(&mut self, cx: &mut Context, key: &[u8]) -> bool {
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

    pub(crate) fn expire(&mut self, cx: &mut Context, key: &[u8], seconds: u64) {
        self.persist(cx, key);
        let after = Duration::from_secs(seconds.min(1 << 32)); // a century will do
        let timer = cx.set_timer(after, 0);
        let at = cx.now() + after;
        self.timers.insert(timer, key.to_vec());
        self.expiries.insert(key.to_vec(), (timer, at));
    }

    /// Its time has come.
    pub(crate) fn timer_fired(&mut self, cx: &mut Context, timer: TimerId) {
        if let Some(key) = self.timers.remove(&timer) {
            self.remove(cx, &key);
        }
    }

    pub(crate) fn seconds_left(&self, cx: &Context, key: &[u8]) -> i64 {
        match (self.values.get(key), self.expiries.get(key)) {
            (Some(_), Some((_, at))) => (*at - cx.now()).as_secs_f64().round() as i64,
            (Some(_), None) => -1,
            (None, _) => -2,
        }
    }

    /// `false`: it is there, and should have been new.
    pub(crate) fn set(
        &mut self,
        cx: &mut Context,
        key: &[u8],
        text: &[u8],
        rest: &[&[u8]],
    ) -> Result<bool> {
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

    pub(crate) fn increase(&mut self, key: &[u8], by: i64) -> Result<i64> {
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
    pub(crate) fn push(&mut self, key: &[u8], words: &[&[u8]], at_front: bool) -> Result<usize> {
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

    pub(crate) fn range(&self, out: &mut Vec<u8>, key: &[u8], first: i64, last: i64) -> Result<()> {
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
