//! The examples, as programs.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use fcgi::{Client, Params};

use crate::place::Place;
use crate::process::{Folder, Process};

/// The credentials of one whom the example `authorizer` lets in, "ferris:open sesame", and of one
/// with another password.
pub const FERRIS: &str = "Basic ZmVycmlzOm9wZW4gc2VzYW1l";
pub const MALLORY: &str = "Basic bWFsbG9yeTpvcGVu";

/// The file of an example. `cargo test --test interop` alone does not build them.
pub fn example(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    // target/debug/deps/interop-…
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

/// An example that listens, as an application of its own.
pub struct App {
    pub place: Place,
    pub process: Process,
}

impl App {
    /// Starts an example with its address as the argument, and waits until it listens.
    #[track_caller]
    pub fn start(name: &str, place: Place, folder: &Folder) -> Self {
        let mut process =
            Process::start(name, Command::new(example(name)).arg(place.to_string()), folder);
        process.wait_until("it listens", || place.is_open());
        Self { place, process }
    }

    /// Starts an example with a listening socket on descriptor 0.
    pub fn start_on_descriptor_0(name: &str, place: Place, folder: &Folder) -> Self {
        let process =
            Process::start(name, Command::new(example(name)).stdin(place.listen()), folder);
        Self { place, process }
    }

    /// Ends it, and checks that it did so by itself.
    #[track_caller]
    pub fn stop(mut self) {
        self.process.signal("TERM");
        let status = self.process.wait();
        assert!(status.success(), "SIGTERM ends it with {status}");
    }
}

/// Asks a `hello` for its greeting.
#[track_caller]
pub fn check_hello(place: &Place) {
    let params = Params::from_pairs([("REMOTE_ADDR", "192.0.2.1")]).expect("params");
    let client = Client::new(&place.to_string()).expect("an address");
    let reply = client.fetch(&params, b"").expect("an answer of hello");
    let text = String::from_utf8_lossy(&reply.stdout);
    assert_eq!(text, "Content-Type: text/plain\r\n\r\nHello, 192.0.2.1.\n");
}
