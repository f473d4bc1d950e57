//! The line between an edge and its origin, which a test cuts and mends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A TCP proxy.
pub struct FaultyLink {
    address: SocketAddr,
    line: Arc<watch::Sender<Line>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Whole,
    /// What the edge says does not arrive.
    Deaf,
    Cut,
}

impl FaultyLink {
    pub async fn to(origin: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port can be bound");
        let address = listener.local_addr().expect("a bound socket has an address");
        let line = Arc::new(watch::Sender::new(Line::Whole));
        let origin = origin.to_owned();
        let accepting = tokio::spawn({
            let line = Arc::clone(&line);
            async move {
                while let Ok((edge, _)) = listener.accept().await {
                    if *line.borrow() != Line::Cut {
                        tokio::spawn(carry(edge, origin.clone(), line.subscribe()));
                    }
                }
            }
        });
        Self { address, line, accepting }
    }

    /// The origin's URL as the edge knows it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks all connections, and closes new ones at once.
    pub fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    /// Holds back all that the edge says, until the line is mended; it still hears the origin.
    pub fn deafen(&self) {
        self.line.send_replace(Line::Deaf);
    }

    pub fn mend(&self) {
        self.line.send_replace(Line::Whole);
    }
}

impl Drop for FaultyLink {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn carry(edge: TcpStream, origin: String, mut line: watch::Receiver<Line>) {
    // An origin that is down: the edge finds its connection closed.
    let Ok(origin) = TcpStream::connect(origin).await else { return };
    for socket in [&edge, &origin] {
        socket.set_nodelay(true).expect("a connected socket takes options");
    }
    let ((from_edge, to_edge), (from_origin, to_origin)) = (edge.into_split(), origin.into_split());
    let (heard, said) = (line.clone(), line.clone());
    let both_ways = async {
        tokio::try_join!(
            one_way(from_edge, to_origin, heard, &[Line::Whole]),
            one_way(from_origin, to_edge, said, &[Line::Whole, Line::Deaf])
        )
    };
    tokio::select! {
        _ = both_ways => {}
        _ = line.wait_for(|line| *line == Line::Cut) => {}
    }
}

/// Carries bytes while the line is one of `open`.
async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut line: watch::Receiver<Line>,
    open: &[Line],
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        // Fails when the test is over.
        let carried = line.wait_for(|line| open.contains(line)).await.is_ok();
        if length == 0 || !carried {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
    }
}
