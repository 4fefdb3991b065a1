//! How to start an application: files for process managers and web servers.
//!
//! This module contains documentation only. The tests run every file on this page.
//!
//! A program that calls [`fcgi::run`](crate::run) or
//! [`Server::from_stdin`](crate::Server::from_stdin) serves the listening socket on descriptor 0
//! (FastCGI specification, section 2.2). Most process managers can pass one. The socket then
//! outlives the program: while it is restarted, new connections wait in the backlog of the socket.
//! A program that calls [`Server::bind`](crate::Server::bind) creates the socket itself.
//!
//! | Started by | Socket |
//! | --- | --- |
//! | [systemd](#systemd) | descriptor 0, with `StandardInput=socket` |
//! | [systemd-socket-activate](#systemd-socket-activate) | descriptor 3; the shell moves it to 0 |
//! | [spawn-fcgi, multiwatch](#spawn-fcgi-and-multiwatch) | descriptor 0 |
//! | [s6](#s6) | descriptor 0 |
//! | [xinetd](#xinetd) | descriptor 0, with `wait = yes` |
//! | [lighttpd](#lighttpd) | descriptor 0 |
//! | [Apache with mod_fcgid](#apache-with-mod_fcgid) | descriptor 0 |
//! | [a container](#containers) | TCP, created by the program |
//!
//! In the files below, the program is `/usr/local/bin/app` and its socket is `/run/app.sock`. The
//! program runs as the user that the process manager has chosen. The web server, here `www-data`,
//! must be allowed to connect, and no other user should be.
//!
//! # systemd
//!
//! `/etc/systemd/system/app.socket`:
//!
//! ```ini
//! [Unit]
//! Description=Socket of the FastCGI application
//!
//! [Socket]
//! ListenStream=/run/app.sock
//! SocketUser=www-data
//! SocketMode=0600
//! Backlog=1024
//!
//! [Install]
//! WantedBy=sockets.target
//! ```
//!
//! `/etc/systemd/system/app.service`:
//!
//! ```ini
//! [Unit]
//! Description=FastCGI application
//! Requires=app.socket
//! After=app.socket
//!
//! [Service]
//! ExecStart=/usr/local/bin/app
//! StandardInput=socket
//! StandardOutput=journal
//! StandardError=journal
//! DynamicUser=yes
//! Restart=on-failure
//!
//! [Install]
//! WantedBy=multi-user.target
//! ```
//!
//! `systemctl enable --now app.socket` starts the application with the first request, and
//! `systemctl restart app.service` loses none: systemd keeps the socket. Without
//! `StandardInput=socket`, systemd passes the socket on descriptor 3 and announces it in the
//! variable `LISTEN_FDS`. The crate does not use that variable, because taking ownership of a
//! descriptor by its number is `unsafe`. The message of
//! [`Error::NotListening`](crate::Error::NotListening) mentions it.
//!
//! # systemd-socket-activate
//!
//! This program tests socket activation without systemd. With `<&3` the shell moves the socket to
//! descriptor 0:
//!
//! `socket-activate.sh`:
//!
//! ```sh
//! exec systemd-socket-activate --listen=/run/app.sock sh -c 'exec /usr/local/bin/app <&3'
//! ```
//!
//! # spawn-fcgi and multiwatch
//!
//! `spawn-fcgi` creates the socket and starts the program. With `-n` it stays in the foreground,
//! for a process supervisor:
//!
//! `spawn-fcgi.sh`:
//!
//! ```sh
//! exec spawn-fcgi -n -s /run/app.sock -M 0600 -b 1024 -- /usr/local/bin/app
//! ```
//!
//! Started as root, it takes `-U www-data` for the owner of the socket, and `-u app` for the user
//! of the program. `multiwatch` runs several processes on the same socket and replaces those that
//! end:
//!
//! `multiwatch.sh`:
//!
//! ```sh
//! exec spawn-fcgi -n -s /run/app.sock -M 0600 -- /usr/bin/multiwatch -f 4 -- /usr/local/bin/app
//! ```
//!
//! # s6
//!
//! `/etc/s6/app/run`, which must be executable:
//!
//! ```sh
//! #!/bin/execlineb -P
//! s6-ipcserver-socketbinder -b 1024 -a 0600 /run/app.sock
//! /usr/local/bin/app
//! ```
//!
//! The script creates the socket again whenever the program is restarted, so a client that connects
//! at that moment is refused.
//!
//! # xinetd
//!
//! `/etc/xinetd.d/app`:
//!
//! ```text
//! service app
//! {
//!     type        = UNLISTED
//!     socket_type = stream
//!     protocol    = tcp
//!     bind        = 127.0.0.1
//!     port        = 9000
//!     wait        = yes
//!     user        = www-data
//!     server      = /usr/local/bin/app
//! }
//! ```
//!
//! With `wait = yes` the program receives the listening socket, and with `no` a connection, which
//! [`Error::NotListening`](crate::Error::NotListening) reports. xinetd starts the program again
//! when it has ended and another request arrives.
//!
//! # lighttpd
//!
//! `/etc/lighttpd/conf-enabled/app.conf`:
//!
//! ```text
//! server.modules += ("mod_fastcgi")
//! fastcgi.server = ("/" => ((
//!     "bin-path" => "/usr/local/bin/app",
//!     "socket" => "/run/app.sock",
//!     "max-procs" => 1,
//!     "check-local" => "disable"
//! )))
//! ```
//!
//! One process is enough, because a [`Server`](crate::Server) serves its connections in threads.
//!
//! # Apache with mod_fcgid
//!
//! `/etc/apache2/conf-enabled/app.conf`:
//!
//! ```text
//! <Location />
//!     SetHandler fcgid-script
//!     Options +ExecCGI
//!     FcgidWrapper /usr/local/bin/app virtual
//!     Require all granted
//! </Location>
//! ```
//!
//! mod_fcgid starts further processes when all are busy, because it sends one request at a time to
//! each. `mod_proxy_fcgi` sends many to one process, which has to be started by other means.
//!
//! # Containers
//!
//! `Dockerfile`:
//!
//! ```text
//! FROM debian:stable-slim
//! COPY app /usr/local/bin/app
//! USER www-data
//! EXPOSE 9000
//! ENV FCGI_WEB_SERVER_ADDRS=172.18.0.2
//! STOPSIGNAL SIGTERM
//! ENTRYPOINT ["/usr/local/bin/app", "0.0.0.0:9000"]
//! ```
//!
//! Here the program binds the address in its argument. Everyone who can reach the port can act as
//! the web server, so use a network that only the web server shares, or name its address in
//! [`FCGI_WEB_SERVER_ADDRS`](crate::net::AllowList). The program is process 1 of the container, for
//! which the kernel ignores SIGTERM unless the program handles it: call
//! [`Handle::shutdown`](crate::server::Handle::shutdown) in a signal handler, for example with the
//! crate `ctrlc` and its feature `termination`. Otherwise the container is killed after 10 seconds.
//!
//! # Restarts without a lost request
//!
//! A program that calls [`Handle::shutdown`](crate::server::Handle::shutdown) on SIGTERM completes
//! the requests that have begun. What happens to new ones depends on the socket:
//!
//! 1. With a socket that a process manager keeps, new connections wait in the backlog until the
//!    program has been started again.
//! 2. With a Unix socket that the program creates,
//!    [`Listener::take_over`](crate::net::Listener::take_over) replaces the socket file while the
//!    old process still serves. Stop the old process after that.
//! 3. With TCP and a socket of its own, run a second application and change the address in the
//!    configuration of the web server.
//!
//! # Backlog and several processes
//!
//! `std` chooses the backlog of a socket that it creates. A socket with other options can be
//! created with the crate `socket2`, for example, and passed to
//! [`Server::new`](crate::Server::new). With `SO_REUSEPORT`, several processes listen on one TCP
//! port, and the kernel distributes the connections:
//!
//! ```
//! use socket2::{Domain, Socket, Type};
//! use std::net::{SocketAddr, TcpListener};
//!
//! fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
//!     let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
//!     # #[cfg(unix)]
//!     socket.set_reuse_port(true)?;
//!     socket.bind(&address.into())?;
//!     socket.listen(4096)?;
//!     Ok(socket.into())
//! }
//!
//! let first = listen("127.0.0.1:0".parse().expect("an address"))?;
//! let second = listen(first.local_addr()?)?;
//! let server = fcgi::Server::new(second)?;
//! # Ok::<(), fcgi::Error>(())
//! ```
