//! The line between an edge and its origin, which a test cuts and mends.

use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A TCP proxy.
pub struct FaultyLink {
    address: SocketAddr,
    whole: Arc<watch::Sender<bool>>,
    accepting: JoinHandle<()>,
}

impl FaultyLink {
    pub async fn to(origin: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port can be bound");
        let address = listener.local_addr().expect("a bound socket has an address");
        let whole = Arc::new(watch::Sender::new(true));
        let origin = origin.to_owned();
        let accepting = tokio::spawn({
            let whole = Arc::clone(&whole);
            async move {
                while let Ok((edge, _)) = listener.accept().await {
                    if *whole.borrow() {
                        tokio::spawn(carry(edge, origin.clone(), whole.subscribe()));
                    }
                }
            }
        });
        Self { address, whole, accepting }
    }

    /// The origin's URL as the edge knows it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Breaks all connections, and closes new ones at once.
    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}

impl Drop for FaultyLink {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn carry(mut edge: TcpStream, origin: String, mut whole: watch::Receiver<bool>) {
    // An origin that is down: the edge finds its connection closed.
    let Ok(mut origin) = TcpStream::connect(origin).await else { return };
    for socket in [&edge, &origin] {
        socket.set_nodelay(true).expect("a connected socket takes options");
    }
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut edge, &mut origin) => {}
        _ = whole.wait_for(|whole| !whole) => {}
    }
}
