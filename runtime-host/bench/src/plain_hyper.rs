//! The limit: hyper with the body of a guest and no guest, on one thread.

use bytes::Bytes;
use host_guests::Merge;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::rc::Rc;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

pub(crate) fn serve(listen: &str, merge: bool) -> anyhow::Result<()> {
    let merge = merge.then(Merge::new).transpose()?.map(Rc::new);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(connection(stream, merge.clone()));
        }
    })
}

async fn connection(stream: TcpStream, merge: Option<Rc<Merge>>) {
    let answer = |_: Request<Incoming>| {
        let body = match &merge {
            Some(merge) => {
                Bytes::from(merge.run().map_or_else(|e| e.to_string(), |length| length.to_string()))
            }
            None => Bytes::from_static(b"Hello, world!"),
        };
        async { Ok::<_, Infallible>(Response::new(Full::new(body))) }
    };
    // Ends with an error when the client closes the connection, which is how each run ends.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}
