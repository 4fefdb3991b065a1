//! The server of the crate `tokio-fastcgi`, on a runtime with one thread per CPU:
//! `tokio-fastcgi WORKLOAD ADDRESS`.

use std::io::Read;
use std::sync::Arc;

use fcgi_benches::net::is_unix;
use fcgi_benches::{arguments, Workload, FILLER, HEAD, LARGE};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_fastcgi::{Request, RequestResult, Requests};

fn main() {
    let (workload, address) = arguments();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(serve(workload, &address));
}

async fn serve(workload: Workload, address: &str) {
    let page: Arc<[u8]> = vec![FILLER; LARGE].into();
    if is_unix(address) {
        let listener = UnixListener::bind(address).expect("a listening socket");
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            tokio::spawn(serve_connection(workload, socket.into_split(), Arc::clone(&page)));
        }
    }
    let listener = TcpListener::bind(address).await.expect("a listening socket");
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        socket.set_nodelay(true).expect("a TCP socket");
        tokio::spawn(serve_connection(workload, socket.into_split(), Arc::clone(&page)));
    }
}

async fn serve_connection<R, W>(workload: Workload, halves: (R, W), page: Arc<[u8]>)
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let mut requests = Requests::from_split_socket(halves, 16, 1);
    while let Ok(Some(request)) = requests.next().await {
        let page = &page;
        let _ =
            request.process(|request| async move { answer(workload, &request, page).await }).await;
    }
}

async fn answer<W: AsyncWrite + Unpin>(
    workload: Workload,
    request: &Request<W>,
    page: &[u8],
) -> RequestResult {
    let mut stdout = request.get_stdout();
    let outcome = match workload {
        Workload::Small | Workload::Post => {
            let name = request.get_str_param("remote_addr").unwrap_or("stranger");
            stdout
                .write(format!("Content-Type: text/plain\r\n\r\nHello, {name}.\n").as_bytes())
                .await
        }
        Workload::Response => {
            stdout.write(HEAD).await.expect("a response");
            stdout.write(page).await
        }
        Workload::Body => {
            let len = drain(&mut *request.get_stdin());
            stdout.write(format!("Content-Type: text/plain\r\n\r\n{len}\n").as_bytes()).await
        }
    };
    outcome.expect("a response");
    RequestResult::Complete(0)
}

/// Reads stdin to its end. The crate has already received the body.
fn drain(stdin: &mut impl Read) -> usize {
    let (mut buffer, mut len) = (vec![0; 64 * 1024], 0);
    loop {
        match stdin.read(&mut buffer).expect("a body") {
            0 => return len,
            n => len += n,
        }
    }
}
