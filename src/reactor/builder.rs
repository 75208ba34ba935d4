//! Making a reactor with a value here and there.

use super::Reactor;
use crate::config::{Config, Limits, with_config_fields};
use std::io;
use std::time::Duration;

/// Makes a reactor with other values than the defaults: [`Reactor::builder`].
///
/// ```
/// use sockeye::{Limits, Reactor};
///
/// let reactor = Reactor::builder()
///     .max_connections(10_000)
///     .limits(Limits::default().at_most_pending(256 * 1024))
///     .build()?;
/// # drop(reactor);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "`build` makes the reactor"]
pub struct Builder {
    config: Config,
}

impl Reactor {
    /// Begins to make a reactor with the default [`Config`], to be changed value by value.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

macro_rules! builder_setters {
    ($($name:ident: $type:ty,)+) => {
        /// Setters for all of the [`Config`].
        impl Builder {
            $(
                #[doc = concat!("Sets [`Config::", stringify!($name), "`](field@Config::",
                    stringify!($name), ").")]
                pub fn $name(mut self, $name: $type) -> Builder {
                    self.config.$name = $name;
                    self
                }
            )+
        }
    };
}
with_config_fields!(builder_setters);

impl Builder {
    /// Makes a reactor without messages from other threads.
    ///
    /// # Errors
    ///
    /// As [`Reactor::with_config`].
    pub fn build(self) -> io::Result<Reactor> {
        Reactor::with_config(self.config)
    }

    /// Makes a reactor to which other threads may post an `M`.
    ///
    /// # Errors
    ///
    /// As [`Reactor::with_config`].
    pub fn build_with_messages<M>(self) -> io::Result<Reactor<M>> {
        Reactor::with_messages_and_config(self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_builder_refuses_what_makes_no_sense_and_takes_the_rest() {
        let error = Reactor::builder().accepts_per_turn(0).build();
        let error = error.err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("accepts_per_turn")));
        let builder = Reactor::builder()
            .limits(Limits::default().at_most_pending(1 << 16))
            .max_connections(7);
        let mut reactor = builder.build_with_messages::<String>().unwrap();
        let config = reactor.cx.parts().config;
        assert_eq!(
            (config.max_connections, config.limits.hard_limit),
            (7, 1 << 16)
        );
    }
}
