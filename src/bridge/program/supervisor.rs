//! Watches a CGI program until it ends.

use std::io::{self, Write};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use super::process::Process;
use super::pump::{start_reading, BodyPump, Event};
use super::response::{ProgramResponse, WriteError};
use crate::error::{Error, Result};

/// The capacity of the event channel. Each event has at most 64 KiB of data.
const EVENTS: usize = 4;
/// The time between two checks whether the request was aborted or a timeout has expired.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How often the thread yields after a program has closed its output, before it pauses. A program
/// usually ends within a few microseconds, and a pause takes at least 50.
const YIELDS: u32 = 50;
/// The first pause after that. It is doubled up to `CHECK_INTERVAL`.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
/// A pause in which the output of a program that has ended may continue.
const QUIET_PAUSE: Duration = Duration::from_millis(50);
/// The number of pauses without output after which output that another process keeps open is
/// treated as ended. They are counted rather than timed: if the system is too busy to run the
/// threads that read the output, it also delays these pauses.
const QUIET_PAUSES: u32 = 10;
/// `QUIET_PAUSES` while only stderr is open.
const QUIET_PAUSES_OF_STDERR: u32 = 2;

/// The bounds on the time of a program.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) timeout: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) kill_timeout: Duration,
}

/// Why a program has failed to answer a request.
pub(super) enum ProgramFailure {
    /// The program failed. The caller may still send another response.
    Program(Error),
    /// The request was aborted, or its connection failed.
    Request(Error),
}

impl From<WriteError> for ProgramFailure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Head(error) => Self::Program(error),
            WriteError::Output(error) => Self::Request(error),
        }
    }
}

/// What has happened in one step.
pub(super) enum Step {
    /// The program is running. The caller calls [`step`](Supervisor::step) again.
    Continue,
    /// It is time to check whether the request was aborted.
    Check,
    /// The body has been read to its end.
    BodyEnded,
    /// The program has ended, and its response is complete.
    Exited(ExitStatus),
}

/// A running program, and what is known about it.
pub(super) struct Supervisor {
    process: Process,
    response: ProgramResponse,
    events: Receiver<Event>,
    /// Keeps `events` connected after the threads have ended.
    _sender: SyncSender<Event>,
    limits: Limits,
    start: Instant,
    /// When data that the program has read or written was last passed on.
    last_activity: Instant,
    next_check: Instant,
    /// How long to wait for the next event.
    pause: Duration,
    is_stdout_open: bool,
    is_stderr_open: bool,
    /// The number of pauses without an event since the program has exited.
    quiet_pauses: u32,
}

impl Supervisor {
    /// Starts a program that answers a request with this method. Returns the pump for its body.
    pub(super) fn start(
        command: &mut Command,
        limits: Limits,
        method: &str,
    ) -> io::Result<(Self, BodyPump)> {
        let (process, pipes) = Process::spawn(command)?;
        let (sender, events) = mpsc::sync_channel(EVENTS);
        start_reading(pipes.stdout, sender.clone(), Event::Stdout)?;
        start_reading(pipes.stderr, sender.clone(), Event::Stderr)?;
        let pump = BodyPump::new(pipes.stdin, sender.clone());
        let now = Instant::now();
        let supervisor = Self {
            process,
            response: ProgramResponse::new(method),
            events,
            _sender: sender,
            limits,
            start: now,
            last_activity: now,
            next_check: now + CHECK_INTERVAL,
            pause: CHECK_INTERVAL,
            is_stdout_open: true,
            is_stderr_open: true,
            quiet_pauses: 0,
        };
        Ok((supervisor, pump))
    }

    /// Waits for the next event or the end of a pause. Passes on what the program has written.
    ///
    /// If `flush` is false, output is sent only when the buffer of the writer is full.
    pub(super) fn step(
        &mut self,
        stdout: &mut impl Write,
        stderr: &mut impl Write,
        flush: bool,
    ) -> std::result::Result<Step, ProgramFailure> {
        if Instant::now() >= self.next_check {
            self.next_check = Instant::now() + CHECK_INTERVAL;
            check_limit("program", self.start, self.limits.timeout)
                .map_err(ProgramFailure::Program)?;
            return Ok(Step::Check);
        }
        if let Ok(event) = self.events.try_recv() {
            return self.handle(event, stdout, stderr);
        }
        if flush {
            let flushed = stderr.flush().and_then(|()| stdout.flush());
            flushed.map_err(|error| ProgramFailure::Request(error.into()))?;
        }
        match self.events.recv_timeout(self.pause) {
            Ok(event) => self.handle(event, stdout, stderr),
            Err(_timeout) => self.check_exit().map_err(ProgramFailure::Program),
        }
    }

    /// Ends the program and the processes that it has started, unless it has exited.
    pub(super) fn end_program(&mut self) {
        if self.process.has_exited() {
            return;
        }
        self.process.terminate();
        let start = Instant::now();
        self.pause = FIRST_PAUSE;
        while self.has_open_output() || !self.process.has_ended() {
            let left = self.limits.kill_timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                break;
            }
            match self.events.recv_timeout(left.min(self.pause)) {
                Ok(event) => self.note(&event),
                Err(_timeout) => self.pause = CHECK_INTERVAL.min(self.pause * 2),
            }
        }
        self.process.kill();
    }

    fn has_open_output(&self) -> bool {
        self.is_stdout_open || self.is_stderr_open
    }

    /// Passes on what an event contains. While that blocks, the program may be blocked too, so it
    /// is not idle.
    fn handle(
        &mut self,
        event: Event,
        stdout: &mut impl Write,
        stderr: &mut impl Write,
    ) -> std::result::Result<Step, ProgramFailure> {
        self.note(&event);
        let step = self.pass_on(event, stdout, stderr);
        self.last_activity = Instant::now();
        step
    }

    fn pass_on(
        &mut self,
        event: Event,
        stdout: &mut impl Write,
        stderr: &mut impl Write,
    ) -> std::result::Result<Step, ProgramFailure> {
        match event {
            Event::Stdout(Ok(data)) => self.response.write(&data, stdout)?,
            Event::Stderr(Ok(data)) => {
                stderr.write_all(&data).map_err(|error| ProgramFailure::Request(error.into()))?;
            }
            Event::Stdout(Err(error)) | Event::Stderr(Err(error)) => {
                return Err(ProgramFailure::Program(error.into()));
            }
            Event::BodyRead => {}
            Event::BodyEnded(Ok(())) => return Ok(Step::BodyEnded),
            Event::BodyEnded(Err(error)) => return Err(ProgramFailure::Request(error)),
        }
        if self.has_open_output() {
            return Ok(Step::Continue);
        }
        self.yield_until_exit().and_then(|()| self.check_exit()).map_err(ProgramFailure::Program)
    }

    /// Waits for a short time for the end of a program that has closed its output.
    fn yield_until_exit(&mut self) -> Result<()> {
        for _ in 0..YIELDS {
            if self.process.exit_status()?.is_some() {
                break;
            }
            thread::yield_now();
        }
        Ok(())
    }

    /// Notes that the output of the program continues or ends.
    fn note(&mut self, event: &Event) {
        self.quiet_pauses = 0;
        let is_open = match event {
            Event::Stdout(_) => &mut self.is_stdout_open,
            Event::Stderr(_) => &mut self.is_stderr_open,
            Event::BodyRead | Event::BodyEnded(_) => return,
        };
        if event.is_end() {
            *is_open = false;
            self.pause = FIRST_PAUSE;
        }
    }

    /// Returns whether the program has ended, and its response too. No event is waiting.
    fn check_exit(&mut self) -> Result<Step> {
        self.pause = CHECK_INTERVAL.min(self.pause * 2);
        let Some(status) = self.process.exit_status()? else {
            const IDLE: &str = "idle program";
            check_limit(IDLE, self.last_activity, self.limits.idle_timeout)?;
            return Ok(Step::Continue);
        };
        if self.has_open_output() && !self.is_quiet() {
            self.pause = QUIET_PAUSE;
            return Ok(Step::Continue);
        }
        self.response.check(status)?;
        Ok(Step::Exited(status))
    }

    /// Counts a pause after the end of the program. Returns whether its output has ended, although
    /// another process keeps it open.
    fn is_quiet(&mut self) -> bool {
        self.quiet_pauses += 1;
        let limit = if self.is_stdout_open { QUIET_PAUSES } else { QUIET_PAUSES_OF_STDERR };
        self.quiet_pauses > limit
    }
}

fn check_limit(operation: &'static str, start: Instant, limit: Option<Duration>) -> Result<()> {
    match limit {
        Some(limit) if start.elapsed() >= limit => Err(Error::timed_out(operation, limit)),
        _ => Ok(()),
    }
}
