//! Names of hosts, looked up by the system (getaddrinfo(3)), which blocks: on threads of its own.

use crate::names::{Lookup, Resolver};
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Threads at most. A look-up is a wait and no work; but each that is stuck holds one for as long
/// as the system's own timeouts (resolv.conf(5)).
const THREADS: usize = 4;

/// Look-ups that may wait for a thread.
const WAITING: usize = 1024;

/// A thread with nothing to do ends after this time.
const IDLE: Duration = Duration::from_secs(10);

/// Looks names up for one loop. The threads are detached: nobody waits for them or stops them, for
/// a getaddrinfo(3) that is stuck cannot be stopped. They end when there is nothing to do.
pub(crate) struct SystemNames(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Lookup>,
    threads: usize,
    /// Of these threads, those that wait for something to do.
    idle: usize,
    /// The loop is gone.
    closed: bool,
}

impl SystemNames {
    pub(crate) fn new() -> SystemNames {
        SystemNames(Arc::new(Shared {
            state: Mutex::default(),
            news: Condvar::new(),
        }))
    }
}

impl Resolver for SystemNames {
    fn look_up(&mut self, lookup: Lookup) {
        let mut state = self.0.lock();
        if state.waiting.len() >= WAITING {
            // Those whom nobody waits for any more give way.
            state.waiting.retain(Lookup::is_wanted);
        }
        if state.waiting.len() >= WAITING {
            drop(state);
            let text = format!("{WAITING} look-ups are waiting already");
            return lookup.answer(Err(io::Error::new(io::ErrorKind::WouldBlock, text)));
        }
        state.waiting.push_back(lookup);
        if state.idle < state.waiting.len() && state.threads < THREADS {
            let shared = self.0.clone();
            let thread = std::thread::Builder::new().name("sockeye-names".into());
            match thread.spawn(move || shared.work()) {
                Ok(_) => state.threads += 1,
                // Those that there are do it.
                Err(_) if state.threads > 0 => {}
                Err(error) => {
                    let lookup = state.waiting.pop_back();
                    drop(state);
                    lookup.into_iter().for_each(|lookup| {
                        lookup.answer(Err(io::Error::new(
                            error.kind(),
                            format!("cannot start a thread for the look-up: {error}"),
                        )));
                    });
                    return;
                }
            }
        }
        drop(state);
        self.0.news.notify_one();
    }
}

impl Drop for SystemNames {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        let left = std::mem::take(&mut state.waiting);
        drop(state);
        self.0.news.notify_all();
        drop(left);
    }
}

impl Shared {
    /// Nothing panics under the lock; and if it did, a queue is still a queue.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What one thread does.
    fn work(&self) {
        while let Some(lookup) = self.next() {
            if lookup.is_wanted() {
                let found = addresses(lookup.host(), lookup.port());
                lookup.answer(found);
            }
        }
    }

    /// The next look-up; `None`: there has been none for a while, or the loop is gone.
    fn next(&self) -> Option<Lookup> {
        let mut state = self.lock();
        state.idle += 1;
        let timeout = self
            .news
            .wait_timeout_while(state, IDLE, |state| {
                state.waiting.is_empty() && !state.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        state = timeout.0;
        state.idle -= 1;
        let lookup = state.waiting.pop_front();
        if lookup.is_none() {
            state.threads -= 1;
        }
        lookup
    }
}

/// Asks the system, and blocks meanwhile.
pub(crate) fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.collect())
}

/// The number of an interface.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn interface(name: &str) -> io::Result<u32> {
    use socket2::{Domain, Socket, Type};
    // Any socket will do, it is only there to be asked (netdevice(7)).
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    let index = rustix::net::netdevice::name_to_index(&socket, name);
    index.map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("interface {name}: {error}"))
    })
}

/// The number of an interface: here only getaddrinfo(3) knows.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn interface(_: &str) -> io::Result<u32> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Key;
    use crate::names::{Found, Reply};
    use std::sync::mpsc;

    // N1
    #[test]
    fn a_thousand_look_ups_cost_four_threads_and_the_queue_is_bounded() {
        let (sender, answers) = mpsc::channel();
        let reply: Reply = Arc::new(move |found| drop(sender.send(found)));
        let mut names = SystemNames::new();
        let mut wanted = Vec::new();
        let key = Key {
            slot: 0,
            generation: 0,
        };
        // Literals: the threads are the same, and no test depends on somebody else's names.
        for _ in 0..1000 {
            let (lookup, keeps) = Lookup::new("127.0.0.1", 80, key, reply.clone());
            wanted.push(keeps);
            names.look_up(lookup);
            assert!(names.0.lock().threads <= THREADS);
        }
        for _ in 0..1000 {
            let found = answers.recv().unwrap();
            assert_eq!(found.addrs.unwrap(), ["127.0.0.1:80".parse().unwrap()]);
        }
    }

    // N1
    #[test]
    fn with_all_threads_stuck_the_queue_is_bounded_and_nothing_holds_up_the_end() {
        let key = Key {
            slot: 0,
            generation: 0,
        };
        // Whoever is told by this does not come back.
        let (release, blocked) = mpsc::channel::<()>();
        let (blocked, (entered, enters)) = (Mutex::new(blocked), mpsc::channel());
        let block: Reply = Arc::new(move |_| {
            entered.send(()).ok();
            drop(blocked.lock().map(|blocked| blocked.recv()));
        });
        let mut names = SystemNames::new();
        let mut keeps = Vec::new();
        for _ in 0..THREADS {
            let (lookup, keep) = Lookup::new("127.0.0.1", 80, key, block.clone());
            keeps.push(keep);
            names.look_up(lookup);
            enters.recv().unwrap();
        }
        let (sender, answers) = mpsc::channel();
        let reply: Reply = Arc::new(move |found| drop(sender.send(found)));
        let mut queue = |count: usize| {
            let more = (0..count).map(|_| Lookup::new("127.0.0.1", 80, key, reply.clone()));
            let (lookups, keeps): (Vec<_>, Vec<_>) = more.unzip();
            lookups.into_iter().for_each(|lookup| names.look_up(lookup));
            keeps
        };
        let first = queue(WAITING);
        assert_eq!(answers.try_iter().count(), 0);
        // There is no room for one more, until those before are cancelled.
        drop(queue(1));
        let refused: Vec<Found> = answers.try_iter().collect();
        let error = refused[0].addrs.as_ref().unwrap_err();
        assert!(
            refused.len() == 1 && error.to_string().contains("1024"),
            "{error}"
        );
        drop(first);
        let last = queue(1);
        assert_eq!(answers.try_iter().count(), WAITING);
        // The loop ends, and waits for nobody.
        let shared = names.0.clone();
        drop((names, last));
        assert!(shared.lock().waiting.is_empty() && shared.lock().threads == THREADS);
        drop(release);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn an_interface_has_a_number() {
        assert!(interface("lo").unwrap() > 0);
        let error = interface("no-such-one").unwrap_err();
        assert!(error.to_string().contains("no-such-one"), "{error}");
    }
}
