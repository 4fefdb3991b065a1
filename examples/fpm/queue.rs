//! The connections that wait at a Unix socket until they are accepted.

use fcgi::net::Address;

/// Returns the number of connections that wait, or `None` if the system does not list them.
///
/// Linux lists each socket in `/proc/net/unix`, with its state in the sixth column and its path in
/// the last one. The listening socket has the state 01, and a connection that it has not accepted
/// yet the state 02. The path is that with which php-fpm has bound the socket.
#[cfg(target_os = "linux")]
pub fn waiting(address: &Address) -> Option<u64> {
    let path = address.path()?;
    let ends = [path.to_owned(), std::fs::canonicalize(path).ok()?];
    let ends = ends.map(|path| format!(" {}", path.display()));
    let list = std::fs::read("/proc/net/unix").ok()?;
    let list = String::from_utf8_lossy(&list);
    let sockets = list.lines().filter(|line| ends.iter().any(|end| line.ends_with(end)));
    let states: Vec<_> = sockets.filter_map(|line| line.split_whitespace().nth(5)).collect();
    let count = |state| states.iter().filter(|other| **other == state).count() as u64;
    (count("01") > 0).then(|| count("02"))
}

#[cfg(not(target_os = "linux"))]
pub fn waiting(_: &Address) -> Option<u64> {
    None
}
