//! A client made with samod, the other implementation of automerge-repo's protocol.

use crate::until::until;
use crate::{House, SOON};
use automerge::Automerge;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt as _, StreamExt as _};
use samod::{BackoffConfig, DialError, Dialer, DialerHandle, DocHandle, DocumentId, Repo, Transport};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::{Error, Message};
use url::Url;

/// Short, so that a test of coming back does not wait.
const RETRY: Duration = Duration::from_millis(100);

pub struct SamodClient {
    repo: Repo,
    /// Whether the network is there. The client dials again and again while it is not.
    network: watch::Sender<bool>,
    connection: DialerHandle<Infallible>,
}

impl SamodClient {
    /// Starts a client with its store in memory, and waits until the edge has answered its handshake.
    pub async fn start(house: &House, email: &str) -> Self {
        let token = house.sign_in_on(email, "samod").await.token;
        let url = format!("ws://{}/sync?access_token={token}", house.edge.address());
        let repo = Repo::build_tokio().load().await;
        let network = watch::Sender::new(true);
        let url = url.parse().expect("the edge's address makes a URL");
        let dialer = Arc::new(EdgeDialer { url, network: network.subscribe() });
        let backoff = BackoffConfig { initial_delay: RETRY, max_delay: RETRY, max_retries: None };
        let connection = repo.dial(backoff, dialer).expect("the repo runs");
        let established = tokio::time::timeout(SOON, connection.established()).await;
        established.expect("the edge answers in time").expect("the handshake is agreed");
        Self { repo, network, connection }
    }

    pub async fn go_online(&self) {
        self.network.send_replace(true);
        until("the client to be connected", SOON, async || self.connection.is_connected().then_some(()))
            .await;
    }

    pub async fn go_offline(&self) {
        self.network.send_replace(false);
        until("the client to be cut off", SOON, async || (!self.connection.is_connected()).then_some(()))
            .await;
    }

    pub async fn create(&self, content: Automerge) -> DocHandle {
        self.repo.create(content).await.expect("the repo runs")
    }

    /// None when the edge says that there is no such document.
    pub async fn find(&self, document: &str) -> Option<DocHandle> {
        let document: DocumentId = document.parse().expect("a document id");
        let found = tokio::time::timeout(SOON, self.repo.find(document)).await;
        found.unwrap_or_else(|_| panic!("waited {SOON:?} for a document")).expect("the repo runs")
    }
}

struct EdgeDialer {
    url: Url,
    network: watch::Receiver<bool>,
}

#[derive(Debug, thiserror::Error)]
#[error("there is no network")]
struct NoNetwork;

impl Dialer for EdgeDialer {
    type Error = Infallible;

    fn url(&self) -> Url {
        self.url.clone()
    }

    fn connect(&self) -> BoxFuture<'static, Result<Transport, DialError<Infallible>>> {
        let (url, mut network) = (self.url.clone(), self.network.clone());
        Box::pin(async move {
            if !*network.borrow_and_update() {
                return Err(DialError::transient(NoNetwork));
            }
            let connected = tokio_tungstenite::connect_async(url.as_str()).await;
            let (socket, _) = connected.map_err(DialError::transient)?;
            let (sink, stream) = socket.split();
            let frames = stream.filter_map(async |message| match message {
                Ok(Message::Binary(bytes)) => Some(Ok(bytes.to_vec())),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            });
            let cut = async move { drop(network.changed().await) };
            let sink = sink.with(async |bytes: Vec<u8>| Ok::<_, Error>(Message::binary(bytes)));
            Ok(Transport::new(Box::pin(frames.take_until(Box::pin(cut))), Box::pin(sink)))
        })
    }
}
