// The pages link to each other as files, for a forge. Here the same links lead to modules: the
// first definition of a link is the one that counts. `.ci/guide` sees that none is forgotten. The
// second one is for the page of a feature that is off: docs.rs has it.
#![doc = "[echo]: crate::guide::echo\n"]
#![doc = "[half-close]: crate::guide::half_close\n"]
#![doc = "[frames]: crate::guide::frames\n"]
#![doc = "[backpressure]: crate::guide::backpressure\n"]
#![doc = "[timers]: crate::guide::timers\n"]
#![doc = "[endings]: crate::guide::endings\n"]
#![doc = "[limits]: crate::guide::limits\n"]
#![doc = "[names]: crate::guide::names\n"]
#![cfg_attr(feature = "tls", doc = "[tls]: crate::guide::tls\n")]
#![doc = "[tls]: https://docs.rs/sockeye/latest/sockeye/guide/tls/\n"]
#![doc = "[sources]: crate::guide::sources\n"]
#![doc = "[parts]: crate::guide::parts\n"]
#![doc = "[threads]: crate::guide::threads\n"]
#![doc = "[workers]: crate::guide::workers\n"]
#![doc = "[embedding]: crate::guide::embedding\n"]
#![cfg_attr(feature = "websocket", doc = "[websocket]: crate::guide::websocket\n")]
#![doc = "[websocket]: https://docs.rs/sockeye/latest/sockeye/guide/websocket/\n"]
#![cfg_attr(feature = "sim", doc = "[simulation]: crate::guide::simulation\n")]
#![doc = "[simulation]: https://docs.rs/sockeye/latest/sockeye/guide/simulation/\n"]
#![doc = "[how-to]: crate::guide::how_to\n"]
#![cfg_attr(
    feature = "websocket",
    doc = "[coming-from]: crate::guide::coming_from\n"
)]
#![doc = "[coming-from]: https://docs.rs/sockeye/latest/sockeye/guide/coming_from/\n"]
#![doc = "\n"]
#![doc = include_str!("../docs/guide/README.md")]

macro_rules! page {
    // The condition is given to the module itself, so that its page names the feature.
    ($(#[$when:meta])* $name:ident, $file:literal) => {
        #[doc = "[echo]: crate::guide::echo\n"]
        #[doc = "[half-close]: crate::guide::half_close\n"]
        #[doc = "[frames]: crate::guide::frames\n"]
        #[doc = "[backpressure]: crate::guide::backpressure\n"]
        #[doc = "[timers]: crate::guide::timers\n"]
        #[doc = "[endings]: crate::guide::endings\n"]
        #[doc = "[limits]: crate::guide::limits\n"]
        #[doc = "[names]: crate::guide::names\n"]
        #[cfg_attr(feature = "tls", doc = "[tls]: crate::guide::tls\n")]
        #[doc = "[tls]: https://docs.rs/sockeye/latest/sockeye/guide/tls/\n"]
        #[doc = "[sources]: crate::guide::sources\n"]
        #[doc = "[parts]: crate::guide::parts\n"]
        #[doc = "[threads]: crate::guide::threads\n"]
        #[doc = "[workers]: crate::guide::workers\n"]
        #[doc = "[embedding]: crate::guide::embedding\n"]
        #[cfg_attr(feature = "websocket", doc = "[websocket]: crate::guide::websocket\n")]
        #[doc = "[websocket]: https://docs.rs/sockeye/latest/sockeye/guide/websocket/\n"]
        #[cfg_attr(feature = "sim", doc = "[simulation]: crate::guide::simulation\n")]
        #[doc = "[simulation]: https://docs.rs/sockeye/latest/sockeye/guide/simulation/\n"]
        #[doc = "[how-to]: crate::guide::how_to\n"]
        #[cfg_attr(feature = "websocket", doc = "[coming-from]: crate::guide::coming_from\n")]
        #[doc = "[coming-from]: https://docs.rs/sockeye/latest/sockeye/guide/coming_from/\n"]
        #[doc = "\n"]
        #[doc = include_str!(concat!("../docs/guide/", $file))]
        $(#[$when])*
        pub mod $name {}
    };
}

page!(echo, "echo.md");
page!(half_close, "half_close.md");
page!(frames, "frames.md");
page!(backpressure, "backpressure.md");
page!(timers, "timers.md");
page!(endings, "endings.md");
page!(limits, "limits.md");
page!(names, "names.md");
page!(
    #[cfg(feature = "tls")]
    tls,
    "tls.md"
);
page!(sources, "sources.md");
page!(parts, "parts.md");
page!(threads, "threads.md");
page!(workers, "workers.md");
page!(embedding, "embedding.md");
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
page!(how_to, "how_to.md");
page!(
    // One of its programs speaks WebSocket.
    #[cfg(feature = "websocket")]
    coming_from,
    "coming_from.md"
);
