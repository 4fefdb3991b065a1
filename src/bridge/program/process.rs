//! A child process in a process group of its own.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;

/// A shell script that sends a signal to a process group. `std` sends signals only to a single
/// process, and only SIGKILL.
const SIGNAL_GROUP: &str = "kill -s \"$0\" -- \"-$1\"";

/// The stack of a thread that only waits.
const STACK_SIZE: usize = 64 * 1024;

/// A child process that leads a process group of its own, so that the processes that it starts can
/// be ended with it. It is killed and waited for when this value is dropped.
///
/// Until the child has been waited for, the system does not reuse its id. Signals are sent only in
/// that time.
pub(super) struct Process {
    /// Invariant: `None` if the child has been waited for, or another thread waits for it.
    child: Option<Child>,
    /// Invariant: `None` while `child` is `Some`.
    status: Option<ExitStatus>,
}

/// The ends of the pipes to a child process.
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

impl Process {
    /// Starts a process, with a pipe for each of its three streams.
    pub(super) fn spawn(command: &mut Command) -> io::Result<(Self, Pipes)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn()?;
        let pipes = match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Some(Pipes { stdin, stdout, stderr }),
            _ => None,
        };
        let process = Self { child: Some(child), status: None };
        // This cannot fail: `Command` creates every pipe that was requested.
        let pipes = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok((process, pipes))
    }

    /// Returns whether [`exit_status`](Self::exit_status) has found that the process has ended.
    pub(super) fn has_exited(&self) -> bool {
        self.status.is_some()
    }

    /// Returns the exit status if the process has ended. Does not wait.
    pub(super) fn exit_status(&mut self) -> io::Result<Option<ExitStatus>> {
        if let Some(child) = &mut self.child {
            self.status = child.try_wait()?;
            if self.status.is_some() {
                self.child = None;
            }
        }
        Ok(self.status)
    }

    /// Returns whether the process has ended. Where `/proc` shows that, the process is not waited
    /// for, so that the processes of its group can still be killed.
    pub(super) fn has_ended(&mut self) -> bool {
        let Some(child) = &self.child else { return true };
        match fs::read(format!("/proc/{}/stat", child.id())) {
            // The state follows the name of the program, which may contain parentheses.
            Ok(stat) => stat.rsplit(|&byte| byte == b')').next().is_some_and(is_zombie),
            Err(_) => !matches!(self.exit_status(), Ok(None)),
        }
    }

    /// Asks the processes of the group to end, with SIGTERM.
    pub(super) fn terminate(&mut self) {
        self.signal_group("TERM");
    }

    /// Kills the processes of the group, and waits for the end of the child.
    pub(super) fn kill(&mut self) {
        self.signal_group("KILL");
        if let Some(mut child) = self.child.take() {
            let killed = child.kill();
            self.status = wait_after(&killed, child);
        }
    }

    /// Sends a signal to the group, unless the child has been waited for.
    ///
    /// An error of the shell is ignored: `kill` kills at least the child.
    fn signal_group(&self, signal: &str) {
        let Some(child) = &self.child else { return };
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SIGNAL_GROUP, signal, &child.id().to_string()]);
        shell.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = shell.status();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits for a child that was killed. If it could not be killed, because it has changed its real
/// user, another thread waits for it: it may run indefinitely.
fn wait_after(killed: &io::Result<()>, mut child: Child) -> Option<ExitStatus> {
    if killed.is_ok() {
        return child.wait().ok();
    }
    let builder = thread::Builder::new().name("fcgi-wait".into()).stack_size(STACK_SIZE);
    // If no thread can be started, the child remains as a zombie after its end.
    let _ = builder.spawn(move || child.wait());
    None
}

fn is_zombie(state: &[u8]) -> bool {
    state.starts_with(b" Z")
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn child_that_cannot_be_killed_is_waited_for_by_another_thread() -> io::Result<()> {
        let (mut process, pipes) = Process::spawn(&mut Command::new("cat"))?;
        let child = process.child.take().expect("a child that was not waited for");
        let directory = format!("/proc/{}", child.id());
        let killed = Err(io::ErrorKind::PermissionDenied.into());
        assert_eq!(wait_after(&killed, child), None);
        assert!(Path::new(&directory).exists(), "it runs");
        // `cat` ends at the end of its input.
        drop(pipes);
        let start = Instant::now();
        while Path::new(&directory).exists() {
            assert!(start.elapsed() < Duration::from_secs(10), "no thread waits for it");
            thread::yield_now();
        }
        Ok(())
    }
}
