//! Starts the examples of this crate.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use fcgi::{Client, Params};

use crate::endpoint::Endpoint;
use crate::process::{Process, TestDir};

/// Credentials that the example `authorizer` accepts ("ferris:open sesame").
pub const VALID_CREDENTIALS: &str = "Basic ZmVycmlzOm9wZW4gc2VzYW1l";
/// Credentials that it rejects ("mallory:open").
pub const INVALID_CREDENTIALS: &str = "Basic bWFsbG9yeTpvcGVu";

/// Returns the path of an example. Builds the examples first, because `cargo test --test interop`
/// does not.
pub fn example(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    // The test program is target/debug/deps/interop-…
    let this = env::current_exe().expect("the path of this test");
    let profile = this.ancestors().nth(2).expect("the directory of the profile");
    BUILT.call_once(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "--examples",
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ]);
        cargo.arg("--target-dir").arg(profile.parent().expect("the target directory"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo").success(), "the examples do not build");
    });
    profile.join("examples").join(name)
}

/// A running application.
pub struct App {
    pub endpoint: Endpoint,
    pub process: Process,
}

impl App {
    /// Starts an example with its address as the argument, and waits until it listens.
    #[track_caller]
    pub fn start(name: &str, endpoint: Endpoint, dir: &TestDir) -> Self {
        let mut process =
            Process::start(name, Command::new(example(name)).arg(endpoint.to_string()), dir);
        process.wait_until("listening", || endpoint.is_listening());
        Self { endpoint, process }
    }

    /// Starts an example with a listening socket on descriptor 0.
    pub fn start_on_descriptor_0(name: &str, endpoint: Endpoint, dir: &TestDir) -> Self {
        let process =
            Process::start(name, Command::new(example(name)).stdin(endpoint.listen()), dir);
        Self { endpoint, process }
    }

    /// Stops the application with SIGTERM, and asserts that its exit status is 0.
    #[track_caller]
    pub fn stop(mut self) {
        self.process.signal("TERM");
        let status = self.process.wait();
        assert!(status.success(), "after SIGTERM: {status}");
    }
}

/// Sends a request to `hello` and checks the response.
#[track_caller]
pub fn check_hello(endpoint: &Endpoint) {
    let params = Params::from_pairs([("REMOTE_ADDR", "192.0.2.1")]).expect("params");
    let client = Client::new(endpoint.to_string()).expect("an address");
    let reply = client.fetch(&params, b"").expect("a response from hello");
    let text = String::from_utf8_lossy(&reply.stdout);
    assert_eq!(text, "Content-Type: text/plain\r\n\r\nHello, 192.0.2.1.\n");
}
