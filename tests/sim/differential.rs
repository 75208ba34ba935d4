//! The simulated network against the kernel: random scripts on both, and what a program can see of
//! them must be the same.
//!
//! A script runs on the simulated network first. On real sockets each of its steps is then over
//! when what was foretold is seen; what never is, is a difference. The kernel is right.
//!
//! `cargo test --release --features sim --test sim differential -- --ignored` runs ten thousand;
//! `SOCKEYE_SCRIPTS=50000` makes it so many; `SOCKEYE_SCRIPT=7` runs only that one, and says what
//! it does.

mod run;
mod script;

use crate::kit::edge::On;
use run::{Foretold, Run};
use script::{Script, script};

/// Compares one script.
fn compare(script: &Script) -> Result<(), String> {
    let foretold = Run::new(On::Sim, script, None).run()?;
    let real = Run::new(On::Real, script, Some(&foretold)).run()?;
    same_bytes(&real, &foretold)
}

/// The bytes are the same as far as both have them; how many there are was compared before.
fn same_bytes(real: &Foretold, foretold: &Foretold) -> Result<(), String> {
    let (real, foretold) = (&real.outcome.bytes, &foretold.outcome.bytes);
    for (index, (real, told)) in real.iter().zip(foretold).enumerate() {
        for (real, told, what) in [(&real.0, &told.0, "got"), (&real.1, &told.1, "heard")] {
            let both = real.len().min(told.len());
            if real[..both] != told[..both] {
                return Err(format!("connection {index} {what} other bytes"));
            }
        }
    }
    Ok(())
}

/// Compares these scripts. One whose outcome on real sockets changes from run to run was truly
/// racy: it is counted, and there may be few of them.
fn compare_all(seeds: std::ops::Range<u64>) {
    let count = seeds.end - seeds.start;
    let (mut racy, mut different) = (0, Vec::new());
    for seed in seeds {
        let script = script(seed);
        let Err(first) = compare(&script) else {
            continue;
        };
        match (0..2).any(|_| compare(&script).is_ok()) {
            true => {
                eprintln!("script {seed} is racy: {first}");
                racy += 1;
            }
            false => {
                eprintln!("script {seed} differs {first}");
                different.push(seed);
            }
        }
        assert!(different.len() < 10, "too many: {different:?}");
    }
    eprintln!(
        "{count} scripts, {racy} racy, {} different",
        different.len()
    );
    assert!(different.is_empty(), "SOCKEYE_SCRIPT={}", different[0]);
    assert!(racy <= 1 + count / 500, "{racy} of {count} are racy");
}

#[test]
fn random_scripts_end_the_same_on_real_sockets() {
    match std::env::var("SOCKEYE_SCRIPT") {
        Ok(seed) => {
            let seed = seed.parse().unwrap();
            eprintln!("{:?}", script(seed));
            if let Err(difference) = compare(&script(seed)) {
                panic!("{difference}");
            }
        }
        Err(_) => compare_all(0..300),
    }
}

#[test]
#[ignore = "takes minutes"]
fn ten_thousand_scripts_end_the_same_on_real_sockets() {
    let count = std::env::var("SOCKEYE_SCRIPTS").map(|count| count.parse().unwrap());
    compare_all(0..count.unwrap_or(10_000));
}
