//! A program that does nothing, to measure how large the standard library is.

fn main() {}
