//! The servers in C: built when the program runs, if there is a compiler and the library.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

pub(crate) struct Program {
    name: &'static str,
    source: &'static str,
    /// What `pkg-config` calls the library; empty for none.
    library: &'static str,
    /// What the compiler is told besides.
    flags: &'static [&'static str],
    /// The variable that names the directory of the library's sources, where no distribution has
    /// it; empty for none.
    sources: &'static str,
}

pub(crate) const EPOLL: Program = Program {
    name: "epoll",
    source: include_str!("../../c/epoll.c"),
    library: "",
    flags: &[],
    sources: "",
};

/// Two loops of it.
pub(crate) const EPOLL_PAIR: Program = Program {
    name: "epoll-pair",
    source: include_str!("../../c/epoll.c"),
    library: "",
    flags: &["-DPAIR", "-pthread"],
    sources: "",
};

pub(crate) const LIBEVENT: Program = Program {
    name: "libevent",
    source: include_str!("../../c/libevent.c"),
    library: "libevent_core",
    flags: &[],
    sources: "",
};

pub(crate) const LIBUV: Program = Program {
    name: "libuv",
    source: include_str!("../../c/libuv.c"),
    library: "libuv",
    flags: &[],
    sources: "",
};

pub(crate) const USOCKETS: Program = Program {
    name: "usockets",
    source: include_str!("../../c/usockets.c"),
    library: "",
    sources: "USOCKETS",
    flags: &[],
};

const COMMON: &str = include_str!("../../c/common.h");

/// As fast as a distribution's own packages are built, and a little more.
const FLAGS: &[&str] = &["-O3", "-Wall", "-Wextra"];

impl Program {
    /// Compiles it, and says where it is; or why it cannot be had.
    pub(crate) fn build(&self) -> Result<PathBuf> {
        let mut flags = Vec::new();
        if !self.library.is_empty() {
            let known = output("pkg-config", &["--cflags", "--libs", self.library]);
            let known = known.ok_or_else(|| format!("pkg-config knows no {}", self.library))?;
            flags.extend(known.split_whitespace().map(str::to_owned));
        }
        if !self.sources.is_empty() {
            flags.extend(parts(&self.tree()?)?);
        }
        // Beside this program, which is in the target directory.
        let exe = std::env::current_exe()?;
        let dir = exe.parent().unwrap_or(Path::new(".")).join("perf-c");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("common.h"), COMMON)?;
        let source = dir.join(format!("{}.c", self.name));
        fs::write(&source, self.source)?;
        let program = dir.join(self.name);
        let built = Command::new(compiler())
            .args(FLAGS)
            .args(self.flags)
            .arg("-o")
            .args([&program, &source])
            .args(&flags)
            .output()
            .map_err(|_| format!("no C compiler `{}`", compiler()))?;
        if !built.status.success() {
            let text = String::from_utf8_lossy(&built.stderr);
            return Err(format!("{} does not compile:\n{text}", source.display()).into());
        }
        Ok(program)
    }

    /// Where the sources of its library are.
    fn tree(&self) -> Result<String> {
        let tree = std::env::var(self.sources);
        Ok(tree.map_err(|_| format!("{} names no directory of its sources", self.sources))?)
    }

    /// The version of its library, or of the compiler.
    pub(crate) fn version(&self) -> String {
        let version = if !self.sources.is_empty() {
            let tree = self.tree().unwrap_or_default();
            output("git", &["-C", &tree, "describe", "--tags"]).unwrap_or_default()
        } else if self.library.is_empty() {
            let text = output(&compiler(), &["--version"]).unwrap_or_default();
            text.lines().next().unwrap_or_default().to_owned() + " -O3"
        } else {
            output("pkg-config", &["--modversion", self.library]).unwrap_or_default()
        };
        version.trim().to_owned()
    }
}

/// A library whose sources are compiled with the program: those of uSockets, without TLS.
fn parts(tree: &str) -> Result<Vec<String>> {
    let mut words = vec!["-DLIBUS_NO_SSL".to_owned(), format!("-I{tree}/src")];
    for folder in ["src", "src/eventing"] {
        for entry in fs::read_dir(Path::new(tree).join(folder))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            // Of its loops, the one on epoll.
            let is_part = match folder {
                "src" => path.extension().is_some_and(|end| end == "c"),
                _ => name == "epoll_kqueue.c",
            };
            if is_part {
                words.push(path.display().to_string());
            }
        }
    }
    Ok(words)
}

fn compiler() -> String {
    std::env::var("CC").unwrap_or_else(|_| "cc".to_owned())
}

/// What a command prints, if it is there and succeeds.
pub(crate) fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}
