//! HAProxy in front of `echo`.

use crate::app::App;
use crate::echo;
use crate::http;
use crate::place::{free_port, Place};
use crate::process::{command, Folder, Process};

/// Starts HAProxy with the server lines of one backend, and the options of its application; its port.
#[track_caller]
fn start(servers: &str, options: &str, folder: &Folder) -> (u16, Process) {
    let port = free_port();
    let config = format!(
        "global\n log stderr format raw daemon\n\
         defaults\n mode http\n log global\n timeout connect 20s\n timeout client 60s\n timeout server 60s\n\
         frontend web\n bind 127.0.0.1:{port}\n default_backend apps\n\
         backend apps\n use-fcgi-app echo\n{servers}\
         fcgi-app echo\n docroot /\n log-stderr global\n{options}"
    );
    let file = folder.write("haproxy.cfg", config);
    let mut process = Process::start("haproxy", command("haproxy").arg("-db").arg("-f").arg(file), folder);
    process.wait_until("it listens", || http::is_up(port));
    (port, process)
}

/// With every setting of its three options.
fn check_echo(place: impl Fn(&Folder) -> Place) {
    for number in 0..8 {
        let word = |bit: u8| if number & bit == 0 { " no" } else { "" };
        let (keep, get, mpxs) = (word(1), word(2), word(4));
        let options = format!("{keep} option keep-conn\n{get} option get-values\n{mpxs} option mpxs-conns\n");
        println!("{options}");
        let folder = Folder::new();
        let app = App::start("echo", place(&folder), &folder);
        let (port, process) = start(&format!(" server echo {} proto fcgi\n", app.place.plain()), &options, &folder);
        echo::check(port, &process);
        drop(process);
        app.stop();
    }
}

#[test]
#[ignore = "needs haproxy, run by .ci/run"]
fn in_front_of_echo_on_a_unix_socket() {
    check_echo(Place::unix);
}

#[test]
#[ignore = "needs haproxy, run by .ci/run"]
fn in_front_of_echo_on_tcp() {
    check_echo(|_| Place::tcp());
}
