//! Starts a CGI program again and again, and reads its output: `run-load CONNECTIONS PROGRAM
//! [ARGUMENT]…`. CONNECTIONS copies run at a time. Every output must be equal to the first one.

use std::process::{Command, Stdio};

use fcgi_benches::{clock, wire};

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [count, program, rest @ ..] = &arguments[..] else {
        panic!("usage: run-load CONNECTIONS PROGRAM [ARGUMENT]…")
    };
    let run = || {
        let mut command = Command::new(program);
        command.args(rest).env_clear().envs(wire::PAIRS).stdin(Stdio::null());
        let output = command.output().expect("the program starts");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let expected = run();
    assert!(expected.starts_with(b"Content-Type: text/plain\r\n\r\n"), "a wrong response");
    clock::measure_all(count.parse().expect("a number of programs"), || {
        || assert!(run() == expected, "another response")
    });
}
