use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Where an application listens: a host and a port, or a Unix socket.
///
/// | Form | What it is |
/// | --- | --- |
/// | `127.0.0.1:9000`, `[::1]:9000` | an IP address and a port |
/// | `localhost:9000` | a host name, resolved when it is used, and a port |
/// | `:9000` | a port: of every IPv4 interface to listen on, of this machine to connect to |
/// | `tcp:…` | any of these |
/// | `unix:/run/app.sock`, `unix:app.sock` | a Unix socket |
/// | `/run/app.sock`, `./app.sock` | the same; without `unix:` it takes a slash to be told from a host |
///
/// Port 0 has the system choose a free one: see
/// [`Listener::local_address`](super::Listener::local_address). An address is shown as it was
/// written. Two are equal if they name the same place in the same way, whether or not they are
/// written with their `tcp:` or `unix:`.
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
#[derive(Clone, Debug)]
pub struct Address {
    /// As it was written; in a path, what is not UTF-8 is replaced.
    text: String,
    /// What `text` means.
    target: Target,
}

/// The two kinds of places.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// `host` is a name, an IP address without brackets, or empty.
    Tcp { host: String, port: u16 },
    /// Neither empty nor with a NUL, both of which have a meaning of their own to the system.
    #[cfg(unix)]
    Unix(PathBuf),
}

impl Address {
    /// A Unix socket; its path may hold any bytes.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`] for a path that is empty or contains a NUL. One that is too long,
    /// which is about 100 bytes and differs between systems, is reported when it is used.
    ///
    /// ```
    /// let address = fcgi::net::Address::unix("/run/app.sock")?;
    /// assert_eq!(address.to_string(), "unix:/run/app.sock");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    #[cfg(unix)]
    pub fn unix(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = format!("unix:{}", path.display());
        match unix_target(path) {
            Some(target) => Ok(Self { text, target }),
            None => Err(Error::InvalidAddress(text)),
        }
    }

    /// A port of a host, which is a name, an IP address (IPv6 without brackets), or empty as in
    /// `:9000`.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`] for what is no host.
    ///
    /// ```
    /// let address = fcgi::net::Address::tcp("::1", 9000)?;
    /// assert_eq!(address.to_string(), "tcp:[::1]:9000");
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn tcp(host: &str, port: u16) -> Result<Self> {
        if host.contains(':') {
            format!("tcp:[{host}]:{port}").parse()
        } else {
            format!("tcp:{host}:{port}").parse()
        }
    }

    /// The path of a Unix socket; `None` for TCP.
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

    /// What the address means.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }
}

impl FromStr for Address {
    type Err = Error;

    /// # Errors
    /// [`Error::InvalidAddress`] with the whole text: no port, or one above 65535; an IPv6 address
    /// without brackets; an empty path; a Unix socket on a system without them.
    fn from_str(text: &str) -> Result<Self> {
        match parse(text) {
            Some(target) => Ok(Self { text: text.to_owned(), target }),
            None => Err(Error::InvalidAddress(text.to_owned())),
        }
    }
}

impl TryFrom<&str> for Address {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl From<SocketAddr> for Address {
    /// ```
    /// use fcgi::net::Address;
    /// let address = Address::from(std::net::SocketAddr::from(([127, 0, 0, 1], 9000)));
    /// assert_eq!(address, "127.0.0.1:9000".parse()?);
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    fn from(address: SocketAddr) -> Self {
        let text = address.to_string();
        // The text has the scope of a link-local address, which the IP address alone has not.
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

fn parse(text: &str) -> Option<Target> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_target(path.as_ref());
    }
    if let Some(text) = text.strip_prefix("tcp:") {
        return tcp_target(text);
    }
    // A URL has slashes too, and is no path that anyone means.
    if text.contains('/') && !text.contains("://") {
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
    // The parser of numbers would take a sign.
    let port =
        Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
    Some(Target::Tcp { host: host.to_owned(), port })
}

/// A zone may follow the address, as in `fe80::1%eth0`.
fn is_ipv6(host: &str) -> bool {
    let address = host.split_once('%').map_or(host, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok()
}

/// Digits and dots alone are an address: one such as `256.0.0.1` is not left to be looked up as a
/// name.
fn is_name_or_ipv4(host: &str) -> bool {
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return host.is_empty() || host.parse::<Ipv4Addr>().is_ok();
    }
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}
