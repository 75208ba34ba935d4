//! Where a socket is: an IP address with a port, or the path of a Unix socket.

use std::fmt::{self, Write};
use std::io::{
    self,
    ErrorKind::{InvalidInput, Unsupported},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// The address of one end of a connection, or of a listener.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Addr {
    /// An IPv4 or IPv6 address with its port. A listener on `[::]` may take IPv4 peers too; the
    /// loop gives them their IPv4 address, `1.2.3.4:5` and not `[::ffff:1.2.3.4]:5`.
    Ip(SocketAddr),
    /// The path of a Unix socket; `None` for a socket without a name, as connecting ones are. On
    /// Windows there are none but in a simulation: `listen` and `connect` refuse them, as
    /// `Unsupported`.
    Unix(Option<Arc<Path>>),
}

impl Addr {
    /// Nobody's address: nobody can be reached at port 0.
    pub(crate) const NONE: Addr =
        Addr::Ip(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)));

    /// A Unix socket by its path. One that begins with a NUL is an abstract name (Linux, unix(7)):
    /// it is no file, and goes with its socket. Any other NUL in a path is refused by `listen` and
    /// `connect`, for the system would cut it there.
    pub fn unix(path: impl AsRef<Path>) -> Addr {
        Addr::Unix(Some(Arc::from(path.as_ref())))
    }

    /// The IP address and port, if this is one.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Addr::Ip(addr) => Some(*addr),
            Addr::Unix(_) => None,
        }
    }

    pub(crate) fn is_unix(&self) -> bool {
        matches!(self, Addr::Unix(_))
    }

    /// The path of the Unix socket, if this is one and has a name.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Addr::Unix(path) => path.as_deref().filter(|path| !is_abstract(path)),
            Addr::Ip(_) => None,
        }
    }

    /// The abstract name of the Unix socket, without the NUL in front, if it has one.
    pub fn abstract_name(&self) -> Option<&[u8]> {
        match self {
            Addr::Unix(Some(path)) => path.as_os_str().as_encoded_bytes().strip_prefix(&[0]),
            _ => None,
        }
    }

    /// From the system. A peer has one name, whichever way it came: what is compared with lists of
    /// addresses must not depend on how the program listens.
    #[inline]
    pub(crate) fn from_system(addr: SocketAddr) -> Addr {
        Addr::Ip(match addr {
            SocketAddr::V6(v6) => unmapped(v6),
            v4 => v4,
        })
    }

    /// Refuses what nobody can be reached at.
    pub(crate) fn check_peer(&self) -> io::Result<()> {
        match self.ip() {
            Some(addr) if addr.port() == 0 => {
                let text = format!("{addr}: cannot connect to port 0");
                Err(io::Error::new(InvalidInput, text))
            }
            _ => self.check(),
        }
    }

    /// Refuses a path that no socket can be at, and one that the system would take for another.
    pub(crate) fn check(&self) -> io::Result<()> {
        let Addr::Unix(path) = self else {
            return Ok(());
        };
        let path = path.as_deref().unwrap_or(Path::new(""));
        let (kind, text) = match path.as_os_str().as_encoded_bytes() {
            [] => (Unsupported, "a Unix socket needs a path"),
            [0, ..] if cfg!(any(target_os = "linux", target_os = "android")) => return Ok(()),
            [0, ..] => (
                Unsupported,
                "abstract names (with a leading NUL) exist only on Linux",
            ),
            bytes if bytes.contains(&0) => {
                (InvalidInput, "a Unix socket path must not contain a NUL")
            }
            _ => return Ok(()),
        };
        Err(io::Error::new(kind, text))
    }
}

/// `127.0.0.1:7000`, `[::1]:7000`, `unix:/run/chat.sock`, `unix:@name` for an abstract name;
/// `unix:` for a Unix socket without a name. Control characters in a path are written as `\u{1b}`.
impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Ip(addr) => addr.fmt(f),
            Addr::Unix(Some(path)) => {
                let path = path.to_string_lossy();
                let (mark, text) = match path.strip_prefix('\0') {
                    Some(name) => ("unix:@", name),
                    // A file of this name, and no abstract one.
                    None if path.starts_with('@') => ("unix:./", &*path),
                    None => ("unix:", &*path),
                };
                f.write_str(mark)?;
                // A peer chooses its own path, and it must not steer the terminal that shows a log.
                text.chars().try_for_each(|c| match c.is_control() {
                    true => write!(f, "{}", c.escape_default()),
                    false => f.write_char(c),
                })
            }
            Addr::Unix(None) => f.write_str("unix:"),
        }
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Without the mapping of RFC 4291, 2.5.5.2. Apart, so that the address of an accepted peer is not
/// taken to pieces on its way.
#[inline(never)]
fn unmapped(v6: SocketAddrV6) -> SocketAddr {
    match v6.ip().to_ipv4_mapped() {
        Some(v4) => SocketAddr::from((v4, v6.port())),
        None => SocketAddr::V6(v6),
    }
}

fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().first() == Some(&0)
}

/// Who is at the other end of a Unix socket (`SO_PEERCRED`, unix(7)), as it was at the connect.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The process; 0 for one that this process cannot see. It may be gone by now, and its number
    /// another's.
    pub pid: i32,
}

/// Why a text is not an [`Addr`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddrParseError(pub(crate) String);

impl fmt::Display for AddrParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0;
        write!(f, "{text:?} is not an address: ")?;
        let port = text.rsplit_once(':').map_or("", |(_, port)| port);
        match !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) {
            // Digits, and still no port: there are too many of them.
            true if port.parse::<u16>().is_err() => f.write_str("a port is at most 65535"),
            _ => f.write_str("expected IP:PORT, NAME:PORT, [IPV6]:PORT or unix:PATH"),
        }
    }
}

impl std::error::Error for AddrParseError {}

/// Reads what `Display` writes. Host names are no addresses: nothing is looked up here.
impl FromStr for Addr {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Addr, AddrParseError> {
        match text.strip_prefix("unix:") {
            Some("" | "@") => Err(AddrParseError(text.to_owned())),
            Some(path) => Ok(match path.strip_prefix('@') {
                Some(name) => Addr::unix(format!("\0{name}")),
                None => Addr::unix(path),
            }),
            None => text
                .parse()
                .map(Addr::Ip)
                .map_err(|_| AddrParseError(text.to_owned())),
        }
    }
}

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Addr {
        Addr::Ip(addr)
    }
}

impl From<&Path> for Addr {
    fn from(path: &Path) -> Addr {
        Addr::unix(path)
    }
}

/// What `listen` and `connect` were given: an address, or a text still to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Addr(Addr),
    /// A host, which may be a name, and a port.
    Host(String, u16),
    /// A text that is neither.
    Text(String),
}

/// Is it a host and a port? What has not both would be looked up in vain. An IPv6 address without
/// brackets has no port: all of `::1:80` is the address.
fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    match host.strip_prefix('[') {
        Some(host) => Some((host.strip_suffix(']')?, port)),
        None if host.is_empty() || text.parse::<Ipv6Addr>().is_ok() => None,
        None if host.contains(':') => None,
        None => Some((host, port)),
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Addr(addr) => addr.fmt(f),
            Target::Host(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Target::Host(host, port) => write!(f, "{}:{port}", host.escape_debug()),
            Target::Text(text) => write!(f, "{}", text.escape_debug()),
        }
    }
}

/// An address in any of the forms that `listen` and `connect` take.
///
/// It is made by `From` and not by name: from a [`SocketAddr`], `"127.0.0.1:7000"`,
/// `"example.org:443"`, `"[fe80::1%eth0]:80"`, `"unix:/run/chat.sock"`, `("example.org", 443)`,
/// `(IpAddr, 7000)`, a `Path` or `PathBuf` (a Unix socket) or an [`Addr`].
#[derive(Clone, Debug)]
pub struct AnyAddr(pub(crate) Target);

/// What is an address in any form of [`AnyAddr`]: [`Listen::new`](crate::Listen::new) and
/// [`Connect::new`](crate::Connect::new) take it. There is nothing to implement: a type with
/// `From` for `AnyAddr` is one.
///
/// ```compile_fail,E0277
/// sockeye::Connect::new(7000); // error: `{integer}` is not an address
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an address",
    label = "not an address",
    note = "expected \"127.0.0.1:7000\", (\"127.0.0.1\", 7000) or \"unix:/run/chat.sock\"; \
            or give a `SocketAddr`, a `Path` or an `Addr`"
)]
pub trait ToAddr: Into<AnyAddr> {}

#[diagnostic::do_not_recommend] // or the compiler would speak of `From`
impl<A: Into<AnyAddr>> ToAddr for A {}

impl From<Addr> for AnyAddr {
    fn from(addr: Addr) -> AnyAddr {
        AnyAddr(Target::Addr(addr))
    }
}

impl From<&str> for AnyAddr {
    fn from(text: &str) -> AnyAddr {
        AnyAddr(match (text.parse(), host_and_port(text)) {
            (Ok(addr), _) => Target::Addr(addr),
            (Err(_), Some((host, port))) => Target::Host(host.to_owned(), port),
            (Err(AddrParseError(text)), None) => Target::Text(text),
        })
    }
}

impl From<(&str, u16)> for AnyAddr {
    fn from((host, port): (&str, u16)) -> AnyAddr {
        AnyAddr(match host.parse::<IpAddr>() {
            Ok(ip) => Target::Addr(Addr::Ip((ip, port).into())),
            Err(_) => Target::Host(host.to_owned(), port),
        })
    }
}

macro_rules! to_addr {
    ($($from:ty => |$value:ident| $to:expr;)*) => {$(
        impl From<$from> for AnyAddr {
            fn from($value: $from) -> AnyAddr {
                AnyAddr::from($to)
            }
        }
    )*};
}

to_addr! {
    &Addr => |addr| addr.clone();
    SocketAddr => |addr| Addr::Ip(addr);
    (IpAddr, u16) => |addr| Addr::Ip(addr.into());
    &String => |text| text.as_str();
    String => |text| text.as_str();
    &Path => |path| Addr::unix(path);
    PathBuf => |path| Addr::unix(path);
    &PathBuf => |path| Addr::unix(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_is_written() {
        for text in [
            "127.0.0.1:7000",
            "[::1]:80",
            "unix:/run/a b.sock",
            "unix:rel",
            "unix:@chat",
            "unix:./@chat",
        ] {
            assert_eq!(text.parse::<Addr>().unwrap().to_string(), text);
        }
        assert_eq!(Addr::Unix(None).to_string(), "unix:");
        assert_eq!(Addr::unix("@chat").to_string(), "unix:./@chat");
        let name = Addr::unix("\0chat");
        assert_eq!(
            (name.path(), name.abstract_name()),
            (None, Some(&b"chat"[..]))
        );
    }

    #[test]
    fn a_path_of_a_peer_neither_steers_a_terminal_nor_forges_a_line_of_a_log() {
        let addr = Addr::unix("/a\x1b[2J\u{9b}\nb");
        assert_eq!(addr.to_string(), r"unix:/a\u{1b}[2J\u{9b}\nb");
        assert_eq!(format!("{addr:?}"), addr.to_string());
    }

    #[test]
    fn a_host_name_is_no_address_and_the_error_says_what_is() {
        for text in [
            "localhost:7000",
            "unix:",
            "unix:@",
            "",
            "127.0.0.1",
            ":7000",
        ] {
            let error = text.parse::<Addr>().unwrap_err().to_string();
            assert!(error.contains("IP:PORT"), "{error}");
        }
    }

    #[test]
    fn a_host_with_a_port_beside_it_needs_no_brackets() {
        let target = |to: AnyAddr| to.0.to_string();
        assert_eq!(target(("::1", 80).into()), "[::1]:80");
        assert_eq!(target(("example", 80).into()), "example:80");
        assert_eq!(target(PathBuf::from("/a").into()), "unix:/a");
    }

    #[test]
    fn an_address_of_the_system_has_one_form() {
        let shown = |addr: SocketAddr| Addr::from_system(addr).to_string();
        assert_eq!(shown("[::ffff:1.2.3.4]:5".parse().unwrap()), "1.2.3.4:5");
        for same in ["1.2.3.4:5", "[::1]:5", "[::1.2.3.4]:5", "[fe80::1%3]:5"] {
            let same: SocketAddr = same.parse().unwrap();
            assert_eq!(shown(same), same.to_string());
        }
    }

    #[test]
    fn an_address_stays_small_for_every_connection_keeps_one() {
        assert!(size_of::<Addr>() <= 32, "{}", size_of::<Addr>());
    }
}
