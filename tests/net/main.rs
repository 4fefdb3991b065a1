//! Tests of `fcgi::net`: addresses are parsed or refused; listeners of every kind accept, close,
//! and remove only what they created; the listening socket on descriptor 0 is found; and the allow
//! list decides who may connect.

use std::collections::hash_map::DefaultHasher;
use std::error::Error as _;
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use fcgi::net::{Address, AllowList, Listener, Stream};
use fcgi::{Error, Result};

#[track_caller]
fn address(text: &str) -> Address {
    text.parse().unwrap()
}

#[track_caller]
fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Sends a byte each way over a new connection.
#[track_caller]
fn exchange(listener: &Listener, address: &Address) -> (Stream, Stream) {
    let mut client = Stream::connect(address, Some(Duration::from_secs(10))).unwrap();
    let mut server = listener.accept().unwrap().expect("listener is open");
    let mut byte = [0];
    client.write_all(b"a").unwrap();
    server.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"a");
    server.write_all(b"b").unwrap();
    client.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"b");
    (client, server)
}

#[track_caller]
fn io_kind<T: std::fmt::Debug>(outcome: Result<T>) -> io::ErrorKind {
    match outcome.unwrap_err() {
        Error::Io(error) => error.kind(),
        error => panic!("{error:?} is not an I/O error"),
    }
}

// Addresses

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

// TCP

#[test]
fn tcp_listener_accepts_connections() {
    for text in ["127.0.0.1:0", "tcp:127.0.0.1:0", "localhost:0", ":0", "[::1]:0"] {
        let listener = match Listener::bind(&address(text)) {
            // Write to stderr directly, because the test harness hides the output of a test that
            // passes.
            Err(Error::Io(error))
                if text == "[::1]:0" && error.kind() == io::ErrorKind::AddrNotAvailable =>
            {
                writeln!(
                    io::stderr(),
                    "\nNOT TESTED: IPv6, because this machine has no ::1 ({error})\n"
                )
                .unwrap();
                continue;
            }
            bound => bound.unwrap(),
        };
        let bound = listener.local_address().unwrap();
        assert!(!bound.to_string().ends_with(":0"), "{bound}");
        exchange(&listener, &bound);
    }
}

#[test]
fn address_without_host_binds_all_ipv4_interfaces_and_connects_to_localhost() {
    let listener = Listener::bind(&address(":0")).unwrap();
    let bound: SocketAddr = listener.local_address().unwrap().to_string().parse().unwrap();
    assert_eq!(bound.ip(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    exchange(&listener, &address(&format!(":{}", bound.port())));
}

#[test]
fn port_in_use_is_an_error() {
    let listener = Listener::bind(&address("127.0.0.1:0")).unwrap();
    assert_eq!(
        io_kind(Listener::bind(&listener.local_address().unwrap())),
        io::ErrorKind::AddrInUse
    );
}

#[test]
fn unknown_host_is_an_error() {
    assert!(matches!(Listener::bind(&address("no-such-host.invalid:9000")), Err(Error::Io(_))));
}

/// Rule C31.
#[test]
fn connecting_to_a_closed_tcp_port_is_refused() {
    let closed = Listener::bind(&address("127.0.0.1:0")).unwrap().local_address().unwrap();
    assert_eq!(io_kind(Stream::connect(&closed, None)), io::ErrorKind::ConnectionRefused);
}

#[cfg(unix)]
#[test]
fn both_ends_of_a_tcp_connection_have_nodelay() {
    use std::os::fd::AsFd;

    let existing = TcpListener::bind("127.0.0.1:0").unwrap();
    for listener in [Listener::bind(&address("127.0.0.1:0")).unwrap(), existing.into()] {
        let (client, server) = exchange(&listener, &listener.local_address().unwrap());
        for stream in [client, server] {
            let stream = TcpStream::from(stream.as_fd().try_clone_to_owned().unwrap());
            assert!(stream.nodelay().unwrap());
        }
    }
}

// Closing

/// Whether `close` makes the system refuse connections while the listener still exists.
const REFUSES_AFTER_CLOSE: bool = cfg!(target_os = "linux") && !cfg!(fcgi_portable);

/// Runs `check` while four threads block in `accept`, and then waits for them to return.
fn with_waiters(listener: &Listener, check: impl FnOnce()) {
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let (sender, receiver) = std::sync::mpsc::channel();
                let waiter = scope.spawn(move || {
                    sender.send(std::fs::read_link("/proc/thread-self").ok()).unwrap();
                    listener.accept()
                });
                (waiter, receiver.recv().unwrap())
            })
            .collect();
        // A thread that sleeps is in `accept`, because nothing else that it does blocks. On systems
        // without `/proc` it may not have called `accept` yet, but must return all the same.
        for link in waiters.iter().filter_map(|(_, link)| link.as_ref()) {
            let stat = std::path::Path::new("/proc").join(link).join("stat");
            while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
                thread::yield_now();
            }
        }
        check();
        for (waiter, _) in waiters {
            assert!(waiter.join().unwrap().unwrap().is_none());
        }
    });
    assert!(listener.accept().unwrap().is_none(), "the listener stays closed");
}

#[test]
fn close_wakes_all_waiters_and_refuses_tcp_connections() {
    for text in ["127.0.0.1:0", ":0"] {
        let listener = Listener::bind(&address(text)).unwrap();
        let bound = listener.local_address().unwrap();
        let (mut client, mut server) = exchange(&listener, &bound);
        with_waiters(&listener, || listener.close());
        assert!(listener.is_closed());
        if REFUSES_AFTER_CLOSE {
            assert_eq!(io_kind(Stream::connect(&bound, None)), io::ErrorKind::ConnectionRefused);
        }
        server.write_all(b"c").unwrap();
        client.read_exact(&mut [0]).expect("accepted connections stay open");
        listener.close();
    }
}

// The allow list

/// IPv4-mapped IPv6 addresses are equal to the IPv4 address. Rules A5 and S10.
#[test]
fn allow_list_is_parsed() {
    let (v4, other, v6): (IpAddr, IpAddr, IpAddr) = (
        "127.0.0.1".parse().unwrap(),
        "127.0.0.2".parse().unwrap(),
        "2001:db8::1".parse().unwrap(),
    );
    let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
    let almost: IpAddr = "::127.0.0.1".parse().unwrap();
    for (list, allowed) in [
        ("127.0.0.1", vec![v4, mapped]),
        (" 127.0.0.1\t", vec![v4, mapped]),
        ("::ffff:127.0.0.1", vec![v4, mapped]),
        ("127.0.0.2,127.0.0.1", vec![v4, mapped, other]),
        ("2001:db8::1 , 127.0.0.2", vec![v6, other]),
        ("2001:0DB8:0:0:0:0:0:1", vec![v6]),
        ("2001:db8::2", vec![]),
    ] {
        let parsed: AllowList = list.parse().unwrap();
        for ip in [v4, mapped, other, v6, almost] {
            assert_eq!(parsed.allows_ip(ip), allowed.contains(&ip), "{ip} in {list:?}");
        }
    }
}

/// An empty list is invalid, too. Rules A6 and S10.
#[test]
fn allow_list_with_an_invalid_item_is_refused() {
    for (list, item) in [
        ("", ""),
        (" ", ""),
        (",", ""),
        ("127.0.0.1,", ""),
        (",127.0.0.1", ""),
        ("127.0.0.1,,127.0.0.2", ""),
        ("not-an-address", "not-an-address"),
        ("127.0.0.1,256.0.0.1", "256.0.0.1"),
        ("127.0.0.1 127.0.0.2", "127.0.0.1 127.0.0.2"),
        ("127.0.0.1;127.0.0.2", "127.0.0.1;127.0.0.2"),
        ("127.0.0.1:9000", "127.0.0.1:9000"),
        ("127.0.0.0/8", "127.0.0.0/8"),
        ("[::1]", "[::1]"),
        ("localhost", "localhost"),
        ("*", "*"),
    ] {
        let error = list.parse::<AllowList>().unwrap_err();
        assert!(
            matches!(&error, Error::InvalidAllowList(found) if found == item),
            "{list:?}: {error:?}"
        );
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}

/// Rule A5.
#[test]
fn allow_list_compares_the_address_of_a_tcp_peer() {
    let listener = Listener::bind(&address("127.0.0.1:0")).unwrap();
    let (_client, server) = exchange(&listener, &listener.local_address().unwrap());
    for (list, allowed) in
        [("127.0.0.1", true), ("::ffff:127.0.0.1", true), ("127.0.0.2", false), ("::1", false)]
    {
        assert_eq!(list.parse::<AllowList>().unwrap().allows(&server), allowed, "{list}");
    }
}

/// A socket that accepts both families reports an IPv4 peer by its mapped address. Rule A5.
#[test]
fn allow_list_matches_an_ipv4_peer_of_an_ipv6_socket() {
    let socket = match TcpListener::bind("[::]:0") {
        Ok(socket) => socket,
        Err(error) => {
            return writeln!(
                io::stderr(),
                "\nNOT TESTED: IPv6, because this machine does not support it ({error})\n"
            )
            .unwrap()
        }
    };
    let port = socket.local_addr().unwrap().port();
    let listener = Listener::from(socket);
    let Ok(_client) = TcpStream::connect(("127.0.0.1", port)) else {
        return writeln!(
            io::stderr(),
            "\nNOT TESTED: mapped addresses, because [::] does not accept IPv4 here\n"
        )
        .unwrap();
    };
    let server = listener.accept().unwrap().unwrap();
    assert!("127.0.0.1".parse::<AllowList>().unwrap().allows(&server));
    assert!(!"127.0.0.2,::1".parse::<AllowList>().unwrap().allows(&server));
}

#[cfg(unix)]
mod unix {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{symlink, FileTypeExt, PermissionsExt};
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;

    #[track_caller]
    fn dir() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    #[track_caller]
    fn bind(path: &Path) -> Listener {
        Listener::bind(&Address::unix(path).unwrap()).unwrap()
    }

    /// Leaves a socket file without a listener, as a killed process does.
    #[track_caller]
    fn leave_stale(path: &Path) {
        drop(UnixListener::bind(path).unwrap());
        assert!(path.exists());
    }

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
            assert_eq!(address.path(), Some(Path::new(path)));
            assert_eq!(address, Address::unix(path).unwrap());
        }
        for path in ["", "a\0b", "\0abstract"] {
            assert!(matches!(Address::unix(path), Err(Error::InvalidAddress(_))), "{path:?}");
        }
    }

    #[test]
    fn unix_listener_accepts_connections() {
        let dir = dir();
        let not_utf8 = OsStr::from_bytes(b"\xff\xfe.sock");
        for name in [OsStr::new("app.sock"), OsStr::new("a b:9000"), not_utf8] {
            let address = Address::unix(dir.path().join(name)).unwrap();
            let listener = Listener::bind(&address).unwrap();
            assert_eq!(listener.local_address().unwrap(), address);
            exchange(&listener, &address);
        }
    }

    #[test]
    fn too_long_socket_path_is_an_error_that_says_so() {
        let address = address(&format!("/tmp/{}", "x".repeat(200)));
        for error in
            [Listener::bind(&address).unwrap_err(), Stream::connect(&address, None).unwrap_err()]
        {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("path must be shorter"), "{error}");
        }
    }

    /// Rule C31.
    #[test]
    fn connecting_to_a_missing_or_stale_socket_fails_at_once() {
        let dir = dir();
        let path = dir.path().join("app.sock");
        let address = Address::unix(&path).unwrap();
        assert_eq!(io_kind(Stream::connect(&address, None)), io::ErrorKind::NotFound);
        leave_stale(&path);
        assert_eq!(io_kind(Stream::connect(&address, None)), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn stale_socket_file_is_replaced() {
        let dir = dir();
        let path = dir.path().join("app.sock");
        leave_stale(&path);
        let listener = bind(&path);
        exchange(&listener, &Address::unix(&path).unwrap());
    }

    /// The socket is in use by a listener or is a datagram socket.
    #[test]
    fn socket_in_use_is_not_replaced() {
        let dir = dir();
        let path = dir.path().join("app.sock");
        let listener = bind(&path);
        assert_eq!(
            io_kind(Listener::bind(&Address::unix(&path).unwrap())),
            io::ErrorKind::AddrInUse
        );
        // The failed bind made no connection: the first one to arrive is this one.
        exchange(&listener, &Address::unix(&path).unwrap());
        drop(listener);

        let _datagram = UnixDatagram::bind(&path).unwrap();
        assert_eq!(
            io_kind(Listener::bind(&Address::unix(&path).unwrap())),
            io::ErrorKind::AddrInUse
        );
        assert!(path.exists());
    }

    #[test]
    fn path_that_is_not_a_socket_is_left_alone() {
        let dir = dir();
        let (file, link, dangling, folder) = (
            dir.path().join("file"),
            dir.path().join("link"),
            dir.path().join("dangling"),
            dir.path().join("folder"),
        );
        let stale = dir.path().join("stale.sock");
        fs::write(&file, "precious").unwrap();
        leave_stale(&stale);
        symlink(&stale, &link).unwrap();
        symlink(dir.path().join("nowhere"), &dangling).unwrap();
        fs::create_dir(&folder).unwrap();
        for path in [&file, &link, &dangling, &folder] {
            let error = Listener::bind(&Address::unix(path).unwrap()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(error.to_string().ends_with("exists and is not a socket"), "{error}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::symlink_metadata(&stale).unwrap().file_type().is_socket());
        assert!(!dir.path().join("nowhere").exists());
    }

    #[test]
    fn drop_removes_the_socket_file() {
        let dir = dir();
        let path = dir.path().join("app.sock");
        drop(bind(&path));
        assert!(!path.exists());
    }

    #[test]
    fn drop_keeps_a_file_that_replaced_the_socket_file() {
        let dir = dir();
        let path = dir.path().join("app.sock");
        let listener = bind(&path);
        fs::remove_file(&path).unwrap();
        let second = bind(&path);
        drop(listener);
        exchange(&second, &Address::unix(&path).unwrap());

        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        second.close();
        drop(second);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn drop_keeps_a_socket_file_that_the_listener_did_not_create() {
        let dir = dir();
        let (given, shared) = (dir.path().join("given.sock"), dir.path().join("shared.sock"));
        let listener = Listener::from(UnixListener::bind(&given).unwrap());
        listener.close();
        drop(listener);
        drop(bind(&shared).shared());
        assert!(given.exists() && shared.exists());
    }

    #[test]
    fn set_mode_changes_only_the_socket_file() {
        let dir = dir();
        let path = dir.path().join("app.sock");
        let listener = bind(&path);
        for mode in [0o600, 0o660, 0o666] {
            listener.set_mode(mode).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }

        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(io_kind(listener.set_mode(0o666)), io::ErrorKind::NotFound);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let tcp = Listener::bind(&address("127.0.0.1:0")).unwrap();
        assert_eq!(io_kind(tcp.set_mode(0o666)), io::ErrorKind::NotFound);
    }

    #[test]
    fn close_wakes_all_waiters_and_removes_the_socket_file() {
        let dir = dir();
        let path = dir.path().join("app.sock");
        let address = Address::unix(&path).unwrap();
        let listener = Listener::bind(&address).unwrap();
        with_waiters(&listener, || {
            listener.close();
            assert!(!path.exists());
            assert_eq!(io_kind(Stream::connect(&address, None)), io::ErrorKind::NotFound);
        });
        // A second listener binds the path while the first still exists. Its file must stay.
        let second = bind(&path);
        listener.close();
        drop(listener);
        exchange(&second, &address);
    }

    #[test]
    fn close_of_an_existing_socket_refuses_connections() {
        let dir = dir();
        let path = dir.path().join("app.sock");
        let listener = Listener::from(UnixListener::bind(&path).unwrap());
        with_waiters(&listener, || listener.close());
        if REFUSES_AFTER_CLOSE {
            let outcome = Stream::connect(&Address::unix(&path).unwrap(), None);
            assert_eq!(io_kind(outcome), io::ErrorKind::ConnectionRefused);
        }
    }

    /// Returns a listener of each kind with a second handle of its socket, such as another process
    /// may have.
    fn pairs(dir: &Path) -> [(Listener, Listener); 2] {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let unix = UnixListener::bind(dir.join("app.sock")).unwrap();
        let (tcp_again, unix_again) = (tcp.try_clone().unwrap(), unix.try_clone().unwrap());
        [(tcp.into(), tcp_again.into()), (unix.into(), unix_again.into())]
    }

    /// Returns the socket as a stream, because `std` shows some settings of streams only.
    #[track_caller]
    fn settings(socket: &impl AsFd) -> TcpStream {
        socket.as_fd().try_clone_to_owned().unwrap().into()
    }

    #[test]
    fn shared_socket_stays_open_for_other_handles() {
        let dir = dir();
        for (listener, sibling) in pairs(dir.path()) {
            let listener = listener.shared();
            let address = listener.local_address().unwrap();
            // On Linux a connection inherits the receive timeout of the listening socket. It must
            // be cleared. The listening socket has its timeout when it accepts the second
            // connection.
            exchange(&listener, &address);
            let (_client, server) = exchange(&listener, &address);
            assert_eq!(settings(&server).read_timeout().unwrap(), None);
            if cfg!(target_os = "linux") {
                with_waiters(&listener, || listener.close());
            }
            drop(listener);
            assert_eq!(settings(&sibling).read_timeout().unwrap(), None);
            exchange(&sibling, &address);
        }
    }

    /// Non-blocking mode belongs to the socket, so another process that has the socket can set it
    /// at any time.
    #[cfg(target_os = "linux")]
    #[test]
    fn accept_resets_non_blocking_mode() {
        use std::os::fd::AsRawFd;

        let dir = dir();
        for (listener, sibling) in pairs(dir.path()) {
            let info = format!("/proc/self/fdinfo/{}", listener.as_fd().as_raw_fd());
            let is_nonblocking = || {
                let info = fs::read_to_string(&info).unwrap();
                let flags =
                    info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
                u32::from_str_radix(flags, 8).unwrap() & 0o4000 != 0
            };
            let address = listener.local_address().unwrap();
            settings(&sibling).set_nonblocking(true).unwrap();
            assert!(is_nonblocking());
            thread::scope(|scope| {
                let waiter = scope.spawn(|| listener.accept());
                while is_nonblocking() {
                    thread::yield_now();
                }
                let _client = Stream::connect(&address, None).unwrap();
                assert!(waiter.join().unwrap().unwrap().is_some());
            });
        }
    }

    /// Rule A5.
    #[test]
    fn allow_list_never_allows_a_unix_peer() {
        let dir = dir();
        let address = Address::unix(dir.path().join("app.sock")).unwrap();
        let listener = Listener::bind(&address).unwrap();
        let (_client, server) = exchange(&listener, &address);
        assert!(!"127.0.0.1, ::1, 0.0.0.0, ::".parse::<AllowList>().unwrap().allows(&server));
    }
}

/// Tests that need their own descriptor 0 or environment. They run this program again with only the
/// test `helper`.
#[cfg(unix)]
mod process {
    use std::ffi::OsStr;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::process::{Command, Stdio};
    use std::{env, fs::File};

    use super::*;

    const TASK: &str = "FCGI_TEST_TASK";

    /// The part that runs in the other process.
    #[test]
    #[ignore = "run by other tests, in a process of its own"]
    fn helper() {
        match env::var(TASK).as_deref() {
            Ok("accept") => match Listener::from_stdin() {
                Ok(listener) => {
                    // Echo one byte, then close the listener while threads wait.
                    let mut stream = listener.accept().unwrap().unwrap();
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    stream.write_all(&byte).unwrap();
                    with_waiters(&listener, || listener.close());
                    println!("<served {}>", listener.local_address().unwrap());
                }
                Err(error) => println!("<{error}>"),
            },
            Ok("allow") => println!("<{:?}>", AllowList::from_env()),
            _ => {}
        }
    }

    #[track_caller]
    fn run(task: &str, stdin: Stdio, allowed: Option<&OsStr>) -> String {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["process::helper", "--exact", "--ignored", "--nocapture"])
            .env(TASK, task)
            .stdin(stdin);
        command.env_remove("FCGI_WEB_SERVER_ADDRS");
        if let Some(allowed) = allowed {
            command.env("FCGI_WEB_SERVER_ADDRS", allowed);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        let (_, answer) = text.split_once('<').expect(&text);
        answer.split_once(">\n").expect(&text).0.to_owned()
    }

    /// The socket is blocking or not. It can still be used after the process has ended. Rule A1.
    #[test]
    fn listening_socket_on_descriptor_0_is_served() {
        let dir = tempfile::tempdir().unwrap();
        for nonblocking in [false, true] {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let unix = UnixListener::bind(dir.path().join(format!("{nonblocking}.sock"))).unwrap();
            tcp.set_nonblocking(nonblocking).unwrap();
            unix.set_nonblocking(nonblocking).unwrap();
            let handles: [OwnedFd; 2] =
                [tcp.try_clone().unwrap().into(), unix.try_clone().unwrap().into()];
            for (ours, handle) in [Listener::from(tcp), unix.into()].into_iter().zip(handles) {
                // `Listener::from` made it blocking.
                let socket = TcpListener::from(handle);
                socket.set_nonblocking(nonblocking).unwrap();
                assert_served(&ours, Stdio::from(OwnedFd::from(socket)));
            }
        }
    }

    #[track_caller]
    fn assert_served(ours: &Listener, stdin: Stdio) {
        let address = ours.local_address().unwrap();
        let answer = thread::scope(|scope| {
            // The connection waits in the backlog until the other process accepts it.
            let mut client = Stream::connect(&address, None).unwrap();
            client.write_all(b"x").unwrap();
            let child = scope.spawn(|| run("accept", stdin, None));
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            assert_eq!(&byte, b"x");
            child.join().unwrap()
        });
        assert_eq!(answer, format!("served {address}"));
        assert!(address.path().map_or(true, |path| path.exists()));
        exchange(ours, &address);
    }

    /// Rules A1 and A3.
    #[test]
    fn other_descriptor_0_is_an_error_that_names_its_kind() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let (pair, _other) = UnixStream::pair().unwrap();
        let unix = UnixListener::bind(dir.path().join("app.sock")).unwrap();
        let connected = UnixStream::connect(dir.path().join("app.sock")).unwrap();
        let (named, _) = unix.accept().unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let unbound = UnixDatagram::unbound().unwrap();
        let other_kind = "a socket that is not bound, or is neither TCP nor Unix";
        for (stdin, what) in [
            (Stdio::null(), "a device such as /dev/null"),
            (Stdio::piped(), "a pipe"),
            (File::open(env::current_exe().unwrap()).unwrap().into(), "a file"),
            (File::open(dir.path()).unwrap().into(), "a directory"),
            (OwnedFd::from(tcp).into(), "a connected socket"),
            (OwnedFd::from(accepted).into(), "a connected socket"),
            (OwnedFd::from(pair).into(), "a connected socket"),
            (OwnedFd::from(connected).into(), "a connected socket"),
            (OwnedFd::from(named).into(), "a connected socket"),
            (OwnedFd::from(udp).into(), other_kind),
            (OwnedFd::from(unbound).into(), other_kind),
        ] {
            let answer = run("accept", stdin, None);
            let expected =
                format!("descriptor 0 is {what}, not a listening socket: start the program from");
            assert!(answer.starts_with(&expected), "{answer}");
        }
    }

    /// Rules A5 and A6.
    #[test]
    fn allow_list_is_read_from_the_environment() {
        use std::os::unix::ffi::OsStrExt;

        let list: AllowList = "127.0.0.1,::1".parse().unwrap();
        for (value, answer) in [
            (None, "Ok(None)".to_owned()),
            (Some("127.0.0.1, ::1".as_ref()), format!("Ok(Some({list:?}))")),
            (Some("".as_ref()), "Err(InvalidAllowList(\"\"))".to_owned()),
            (Some("nobody".as_ref()), "Err(InvalidAllowList(\"nobody\"))".to_owned()),
            (
                Some(OsStr::from_bytes(b"127.0.0.1,\xff")),
                "Err(InvalidAllowList(\"\u{fffd}\"))".to_owned(),
            ),
        ] {
            assert_eq!(run("allow", Stdio::null(), value), answer);
        }
    }
}
