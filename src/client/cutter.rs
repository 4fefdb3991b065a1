use std::sync::{Arc, Mutex, PoisonError};

use super::wire::Wire;

/// Gives a request up from another thread, such as one that sees the browser leave: the connection
/// to the application is closed, and whoever waits for the response gets an error. See
/// [`Stdout::cutter`](super::Stdout::cutter).
///
/// Once the request has ended it does nothing, so it can't hit the next request of a kept
/// connection.
#[derive(Clone, Debug)]
pub struct Cutter(Arc<Mutex<Option<Wire>>>);

impl Cutter {
    pub(super) fn new(wire: Wire) -> Self {
        Self(Arc::new(Mutex::new(Some(wire))))
    }

    /// Gives the request up.
    pub fn cut(&self) {
        // Under the lock: no request may begin on the connection between the look and the deed.
        if let Some(wire) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            wire.cut();
        }
    }

    /// Lets the connection go: the request has ended.
    pub(super) fn disarm(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;

    use crate::client::{Config, Connection};
    use crate::params::Params;
    use crate::record::Role;

    /// A connection that keeps alive, and the application's end of it.
    fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let stream =
            TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let config = Arc::new(Config::new().keep_alive(true));
        let application = listener.accept().expect("the other end").0;
        (Connection::new(stream, config).expect("a connection"), application)
    }

    #[test]
    fn wakes_who_waits_for_the_response() {
        let (mut connection, application) = pair();
        let mut exchange = connection.begin(Role::Responder, &Params::new()).expect("a request");
        let cutter = exchange.stdout.cutter();
        let cutting = std::thread::spawn(move || cutter.cut());
        let mut response = Vec::new();
        exchange.stdout.read_to_end(&mut response).expect_err("a response that was cut");
        cutting.join().expect("the thread");
        drop(application);
    }

    #[test]
    fn leaves_the_next_request_alone() {
        const END: [u8; 16] = [1, 3, 0, 1, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let (mut connection, mut application) = pair();
        application.write_all(&END).expect("the end of the first request");
        let mut exchange = connection.begin(Role::Responder, &Params::new()).expect("a request");
        let cutter = exchange.stdout.cutter();
        exchange.finish().expect("an ended request");

        let exchange = connection.begin(Role::Responder, &Params::new()).expect("another request");
        cutter.cut();
        application.write_all(&END).expect("the connection is whole");
        exchange.finish().expect("another ended request");
    }
}
