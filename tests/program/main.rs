//! Tests of `bridge::run_program`: what a CGI program receives, what becomes of its output, and how
//! it ends. The programs are shell scripts.
#![cfg(target_os = "linux")]

#[path = "../support/mod.rs"]
mod support;

mod end;
mod environment;
mod response;
mod script;
mod streams;
