//! FastCGI for blocking code: applications, web servers, and the records between them.
//!
//! This crate implements version 1.0 of the protocol ([FastCGI specification]) on both sides of a
//! connection, and the parts of CGI/1.1 ([RFC 3875]) that it builds on. It depends on `std` and
//! `memchr` only, contains no `unsafe` code, and needs no async runtime.
//!
//! | Task | Items |
//! | --- | --- |
//! | answer requests of a web server | [`Server`], or [`server::Connection`] for your own loop |
//! | run as a program that a web server starts, with FastCGI or CGI | [`run`] |
//! | send requests to an application such as php-fpm | [`Client`], or [`client::Connection`] |
//! | convert between HTTP and CGI | [`cgi`] |
//! | forward CGI calls to an application, start its processes, or run CGI programs | [`bridge`] |
//! | start an application from systemd, a web server or a process manager | [`deployment`] |
//! | read and write single records | [`record`], or [`stream`] with buffers |
//!
//! # Applications
//!
//! A [`Server`] accepts connections and calls a handler for each request:
//!
//! ```no_run
//! # // Not run by the tests, because it serves indefinitely.
//! use std::io::Write;
//!
//! fcgi::Server::bind("127.0.0.1:9000")?.serve(|request| {
//!     let query = request.params.get("QUERY_STRING").unwrap_or("");
//!     write!(request.stdout, "Content-Type: text/plain\r\n\r\nYou asked for {query}.\n")?;
//!     Ok(())
//! })?;
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! The fields of a [`Request`](server::Request) are the streams of the protocol, which can be used
//! side by side. If a handler returns an error or panics, its request ends with `Status: 500` and
//! the server continues.
//!
//! # Web servers
//!
//! A [`Client`] connects to an application, sends requests and reads the responses:
//!
//! ```no_run
//! # // Not run by the tests, because it needs an application that listens.
//! use fcgi::{Client, Params};
//! use std::{fs, io};
//!
//! // php-fpm serves one connection in each process: see `client::Config::keep_alive`.
//! let client = Client::new("unix:/run/php/php-fpm.sock")?.keep_alive(true);
//! let mut params = Params::from_pairs([
//!     ("REQUEST_METHOD", "POST"),
//!     ("SCRIPT_FILENAME", "/var/www/index.php"),
//! ])?;
//!
//! // A small request: the body and the response are in memory.
//! let reply = client.fetch(&params, b"name=ferris")?;
//!
//! // A large one: the body is sent while the response is read.
//! let file = fs::File::open("upload.bin")?;
//! params.set("CONTENT_LENGTH", file.metadata()?.len().to_string())?;
//! client.send(&params, file, |response| io::copy(&mut response.stdout, &mut io::stdout()))?;
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! # Records
//!
//! The functions in [`record`] work with any [`Read`](std::io::Read) and [`Write`](std::io::Write):
//!
//! ```
//! use fcgi::record::{self, RecordType};
//!
//! let mut pipe = Vec::new();
//! record::write_record(&mut pipe, RecordType::Stdout, 1, b"hello")?;
//!
//! let header = record::read_header(&mut &pipe[..])?.expect("a record");
//! assert_eq!((header.record_type, header.content_len), (RecordType::Stdout, 5));
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! # The protocol in brief
//!
//! ```text
//! web server (Client)                                   application (Server)
//!   BEGIN_REQUEST  id, role, keep the connection?  ──►
//!   PARAMS         name-value pairs, empty record  ──►  calls the handler
//!   STDIN          request body, empty record      ──►  request.stdin
//!                                                  ◄──  STDOUT       response, empty record
//!                                                  ◄──  STDERR       messages for the log
//!                                                  ◄──  END_REQUEST  application status
//! ```
//!
//! Both directions can flow at the same time. A filter also receives a file (DATA) after the
//! request body, and an authorizer receives only params. ABORT_REQUEST cancels a request. Records
//! with id 0 are management records, which query the capabilities of an application.
//!
//! # Bounds and costs
//!
//! Memory and time are bounded whatever the peer sends. Each bound is a field of [`server::Config`]
//! or [`client::Config`], with its default. [`costs`] lists the system calls, the memory copies and
//! the processor time of a request.
//!
//! # Security
//!
//! Both sides withstand records of any content, length, order and fragmentation, and peers that
//! stop, disconnect or send without end. [`cgi`] rejects response heads with a line break inside a
//! field and paths that leave the document root, and drops request headers that could be mistaken
//! for other variables.
//!
//! A response that ends before END_REQUEST is an error. Two kinds of incomplete responses are not:
//!
//! - A handler fails after a part of its response has been sent. The request then ends with app
//!   status 1. Check [`Completion::app_status`](client::Completion::app_status).
//! - The body is shorter than `Content-Length`. [`Client::send`] does not compare the lengths. Call
//!   [`Head::check_body`](cgi::Head::check_body).
//!
//! Timeouts limit each read and each write. [`server::Config::request_timeout`] limits the time in
//! which a request arrives, and [`client::Config::deadline`] limits a whole request of a client. A
//! server does not limit the time of a response: a web server that reads one byte from time to time
//! can keep its connection for long.
//!
//! FastCGI has neither encryption nor authentication. Everyone who can connect to an application
//! can send it any params, and can thereby act as any user. Listen on a Unix socket that only the
//! web server may open ([`Listener::set_mode`](net::Listener::set_mode)) or on a loopback address,
//! or restrict the addresses of peers with [`FCGI_WEB_SERVER_ADDRS`](net::AllowList). An address
//! alone does not prove who the peer is.
//!
//! An application must trust the params that its web server sends. A web server must therefore not
//! pass on a user name or a file system path that its own client sent. Params whose names begin
//! with `HTTP_` are headers of the HTTP request, so they come from that client.
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html
//! [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875

pub mod bridge;
pub mod cgi;
pub mod client;
pub mod costs;
pub mod deployment;
pub mod error;
pub mod net;
pub mod params;
mod protocol;
pub mod record;
pub mod server;
pub mod stream;
mod vectored;

pub use bridge::run;
pub use client::Client;
pub use error::{Error, Result};
pub use params::Params;
pub use server::Server;

/// The code of the README, compiled by the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
