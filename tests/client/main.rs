//! Tests of the web-server side: `fcgi::Client` and `fcgi::client`.

#[path = "../support/mod.rs"]
mod support;

mod abort;
mod backlog;
mod begin;
mod body;
mod bounds;
mod bridge_forward;
mod config;
mod deadline;
mod fairness;
mod flow;
mod idle;
mod kept;
mod negotiation;
mod push;
mod reply;
mod request;
mod response;
mod reuse;
mod statuses;
mod timeouts;
mod truncation;
mod workers;
