//! From a seed that fails to the smallest plan of it that still does.

use super::plan::{Cut, Plan};
use super::run::run;

/// Plans that are tried at most.
const TRIES: usize = 2000;

/// The smallest cut that was found, and what it violates.
pub fn shrink(seed: u64) -> (Cut, String) {
    let plan = Plan::new(seed);
    let all = Cut {
        steps: Some((0..plan.steps.len()).collect()),
        fuel: plan.nodes.iter().map(|node| node.fuel).max(),
        faults: Some(plan.fault_names()),
        ..Cut::default()
    };
    let mut said = fails(seed, &all).unwrap_or("it does not fail".to_owned());
    let mut best = all;
    let mut tries = 0;
    let mut again = true;
    while again && tries < TRIES {
        again = false;
        for smaller in candidates(&best) {
            tries += 1;
            if let Some(what) = fails(seed, &smaller).filter(|what| kind(what) == kind(&said)) {
                (best, said, again) = (smaller, what, true);
                break;
            }
        }
    }
    (best, said)
}

/// What was violated, without the numbers: another violation is another matter.
fn kind(said: &str) -> String {
    said.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn fails(seed: u64, cut: &Cut) -> Option<String> {
    run(Plan::new(seed).cut(cut)).err()
}

/// Smaller plans, the much smaller ones first.
fn candidates(cut: &Cut) -> Vec<Cut> {
    let mut all = Vec::new();
    let steps = cut.steps.clone().unwrap_or_default();
    let mut size = steps.len() / 2;
    while size > 0 {
        for from in (0..steps.len()).step_by(size) {
            let mut fewer = steps.clone();
            fewer.drain(from..(from + size).min(steps.len()));
            all.push(Cut {
                steps: Some(fewer),
                ..cut.clone()
            });
        }
        size /= 2;
    }
    let faults = cut.faults.clone().unwrap_or_default();
    for without in 0..faults.len() {
        let mut fewer = faults.clone();
        fewer.remove(without);
        all.push(Cut {
            faults: Some(fewer),
            ..cut.clone()
        });
    }
    let fuel = cut.fuel.unwrap_or(0);
    for fuel in [0, fuel / 2, fuel.saturating_sub(1)] {
        if Some(fuel) != cut.fuel {
            all.push(Cut {
                fuel: Some(fuel),
                ..cut.clone()
            });
        }
    }
    if !cut.ends_early {
        all.insert(
            0,
            Cut {
                ends_early: true,
                ..cut.clone()
            },
        );
    }
    if !cut.plain_sockets {
        all.push(Cut {
            plain_sockets: true,
            ..cut.clone()
        });
    }
    if !cut.plain_link {
        all.push(Cut {
            plain_link: true,
            ..cut.clone()
        });
    }
    all
}
