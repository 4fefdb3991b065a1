//! The threads that move data between a request and the pipes of a CGI program.

use std::io::{self, Read, Write};
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::Arc;
use std::thread;

use crate::error::Result;
use crate::stream::retry_interrupted;

/// The maximum number of bytes that are moved at a time: the capacity of a pipe under Linux.
const PIECE_LEN: usize = 64 * 1024;
/// The size of the buffer until a read fills it. Most programs write less.
const FIRST_PIECE_LEN: usize = 4 * 1024;

/// What the threads report.
pub(super) enum Event {
    /// Data that the program has written to stdout. It is empty at the end.
    Stdout(io::Result<Vec<u8>>),
    /// Data that the program has written to stderr. It is empty at the end.
    Stderr(io::Result<Vec<u8>>),
    /// The program has read a part of the body.
    BodyRead,
    /// The body has ended. The program may not have read all of it.
    BodyEnded(Result<()>),
}

impl Event {
    /// Returns whether the program or its pipe sends nothing more of this kind.
    pub(super) fn is_end(&self) -> bool {
        match self {
            Self::Stdout(data) | Self::Stderr(data) => data.as_ref().map_or(true, Vec::is_empty),
            Self::BodyRead => false,
            Self::BodyEnded(_) => true,
        }
    }
}

/// What the thread that reads the body is to do next.
enum Demand {
    /// Read a part of the body into this buffer, and pass it on.
    Read(Vec<u8>),
    /// Drop the rest of the body: the program has closed its stdin.
    Discard,
    /// Nothing. Wakes a pump that was stopped.
    Stop,
}

/// A part of the body: the first bytes of a buffer.
struct Piece {
    buffer: Vec<u8>,
    len: usize,
}

/// Starts a thread that reads a pipe until it ends, or until the receiver is dropped.
///
/// The thread may outlive the program: a process that the program has started can keep the pipe
/// open.
pub(super) fn start_reading(
    mut pipe: impl Read + Send + 'static,
    events: SyncSender<Event>,
    event: fn(io::Result<Vec<u8>>) -> Event,
) -> io::Result<()> {
    thread::Builder::new().name("fcgi-pump".into()).spawn(move || {
        let mut buffer = vec![0; FIRST_PIECE_LEN];
        loop {
            let len = retry_interrupted(|| pipe.read(&mut buffer));
            let is_full = len.as_ref().is_ok_and(|len| *len == buffer.len());
            let event = event(len.map(|len| buffer[..len].to_vec()));
            let is_end = event.is_end();
            if events.send(event).is_err() || is_end {
                return;
            }
            if is_full {
                buffer.resize(PIECE_LEN, 0);
            }
        }
    })?;
    Ok(())
}

/// Moves the body of a request to the stdin of a program.
///
/// One thread reads the body. Another one writes it: a write can block for as long as the program
/// runs, and longer if a process that it has started keeps the pipe open.
pub(super) struct BodyPump {
    stdin: Option<ChildStdin>,
    events: SyncSender<Event>,
    demand: Sender<Demand>,
    demands: Receiver<Demand>,
    is_stopped: Arc<AtomicBool>,
}

/// Stops a [`BodyPump`] when it is dropped. A read of the body that is in progress is not
/// interrupted.
pub(super) struct StopOnDrop {
    demand: Sender<Demand>,
    is_stopped: Arc<AtomicBool>,
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        // The message only wakes the pump. No other data depends on the flag.
        self.is_stopped.store(true, Ordering::Relaxed);
        // An error means that the pump has ended.
        let _ = self.demand.send(Demand::Stop);
    }
}

impl BodyPump {
    pub(super) fn new(stdin: ChildStdin, events: SyncSender<Event>) -> Self {
        let (demand, demands) = mpsc::channel();
        let is_stopped = Arc::new(AtomicBool::new(false));
        Self { stdin: Some(stdin), events, demand, demands, is_stopped }
    }

    pub(super) fn stop_on_drop(&self) -> StopOnDrop {
        StopOnDrop { demand: self.demand.clone(), is_stopped: Arc::clone(&self.is_stopped) }
    }

    /// Moves the body until it ends, and reports that. Then closes the stdin of the program.
    ///
    /// If the body is incomplete, stdin stays open until the pump is stopped. The program must not
    /// mistake what it has read for the whole body.
    pub(super) fn run(mut self, body: &mut impl Read) {
        let mut pieces = None;
        let moved = self.move_body(body, &mut pieces);
        let is_complete = moved.is_ok();
        if self.events.send(Event::BodyEnded(moved)).is_ok() && !is_complete {
            while !self.is_stopped() && self.demands.recv().is_ok() {}
        }
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    fn move_body(
        &mut self,
        body: &mut impl Read,
        pieces: &mut Option<Sender<Piece>>,
    ) -> Result<()> {
        let mut buffer = vec![0; PIECE_LEN];
        loop {
            let len = retry_interrupted(|| body.read(&mut buffer))?;
            if len == 0 {
                return Ok(());
            }
            self.pass_on(Piece { buffer, len }, pieces)?;
            match self.demands.recv() {
                Ok(Demand::Read(next)) if !self.is_stopped() => buffer = next,
                Ok(Demand::Discard) => return self.discard(body),
                _stopped => return Ok(()),
            }
        }
    }

    /// Passes a piece to the writing thread. The first piece starts that thread.
    fn pass_on(&mut self, piece: Piece, pieces: &mut Option<Sender<Piece>>) -> io::Result<()> {
        if let Some(stdin) = self.stdin.take() {
            let (sender, receiver) = mpsc::channel();
            let (demand, events) = (self.demand.clone(), self.events.clone());
            thread::Builder::new()
                .name("fcgi-pump".into())
                .spawn(move || write_pieces(stdin, &receiver, &demand, &events))?;
            *pieces = Some(sender);
        }
        if let Some(pieces) = pieces {
            // If the writing thread has ended, its last demand is `Discard`.
            let _ = pieces.send(piece);
        }
        Ok(())
    }

    /// Reads and drops the rest of the body. A web server that sends the whole body before it reads
    /// the response would otherwise block.
    fn discard(&self, body: &mut impl Read) -> Result<()> {
        let mut buffer = vec![0; PIECE_LEN];
        while !self.is_stopped() && retry_interrupted(|| body.read(&mut buffer))? > 0 {}
        Ok(())
    }
}

/// Writes pieces until there are no more, or the program has closed its stdin. Two buffers are in
/// use, so that one is filled while the other is written.
fn write_pieces(
    mut stdin: ChildStdin,
    pieces: &Receiver<Piece>,
    demand: &Sender<Demand>,
    events: &SyncSender<Event>,
) {
    // An error of a channel means that the pump has stopped.
    let _ = demand.send(Demand::Read(vec![0; PIECE_LEN]));
    for Piece { buffer, len } in pieces {
        if stdin.write_all(&buffer[..len]).is_err() {
            let _ = demand.send(Demand::Discard);
            return;
        }
        let _ = demand.send(Demand::Read(buffer));
        let _ = events.send(Event::BodyRead);
    }
}
