//! Several workers in a world.

use super::World;
use crate::backend::Backend;
use crate::backend::simnet::Sim;
use crate::config::Config;
use crate::context::Context;
use crate::handler::Handler;
use crate::sim::node::{AnyNode, Node, Running};
use crate::sim::trace::Traced;
use crate::sim::working::{Shop, Working};
use crate::workers::{Front, Life, Parts, Team, Worker, Workers, WorkersReport};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The loop that accepts for workers.
struct Accepting {
    /// `None`: all workers are over.
    front: Option<Front>,
    poller: usize,
    /// When it wakes if nothing comes; outer `None`: it has still to look.
    asleep: Option<Option<Instant>>,
}

impl Accepting {
    fn next_turn(&self) -> Option<Instant> {
        self.front.as_ref().and_then(Front::next_turn)
    }
}

impl AnyNode for Accepting {
    fn turn(&mut self) -> Result<(), String> {
        let turned = self
            .front
            .as_mut()
            .map(|front| front.turn(Some(Duration::ZERO)));
        let turned = turned.transpose();
        if turned.expect("a simulated wait does not fail") == Some(false) {
            // Its listeners are closed with it.
            self.front = None;
        }
        self.asleep = Some(self.next_turn());
        Ok(())
    }

    fn wakes_at(&mut self) -> Option<Instant> {
        if self.asleep.is_none() {
            self.asleep = Some(self.next_turn());
        }
        self.asleep.flatten()
    }

    fn poller(&self) -> Option<usize> {
        self.front.as_ref().map(|_| self.poller)
    }

    fn leaks(&self) -> String {
        String::new()
    }
}

impl World {
    /// From now on a callback of a worker that panics ends that worker, as in a real run of
    /// [`Workers`]: its connections are closed, the others go on, and it begins again if `restarts`
    /// lets it. What it has panicked with is in [`workers_report`](World::workers_report). Default:
    /// a panic comes out of `advance` and its kin, as that of any other node always does, so that
    /// an assertion of a handler fails its test.
    pub fn catch_panics(&mut self) {
        self.catches.set(true);
    }

    /// How workers came to their end, as [`Running::join`](crate::Running::join) answers it.
    /// `None`: one of them is not over.
    ///
    /// # Panics
    ///
    /// When a node is of another world.
    #[track_caller]
    pub fn workers_report<H, M>(&mut self, nodes: &[Node<H, M>]) -> Option<WorkersReport>
    where
        H: Handler<M> + 'static,
        M: 'static,
    {
        let each = nodes.iter().map(|node| self.running(*node).worker_report());
        let all: Option<Vec<_>> = each.collect();
        all.map(|all| WorkersReport::of(all, None))
    }

    /// Starts workers on one host, each a node of its own in this world: `NAME-0`, `NAME-1` and so
    /// on, and a loop that accepts for them. They are turned in an order that the seed chooses, one
    /// at a time, hand-over included. What several workers post in one round (a turn of each that
    /// has something to do) comes to each worker in an order of its own, and what one worker posts
    /// in the order of posting, as from threads. `setup` listens, and may choose how sockets are
    /// handed over; [`ReusePort`](crate::HandOver::ReusePort) is not simulated: its `listen` fails.
    ///
    /// The team is for messages to all, and for the end of all. The factory makes the handlers at
    /// once, and those of workers that begin again: see [`catch_panics`](World::catch_panics).
    ///
    /// # Panics
    ///
    /// When `setup` fails, the configuration makes no sense, or the name is taken. A panic of the
    /// factory comes out too: at first no worker is there that could end by it.
    #[track_caller]
    pub fn start_workers<H, M>(
        &mut self,
        name: &str,
        (count, config): (usize, Config),
        setup: impl FnOnce(Workers) -> io::Result<Workers>,
        factory: impl Fn(&mut Worker<'_, M>) -> H + 'static,
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
            blueprint,
            restarts,
            front,
            seats,
            team,
        } = workers.into_parts::<M>();
        self.stage(&team);
        let mut nodes = Vec::new();
        let shop = Shop {
            factory: Rc::new(factory),
            pollers,
            net: self.net.clone(),
            host,
            catches: self.catches.clone(),
        };
        for (number, (chair, cx)) in seats.into_iter().enumerate() {
            let life = Life::new(chair, team.clone(), blueprint.clone(), restarts);
            let running = self.worker(&format!("{name}-{number}"), number, life, cx, &shop);
            nodes.push(Node::new(self.id, self.nodes.len(), first));
            self.nodes.push(Box::new(running));
            self.names.push(format!("{name}-{number}"));
        }
        self.nodes.push(Box::new(Accepting {
            front: Some(front),
            poller: front_poller,
            asleep: None,
        }));
        self.names.push(format!("{name}-accept"));
        (nodes, team)
    }

    /// What workers post is seen by others when the round is over.
    fn stage<M: 'static>(&mut self, team: &Team<M>) {
        for sender in team.iter() {
            sender.stage(&self.round);
            let sender = sender.clone();
            let end_round = move |pick: &mut dyn FnMut(usize) -> usize| sender.end_round(pick);
            self.mailboxes.push(Box::new(end_round));
        }
    }

    #[track_caller]
    fn worker<H, M>(
        &self,
        name: &str,
        number: usize,
        life: Life<M>,
        cx: Context,
        shop: &Shop<H, M>,
    ) -> Running<H, M>
    where
        H: Handler<M> + 'static,
        M: 'static,
    {
        assert!(
            self.names.iter().all(|taken| taken != name),
            "there is already a node named {name}"
        );
        let mut reactor = life.sit(cx);
        let app = life.make(&mut reactor, &*shop.factory);
        let app = Traced::new(app, self.trace.of(name), self.net.clone());
        let working = Working::new(life, shop.clone());
        Running::worker(reactor, app, shop.poller(number), working)
    }
}
