//! Several workers in a world.

use super::World;
use crate::backend::Backend;
use crate::backend::simnet::Sim;
use crate::config::Config;
use crate::handler::Handler;
use crate::reactor::Reactor;
use crate::sim::node::{AnyNode, Node, Running};
use crate::sim::trace::Traced;
use crate::workers::{Front, Parts, Team, Worker, Workers};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The loop that accepts for workers.
struct Accepting {
    front: Front,
    poller: usize,
    /// When it wakes if nothing comes; outer `None`: it has still to look.
    asleep: Option<Option<Instant>>,
    ended: bool,
}

impl AnyNode for Accepting {
    fn turn(&mut self) -> Result<(), String> {
        let turned = self.front.turn(Some(Duration::ZERO));
        self.ended |= !turned.expect("a simulated wait does not fail");
        self.asleep = Some(self.front.next_turn().filter(|_| !self.ended));
        Ok(())
    }

    fn wakes_at(&mut self) -> Option<Instant> {
        *self.asleep.get_or_insert_with(|| self.front.next_turn())
    }

    fn poller(&self) -> usize {
        self.poller
    }

    fn leaks(&self) -> String {
        String::new()
    }
}

impl World {
    /// Starts workers on one host, each a node of its own in this world: `NAME-0`, `NAME-1` and so
    /// on, and a loop that accepts for them. They are turned in an order that the seed chooses, one
    /// at a time, hand-over included. `setup` listens, and may choose how they are handed to.
    ///
    /// The team is for messages to all, and for the end of all.
    ///
    /// # Panics
    ///
    /// When `setup` fails, the configuration makes no sense, or the name is taken.
    #[track_caller]
    pub fn start_workers<H, M>(
        &mut self,
        name: &str,
        (count, config): (usize, Config),
        setup: impl FnOnce(Workers) -> io::Result<Workers>,
        factory: impl Fn(&mut Worker<'_, M>) -> H,
    ) -> (Vec<Node<H, M>>, Team<M>)
    where
        H: Handler<M> + 'static,
        M: 'static,
    {
        let first = self.nodes.len();
        let host: IpAddr = Ipv4Addr::from(0x0a00_0001 + first as u32).into();
        self.net.lock().name(name, [host]);
        let events = config.events_per_wait;
        let front = Sim::new(&self.net, host, events);
        let (front_poller, pollers) = (front.poller(), Arc::new(Mutex::new(Vec::new())));
        let (net, made) = (self.net.clone(), pollers.clone());
        let backend = Box::new(move || {
            let sim = Sim::new(&net, host, events);
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            made.push(sim.poller());
            Ok(Backend::Sim(sim))
        });
        let front = Backend::Sim(front);
        let workers = Workers::on_backends(count, config, front, backend).and_then(setup);
        let workers = workers.unwrap_or_else(|error| panic!("{name} failed to start: {error}"));
        let Parts {
            front, seats, team, ..
        } = workers.into_parts::<M>();
        let mut nodes = Vec::new();
        let pollers = pollers.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, (chair, mut cx)) in seats.into_iter().enumerate() {
            let name = format!("{name}-{number}");
            assert!(
                !self.names.contains(&name),
                "there is already a node named {name}"
            );
            cx.sit(&chair);
            let mut reactor = Reactor::of_worker(cx, &team[number]);
            let app = factory(&mut Worker {
                number,
                reactor: &mut reactor,
                team: &team,
            });
            let app = Traced::new(app, self.trace.of(&name), self.net.clone());
            let running = Running::worker(reactor, app, pollers[number]);
            nodes.push(Node::new(self.id, self.nodes.len(), first));
            self.nodes.push(Box::new(running));
            self.names.push(name);
        }
        self.nodes.push(Box::new(Accepting {
            front,
            poller: front_poller,
            asleep: None,
            ended: false,
        }));
        self.names.push(format!("{name}-accept"));
        (nodes, team)
    }
}
