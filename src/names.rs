//! Names of hosts: what is one, and who looks them up.

use crate::id::Key;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Looks up the names that [`Context::connect`](crate::Context::connect) is given.
///
/// The default resolver asks the system (getaddrinfo(3)) on up to four threads.
/// [`Context::set_resolver`](crate::Context::set_resolver) sets another one: [`StaticNames`] in
/// tests, or one of yours. Literal addresses and `localhost` never come here.
pub trait Resolver: Send {
    /// Begins to look up a host. It must not block, because the loop waits for it to return. Give
    /// the answer with [`Lookup::answer`], now or later, from any thread.
    fn look_up(&mut self, lookup: Lookup);
}

/// One look-up: what is asked, and where the answer goes. Dropping it without an answer is an
/// error for the connect.
pub struct Lookup {
    host: String,
    port: u16,
    conn: Key,
    wanted: Arc<AtomicBool>,
    reply: Reply,
    answered: bool,
}

/// Takes answers, from any thread.
pub(crate) type Reply = Arc<dyn Fn(Found) + Send + Sync>;

/// An answer, or a part of one.
pub(crate) struct Found {
    pub(crate) conn: Key,
    pub(crate) addrs: io::Result<Vec<SocketAddr>>,
    /// No more will come.
    pub(crate) last: bool,
}

/// Held by who waits for an answer. Dropping it is the cancelling.
pub(crate) struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Lookup {
    /// A look-up for a connection, and what keeps it wanted.
    pub(crate) fn new(host: &str, port: u16, conn: Key, reply: Reply) -> (Lookup, Wanted) {
        let wanted = Arc::new(AtomicBool::new(true));
        let lookup = Lookup {
            host: host.to_owned(),
            port,
            conn,
            wanted: wanted.clone(),
            reply,
            answered: false,
        };
        (lookup, Wanted(wanted))
    }

    /// The host, as it was given: checked, and not empty. A dot at its end is still there.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that the addresses are to have.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Does somebody still wait for the answer? The connection may have been closed, or have taken
    /// too long; to answer all the same does no harm.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Gives a part of the answer, the best address first; the rest is still to come. The loop
    /// begins to connect with what it has.
    pub fn add(&self, addrs: Vec<SocketAddr>) {
        self.part(addrs)();
    }

    /// What gives a part of the answer, later.
    pub(crate) fn part(&self, addrs: Vec<SocketAddr>) -> impl FnOnce() + Send + 'static {
        let (conn, reply) = (self.conn, self.reply.clone());
        move || {
            reply(Found {
                conn,
                addrs: Ok(addrs),
                last: false,
            });
        }
    }

    /// Gives the answer, the best address first, or says why there is none.
    pub fn answer(mut self, addrs: io::Result<Vec<SocketAddr>>) {
        self.reply_last(addrs);
    }

    fn reply_last(&mut self, addrs: io::Result<Vec<SocketAddr>>) {
        self.answered = true;
        (self.reply)(Found {
            conn: self.conn,
            addrs,
            last: true,
        });
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        if !self.answered {
            let text = "the resolver gave no answer";
            self.reply_last(Err(io::Error::other(text)));
        }
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// A table of names, for tests and for programs that know their peers.
///
/// ```
/// use sockeye::{Reactor, StaticNames};
///
/// let mut reactor = Reactor::new()?;
/// let names = StaticNames::new().with("db", ["10.0.0.7".parse().unwrap()]);
/// reactor.context().set_resolver(names);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct StaticNames {
    names: BTreeMap<String, Vec<IpAddr>>,
}

impl StaticNames {
    /// A table without names.
    pub fn new() -> StaticNames {
        StaticNames::default()
    }

    /// Adds a name, with its addresses, the best one first. A name that is there already has these
    /// from now on.
    #[must_use]
    pub fn with(mut self, name: &str, addrs: impl IntoIterator<Item = IpAddr>) -> StaticNames {
        self.names.insert(plain(name), addrs.into_iter().collect());
        self
    }

    /// The addresses of a name, if it is in the table.
    pub(crate) fn find(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let addrs = self.names.get(&plain(host));
        let addrs = addrs.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "name not found"))?;
        Ok(addrs.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
    }
}

impl Resolver for StaticNames {
    fn look_up(&mut self, lookup: Lookup) {
        let found = self.find(lookup.host(), lookup.port());
        lookup.answer(found);
    }
}

/// Without the dot at its end, and in small letters: names are compared so (RFC 4343).
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// What the text of a host stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    /// Known without a look-up.
    Known(Vec<SocketAddr>),
    /// An IPv6 address within an interface, which is given by its name (RFC 4007, section 11).
    Scoped(Ipv6Addr, &'a str),
    /// Somebody has to look it up.
    Name(&'a str),
}

impl Host<'_> {
    /// Reads a host. What can be no name is refused here, and no resolver hears of it.
    pub(crate) fn read(host: &str, port: u16) -> io::Result<Host<'_>> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(Host::Known(vec![SocketAddr::new(ip, port)]));
        }
        if let Some((ip, scope)) = host.split_once('%')
            && let Ok(ip) = ip.parse::<Ipv6Addr>()
        {
            return match scope.parse::<u32>() {
                Ok(scope) => Ok(Host::Known(vec![scoped(ip, port, scope)])),
                Err(_) if scope.is_empty() => Err(refuse(host, "the interface is empty")),
                Err(_) => Ok(Host::Scoped(ip, scope)),
            };
        }
        check_name(host)?;
        // RFC 6761, section 6.3: it never leaves the machine, whoever resolves.
        let name = plain(host);
        if name == "localhost" || name.ends_with(".localhost") {
            let ips: [IpAddr; 2] = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
            return Ok(Host::Known(ips.map(|ip| SocketAddr::new(ip, port)).into()));
        }
        Ok(Host::Name(host))
    }
}

/// An address within an interface.
pub(crate) fn scoped(ip: Ipv6Addr, port: u16, scope: u32) -> SocketAddr {
    std::net::SocketAddrV6::new(ip, port, 0, scope).into()
}

fn refuse(host: &str, why: &str) -> io::Error {
    // Whoever chose the name may want to steer the terminal that shows a log: Debug escapes.
    let shown: String = host.chars().take(80).collect();
    io::Error::new(
        ErrorKind::InvalidInput,
        format!("{shown:?} is not a valid host name: {why}"),
    )
}

/// A name is up to 253 bytes and its labels up to 63 (RFC 1035, section 2.3.4). Which bytes are in
/// them is the resolver's affair, but for those that no name has.
fn check_name(host: &str) -> io::Result<()> {
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_odd = |c: char| c.is_ascii_control() || matches!(c, ' ' | ':' | '/' | '[' | ']' | '%');
    let why = match name {
        "" => "it is empty",
        _ if !name.is_ascii() => "it is not ASCII; use its form that begins with xn--",
        _ if name.contains(is_odd) => "it contains an invalid character",
        _ if name.len() > 253 => "it is longer than 253 bytes",
        _ if name.split('.').any(str::is_empty) => "a label is empty",
        _ if name.split('.').any(|label| label.len() > 63) => "a label is longer than 63 bytes",
        _ => return Ok(()),
    };
    Err(refuse(host, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(host: &str) -> Vec<String> {
        match Host::read(host, 80) {
            Ok(Host::Known(addrs)) => addrs.iter().map(SocketAddr::to_string).collect(),
            other => panic!("{host}: {other:?}"),
        }
    }

    // N4
    #[test]
    fn literals_and_localhost_are_known_without_a_look_up() {
        assert_eq!(known("10.1.2.3"), ["10.1.2.3:80"]);
        assert_eq!(known("::1"), ["[::1]:80"]);
        assert_eq!(known("fe80::1%7"), ["[fe80::1%7]:80"]);
        for name in ["localhost", "localhost.", "LocalHost", "a.b.localhost"] {
            assert_eq!(known(name), ["[::1]:80", "127.0.0.1:80"], "{name}");
        }
        let scoped = Host::Scoped("fe80::1".parse().unwrap(), "eth0");
        assert_eq!(Host::read("fe80::1%eth0", 80).unwrap(), scoped);
        for name in [
            "example.org",
            "example.org.",
            "xn--bcher-kva.example",
            "a_b",
            "1e100",
        ] {
            assert_eq!(Host::read(name, 80).unwrap(), Host::Name(name));
        }
    }

    // N4
    #[test]
    fn what_can_be_no_name_is_refused_with_a_reason() {
        let long = "a".repeat(64);
        let longer = ["abcd"; 60].join(".");
        for (name, why) in [
            ("", "empty"),
            (".", "empty"),
            ("a..b", "a label is empty"),
            ("a\0b", "character"),
            ("a b", "character"),
            ("bücher.example", "xn--"),
            (&long, "63"),
            (&longer, "253"),
            ("fe80::1%", "interface"),
            ("10.0.0.1%eth0", "character"),
            ("\u{1b}[2J", "character"),
        ] {
            let error = Host::read(name, 80).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let text = error.to_string();
            assert!(
                text.contains(why) && !text.contains('\u{1b}'),
                "{name}: {text}"
            );
        }
    }

    #[test]
    fn a_table_knows_a_name_however_it_is_written() {
        let names = StaticNames::new().with("Db.Example", ["10.0.0.7".parse().unwrap()]);
        for name in ["db.example", "DB.EXAMPLE."] {
            assert_eq!(
                names.find(name, 5).unwrap(),
                ["10.0.0.7:5".parse().unwrap()]
            );
        }
        assert_eq!(names.find("db", 5).unwrap_err().kind(), ErrorKind::NotFound);
    }

    // N1
    #[test]
    fn a_look_up_that_is_dropped_has_answered_and_knows_whether_it_was_wanted() {
        let (sender, answers) = std::sync::mpsc::channel();
        let reply: Reply = Arc::new(move |found| sender.send(found).unwrap());
        let key = Key {
            slot: 3,
            generation: 4,
        };
        let (lookup, wanted) = Lookup::new("a", 80, key, reply);
        assert!(lookup.is_wanted());
        drop(wanted);
        assert!(!lookup.is_wanted());
        drop(lookup);
        let found: Vec<Found> = answers.try_iter().collect();
        assert!(found.len() == 1 && found[0].last && found[0].conn == key);
        assert!(found[0].addrs.is_err());
    }
}
