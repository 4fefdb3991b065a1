//! Starts the processes of a FastCGI application.

use std::ffi::OsStr;
use std::io;
use std::process::Child;

use crate::net::Listener;

/// Starts `copies` processes of an application. Each process has the listening socket on descriptor
/// 0, descriptors 1 and 2 closed, and a process group of its own ([FastCGI specification], section
/// 2.2).
///
/// `/bin/sh` starts each process, because `std` cannot close the two descriptors. A program without
/// a slash in its name is looked up in `PATH`. A process that has ended remains as a zombie until
/// the caller waits for it.
///
/// The processes inherit the environment of the caller. The variable `FCGI_WEB_SERVER_ADDRS`, a
/// comma-separated list of IP addresses, limits which web servers may connect (FastCGI
/// specification, section 3.2).
///
/// The listener should be [`shared`](Listener::shared), so that its socket file remains when the
/// listener is dropped. Drop it after this call. Otherwise the socket remains open after all
/// processes have ended: clients can still connect, but are never served.
///
/// # Errors
/// An I/O error if a process cannot be started. The processes that were started before it are then
/// killed. A program that cannot be executed is not reported: its process ends. On systems other
/// than Unix every process fails with `Unsupported`.
///
/// ```no_run
/// // Requires php-cgi.
/// use fcgi::{bridge, net::Listener};
///
/// let listener = Listener::bind("unix:/run/app.sock")?.shared();
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
    collect_or_kill((0..copies).map(|_| start_one(listener, program.as_ref())))
}

#[cfg(unix)]
fn start_one(listener: &Listener, program: &OsStr) -> io::Result<Child> {
    use std::os::fd::AsFd;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    /// A shell script that closes descriptors 1 and 2 and then executes the application. `Command`
    /// cannot close descriptors.
    const CLOSE_AND_EXEC: &str = "exec \"$0\" \"$@\" >&- 2>&-";

    Command::new("/bin/sh")
        .args([OsStr::new("-c"), OsStr::new(CLOSE_AND_EXEC), program])
        .stdin(Stdio::from(listener.as_fd().try_clone_to_owned()?))
        .process_group(0)
        .spawn()
}

#[cfg(not(unix))]
fn start_one(_: &Listener, _: &OsStr) -> io::Result<Child> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Collects processes. After an error, kills those that were collected and waits for their end.
fn collect_or_kill(processes: impl Iterator<Item = io::Result<Child>>) -> io::Result<Vec<Child>> {
    let mut children = Vec::new();
    for process in processes {
        match process {
            Ok(child) => children.push(child),
            Err(error) => {
                children.iter_mut().for_each(kill);
                return Err(error);
            }
        }
    }
    Ok(children)
}

/// Kills a process and waits for its end. Errors are ignored: the process has then ended already.
fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn is_running(process: u32) -> bool {
        let status =
            Command::new("kill").args(["-0", &process.to_string()]).stderr(Stdio::null()).status();
        status.expect("kill runs").success()
    }

    #[test]
    fn processes_are_killed_if_a_later_one_cannot_be_started() {
        let mut started = Vec::new();
        let processes = (0..4).map(|n| {
            let program = if n < 2 { "sleep" } else { "/nonexistent/program" };
            let child = Command::new(program).arg("600").spawn()?;
            assert!(is_running(child.id()));
            started.push(child.id());
            Ok(child)
        });
        let error = collect_or_kill(processes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(started.len(), 2);
        assert!(!started.into_iter().any(is_running));
    }
}
