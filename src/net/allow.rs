use std::env;
use std::net::IpAddr;
use std::str::FromStr;

use super::Stream;
use crate::error::{Error, Result};

/// The addresses from which a web server may connect: the value of `FCGI_WEB_SERVER_ADDRS` (section
/// 3.2).
///
/// It is a list of IPv4 and IPv6 addresses, separated by commas; blanks around them are allowed.
/// `127.0.0.1` and `::ffff:127.0.0.1` are the same address. Names and networks are not understood,
/// and a list with anything in it that is not understood is refused as a whole: it must not admit
/// whom it was to keep out.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList {
    /// At least one; none of them an IPv4 address in the form of an IPv6 one.
    addresses: Vec<IpAddr>,
}

impl AllowList {
    /// The list that this process was started with; `None` if the variable `FCGI_WEB_SERVER_ADDRS`
    /// is not set, so that everyone may connect.
    ///
    /// # Errors
    /// [`Error::InvalidAllowList`] if it is set to anything but such a list; an application should
    /// not start then.
    pub fn from_env() -> Result<Option<Self>> {
        let value = env::var_os("FCGI_WEB_SERVER_ADDRS");
        value.map(|value| value.to_string_lossy().parse()).transpose()
    }

    /// Whether this connection comes from one of the addresses. One that is not over TCP never
    /// does, as section 3.2 demands.
    pub fn allows(&self, stream: &Stream) -> bool {
        stream.peer_ip().is_some_and(|ip| self.allows_ip(ip))
    }

    /// Whether this is one of the addresses.
    pub fn allows_ip(&self, ip: IpAddr) -> bool {
        self.addresses.contains(&canonical(ip))
    }
}

impl FromStr for AllowList {
    type Err = Error;

    /// # Errors
    /// [`Error::InvalidAllowList`] with the first item that is no IP address, be it empty.
    fn from_str(text: &str) -> Result<Self> {
        let addresses = text.split(',').map(parse_item).collect::<Result<_>>()?;
        Ok(Self { addresses })
    }
}

fn parse_item(item: &str) -> Result<IpAddr> {
    let item = item.trim();
    let ip = item.parse().map_err(|_| Error::InvalidAllowList(item.to_owned()))?;
    Ok(canonical(ip))
}

/// A socket that takes both kinds of connections shows an IPv4 address as `::ffff:…`.
fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
    }
}
