//! Starts the processes of a FastCGI application.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::net::Listener;

/// A shell script that closes descriptors 1 and 2 and then executes the application. `Command`
/// cannot close descriptors.
const CLOSE_AND_EXEC: &str = "exec \"$0\" \"$@\" >&- 2>&-";

/// Starts `copies` processes of an application. Each process has the listening socket on
/// descriptor 0, descriptors 1 and 2 closed, and a process group of its own
/// ([FastCGI specification], section 2.2).
///
/// The processes inherit the environment of the caller. The variable `FCGI_WEB_SERVER_ADDRS`, a
/// comma-separated list of IPv4 addresses, limits which web servers may connect (FastCGI
/// specification, section 3.2).
///
/// The listener should be [`shared`](Listener::shared), so that its socket file remains when the
/// listener is dropped. Drop it after this call. Otherwise the socket remains open after all
/// processes have ended, and clients do not notice that.
///
/// # Errors
///
/// Returns an error if the shell that executes the program cannot be started. A program that cannot
/// be executed is not reported: its process ends.
///
/// # Examples
///
/// ```no_run
/// // It needs an application to start.
/// use fcgi::{bridge, net::Listener};
///
/// let listener = Listener::bind(&"unix:/run/app.sock".parse()?)?.shared();
/// bridge::start(&listener, "/usr/bin/php-cgi", 2)?;
/// # Ok::<(), fcgi::Error>(())
/// ```
///
/// [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html
pub fn start(
    listener: &Listener,
    program: impl AsRef<OsStr>,
    copies: usize,
) -> io::Result<Vec<Child>> {
    (0..copies).map(|_| start_one(listener, program.as_ref())).collect()
}

fn start_one(listener: &Listener, program: &OsStr) -> io::Result<Child> {
    Command::new("/bin/sh")
        .args([OsStr::new("-c"), OsStr::new(CLOSE_AND_EXEC), program])
        .stdin(Stdio::from(listener.as_fd().try_clone_to_owned()?))
        .process_group(0)
        .spawn()
}
