//! Tests of the programs in `examples`. Each test runs a built program.

#[path = "../support/example.rs"]
mod example;
#[path = "../support/mod.rs"]
mod support;

mod arguments;
mod backlog;
mod cgi_fcgi;
mod cgi_wrap;
mod closed_stdout;
mod command_line;
mod dump;
mod fetch;
mod fetch_options;
mod fpm;
mod gateway;
mod hello;
mod load;
mod multiplex;
mod proxy;
mod recipes;
mod roles;
