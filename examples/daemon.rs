//! A daemon: it listens on a Unix socket for its group, and stops on SIGTERM or SIGINT.
//!
//! ```sh
//! cargo run --example daemon -- unix:/run/app.sock
//! ```
//!
//! The socket has the mode 0660, so that only the owner and the group can connect. Run the daemon
//! in a group of which the web server is a member. On SIGTERM, it answers the requests that have
//! begun, removes the socket file, and exits with status 0. A second signal ends it at once.
//!
//! Errors are written to stderr, including those of the handler.
//!
//! The program prints `READY` when it listens. A service manager also restarts it if it fails:
//!
//! ```ini
//! [Service]
//! ExecStart=/usr/local/bin/daemon unix:/run/app/app.sock
//! User=app
//! Group=www-data
//! RuntimeDirectory=app
//! Restart=on-failure
//! ```

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::sync::atomic::AtomicBool;
    use std::sync::Arc;

    use fcgi::{server::Outcome, ResponseHead, Server};
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::flag;
    use signal_hook::iterator::Signals;

    let address = std::env::args_os().nth(1).unwrap_or("unix:/run/app.sock".into());
    let server = Server::bind(address)?.socket_mode(0o660)?.on_request_end(|ended| {
        if let Outcome::Failed(failure) = &ended.outcome {
            eprintln!("{failure}");
        }
    });

    let handle = server.handle();
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let is_stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // The order matters: the first signal sets the flag, which the second one finds set.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&is_stopping))?;
        flag::register(signal, Arc::clone(&is_stopping))?;
    }
    std::thread::spawn(move || signals.forever().for_each(|_signal| handle.shutdown()));

    println!("READY");
    server.serve(|request| request.respond(ResponseHead::text(), "The daemon is running.\n"))?;
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    eprintln!("daemon: this system has neither signals nor Unix sockets");
}
