//! Names of hosts and of interfaces, as the edge knows them.

use super::{Backend, os};
use crate::names::Resolver;
use std::io;
use std::net::SocketAddr;

impl Backend {
    /// Looks names up for connects, without blocking.
    pub(crate) fn resolver(&self) -> Box<dyn Resolver> {
        match self {
            Backend::Os(_) => Box::new(os::SystemNames::new()),
            #[cfg(test)]
            Backend::Script(script) => Box::new(script.clone()),
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => Box::new(sim.resolver()),
        }
    }

    /// Looks a name up, here and now: for who listens, which is done at the start.
    pub(crate) fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Backend::Os(_) => os::addresses(host, port),
            #[cfg(test)]
            Backend::Script(script) => script.addresses(host, port),
            #[cfg(feature = "sim")]
            Backend::Sim(sim) => sim.addresses(host, port),
        }
    }

    /// The number of a network interface (if_nametoindex(3)). `Unsupported`: only a look-up knows.
    pub(crate) fn interface(&self, name: &str) -> io::Result<u32> {
        match self {
            Backend::Os(_) => os::interface(name),
            #[cfg(any(test, feature = "sim"))]
            _ => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("no interface {name}"),
            )),
        }
    }
}
