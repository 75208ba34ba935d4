//! A handler on its reactor, and what the world asks of them.

use super::trace::{NodeTrace, Traced};
use crate::backend::Backend;
use crate::backend::sim::{SharedNet, Sim};
use crate::config::Config;
use crate::handler::Handler;
use crate::reactor::Reactor;
use std::any::Any;
use std::io;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Names a handler of a world, with its type.
pub struct Node<H, M = ()> {
    index: usize,
    of: PhantomData<fn() -> (H, M)>,
}

impl<H, M> Clone for Node<H, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H, M> Copy for Node<H, M> {}

impl<H, M> Node<H, M> {
    pub(super) fn new(index: usize) -> Node<H, M> {
        Node {
            index,
            of: PhantomData,
        }
    }

    pub(super) fn index(self) -> usize {
        self.index
    }

    /// Its host's address: 10.0.0.1 for the first.
    pub fn host(self) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0001 + self.index as u32).into()
    }
}

/// A node whose types are forgotten.
pub(super) trait AnyNode {
    fn turn(&mut self);
    fn next_wakeup(&self) -> Option<Instant>;
    fn poller(&self) -> usize;
    fn leaks(&self) -> String;
    fn as_any(&mut self) -> &mut dyn Any;
}

pub(super) struct Running<H, M> {
    reactor: Reactor<M>,
    app: Traced<H>,
    poller: usize,
}

impl<H: Handler<M> + 'static, M: 'static> Running<H, M> {
    #[track_caller]
    pub(super) fn new(
        net: &SharedNet,
        host: IpAddr,
        config: Config,
        trace: NodeTrace,
        make: impl FnOnce(&mut Reactor<M>) -> io::Result<H>,
    ) -> io::Result<Running<H, M>> {
        if let Err(error) = config.check() {
            panic!("{error}");
        }
        let sim = Sim::new(net, host);
        let poller = sim.poller();
        let mut reactor = Reactor::on_backend(Backend::Sim(sim), config);
        let app = make(&mut reactor)?;
        Ok(Running {
            reactor,
            app: Traced::new(app, trace),
            poller,
        })
    }

    pub(super) fn app(&mut self) -> &mut H {
        &mut self.app.inner
    }

    pub(super) fn reactor(&mut self) -> &mut Reactor<M> {
        &mut self.reactor
    }
}

impl<H: Handler<M> + 'static, M: 'static> AnyNode for Running<H, M> {
    fn turn(&mut self) {
        let result = self.reactor.turn(&mut self.app, Some(Duration::ZERO));
        result.expect("a simulated wait does not fail");
    }

    fn next_wakeup(&self) -> Option<Instant> {
        self.reactor.next_wakeup()
    }

    fn poller(&self) -> usize {
        self.poller
    }

    fn leaks(&self) -> String {
        self.reactor.leaks()
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
