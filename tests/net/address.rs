//! Proves that addresses of every form are parsed and displayed, and that invalid ones are refused.

use std::collections::hash_map::DefaultHasher;
use std::error::Error as _;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::SocketAddr;

use super::address;
use fcgi::net::Address;
use fcgi::Error;

#[track_caller]
fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

const TCP: [&str; 16] = [
    "127.0.0.1:9000",
    "[::1]:9000",
    "[::ffff:127.0.0.1]:9000",
    "[fe80::1%2]:9000",
    ":9000",
    "localhost:9000",
    "php-fpm_1.example.org:9000",
    "127.0.0.1:0",
    "127.0.0.1:65535",
    "127.0.0.1:00080",
    "tcp:127.0.0.1:9000",
    "tcp:[::1]:9000",
    "tcp::9000",
    "tcp:localhost:9000",
    "tcp:unix:9000",
    "tcp:tcp:9000",
];

const INVALID: [&str; 40] = [
    "",
    ":",
    "localhost",
    "localhost:",
    "9000",
    "127.0.0.1",
    "127.0.0.1:65536",
    "127.0.0.1:99999999999999999999",
    "127.0.0.1:-1",
    "127.0.0.1:+1",
    "127.0.0.1:http",
    "127.0.0.1: 80",
    "127.0.0.1:80 ",
    " 127.0.0.1:80",
    "256.0.0.1:80",
    "127.0.0:80",
    "1.2.3.4.5:80",
    "80:80",
    "::1",
    "::1:9000",
    ":::9000",
    "[::1]",
    "[::1]9000",
    "[::1]:",
    "[]:9000",
    "[127.0.0.1]:9000",
    "[localhost]:9000",
    "[::1:9000",
    "::1]:9000",
    "[::g]:9000",
    "local host:9000",
    "host\0:9000",
    "http://localhost:9000",
    "tcp:",
    "tcp:9000",
    "tcp:/run/app.sock",
    "tcp://localhost:9000",
    "unix:",
    "unix:/run/\0app.sock",
    "/run/\0app.sock",
];

#[test]
fn tcp_address_is_displayed_as_written() {
    for text in TCP {
        let address = address(text);
        assert_eq!(address.to_string(), text);
        assert_eq!(format!("{address:>20}"), format!("{text:>20}"));
        assert_eq!(address, Address::try_from(text).unwrap());
        assert_eq!(address.path(), None, "{text}");
    }
}

#[test]
fn invalid_address_is_an_error_with_its_text() {
    for text in INVALID {
        let error = text.parse::<Address>().unwrap_err();
        assert!(
            matches!(&error, Error::InvalidAddress(found) if found == text),
            "{text:?}: {error:?}"
        );
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        assert!(error.source().is_none());
    }
}

#[test]
fn addresses_are_equal_if_host_and_port_are() {
    let same = [
        (address("localhost:80"), address("tcp:localhost:80")),
        (address("localhost:80"), Address::tcp("localhost", 80).unwrap()),
        (address("[::1]:80"), Address::tcp("::1", 80).unwrap()),
        (address(":80"), Address::tcp("", 80).unwrap()),
        (address("127.0.0.1:80"), SocketAddr::from(([127, 0, 0, 1], 80)).into()),
        (address("[::1]:80"), "[::1]:80".parse::<SocketAddr>().unwrap().into()),
        (address("[fe80::1%2]:80"), "[fe80::1%2]:80".parse::<SocketAddr>().unwrap().into()),
        (address("tcp:unix:80"), Address::tcp("unix", 80).unwrap()),
    ];
    for (one, other) in same {
        assert_eq!(one, other);
        assert_eq!(hash(&one), hash(&other));
        assert_eq!(address(&other.to_string()), one, "{other} does not round-trip");
    }
    for (one, other) in [
        ("localhost:80", "localhost:81"),
        ("localhost:80", "127.0.0.1:80"),
        (":80", "localhost:80"),
    ] {
        assert_ne!(address(one), address(other));
        assert_ne!(hash(&address(one)), hash(&address(other)));
    }
    for host in ["a b", "a/b", "[::1]", "::1%", "::g", "1.2.3", "tcp:a"] {
        let outcome = Address::tcp(host, 80);
        assert!(
            matches!(outcome, Err(Error::InvalidAddress(_))) || host == "::1%",
            "{host}: {outcome:?}"
        );
    }
}

#[cfg(not(unix))]
#[test]
fn unix_address_is_refused_on_systems_without_unix_sockets() {
    for text in ["unix:/run/app.sock", "unix:app.sock", "/run/app.sock", "./app.sock"] {
        assert!(matches!(text.parse::<Address>(), Err(Error::InvalidAddress(_))), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn unix_address_is_displayed_as_written() {
    for (text, path) in [
        ("unix:/run/app.sock", "/run/app.sock"),
        ("unix:app.sock", "app.sock"),
        ("unix:./app.sock", "./app.sock"),
        ("unix:///run/app.sock", "///run/app.sock"),
        ("unix:tcp:80", "tcp:80"),
        ("unix:a b:80", "a b:80"),
        ("/run/app.sock", "/run/app.sock"),
        ("/run/app:9000", "/run/app:9000"),
        ("/", "/"),
        ("./app.sock", "./app.sock"),
        ("../run/app.sock", "../run/app.sock"),
        ("run/app.sock", "run/app.sock"),
    ] {
        let address = address(text);
        assert_eq!(address.to_string(), text);
        assert_eq!(address.path(), Some(std::path::Path::new(path)));
        assert_eq!(address, Address::unix(path).unwrap());
    }
    for path in ["", "a\0b", "\0abstract"] {
        assert!(matches!(Address::unix(path), Err(Error::InvalidAddress(_))), "{path:?}");
    }
}

/// Paths may contain any bytes, but other addresses are text.
#[cfg(unix)]
#[test]
fn address_is_parsed_from_any_kind_of_text() {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;

    let expected = address("/run/app.sock");
    let text = String::from("/run/app.sock");
    assert_eq!(Address::try_from(&text).unwrap(), expected);
    assert_eq!(Address::try_from(OsString::from(&text)).unwrap(), expected);
    assert_eq!(Address::try_from(&OsString::from(&text)).unwrap(), expected);
    assert_eq!(Address::try_from(text).unwrap(), expected);
    assert_eq!(Address::from(&expected), expected);

    for (bytes, path) in [(&b"unix:caf\xe9"[..], &b"caf\xe9"[..]), (b"./caf\xe9", b"./caf\xe9")] {
        let address = Address::try_from(OsStr::from_bytes(bytes)).unwrap();
        assert_eq!(address, Address::unix(OsStr::from_bytes(path)).unwrap());
    }
    for bytes in [&b"caf\xe9:9000"[..], b"caf\xe9", b"unix:caf\xe9\0"] {
        let outcome = Address::try_from(OsStr::from_bytes(bytes));
        assert!(matches!(outcome, Err(Error::InvalidAddress(_))), "{outcome:?}");
    }
}
