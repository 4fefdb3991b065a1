//! Finds, starts and stops other programs. A program runs in the foreground and is stopped when its
//! test ends, even if the test fails.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The time after which a test that waits for an event fails. No test relies on its expiry.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The time that a program has to exit after SIGTERM.
const TERM_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits until a condition is met.
///
/// # Panics
/// If that takes too long.
#[track_caller]
pub fn wait_until(what: &str, mut is_met: impl FnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !is_met() {
        assert!(Instant::now() < deadline, "timed out waiting for: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Finds an installed program. The file name may have a version after `name`, as in `php-fpm8.2`.
///
/// # Panics
/// If the program is not installed.
pub fn find_program(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .collect();
    if let Some(file) = dirs.iter().map(|dir| dir.join(name)).find(|file| file.is_file()) {
        return file;
    }
    let is_version = |file: &PathBuf| {
        let rest =
            file.file_name().and_then(OsStr::to_str).and_then(|file| file.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    let mut files = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
    let found = files.find_map(|entry| Some(entry.path()).filter(is_version));
    found.unwrap_or_else(|| panic!("{name} is not installed; .ci/run installs it"))
}

/// Waits until a condition is met, at most for `limit`. Returns whether it was.
pub fn is_met_within(limit: Duration, mut is_met: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !is_met() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Returns a command that runs an installed program.
pub fn command(name: &str) -> Command {
    Command::new(find_program(name))
}

/// Returns the number of processes that run a program.
pub fn count_running(program: &Path) -> usize {
    find_processes(program).len()
}

/// Returns the processes that run a program, or any program in a directory.
pub fn find_processes(path: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("the list of processes").flatten();
    let ids = processes.filter(|process| {
        fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe.starts_with(path))
    });
    ids.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect()
}

/// Returns whether the tests run as root. Several servers behave differently then.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").expect("this process in /proc").uid() == 0
}

/// A temporary directory for the configuration, sockets and logs of one test. Every user may enter
/// it, because some servers drop their root privileges.
pub struct TestDir(tempfile::TempDir);

impl TestDir {
    pub fn new() -> Self {
        let dir =
            tempfile::Builder::new().prefix("fcgi-").tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("its mode");
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.join(name);
        fs::write(&file, content).expect("a file in the temporary directory");
        file
    }

    /// Writes an executable file.
    pub fn write_program(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let file = self.write(name, text);
        fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("its mode");
        file
    }

    /// Creates a subdirectory that every user may write to.
    pub fn create_dir(&self, name: &str) -> PathBuf {
        let dir = self.join(name);
        fs::create_dir(&dir).expect("a directory in the temporary directory");
        fs::set_permissions(&dir, Permissions::from_mode(0o777)).expect("its mode");
        dir
    }

    /// Copies a program into the directory, so that every user can run it.
    pub fn install(&self, program: &Path) -> PathBuf {
        let copy =
            self.join(program.file_name().and_then(OsStr::to_str).expect("the name of a program"));
        fs::copy(program, &copy).expect("a copy of a program");
        copy
    }
}

impl Drop for TestDir {
    /// Kills the programs in the directory that are still running. Servers may have started them in
    /// process groups of their own.
    fn drop(&mut self) {
        for id in find_processes(self.path()) {
            let _ = kill("KILL", &id.to_string());
        }
    }
}

/// A running program, in a process group of its own. It is stopped on drop.
pub struct Process {
    name: String,
    child: Child,
    /// The file that receives stdout and stderr, and other log files.
    logs: Vec<PathBuf>,
}

impl Process {
    /// Starts a program. Its output is written to `NAME.log` in the directory.
    pub fn start(name: &str, command: &mut Command, dir: &TestDir) -> Self {
        let log = dir.join(&format!("{name}.log"));
        let file = append(&log).expect("a log file");
        command.stdout(file.try_clone().expect("a descriptor")).stderr(file).process_group(0);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error} ({command:?})"));
        Self { name: name.to_owned(), child, logs: vec![log] }
    }

    /// Adds another log file.
    pub fn with_log(mut self, file: PathBuf) -> Self {
        self.logs.push(file);
        self
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the ids of the child processes of all its threads.
    pub fn children(&self) -> Vec<u32> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id())).into_iter().flatten();
        let lists =
            threads.flatten().map(|thread| fs::read_to_string(thread.path().join("children")));
        let lists: String = lists.map(Result::unwrap_or_default).collect();
        lists.split_whitespace().map(|id| id.parse().expect("a process id")).collect()
    }

    /// Returns everything that it has logged so far.
    pub fn log(&self) -> String {
        let texts = self.logs.iter().filter_map(|log| fs::read(log).ok());
        texts.map(|text| String::from_utf8_lossy(&text).into_owned()).collect()
    }

    /// Waits until a condition is met.
    ///
    /// # Panics
    /// If that takes too long, or if the program exits first.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut is_met: impl FnMut() -> bool) {
        wait_until(what, || {
            let status = self.child.try_wait().expect("the state of a child");
            assert!(status.is_none(), "{} exited with {status:?} before: {what}", self.name);
            is_met()
        });
    }

    /// Waits until the log contains `text`.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        wait_until(&format!("{} to log {text:?}", self.name), || self.log().contains(text));
    }

    /// Sends a signal to the process, but not to its children.
    pub fn signal(&self, signal: &str) {
        kill(signal, &self.id().to_string()).expect("a running program");
    }

    /// Waits until it exits.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(&format!("{} to exit", self.name), || {
            status = self.child.try_wait().expect("the state of a child");
            status.is_some()
        });
        status.expect("the process has exited")
    }

    /// Returns whether it exits within `limit`.
    pub fn exits_within(&mut self, limit: Duration) -> bool {
        is_met_within(limit, || self.child.try_wait().expect("the state of a child").is_some())
    }

    /// Stops every process of the group with SIGTERM, and after a timeout with SIGKILL.
    fn stop(&mut self) {
        let group = format!("-{}", self.id());
        let deadline = Instant::now() + TERM_TIMEOUT;
        let _ = kill("TERM", &group);
        loop {
            let _reaped = self.child.try_wait();
            if kill("0", &group).is_err() {
                break;
            }
            if Instant::now() > deadline {
                eprintln!("{} did not exit after SIGTERM", self.name);
                let _ = kill("KILL", &group);
                let _ = self.child.wait();
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
        if thread::panicking() {
            eprintln!("---- log of {} ----\n{}----", self.name, self.log());
        }
    }
}

/// Sends a signal to a process.
pub fn send_signal(signal: &str, id: u32) {
    kill(signal, &id.to_string()).expect("a running program");
}

/// Sends a signal to a process that may have exited.
pub fn try_send_signal(signal: &str, id: u32) {
    let _ = kill(signal, &id.to_string());
}

fn append(file: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(file)
}

/// Sends a signal to a process, or to a process group if its id is preceded by `-`.
fn kill(signal: &str, id: &str) -> Result<(), ExitStatus> {
    let mut shell = Command::new("sh");
    shell.args(["-c", "kill -s \"$0\" -- \"$1\"", signal, id]).stderr(Stdio::null());
    let status = shell.status().expect("a shell");
    if status.success() {
        Ok(())
    } else {
        Err(status)
    }
}
