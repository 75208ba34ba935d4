//! The machine and the versions, as the report names them.

use std::fs;

use crate::peers::in_c::output;
use crate::peers::{Kind, Peer};

/// As it was when this program was built.
const LOCK: &str = include_str!("../../Cargo.lock");

/// One line: processor, cores, memory, kernel.
pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = cpu.lines().filter(|l| l.starts_with("processor")).count();
    let field = |name: &str| {
        let mut lines = cpu.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim())
    };
    let model = field("model name").unwrap_or("an unknown processor");
    // A virtual machine's name often says no more than the maker's.
    let number = field("model").map_or_else(String::new, |model| format!(" (model {model})"));
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.split_whitespace().nth(1);
    let gib = kib.and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0) / f64::from(1 << 20);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    format!(
        "{cores} cores of {model}{number}, {gib:.0} GiB, Linux {}, congestion control {}",
        kernel.trim(),
        control.unwrap_or_default().trim()
    )
}

/// One line: when, and of which commit.
pub(crate) fn when() -> String {
    let date = output("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default();
    let commit = output("git", &["describe", "--always", "--dirty"]).unwrap_or_default();
    let rustc = output("rustc", &["--version"]).unwrap_or_default();
    let parts = [date, format!("commit {commit}"), rustc];
    let parts: Vec<&str> = parts.iter().map(|part| part.trim()).collect();
    parts.join(", ")
}

/// The version of a peer's crate or library.
pub(crate) fn version(peer: &Peer) -> String {
    match &peer.kind {
        Kind::C(program) => program.version(),
        Kind::Rust(_) => {
            let version = locked(LOCK, peer.package).unwrap_or_default();
            match peer.package == peer.name {
                true => version,
                false => format!("{} {version}", peer.package),
            }
        }
    }
}

/// The newest version of a package in a lock file: ours, for older ones are those of a
/// dependency.
fn locked(lock: &str, package: &str) -> Option<String> {
    let key = format!("name = \"{package}\"");
    let mut lines = lock.lines();
    let mut found = None;
    while let Some(line) = lines.next() {
        if line == key {
            let version = lines.next()?.split('"').nth(1)?;
            found = Some(version.to_owned()); // the file is sorted
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_tells_versions() {
        let lock = "[[package]]\nname = \"a\"\nversion = \"0.8.1\"\n\n\
                    [[package]]\nname = \"a\"\nversion = \"1.2.5\"\n";
        assert_eq!(locked(lock, "a").as_deref(), Some("1.2.5"));
        assert_eq!(locked(lock, "b"), None);
        assert!(locked(LOCK, "mio").is_some());
    }
}
