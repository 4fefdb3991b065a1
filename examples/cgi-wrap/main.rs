//! A FastCGI application that runs CGI programs: what `fcgiwrap` does.
//!
//! A web server that speaks FastCGI but not CGI, such as nginx, can thereby serve gitweb, cgit,
//! `git-http-backend` and any script. `cgi-wrap --help` describes the options.
//!
//! ```sh
//! cargo run --example cgi-wrap -- unix:/run/cgi.sock
//! ```
//!
//! A part of the configuration of nginx:
//!
//! ```text
//! location /cgi-bin/ {
//!     include fastcgi_params;
//!     fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
//!     fastcgi_pass unix:/run/cgi.sock;
//! }
//! ```

#[cfg(unix)]
mod running;
#[cfg(unix)]
mod script;
#[path = "../support/mod.rs"]
mod support;
#[cfg(unix)]
mod wrap;

#[cfg(unix)]
use wrap::main;

#[cfg(not(unix))]
fn main() {
    eprintln!("cgi-wrap: CGI programs can be run on Unix only");
    std::process::exit(69);
}
