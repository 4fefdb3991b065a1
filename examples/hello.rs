//! The smallest responder. It can be started in every way that there is: by a web server or process
//! manager that leaves it a listening socket as descriptor 0 (`spawn-fcgi -p 9000 -n -- hello`), or
//! as a CGI program.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = fcgi::run(|request| {
        let name = request.params.get("REMOTE_ADDR").unwrap_or("whoever you are");
        write!(request.stdout, "Content-Type: text/plain\r\n\r\nHello, {name}.\n")?;
        Ok(())
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hello: {error}");
            ExitCode::FAILURE
        }
    }
}
