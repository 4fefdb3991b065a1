//! The smallest responder. It can be started in every way that there is: by a web server or process manager that leaves it
//! a listening socket as descriptor 0 (`spawn-fcgi -p 9000 -n -- hello`), or as a CGI program.

use std::io::Write;

fn main() -> fcgi::Result<()> {
    fcgi::run(|request| {
        let name = request.params.get("REMOTE_ADDR").unwrap_or("whoever you are");
        write!(request.stdout, "Content-Type: text/plain\r\n\r\nHello, {name}.\n")?;
        Ok(())
    })
}
