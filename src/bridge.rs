//! Bridges between CGI and FastCGI, and starts FastCGI applications.
//!
//! | Function | Purpose |
//! | --- | --- |
//! | [`forward()`], [`forward_on`] | Send a CGI call to a FastCGI application. |
//! | [`gateway_status`], [`write_failure`] | Return the status for an error, and send it. |
//! | [`cgi_params`], [`all_params`] | Convert the environment of a CGI call to params. |
//! | [`run()`] | Runs a program that can be started as a FastCGI application or as a CGI program. |
//! | [`run_program`] | Runs a CGI program that answers a FastCGI request. Unix only. |
//! | [`start()`] | Starts the processes of a FastCGI application. |
//!
//! The following CGI program forwards its call to a FastCGI application. It receives the request in
//! its environment and on stdin, and sends the response to stdout.
//!
//! ```no_run
//! // An application must be listening.
//! use fcgi::{bridge, Client};
//! use std::io;
//!
//! let client = Client::new("unix:/run/app.sock")?;
//! let params = bridge::cgi_params(std::env::vars_os())?;
//! bridge::forward(&client, &params, io::stdin(), &mut io::stdout(), io::stderr())?;
//! # Ok::<(), fcgi::Error>(())
//! ```

mod forward;
mod params;
#[cfg(unix)]
mod program;
mod run;
mod start;

pub use self::forward::{forward, forward_on, gateway_status, write_failure};
pub use self::params::{all_params, cgi_params};
#[cfg(unix)]
pub use self::program::{run_program, Program};
pub use self::run::run;
pub use self::start::start;
