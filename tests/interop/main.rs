//! The library against the programs that it is made to work with: web servers, PHP, process
//! managers, strace.
//!
//! They have to be installed, so these tests are ignored unless asked for: `cargo test --test
//! interop -- --ignored`. A program that is missing then fails the test that needs it. `.ci/run`
//! installs them all and runs them.
//!
//! Every server runs in the foreground, on ports of 127.0.0.1 and sockets in a temporary directory
//! that hold what the test wrote, and ends with its test.
#![cfg(target_os = "linux")]
#![allow(unreachable_pub)] // What the files have for each other.
#![allow(clippy::format_collect)] // Tests of servers do not wait for `format!`.

mod apache;
mod app;
mod applications;
mod cgi_fcgi;
mod echo;
mod haproxy;
mod http;
mod lighttpd;
mod nginx;
mod php;
mod place;
mod process;
mod starters;
mod syscalls;
