//! The server of the crate `cegla-fcgi`, on a runtime with one thread per CPU:
//! `cegla-fcgi WORKLOAD ADDRESS`.

use std::convert::Infallible;
use std::future::Future;
use std::io;

use cegla_fcgi::server::{server_handle_fcgi, Runtime};
use cegla_fcgi::CgiEnvironment;
use fcgi_benches::net::is_unix;
use fcgi_benches::{arguments, Workload, FILLER, LARGE};
use http::{Request, Response};
use http_body_util::combinators::MapErr;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_util::bytes::Bytes;

type Answer = Response<MapErr<Full<Bytes>, fn(Infallible) -> io::Error>>;

struct Tokio;

impl Runtime for Tokio {
    fn spawn(&self, future: impl Future + Send + 'static) {
        tokio::spawn(async move {
            future.await;
        });
    }
}

fn main() {
    let (workload, address) = arguments();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(serve(workload, &address));
}

async fn serve(workload: Workload, address: &str) {
    let page: Bytes = vec![FILLER; LARGE].into();
    if is_unix(address) {
        let listener = UnixListener::bind(address).expect("a listening socket");
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            tokio::spawn(serve_connection(workload, socket, page.clone()));
        }
    }
    let listener = TcpListener::bind(address).await.expect("a listening socket");
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        socket.set_nodelay(true).expect("a TCP socket");
        tokio::spawn(serve_connection(workload, socket, page.clone()));
    }
}

async fn serve_connection(
    workload: Workload,
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    page: Bytes,
) {
    // Errors are ignored: the client has closed the connection.
    let _ = server_handle_fcgi(socket, Tokio, move |request, _stderr| {
        answer(workload, request, page.clone())
    })
    .await;
}

async fn answer<B>(
    workload: Workload,
    mut request: Request<B>,
    page: Bytes,
) -> Result<Answer, io::Error>
where
    B: http_body::Body + Unpin,
    B::Data: AsRef<[u8]>,
    B::Error: Into<io::Error>,
{
    let body = match workload {
        Workload::Small | Workload::Post => {
            let params = request.extensions().get::<CgiEnvironment>();
            let name = params.and_then(|params| params.get("REMOTE_ADDR")).unwrap_or("stranger");
            format!("Hello, {name}.\n").into()
        }
        Workload::Response => page,
        Workload::Body => {
            let mut len = 0;
            while let Some(frame) = request.body_mut().frame().await {
                let frame = frame.map_err(Into::into)?;
                len += frame.data_ref().map_or(0, |data| data.as_ref().len());
            }
            format!("{len}\n").into()
        }
    };
    let to_io: fn(Infallible) -> io::Error = |never| match never {};
    let response = Response::builder().header("Content-Type", "text/plain");
    Ok(response.body(Full::new(body).map_err(to_io)).expect("a response"))
}
