//! Code that the examples share. Each includes it with `#[path = "support/mod.rs"] mod support;`.

// Each example uses a part.
#![allow(dead_code)]

pub mod cli;
pub mod exit;
pub mod relay;
pub mod serve;
pub mod stdio;
