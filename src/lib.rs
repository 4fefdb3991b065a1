//! FastCGI for blocking code: applications, web servers, and the records between them.
//!
//! A web server such as nginx passes the requests of its clients to an application over FastCGI.
//! This crate is for both ends of that connection: programs that answer such requests, and programs
//! that send them, for example to php-fpm. It depends on `std` and `memchr` only, contains no
//! `unsafe` code, and needs no async runtime. A server uses one thread for each open connection.
//!
//! The crate implements version 1.0 of the [FastCGI specification], and the parts of CGI/1.1 ([RFC
//! 3875]) that it builds on.
//!
//! # An application
//!
//! A [`Server`] accepts connections and calls a handler for each request:
//!
//! ```no_run
//! # // Not run by the tests, because it serves indefinitely.
//! use fcgi::{ResponseHead, Server};
//!
//! Server::bind("127.0.0.1:9000")?.serve(|request| {
//!     let query = request.query();
//!     request.respond(ResponseHead::text(), format!("You asked for {query}.\n"))
//! })?;
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! If a handler returns an error or panics, its request ends with an error status, usually 500 or
//! that of a [`StatusError`](server::StatusError), and the server continues. [`run`] serves a
//! program that a web server or a process manager starts.
//!
//! # A client
//!
//! A [`Client`] connects to an application, sends requests and reads the responses:
//!
//! ```no_run
//! # // Not run by the tests, because it needs an application that listens.
//! use fcgi::{Client, Params};
//!
//! let client = Client::new("unix:/run/php/php-fpm.sock")?;
//! let params = Params::from_pairs([
//!     ("REQUEST_METHOD", "POST"),
//!     ("SCRIPT_FILENAME", "/var/www/index.php"),
//!     ("CONTENT_TYPE", "application/x-www-form-urlencoded"),
//! ])?;
//! let reply = client.fetch(&params, b"name=ferris")?;
//! println!("{} {}", reply.status()?, reply.text()?);
//! # Ok::<(), fcgi::Error>(())
//! ```
//!
//! # Where to go next
//!
//! Guides, each with code to copy. [`guide`] lists them by task, with the examples:
//!
//! - [Your first application behind nginx](guide::first_application)
//! - [Queries, forms, JSON and uploads](guide::forms)
//! - [Long responses, server-sent events and files](guide::streaming)
//! - [Graceful stop, socket permissions and logs](guide::daemon)
//! - [How to start an application](deployment): systemd, process managers, web servers, containers
//! - [Requests to php-fpm, reverse proxies, health checks](guide::php_fpm)
//! - [Timeouts, limits and overload](guide::limits)
//! - [Security](guide::security)
//! - [Small systems](guide::small_systems)
//! - [What a request costs](guide::costs)
//! - [Troubleshooting](guide::troubleshooting): symptoms, and every error
//! - [Migration](guide::migration) from libfcgi, Go and other crates
//!
//! | Module | Purpose |
//! | --- | --- |
//! | [`server`], [`client`] | applications, and programs that send requests to them |
//! | [`cgi`] | converts between HTTP and CGI: variables, paths, response heads |
//! | [`net`] | addresses and sockets |
//! | [`bridge`] | forwards CGI calls, runs CGI programs, starts applications |
//! | [`params`], [`record`], [`stream`] | the [protocol](record#the-protocol-in-brief) itself |
//!
//! [FastCGI specification]: https://fastcgi-archives.github.io/FastCGI_Specification.html
//! [RFC 3875]: https://www.rfc-editor.org/rfc/rfc3875

pub mod bridge;
pub mod cgi;
pub mod client;
pub mod deployment;
pub mod error;
pub mod guide;
pub mod net;
pub mod params;
mod protocol;
pub mod record;
pub mod server;
pub mod stream;
mod vectored;

pub use bridge::run;
pub use cgi::ResponseHead;
pub use client::Client;
pub use error::{Error, Result};
pub use params::Params;
pub use server::Server;

/// The code of the README, compiled by the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
