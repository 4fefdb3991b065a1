use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::net::Listener;

/// What starts an application with only descriptor 0 open, as section 2.2 has it: a shell closes
/// the others, then becomes the program.
const CLOSE_AND_BECOME: &str = "exec \"$0\" \"$@\" >&- 2>&-";

/// Starts `copies` processes of an application, each with the listening socket on descriptor 0 and
/// descriptors 1 and 2 closed (section 2.2), in a process group of their own.
///
/// They inherit the environment; the web servers that may connect can be limited by
/// `FCGI_WEB_SERVER_ADDRS` there, dotted quads with commas between (section 3.2). The listener is
/// the caller's, who makes it [`shared`](Listener::shared) so that its socket file stays when it is
/// dropped, and should drop it: then clients notice when no process is left.
///
/// # Errors
/// What the system reports. A program that cannot be executed is not noticed here, as it is a shell
/// that becomes it.
///
/// ```no_run
/// // It needs an application.
/// use fcgi::{bridge, net::Listener};
///
/// let listener = Listener::bind(&"unix:/run/app.sock".parse()?)?.shared();
/// bridge::start(&listener, "/usr/bin/php-cgi", 2)?;
/// # Ok::<(), fcgi::Error>(())
/// ```
pub fn start(
    listener: &Listener,
    program: impl AsRef<OsStr>,
    copies: usize,
) -> io::Result<Vec<Child>> {
    let start_one = |_| {
        Command::new("/bin/sh")
            .args([OsStr::new("-c"), OsStr::new(CLOSE_AND_BECOME), program.as_ref()])
            .stdin(Stdio::from(listener.as_fd().try_clone_to_owned()?))
            .process_group(0)
            .spawn()
    };
    (0..copies).map(start_one).collect()
}
