//! A client of our own, light enough that thousands fit into one process: a WebSocket and one Automerge document.

use automerge::AutoCommit;
use automerge::sync::{Message as SyncMessage, State, SyncDoc as _};
use futures_util::{SinkExt as _, StreamExt as _};
use sync_protocol::document_id::DocumentId;
use sync_protocol::repo_message::{PROTOCOL_VERSION, RepoMessage};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Each of thousands of connections has such a buffer.
const READ_BUFFER: usize = 4 * 1024;

pub(crate) struct LightClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    name: String,
    server: String,
    /// Bytes of messages so far.
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// A document and how far the server is with it.
pub(crate) struct Replica {
    id: DocumentId,
    pub(crate) document: AutoCommit,
    pub(crate) state: State,
}

impl Replica {
    pub(crate) fn new(id: DocumentId, document: AutoCommit) -> Self {
        Self { id, document, state: State::new() }
    }

    /// Takes in what the server says of the document.
    pub(crate) fn take(&mut self, message: RepoMessage) {
        if let RepoMessage::Sync { data, .. } = message {
            let message = SyncMessage::decode(&data).expect("the server sends sync messages");
            self.document.sync().receive_sync_message(&mut self.state, message).expect("a good message");
        }
    }

    /// Whether the server has said that it has all of the document.
    pub(crate) fn is_known(&mut self) -> bool {
        self.state.their_heads.as_ref() == Some(&self.document.get_heads())
    }
}

impl LightClient {
    pub(crate) async fn join(url: &str, name: String) -> Self {
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER).write_buffer_size(0);
        let (socket, _) = tokio_tungstenite::connect_async_with_config(url, Some(config), true)
            .await
            .expect("the server takes the connection");
        let mut client = Self { socket, name, server: String::new(), sent: 0, received: 0 };
        let versions = vec![PROTOCOL_VERSION.to_owned()];
        client.say(&RepoMessage::Join { sender: client.name.clone(), versions, extended: false }).await;
        match client.hear().await {
            RepoMessage::Peer { sender, .. } => client.server = sender,
            other => panic!("the server answers a join with {other:?}"),
        }
        client
    }

    async fn say(&mut self, message: &RepoMessage) {
        let bytes = message.encode();
        self.sent += bytes.len() as u64;
        self.socket.send(Message::Binary(bytes.into())).await.expect("the server takes a frame");
    }

    pub(crate) async fn hear(&mut self) -> RepoMessage {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    self.received += bytes.len() as u64;
                    return RepoMessage::decode(&bytes).expect("a message");
                }
                // Pings are answered by the library with the next read.
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{} hears {other:?}", self.name),
            }
        }
    }

    /// Says what the server lacks of the document, if anything; a request when the client has nothing of it.
    pub(crate) async fn offer(&mut self, replica: &mut Replica, request: bool) {
        let message = replica.document.sync().generate_sync_message(&mut replica.state);
        let Some(message) = message else { return };
        let (sender, target) = (self.name.clone(), self.server.clone());
        let message =
            RepoMessage::Sync { request, sender, target, document: replica.id, data: message.encode() };
        self.say(&message).await;
    }
}
