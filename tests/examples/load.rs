//! Tests of the example `load`: it counts responses and errors.

use crate::example::{self, ExampleServer};

fn load(address: &str, seconds: &str) -> String {
    let output = example::run("load", &[address, "2", seconds], &[], b"");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn load_prints_the_rate_and_the_times_of_responses() {
    let echo = ExampleServer::start("echo");
    let output = load(&echo.address.to_string(), "0.2");
    let lines: Vec<_> = output.lines().collect();
    let count = lines[0].split(' ').next().and_then(|count| count.parse().ok());
    assert!(count.is_some_and(|count: usize| count > 0), "{output}");
    assert_eq!(lines.len(), 5, "{output}");
    for (line, percent) in lines[1..].iter().zip(["50", "90", "99", "100"]) {
        assert!(line.starts_with(&format!("{percent} % within ")), "{output}");
    }
}

#[test]
fn load_counts_errors() {
    let output = load("127.0.0.1:1", "0.2");
    assert!(output.starts_with("0 responses, 0 per second\n"), "{output}");
    let error = " times: cannot connect to 127.0.0.1:1: connection refused\n";
    assert!(output.ends_with(error), "{output}");
}

/// The response to the last request of each thread arrives after the time is over.
#[test]
fn load_counts_the_last_response_of_each_thread() {
    let echo = ExampleServer::start("echo");
    let output = load(&echo.address.to_string(), "0");
    assert!(output.starts_with("2 responses, "), "{output}");
    let output = load("127.0.0.1:1", "0");
    assert!(output.contains("\n2 times: cannot connect"), "{output}");
}
