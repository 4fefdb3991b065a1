use std::ffi::{OsStr, OsString};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The address of an application: a host and a port, or the path of a Unix socket.
///
/// | Form | Meaning |
/// | --- | --- |
/// | `127.0.0.1:9000`, `[::1]:9000` | an IP address and a port |
/// | `localhost:9000` | a host name and a port; the name is resolved at each use |
/// | `:9000` | a port: [`bind`] listens on every IPv4 interface, [`connect`] uses `localhost` |
/// | `tcp:…` | one of the forms above |
/// | `unix:/run/app.sock`, `unix:app.sock` | the path of a Unix socket |
/// | `/run/app.sock`, `./app.sock` | the same; without `unix:` the path must contain a slash |
///
/// Functions that create a server, listener or client also accept text (`&str`, `String`,
/// [`OsString`]) and a [`SocketAddr`] as an address.
///
/// With port 0 the system chooses a free port, which [`Listener::local_address`] returns.
///
/// An address is displayed as it was written. Two addresses are equal if they have the same host
/// and port, or the same path. The prefixes `tcp:` and `unix:` make no difference, and no host name
/// is resolved.
///
/// ```
/// use fcgi::net::Address;
///
/// let address: Address = "localhost:9000".parse()?;
/// assert_eq!(address.to_string(), "localhost:9000");
/// assert_eq!(address, "tcp:localhost:9000".parse()?);
/// assert!("localhost".parse::<Address>().is_err());
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// [`bind`]: super::Listener::bind
/// [`connect`]: super::Stream::connect
/// [`Listener::local_address`]: super::Listener::local_address
#[derive(Clone, Debug)]
pub struct Address {
    /// The address as it was written. In a path, bytes that are not UTF-8 are replaced.
    text: String,
    target: Target,
}

/// What an [`Address`] refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// `host` is a host name, an IP address without brackets, or empty.
    Tcp { host: String, port: u16 },
    /// A path that is not empty and contains no NUL byte. On Linux both would mean an address that
    /// is not a path.
    #[cfg(unix)]
    Unix(PathBuf),
}

impl Address {
    /// Creates the address of a Unix socket. The path does not have to be UTF-8.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`] if the path is empty or contains a NUL byte, and for every path on
    /// systems other than Unix. The length is checked when the address is used. The limit is about
    /// 100 bytes and differs between systems.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// let address = fcgi::net::Address::unix("/run/app.sock")?;
    /// assert_eq!(address.to_string(), "unix:/run/app.sock");
    /// # }
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn unix(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = format!("unix:{}", path.display());
        match unix_target(path) {
            Some(target) => Ok(Self { text, target }),
            None => Err(Error::InvalidAddress(text)),
        }
    }

    /// Creates a TCP address. The host is a name, an IP address (IPv6 without brackets), or empty
    /// as in `:9000`.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`] if the host is none of these.
    ///
    /// ```
    /// let address = fcgi::net::Address::tcp("::1", 9000)?;
    /// assert_eq!(address.to_string(), "tcp:[::1]:9000");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn tcp(host: &str, port: u16) -> Result<Self> {
        // Without the prefix, the text for a host named `unix` would be that of a path.
        if host.contains(':') {
            format!("tcp:[{host}]:{port}").parse()
        } else {
            format!("tcp:{host}:{port}").parse()
        }
    }

    /// Returns the path of a Unix socket, or `None` for a TCP address.
    ///
    /// ```
    /// use fcgi::net::Address;
    /// # #[cfg(unix)]
    /// assert_eq!("unix:app.sock".parse::<Address>()?.path(), Some("app.sock".as_ref()));
    /// assert_eq!(":9000".parse::<Address>()?.path(), None);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn path(&self) -> Option<&Path> {
        match &self.target {
            Target::Tcp { .. } => None,
            #[cfg(unix)]
            Target::Unix(path) => Some(path),
        }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }
}

impl FromStr for Address {
    type Err = Error;

    /// Parses any of the forms listed at [`Address`].
    ///
    /// # Errors
    /// [`Error::InvalidAddress`] with the whole text. Examples are a missing port, a port above
    /// 65535, an IPv6 address without brackets, an empty path, and a path on a system without Unix
    /// sockets.
    fn from_str(text: &str) -> Result<Self> {
        match parse(text) {
            Some(target) => Ok(Self { text: text.to_owned(), target }),
            None => Err(Error::InvalidAddress(text.to_owned())),
        }
    }
}

impl TryFrom<&OsStr> for Address {
    type Error = Error;

    /// Parses an address as [`FromStr`] does. The path of a Unix socket does not have to be UTF-8.
    fn try_from(text: &OsStr) -> Result<Self> {
        match text.to_str() {
            Some(text) => text.parse(),
            None => parse_path(text),
        }
    }
}

/// Implements conversions of the types that a command line or a configuration contains.
macro_rules! impl_try_from {
    ($($text:ty),+) => {
        $(impl TryFrom<$text> for Address {
            type Error = Error;

            /// Parses an address as [`FromStr`] does.
            fn try_from(text: $text) -> Result<Self> {
                Self::try_from(AsRef::<OsStr>::as_ref(&text))
            }
        })+
    };
}

impl_try_from!(&str, &String, String, &OsString, OsString);

impl From<&Address> for Address {
    fn from(address: &Address) -> Self {
        address.clone()
    }
}

impl From<SocketAddr> for Address {
    /// Converts a socket address. It keeps the scope of a link-local IPv6 address.
    ///
    /// ```
    /// use fcgi::net::Address;
    /// let address = Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 9000)));
    /// assert_eq!(address, "127.0.0.1:9000".parse()?);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    fn from(address: SocketAddr) -> Self {
        let text = address.to_string();
        // `address.ip()` lacks the scope of a link-local address, so the host is cut from the text.
        let host = text
            .rsplit_once(':')
            .map_or("", |(host, _)| host)
            .trim_matches(&['[', ']'][..])
            .to_owned();
        Self { text, target: Target::Tcp { host, port: address.port() } }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.target == other.target
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.target.hash(state);
    }
}

/// Parses the path of a Unix socket that is not UTF-8.
#[cfg(unix)]
fn parse_path(text: &OsStr) -> Result<Address> {
    use std::os::unix::ffi::OsStrExt;

    let bytes = text.as_bytes();
    let path = bytes.strip_prefix(b"unix:").or(bytes.contains(&b'/').then_some(bytes));
    let invalid = || Error::InvalidAddress(text.to_string_lossy().into_owned());
    Address::unix(OsStr::from_bytes(path.ok_or_else(invalid)?))
}

#[cfg(not(unix))]
fn parse_path(text: &OsStr) -> Result<Address> {
    Err(Error::InvalidAddress(text.to_string_lossy().into_owned()))
}

fn parse(text: &str) -> Option<Target> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_target(path.as_ref());
    }
    if let Some(text) = text.strip_prefix("tcp:") {
        return tcp_target(text);
    }
    // A URL contains slashes, but is not meant as a path.
    let is_url = text.as_bytes().windows(3).any(|window| window == b"://");
    if text.contains('/') && !is_url {
        return unix_target(text.as_ref());
    }
    tcp_target(text)
}

#[cfg(unix)]
fn unix_target(path: &Path) -> Option<Target> {
    use std::os::unix::ffi::OsStrExt;

    let bytes = path.as_os_str().as_bytes();
    (!bytes.is_empty() && !bytes.contains(&0)).then(|| Target::Unix(path.to_owned()))
}

#[cfg(not(unix))]
fn unix_target(_: &Path) -> Option<Target> {
    None
}

fn tcp_target(text: &str) -> Option<Target> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']').filter(|host| is_ipv6(host))?,
        None => Some(host).filter(|host| is_name_or_ipv4(host))?,
    };
    // `u16::from_str` would accept a plus sign.
    let port =
        Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
    Some(Target::Tcp { host: host.to_owned(), port })
}

/// Returns whether this is an IPv6 address, with or without a zone as in `fe80::1%eth0`.
fn is_ipv6(host: &str) -> bool {
    let address = host.split_once('%').map_or(host, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok()
}

/// Returns whether this is a host name, an IPv4 address or empty.
///
/// Text of digits and dots alone must be an address, so `256.0.0.1` is not looked up as a name.
fn is_name_or_ipv4(host: &str) -> bool {
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return host.is_empty() || host.parse::<Ipv4Addr>().is_ok();
    }
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}
