//! The second program: hostile peers of the server, and hostile applications for the clients.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use fcgi::net::{Address, Stream};

use crate::applications;
use crate::example::KillOnDrop;
use crate::server::{as_user, Server};
use crate::support::{begin, pair, record, GET_VALUES, TEST_TIMEOUT};

/// The variables that contain the directory of the sockets, and the process id of the server.
const DIRECTORY: &str = "SOAK_DIRECTORY";
const SERVER: &str = "SOAK_SERVER";

/// The number of silent connections that are open at a time.
const SILENT: usize = 3000;
/// The time for which they stay open.
const SILENCE: Duration = Duration::from_millis(500);
/// The number of connections that send a flood at a time.
const FLOODS: usize = 17;
/// The time for which the server cannot start threads, and the time between two such times.
const EXHAUSTION: Duration = Duration::from_secs(1);

/// Held for reading during each attack, and for writing while the program rests.
static PLAYING: RwLock<()> = RwLock::new(());

static SILENT_WAVES: AtomicU64 = AtomicU64::new(0);
static PARTIAL: AtomicU64 = AtomicU64::new(0);
static FLOODED: AtomicU64 = AtomicU64::new(0);
static EXHAUSTIONS: AtomicU64 = AtomicU64::new(0);

/// The running program.
pub struct HostileProgram {
    process: KillOnDrop,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// The number of attacks.
pub struct Attacks {
    /// How many times all silent connections were opened.
    silent_waves: u64,
    /// The number of silent connections that sent a part of a record.
    partial: u64,
    floods: u64,
    /// How many times the server could not start threads.
    exhaustions: u64,
}

impl HostileProgram {
    /// Starts the program, and waits until its applications listen.
    pub fn start(directory: &Path, server: &Server) -> Self {
        let mut command = Command::new("prlimit");
        command.arg("--nofile=8192:").arg(env::current_exe().expect("the path of this program"));
        command.args(["hostile::second_program", "--exact", "--ignored", "--nocapture"]);
        command.env(DIRECTORY, directory).env(SERVER, server.id().to_string());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let commands = child.stdin.take().expect("its stdin");
        let answers = BufReader::new(child.stdout.take().expect("its stdout"));
        let mut program = Self { process: KillOnDrop(child), commands, answers };
        program.wait_for("playing");
        program
    }

    /// Ends all attacks, and waits until they have ended.
    pub fn rest(&mut self) {
        writeln!(self.commands, "rest").expect("the program runs");
        self.wait_for("resting");
    }

    pub fn play(&mut self) {
        writeln!(self.commands, "play").expect("the program runs");
        self.wait_for("playing");
    }

    /// Ends the program.
    pub fn stop(mut self) -> Attacks {
        writeln!(self.commands, "stop").expect("the program runs");
        let counts = self.wait_for("attacks");
        assert!(self.process.0.wait().expect("its status").success(), "an attack has failed");
        let mut counts =
            counts.split(' ').skip(1).map(|count| u64::from_str(count).expect("a number"));
        let mut next = || counts.next().expect("a count");
        let attacks =
            Attacks { silent_waves: next(), partial: next(), floods: next(), exhaustions: next() };
        assert!(
            attacks.silent_waves > 0 && attacks.floods > 0 && attacks.exhaustions > 0,
            "{attacks}"
        );
        attacks
    }

    /// Returns the next line that begins with this word. libtest prints lines of its own, and
    /// begins one that the first answer continues.
    fn wait_for(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            let len = self.answers.read_line(&mut line).expect("an answer");
            assert_ne!(len, 0, "the second program has ended");
            if let Some(start) = line.find(word) {
                return line[start..].trim_end().to_owned();
            }
        }
    }
}

impl Attacks {
    /// Returns the number of connections whose end the server may have reported.
    pub fn disconnected(&self) -> u64 {
        self.partial + self.floods
    }
}

impl fmt::Display for Attacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { silent_waves, partial, floods, exhaustions } = self;
        write!(
            f,
            "{silent_waves} times {SILENT} silent connections, {partial} of them with a part of a \
             record; {floods} floods; {exhaustions} times no threads"
        )
    }
}

/// The second program itself. Without the variables it does nothing: the tests run it too.
#[test]
#[ignore = "is a part of the other test"]
fn second_program() {
    let (Some(directory), Some(server)) = (env::var_os(DIRECTORY), env::var(SERVER).ok()) else {
        return;
    };
    exit_on_panic();
    let directory = PathBuf::from(directory);
    applications::start(&directory);
    let address = Address::unix(directory.join("app.sock")).expect("an address");
    start_attacks(address, server);
    obey(io::stdin().lock());
}

/// Ends the process if a thread panics.
fn exit_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        process::exit(1);
    }));
}

fn start_attacks(address: Address, server: String) {
    for number in 0..FLOODS {
        let (address, records) = (address.clone(), flood_records(number));
        repeat(move || flood(&address, &records));
    }
    repeat(move || stay_silent(&address));
    repeat(move || exhaust_threads(&server));
}

/// Starts a thread that repeats an attack while the program does not rest.
fn repeat(attack: impl Fn() + Send + 'static) {
    thread::spawn(move || loop {
        let playing = PLAYING.read().expect("the lock");
        attack();
        drop(playing);
    });
}

/// Executes the commands of the first program.
fn obey(commands: impl BufRead) {
    println!("playing");
    let mut resting: Option<RwLockWriteGuard<'_, ()>> = None;
    for command in commands.lines() {
        match command.expect("a command").as_str() {
            "rest" => {
                resting = Some(PLAYING.write().expect("the lock"));
                println!("resting");
            }
            "play" => {
                drop(resting.take());
                println!("playing");
            }
            _ => break,
        }
    }
    let counts = [&SILENT_WAVES, &PARTIAL, &FLOODED, &EXHAUSTIONS];
    let counts = counts.map(|count| count.load(Ordering::SeqCst).to_string());
    println!("attacks {}", counts.join(" "));
}

/// Opens connections that send nothing, or only a part of a record.
fn stay_silent(address: &Address) {
    let part = begin(1, 1, 1);
    let mut connections = Vec::new();
    for number in 0..SILENT {
        let mut stream = connect(address);
        if number % 3 == 0 {
            // The server may have closed the connection.
            let _ = stream.write_all(&part[..=number % 15]);
            PARTIAL.fetch_add(1, Ordering::SeqCst);
        }
        connections.push(stream);
    }
    thread::sleep(SILENCE);
    SILENT_WAVES.fetch_add(1, Ordering::SeqCst);
}

/// Returns records that the server has to answer at once.
fn flood_records(number: usize) -> Vec<u8> {
    let record = match number % 2 {
        0 => record(GET_VALUES, 0, &pair(b"FCGI_MAX_CONNS", b"")),
        _ => begin(1, 99, 1),
    };
    record.repeat(1000)
}

/// Sends records without reading the answers until the server closes the connection.
fn flood(address: &Address, records: &[u8]) {
    let mut stream = connect(address);
    let start = Instant::now();
    while stream.write_all(records).is_ok() {}
    assert!(start.elapsed() < TEST_TIMEOUT, "the server has not closed the connection");
    FLOODED.fetch_add(1, Ordering::SeqCst);
}

fn connect(address: &Address) -> Stream {
    let stream = Stream::connect(address, None).expect("a connection");
    stream.set_timeouts(None, Some(TEST_TIMEOUT)).expect("a timeout");
    stream
}

/// Keeps the server from starting threads for a while.
fn exhaust_threads(server: &str) {
    let limit = thread_limit(server);
    set_thread_limit(server, "1");
    thread::sleep(EXHAUSTION);
    set_thread_limit(server, &limit);
    EXHAUSTIONS.fetch_add(1, Ordering::SeqCst);
    thread::sleep(EXHAUSTION);
}

/// Returns how many threads the user of a process may have.
fn thread_limit(process: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).expect("its limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max processes"));
    line.and_then(|line| line.split_whitespace().next()).expect("a limit").to_owned()
}

fn set_thread_limit(process: &str, limit: &str) {
    let mut command = Command::new("prlimit");
    command.args(["--pid", process, &format!("--nproc={limit}:")]);
    let status = as_user(&mut command).status().expect("prlimit runs");
    assert!(status.success(), "the limit is set");
}
