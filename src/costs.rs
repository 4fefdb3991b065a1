//! What a request costs: system calls, allocations, processor time and copies.
//!
//! This module contains documentation only. `tests/benches/run` measures these figures and compares
//! them with those of other implementations.
//!
//! # System calls
//!
//! A small request on a kept connection costs one `read` and one `write` on either side. A client
//! makes three more calls to check the connection, unless the request is idempotent and follows
//! another one within a millisecond.
//!
//! A request with a connection of its own costs the application six system calls: `accept`, `read`,
//! `write`, two that check for unread input, and `close`. The check is necessary because the
//! operating system resets a connection that is closed with unread input, and the response might be
//! lost.
//!
//! Timeouts cost a system call only if a call may have to wait:
//!
//! - The read timeout is set before the first read inside a request. With an
//!   [idle timeout](crate::server::Config::idle_timeout) it is set before the first read of the
//!   connection.
//! - The write timeout is set before the second write, or before the first one if that has more
//!   than 2 KiB.
//!
//! A client sets both timeouts when it connects. With `keep_alive` the read timeout is 100 ms or
//! less at first. The client sets it once more, at the latest when a response takes longer than
//! that. Otherwise it sets a timeout again only if the
//! [deadline](crate::client::Config::deadline) of a request is nearer than that timeout.
//!
//! A client starts a thread to connect to a Unix socket, because `std` cannot limit the time that
//! this takes. A request that begins within a millisecond of another one, which has opened a
//! connection and was answered, connects without a thread if no other request is in progress.
//!
//! A listening socket that other processes share, such as the one on descriptor 0, costs one or two
//! additional system calls for each `accept`.
//!
//! # Allocations
//!
//! A small request on a kept connection allocates no memory. The buffers of a connection and the
//! memory of its params are reused.
//!
//! # Processor time
//!
//! With both ends on one CPU, a small request with 25 params and its response take 3.6 µs. The
//! server's own code takes 5 % of this time. The other 95 % is spent in the client and in system
//! calls. A minimal server, which only finds the end of a request and sends a fixed response,
//! spends it as well.
//!
//! | Part | Share | Work |
//! | --- | ---: | --- |
//! | params | 1.4 % | copying the encoded pairs out of the read buffer, and indexing them |
//! | one look-up | 0.5 % | searching the index from its end: the last value of a name counts |
//! | four records | 0.7 % | parsing their headers, which may be split between two reads |
//! | other | 2.7 % | see below |
//!
//! The params are copied because the read buffer is reused. They are indexed before the handler is
//! called, so that no handler sees incomplete params. Checking that they are complete would take
//! the same pass over the pairs.
//!
//! The other work is formatting by `write!` in the handler, the records around its output, a lock
//! that lets a handler write from two threads, and two atomic operations on the state of the
//! connection.
//!
//! # Large data
//!
//! Large data is not copied where that can be avoided:
//!
//! - A write of 16 KiB or more is sent from the caller's slice, all its records in one vectored
//!   write. The exception is a write that fits into the buffer while nothing has been sent yet.
//! - [`BufRead`](std::io::BufRead) on [`server::Stdin`](crate::server::Stdin) and
//!   [`client::Stdout`](crate::client::Stdout) returns slices of the read buffer, of up to 128 KiB.
//!   [`Read`](std::io::Read) copies from that buffer. If the buffer is empty, and the slice and the
//!   rest of the record have 32 KiB or more, it reads straight into the slice.
//!
//! [`Client::fetch`](crate::Client::fetch) sends a body of up to 2 MiB from the calling thread, for
//! as long as the application reads it. [`Client::send`](crate::Client::send) starts a thread if
//! the first read of the body does not return all of it. That read has 32 KiB, or 512 bytes without
//! `CONTENT_LENGTH`. Starting a thread takes as long as sending about 300 KiB.
