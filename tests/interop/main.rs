//! Proves that the library works with the programs that it is made for: web servers, PHP, process
//! managers, and applications that use other FastCGI libraries. strace proves how many system calls
//! a request takes.
//!
//! These tests need the other programs, so they are ignored by default:
//!
//! ```sh
//! cargo test --test interop -- --ignored
//! ```
//!
//! A test whose program is not installed fails. `.ci/run` installs all programs and runs all tests.
//!
//! Every server runs in the foreground and ends with its test. It listens on a port of 127.0.0.1 or
//! on a socket in a temporary directory, and serves only what the test has written.
#![cfg(target_os = "linux")]
#![allow(unreachable_pub)] // Items that the files use from each other are `pub`.
#![allow(clippy::format_collect)] // The cost of `format!` does not matter here.

mod apache;
mod app;
mod caddy;
mod cgi_fcgi;
mod cgi_wrap;
mod demonstration;
mod deployment;
mod disconnects;
mod echo;
mod endpoint;
mod fpm;
mod haproxy;
mod heads;
mod http;
mod lighttpd;
mod matrix;
mod nginx;
mod other_libraries;
mod php;
mod process;
mod process_managers;
mod readme;
mod restarts;
mod streams;
mod syscalls;
mod web_apps;
mod webdriver;
