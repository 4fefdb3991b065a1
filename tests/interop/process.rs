//! Other programs: found, started in the foreground, waited for, and ended with the test whatever
//! becomes of it.

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

/// How long a test waits for what must come before it fails. What it proves never depends on it.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long a program may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(10);

/// Waits until something has come about; panics if it never does.
#[track_caller]
pub fn wait_until(what: &str, mut has_come: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !has_come() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The file of a program that a package of the system installs; `name` may lack a version at its
/// end (`php-fpm`).
///
/// # Panics
/// If it is not installed: these tests are run where it has to be.
pub fn program(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .collect();
    if let Some(file) = folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()) {
        return file;
    }
    let is_version = |file: &PathBuf| {
        let rest =
            file.file_name().and_then(OsStr::to_str).and_then(|file| file.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    let mut files =
        folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let found = files.find_map(|entry| Some(entry.path()).filter(is_version));
    found.unwrap_or_else(|| {
        panic!("{name} is not installed, and this test needs it; .ci/run installs it")
    })
}

/// A command that runs a program which has to be installed.
pub fn command(name: &str) -> Command {
    Command::new(program(name))
}

/// How many processes run a program.
pub fn running(program: &Path) -> usize {
    processes_of(program).len()
}

/// The processes that run a program, or one below a directory.
fn processes_of(path: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("the list of processes").flatten();
    let ids = processes.filter(|process| {
        fs::read_link(process.path().join("exe")).is_ok_and(|exe| exe.starts_with(path))
    });
    ids.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect()
}

/// Whether the tests run as root, whom several servers treat in their own ways.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").expect("this process in /proc").uid() == 0
}

/// A directory for one test: configuration, sockets, logs. Everyone may enter it, since some
/// servers give up being root.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder =
            tempfile::Builder::new().prefix("fcgi-").tempdir().expect("a temporary directory");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("its mode");
        Self(folder)
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

    /// Writes a program.
    pub fn write_program(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let file = self.write(name, text);
        fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("its mode");
        file
    }

    /// Makes a directory that every user may write to.
    pub fn make(&self, name: &str) -> PathBuf {
        let folder = self.join(name);
        fs::create_dir(&folder).expect("a directory in the temporary directory");
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).expect("its mode");
        folder
    }

    /// Copies a program to where every user can run it.
    pub fn install(&self, program: &Path) -> PathBuf {
        let copy =
            self.join(program.file_name().and_then(OsStr::to_str).expect("the name of a program"));
        fs::copy(program, &copy).expect("a copy of a program");
        copy
    }
}

impl Drop for Folder {
    /// Ends the programs in it that others have started and left behind, in groups of their own.
    fn drop(&mut self) {
        for id in processes_of(self.path()) {
            let _ = kill("KILL", &id.to_string());
        }
    }
}

/// A program that runs, in a process group of its own.
pub struct Process {
    name: String,
    child: Child,
    /// What it wrote to stdout and stderr, and files that it logs to.
    logs: Vec<PathBuf>,
    has_ended: bool,
}

impl Process {
    /// Starts a program; what it prints goes to `NAME.log` in the folder.
    pub fn start(name: &str, command: &mut Command, folder: &Folder) -> Self {
        let log = folder.join(&format!("{name}.log"));
        let file = append(&log).expect("a log file");
        command.stdout(file.try_clone().expect("a descriptor")).stderr(file).process_group(0);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error} ({command:?})"));
        Self { name: name.to_owned(), child, logs: vec![log], has_ended: false }
    }

    /// Names another file that it logs to.
    pub fn with_log(mut self, file: PathBuf) -> Self {
        self.logs.push(file);
        self
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The processes that it has started itself.
    pub fn children(&self) -> Vec<u32> {
        let list = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.id()))
            .unwrap_or_default();
        list.split_whitespace().map(|id| id.parse().expect("a process id")).collect()
    }

    /// Everything that it has logged so far.
    pub fn log(&self) -> String {
        let texts = self.logs.iter().filter_map(|log| fs::read(log).ok());
        texts.map(|text| String::from_utf8_lossy(&text).into_owned()).collect()
    }

    /// Waits until something has come about; panics if it never does, or if the program ends
    /// before.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut has_come: impl FnMut() -> bool) {
        wait_until(what, || {
            let ended = self.child.try_wait().expect("the state of a child");
            assert!(ended.is_none(), "{} has ended with {ended:?} before {what}", self.name);
            has_come()
        });
    }

    /// Waits until a line with `text` is in its log.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        wait_until(&format!("{} logs {text:?}", self.name), || self.log().contains(text));
    }

    /// Sends it a signal: to the one process, not to those that it has started.
    pub fn signal(&self, signal: &str) {
        kill(signal, &self.id().to_string()).expect("a running program");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(&format!("{} ends", self.name), || {
            status = self.child.try_wait().expect("the state of a child");
            status.is_some()
        });
        status.expect("just seen")
    }

    /// Ends every process of the group, gently at first.
    fn end(&mut self) {
        let group = format!("-{}", self.id());
        let deadline = Instant::now() + GRACE;
        let _ = kill("TERM", &group);
        loop {
            let _reaped = self.child.try_wait();
            if kill("0", &group).is_err() {
                break;
            }
            if Instant::now() > deadline {
                eprintln!("{} did not end by itself", self.name);
                let _ = kill("KILL", &group);
                let _ = self.child.wait();
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.has_ended = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("---- log of {} ----\n{}----", self.name, self.log());
        }
    }
}

/// Sends a signal to a process of a known program.
pub fn send_signal(signal: &str, id: u32) {
    kill(signal, &id.to_string()).expect("a running program");
}

fn append(file: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(file)
}

/// Sends a signal to a process, or with a `-` before its number to a group.
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
