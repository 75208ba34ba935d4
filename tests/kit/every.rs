//! Tests of one scenario, an edge each.

/// Three tests for each scenario.
#[allow(unused_macros, reason = "not every shelf has scenarios")]
macro_rules! on_both_edges {
    ($($name:ident,)*) => {$(
        mod $name {
            use crate::kit::edge::On;

            #[test]
            fn on_real_sockets() {
                super::$name(On::Real);
            }

            #[test]
            fn on_the_simulated_network() {
                super::$name(On::Sim);
            }

            #[test]
            fn on_the_simulated_network_with_faults() {
                for seed in 0..6 {
                    super::$name(On::Faulty(seed));
                }
            }
        }
    )*};
}

#[allow(unused_imports, reason = "not every shelf has scenarios")]
pub(crate) use on_both_edges;

/// On both edges, and over Unix sockets on each.
#[allow(unused_macros, reason = "not every shelf has scenarios")]
macro_rules! on_every_edge {
    ($($name:ident,)*) => {
        crate::kit::every::on_both_edges! { $($name,)* }

        mod over_unix_sockets {
            use crate::kit::edge::On;

            $(mod $name {
                use super::*;

                #[cfg(unix)]
                #[test]
                fn of_the_system() {
                    super::super::$name(On::Unix);
                }

                #[test]
                fn of_the_simulated_network() {
                    super::super::$name(On::SimUnix);
                }
            })*
        }
    };
}

#[allow(unused_imports, reason = "not every shelf has scenarios")]
pub(crate) use on_every_edge;
