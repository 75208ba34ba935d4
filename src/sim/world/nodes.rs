//! The handlers of a world: they are started, asked, and told by others.

use super::World;
use crate::config::Config;
use crate::context::Context;
use crate::handler::Handler;
use crate::mailbox::SendError;
use crate::reactor::Reactor;
use crate::sim::node::{Node, Running};
use std::any::Any;
use std::io;
use std::net::Ipv4Addr;

const KNOWS_ITS_TYPES: &str = "a node knows its types";

impl World {
    /// Starts a handler on a reactor of its own, on a host of its own: 10.0.0.1 for the first, then
    /// 10.0.0.2 and so on. `setup` listens and connects. Addresses of 127.0.0.0/8 lead to whoever
    /// listens on them, from everywhere.
    ///
    /// # Panics
    ///
    /// When `setup` fails, or the name is taken.
    #[track_caller]
    pub fn start<H, M>(
        &mut self,
        name: &str,
        app: H,
        setup: impl FnOnce(&mut Reactor<M>) -> io::Result<()>,
    ) -> Node<H, M>
    where
        H: Handler<M> + 'static,
        M: 'static,
    {
        self.start_with(name, Config::default(), app, setup)
    }

    /// Starts a handler on a reactor of its own with a [`Config`] of its own, as
    /// [`start`](World::start) does.
    ///
    /// # Panics
    ///
    /// When `setup` fails, the configuration makes no sense, or the name is taken.
    #[track_caller]
    pub fn start_with<H, M>(
        &mut self,
        name: &str,
        config: Config,
        app: H,
        setup: impl FnOnce(&mut Reactor<M>) -> io::Result<()>,
    ) -> Node<H, M>
    where
        H: Handler<M> + 'static,
        M: 'static,
    {
        self.start_by(name, config, |reactor| setup(reactor).map(|()| app))
    }

    /// Starts a handler that is made with the [`Context`] of its reactor, to set a timer for
    /// example; the rest is as in [`start_with`](World::start_with).
    ///
    /// # Panics
    ///
    /// When `make` fails, the configuration makes no sense, or the name is taken.
    #[track_caller]
    pub fn start_by<H, M>(
        &mut self,
        name: &str,
        config: Config,
        make: impl FnOnce(&mut Reactor<M>) -> io::Result<H>,
    ) -> Node<H, M>
    where
        H: Handler<M> + 'static,
        M: 'static,
    {
        let taken = self.names.iter().any(|taken| taken == name);
        assert!(
            !taken,
            "there is a {name} already: the trace could not tell them apart"
        );
        let index = self.nodes.len();
        let host = Ipv4Addr::from(0x0a00_0001 + index as u32);
        let trace = self.trace.of(name);
        // Before it begins: it may want to reach itself.
        self.net.lock().name(name, [host.into()]);
        match Running::new(&self.net, host.into(), config, trace, make) {
            Ok(running) => self.nodes.push(Box::new(running)),
            Err(error) => panic!("{name} failed to start: {error}"),
        }
        self.names.push(name.to_owned());
        Node::new(self.id, index, index)
    }

    /// The handler of a node, to look at.
    ///
    /// # Panics
    ///
    /// When the node is of another world.
    #[track_caller]
    pub fn app<H: Handler<M> + 'static, M: 'static>(&self, node: Node<H, M>) -> &H {
        let any: &dyn Any = &*self.nodes[node.index(self.id)];
        let running: &Running<H, M> = any.downcast_ref().expect(KNOWS_ITS_TYPES);
        running.app()
    }

    /// The handler of a node, to change.
    ///
    /// # Panics
    ///
    /// When the node is of another world.
    #[track_caller]
    pub fn app_mut<H: Handler<M> + 'static, M: 'static>(&mut self, node: Node<H, M>) -> &mut H {
        self.running(node).app_mut()
    }

    /// The reactor of a node: commands from outside callbacks, senders. It has no descriptor, and
    /// the world turns it.
    ///
    /// # Panics
    ///
    /// When the node is of another world.
    #[track_caller]
    pub fn reactor<H: Handler<M> + 'static, M: 'static>(
        &mut self,
        node: Node<H, M>,
    ) -> &mut Reactor<M> {
        self.running(node).reactor()
    }

    /// Commands from outside callbacks, with the handler at hand.
    ///
    /// # Panics
    ///
    /// When the node is of another world.
    #[track_caller]
    pub fn with<H: Handler<M> + 'static, M: 'static, R>(
        &mut self,
        node: Node<H, M>,
        act: impl FnOnce(&mut H, &mut Context) -> R,
    ) -> R {
        let (app, cx) = self.running(node).both();
        act(app, cx)
    }

    /// Runs `check` after every turn of a node, with its handler and a [`Context`] for questions:
    /// for what must always hold. There is one; the last is kept.
    ///
    /// # Panics
    ///
    /// When the node is of another world.
    #[track_caller]
    pub fn after_each_turn<H: Handler<M> + 'static, M: 'static>(
        &mut self,
        node: Node<H, M>,
        check: impl FnMut(&mut H, &Context) + 'static,
    ) {
        self.running(node).check_with(Box::new(check));
    }

    /// Posts a message as another thread would: it comes at some point of the next turns, in the
    /// middle of one perhaps, as the seed has it. Messages to full mailboxes are posted again.
    ///
    /// # Panics
    ///
    /// When the node is of another world.
    #[track_caller]
    pub fn post<H, M>(&mut self, node: Node<H, M>, message: M)
    where
        H: Handler<M> + 'static,
        M: Send + 'static,
    {
        let sender = self.running(node).sender();
        let (mut message, round) = (Some(message), self.round.clone());
        self.net.lock().post(Box::new(move || {
            let send = |message| round.apart(|| sender.send(message));
            let result = message.take().map(send);
            if let Some(Err(SendError::Full(again))) = result {
                message = Some(again);
            }
            message.is_none()
        }));
    }

    #[track_caller]
    pub(super) fn running<H: Handler<M> + 'static, M: 'static>(
        &mut self,
        node: Node<H, M>,
    ) -> &mut Running<H, M> {
        let any: &mut dyn Any = &mut *self.nodes[node.index(self.id)];
        any.downcast_mut().expect(KNOWS_ITS_TYPES)
    }
}
