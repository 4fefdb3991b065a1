//! Tests of the application side: `fcgi::Server` and `fcgi::server`.

#[path = "../support/example.rs"]
mod example;
#[path = "../support/mod.rs"]
mod support;

mod abort;
mod allow;
#[cfg(unix)]
mod bounds;
#[cfg(unix)]
mod close;
mod connection;
#[cfg(unix)]
mod disconnect;
#[cfg(unix)]
mod fairness;
mod finish_early;
mod management;
#[cfg(unix)]
mod rejection;
mod reports;
#[cfg(unix)]
mod request_bounds;
mod request_end;
mod requests;
mod reset;
mod responses;
mod shutdown;
mod shutdown_timeout;
#[cfg(target_os = "linux")]
mod signals;
mod status_errors;
mod streams;
mod threads;
mod two_threads;
#[cfg(unix)]
mod unnoticed;
