//! Names: who looks them up, and what comes of that.

use super::Context;
use crate::addr::{Addr, AddrParseError, Target};
use crate::id::Key;
use crate::names::{Found, Host, Lookup, Reply, Resolver, Wanted, scoped};
use crate::post::{Letter, Post};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who looks names up, and the mail that brings the answers.
pub(super) struct Names {
    resolver: Box<dyn Resolver>,
    post: Post,
}

/// What a target stands for, before anybody is asked.
pub(super) enum Place {
    /// One address.
    At(Addr),
    /// Addresses of one host, the best one first.
    Among(Vec<SocketAddr>),
    /// A name, to be looked up, with its port.
    Named(String, u16),
}

impl Context {
    /// Looks names up by this resolver from now on, and no longer by the system's: a table of names
    /// ([`StaticNames`](crate::StaticNames)) in a test, or one of yours. Answers to what was asked
    /// before still count.
    pub fn set_resolver(&mut self, resolver: impl Resolver + 'static) {
        self.names().resolver = Box::new(resolver);
    }

    fn names(&mut self) -> &mut Names {
        let backend = &self.backend;
        self.names.get_or_insert_with(|| {
            Box::new(Names {
                resolver: backend.resolver(),
                post: Post::new(usize::MAX, backend.wake()),
            })
        })
    }

    /// What it stands for. What can be no address is refused here.
    pub(super) fn place(&self, target: &Target) -> io::Result<Place> {
        let (host, port) = match target {
            Target::Addr(addr) => return Ok(Place::At(addr.clone())),
            Target::Host(host, port) => (host, *port),
            Target::Text(text) => {
                let error = AddrParseError(text.clone());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
            }
        };
        Ok(match Host::read(host, port)? {
            Host::Known(addrs) => match addrs[..] {
                [addr] => Place::At(Addr::Ip(addr)),
                _ => Place::Among(addrs),
            },
            Host::Scoped(ip, interface) => match self.backend.interface(interface) {
                Ok(number) => Place::At(Addr::Ip(scoped(ip, port, number))),
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    Place::Named(host.clone(), port)
                }
                Err(error) => return Err(error),
            },
            Host::Name(name) => Place::Named(name.to_owned(), port),
        })
    }

    /// Begins to look a name up for a connection.
    pub(super) fn look_up(&mut self, host: &str, port: u16, conn: Key) -> Wanted {
        self.stats.lookups += 1;
        let names = self.names();
        let sender = names.post.sender();
        // A loop that is gone needs no answer.
        let reply: Reply = Arc::new(move |found| drop(sender.send(Letter::Found(found))));
        let (lookup, wanted) = Lookup::new(host, port, conn, reply);
        names.resolver.look_up(lookup);
        wanted
    }

    /// Reads the mail that there is now, within the budget of messages.
    pub(super) fn read_mail(&mut self) {
        let waiting = self.names.as_ref().map_or(0, |names| names.post.waiting());
        for _ in 0..waiting.min(self.config.messages_per_turn) {
            let letter = self.names.as_mut().and_then(|names| names.post.take());
            match letter {
                Some(Letter::Found(found)) => self.found(found),
                None => return,
            }
        }
    }

    /// Has the loop itself mail? Then that is put on the list of what is seldom.
    ///
    /// Who posts wakes the loop only if there was none, and mio's poll(2) selector takes a wake
    /// back that comes while a socket is registered or closed. So it is asked after each look, of
    /// which more may be left than it took, and before each sleep.
    #[inline]
    pub(crate) fn notices_mail(&mut self) -> bool {
        let names = self.names.as_ref();
        let of_names = names.is_some_and(|names| names.post.has_messages());
        let has = of_names || self.has_mail_of_workers();
        if has {
            self.lists.want_mail();
        }
        has
    }

    /// A resolver has answered. Whoever asked may be gone, or have no more use for it.
    fn found(&mut self, found: Found) {
        let Found { conn, addrs, last } = found;
        let Some(state) = self.conns.get_mut(conn) else {
            return;
        };
        let Some(dialing) = state.dialing() else {
            return;
        };
        let failed = match addrs {
            Ok(addrs) => {
                dialing.dial.add(addrs);
                None
            }
            Err(error) => Some(error),
        };
        if last {
            dialing.dial.complete();
            dialing.lookup = None;
        }
        self.stats.lookups_failed += u64::from(failed.is_some());
        self.dial(conn.slot, failed);
    }
}
