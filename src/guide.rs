//! The guide: one page for each idea, with programs that run.
//!
//! | page | what it is about |
//! |---|---|
//! | [`echo`] | first steps: a server, a handler, state for each connection |
//! | [`backpressure`] | peers that read slowly; `Sent::Wait`, `on_drain`, pausing |
//! | [`sources`] | output that the loop asks for: files, iterators, your own |
//! | [`half_close`] | what `recv` returning 0 means; request and response |
//! | [`frames`] | where a message ends: lines, prefixes, delimiters; binary data |
//! | [`names`] | connecting by name; listeners and streams that come from elsewhere |
//! | [`timers`] | timers, deadlines, and every time that a connection is given |
//! | [`threads`] | messages from other threads, long work, signals |
//! | [`workers`] | more than one core: who gets a connection, and state that all share |
//! | [`embedding`] | the reactor in a loop of yours |
//! | [`endings`] | every reason for `on_close`, and what the peer sees |
//! | `websocket` | both sides of RFC 6455 (feature `websocket`) |
//! | `simulation` | tests without sockets, sleeps or flakes (feature `sim`) |
//! | [`how_to`] | from the calls of a socket how-to to those of this crate |
//!
//! These modules hold text only. The same pages are in the repository, in `docs/guide`.

// The pages link to each other as files. Here the same links lead to modules: the first definition
// of a link is the one that counts.
macro_rules! page {
    // The condition is given to the module itself, so that its page names the feature.
    ($(#[$when:meta])* $name:ident, $file:literal) => {
        #[doc = "[backpressure]: crate::guide::backpressure\n"]
        #[doc = "[sources]: crate::guide::sources\n"]
        #[doc = "[half-close]: crate::guide::half_close\n"]
        #[doc = "[frames]: crate::guide::frames\n"]
        #[doc = "[names]: crate::guide::names\n"]
        #[doc = "[timers]: crate::guide::timers\n"]
        #[doc = "[threads]: crate::guide::threads\n"]
        #[doc = "[endings]: crate::guide::endings\n"]
        #[doc = "[how-to]: crate::guide::how_to\n\n"]
        #[doc = include_str!(concat!("../docs/guide/", $file))]
        $(#[$when])*
        pub mod $name {}
    };
}

page!(echo, "echo.md");
page!(backpressure, "backpressure.md");
page!(sources, "sources.md");
page!(half_close, "half_close.md");
page!(frames, "frames.md");
page!(names, "names.md");
page!(timers, "timers.md");
page!(threads, "threads.md");
page!(workers, "workers.md");
page!(embedding, "embedding.md");
page!(endings, "endings.md");
page!(how_to, "how_to.md");
page!(
    #[cfg(feature = "tls")]
    tls,
    "tls.md"
);
page!(
    #[cfg(feature = "websocket")]
    websocket,
    "websocket.md"
);
page!(
    #[cfg(feature = "sim")]
    simulation,
    "simulation.md"
);
