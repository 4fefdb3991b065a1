use std::env;
use std::net::IpAddr;
use std::str::FromStr;

use super::stream::Stream;
use crate::error::{Error, Result};

/// A list of the IP addresses from which web servers may connect.
///
/// This is the value of the environment variable `FCGI_WEB_SERVER_ADDRS` ([FastCGI specification],
/// section 3.2): IPv4 and IPv6 addresses separated by commas. Whitespace around an address is
/// ignored. `127.0.0.1` and `::ffff:127.0.0.1` are the same address. Host names and networks are
/// not supported.
///
/// # Security
/// A guide lists [who may connect](crate::guide::security#who-may-connect) to which socket.
///
/// A list with one invalid item is rejected as a whole, because a typo must never widen access. The
/// list checks the address of the peer and nothing else: every program on an allowed host may
/// connect.
///
/// ```
/// use fcgi::net::AllowList;
///
/// let allowed: AllowList = "199.170.183.28, 2001:db8::1".parse()?;
/// assert!(allowed.allows_ip("::ffff:199.170.183.28".parse().unwrap()));
/// assert!(!allowed.allows_ip("199.170.183.71".parse().unwrap()));
/// assert!("199.170.183.28,".parse::<AllowList>().is_err());
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList {
    /// Not empty. Contains no IPv4-mapped IPv6 address: a socket that accepts both families reports
    /// its IPv4 peers in that form, which `to_canonical` converts.
    addresses: Vec<IpAddr>,
}

impl AllowList {
    /// Reads the list from the environment variable `FCGI_WEB_SERVER_ADDRS`.
    ///
    /// Returns `None` if the variable is not set. Every peer may then connect.
    ///
    /// # Errors
    /// [`Error::InvalidAllowList`] if the variable is set to an invalid list, even to an empty one.
    /// The application should not start then.
    ///
    /// ```
    /// use fcgi::net::AllowList;
    ///
    /// match AllowList::from_env()? {
    ///     Some(list) => println!("only {list:?} may connect"),
    ///     None => println!("every peer may connect"),
    /// }
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn from_env() -> Result<Option<Self>> {
        let value = env::var_os("FCGI_WEB_SERVER_ADDRS");
        value.map(|value| value.to_string_lossy().parse()).transpose()
    }

    /// Returns whether the peer of a connection has one of the addresses.
    ///
    /// A connection over a Unix socket has none, so it is not allowed (section 3.2 of the
    /// specification).
    ///
    /// ```
    /// use fcgi::net::{AllowList, Listener, Stream};
    ///
    /// let listener = Listener::bind("127.0.0.1:0")?;
    /// let stream = Stream::connect(&listener.local_address()?, None)?;
    /// assert!("127.0.0.1".parse::<AllowList>()?.allows(&stream));
    /// assert!(!"127.0.0.2".parse::<AllowList>()?.allows(&stream));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn allows(&self, stream: &Stream) -> bool {
        stream.peer_ip().is_some_and(|ip| self.allows_ip(ip))
    }

    /// Returns whether the list contains an address.
    ///
    /// ```
    /// let allowed: fcgi::net::AllowList = "192.0.2.1".parse()?;
    /// assert!(allowed.allows_ip([192, 0, 2, 1].into()));
    /// assert!(!allowed.allows_ip([192, 0, 2, 2].into()));
    /// # Ok::<(), fcgi::Error>(())
    /// ```
    pub fn allows_ip(&self, ip: IpAddr) -> bool {
        self.addresses.contains(&ip.to_canonical())
    }
}

impl FromStr for AllowList {
    type Err = Error;

    /// Parses a list of addresses separated by commas.
    ///
    /// # Errors
    /// [`Error::InvalidAllowList`] with the first item that is not an IP address, even an empty
    /// one.
    fn from_str(text: &str) -> Result<Self> {
        let mut addresses = Vec::new();
        for item in text.split(',') {
            addresses.push(parse_item(item)?);
        }
        Ok(Self { addresses })
    }
}

fn parse_item(item: &str) -> Result<IpAddr> {
    let item = item.trim();
    match item.parse::<IpAddr>() {
        Ok(ip) => Ok(ip.to_canonical()),
        Err(_) => Err(Error::InvalidAllowList(item.to_owned())),
    }
}
