//! Sync over the WebSocket: automerge-repo's protocol, many documents over one connection.

use crate::backoff::Backoff;
use crate::device::{Inner, online};
use crate::error::{DeviceError, Problem};
use automerge::sync::State as SyncState;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use sync_protocol::document_id::DocumentId;
use sync_protocol::repo_message::{MAX_EDGE_FRAME_BYTES, PROTOCOL_VERSION, RepoMessage};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Three pings without an answer: the network is gone, whatever TCP believes.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(15);
/// Documents whose first answer is waited for. A device with a thousand documents does not flood the edge when it
/// comes back, and those of high priority are not queued behind the rest.
const MAX_OPENING: usize = 32;
/// Frames that wait for the network; beyond that nothing new is generated.
const MAX_OUTGOING: usize = 64;

/// Keeps a connection to the edge while the device may use the network.
pub(crate) async fn run(inner: Arc<Inner>) {
    let mut network = inner.network.subscribe();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    while online(&mut network).await {
        network.mark_unchanged();
        let began = Instant::now();
        let ended = tokio::select! {
            ended = connection(&inner) => ended,
            _ = network.changed() => {
                backoff.reset();
                inner.set_connected(false);
                continue;
            }
        };
        inner.set_connected(false);
        tracing::debug!(error = %ended, "sync connection ended");
        // One that the edge ends again and again at once is not opened at full speed for ever.
        if began.elapsed() > PING_INTERVAL {
            backoff.reset();
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.pause()) => {}
            _ = network.changed() => backoff.reset(),
        }
    }
}

/// Runs one connection and says why it ended.
async fn connection(inner: &Inner) -> DeviceError {
    let (socket, conversation) = match open(inner).await {
        Ok(opened) => opened,
        Err(error) => return error,
    };
    inner.set_connected(true);
    let (sink, stream) = socket.split();
    let (outgoing, frames) = mpsc::channel(MAX_OUTGOING);
    // Reading never waits for writing: two peers that only write to each other would wait for ever.
    tokio::select! {
        ended = write(sink, frames) => ended,
        ended = converse(inner, conversation, stream, outgoing) => ended,
    }
}

/// Connects and shakes hands.
async fn open(inner: &Inner) -> Result<(Socket, Conversation), DeviceError> {
    let token = inner.access_token(None).await?;
    let opened = tokio::time::timeout(HANDSHAKE_TIMEOUT, async {
        let mut socket = connect(inner, &token).await?;
        let join = RepoMessage::Join {
            sender: inner.device.clone(),
            versions: vec![PROTOCOL_VERSION.into()],
            extended: true,
        };
        socket.send(Message::binary(join.encode())).await.map_err(network)?;
        loop {
            let frame = socket.next().await.ok_or_else(closed)?.map_err(network)?;
            let Message::Binary(bytes) = frame else { continue };
            match decode(&bytes)? {
                RepoMessage::Peer { sender, .. } => {
                    return Ok((socket, Conversation::new(inner.device.clone(), sender)));
                }
                RepoMessage::Error { message, .. } => return Err(DeviceError::Protocol(message)),
                _ => {}
            }
        }
    });
    opened.await.map_err(|_| DeviceError::Network("the edge did not finish the handshake".into()))?
}

async fn connect(inner: &Inner, token: &str) -> Result<Socket, DeviceError> {
    let url = format!("{}/sync", inner.config.edge_url.replacen("http", "ws", 1));
    let mut request = url.into_client_request().map_err(network)?;
    let bearer = format!("Bearer {token}").parse().map_err(|_| DeviceError::Protocol("token".into()))?;
    request.headers_mut().insert("authorization", bearer);
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_EDGE_FRAME_BYTES))
        .max_frame_size(Some(MAX_EDGE_FRAME_BYTES));
    match tokio_tungstenite::connect_async_with_config(request, Some(config), true).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => {
            let status = answer.status().as_u16();
            if status == 401 {
                inner.access_token(Some(token)).await?;
            }
            let detail = "the edge did not open the sync connection".to_owned();
            Err(DeviceError::Refused(Problem { status, code: "no-websocket".into(), detail }))
        }
        Err(error) => Err(network(error)),
    }
}

async fn write(mut sink: SplitSink<Socket, Message>, mut frames: mpsc::Receiver<Message>) -> DeviceError {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = sink.send(frame).await {
            return network(error);
        }
    }
    closed()
}

async fn converse(
    inner: &Inner,
    mut conversation: Conversation,
    mut stream: SplitStream<Socket>,
    outgoing: mpsc::Sender<Message>,
) -> DeviceError {
    let mut pings = tokio::time::interval(PING_INTERVAL);
    let mut heard = Instant::now();
    if let Err(error) = conversation.queue_all(inner) {
        return error;
    }
    loop {
        let step = tokio::select! {
            frame = stream.next() => {
                heard = Instant::now();
                conversation.handle(inner, frame)
            }
            permit = outgoing.reserve(), if conversation.has_work() => {
                let frame = conversation.next_frame(inner);
                if let (Ok(permit), Ok(Some(frame))) = (permit, &frame) {
                    permit.send(Message::binary(frame.clone()));
                }
                frame.map(drop)
            }
            () = inner.touched.notified() => {
                conversation.queue_touched(inner);
                Ok(())
            }
            _ = pings.tick() => {
                // A full queue is being written: that is a sign of life of its own.
                let _ = outgoing.try_send(Message::Ping(Vec::new().into()));
                if heard.elapsed() > SILENCE_TIMEOUT { Err(closed()) } else { Ok(()) }
            }
        };
        if let Err(error) = step {
            return error;
        }
    }
}

/// What one connection has said and must still say.
struct Conversation {
    sender: String,
    target: String,
    states: HashMap<DocumentId, SyncState>,
    /// Documents that may have something to say; `queued` has the same ones.
    queue: VecDeque<DocumentId>,
    queued: HashSet<DocumentId>,
    /// Documents that were opened on this connection and have not been answered yet.
    opening: HashSet<DocumentId>,
}

impl Conversation {
    fn new(sender: String, target: String) -> Self {
        Self {
            sender,
            target,
            states: HashMap::new(),
            queue: VecDeque::new(),
            queued: HashSet::new(),
            opening: HashSet::new(),
        }
    }

    /// Queues every document of the device, those of high priority first, and those that are looked for.
    fn queue_all(&mut self, inner: &Inner) -> Result<(), DeviceError> {
        let mut state = inner.lock();
        state.touched.clear();
        let wanted: Vec<DocumentId> = state
            .replicas
            .iter()
            .filter(|(_, replica)| !replica.stored)
            .map(|(document, _)| *document)
            .collect();
        for document in wanted.into_iter().chain(state.store.documents()?) {
            self.queue(document);
        }
        Ok(())
    }

    fn queue_touched(&mut self, inner: &Inner) {
        let mut state = inner.lock();
        for document in std::mem::take(&mut state.touched) {
            // Asked for once more after the edge said no: begin anew, an answered state has nothing to ask.
            if state.replica(document).is_ok_and(|replica| replica.is_empty()) {
                self.states.remove(&document);
            }
            self.queue(document);
        }
    }

    fn queue(&mut self, document: DocumentId) {
        if self.queued.insert(document) {
            self.queue.push_back(document);
        }
    }

    fn has_work(&self) -> bool {
        self.queue.iter().any(|document| self.may_speak(document))
    }

    fn may_speak(&self, document: &DocumentId) -> bool {
        self.opening.len() < MAX_OPENING || self.states.contains_key(document)
    }

    /// Takes the next document from the queue and gives the frame that it has to say, if any.
    fn next_frame(&mut self, inner: &Inner) -> Result<Option<Vec<u8>>, DeviceError> {
        let Some(at) = self.queue.iter().position(|document| self.may_speak(document)) else {
            return Ok(None);
        };
        let Some(document) = self.queue.remove(at) else { return Ok(None) };
        self.queued.remove(&document);
        let mut state = inner.lock();
        let replica = match state.replica(document) {
            Ok(replica) => replica,
            // Looked for, and forgotten since.
            Err(DeviceError::UnknownDocument(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let opening = &mut self.opening;
        let sync = self.states.entry(document).or_insert_with(|| {
            opening.insert(document);
            replica.sync_state()
        });
        let Some(data) = replica.generate(sync) else { return Ok(None) };
        trace("sends", document, &data);
        let request = replica.is_empty();
        let (sender, target) = (self.sender.clone(), self.target.clone());
        Ok(Some(RepoMessage::Sync { request, sender, target, document, data }.encode()))
    }

    fn handle(
        &mut self,
        inner: &Inner,
        frame: Option<Result<Message, tungstenite::Error>>,
    ) -> Result<(), DeviceError> {
        let bytes = match frame.ok_or_else(closed)?.map_err(network)? {
            Message::Binary(bytes) => bytes,
            Message::Close(_) => return Err(closed()),
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        match decode(&bytes)? {
            RepoMessage::Sync { document, data, .. } => self.receive(inner, document, &data),
            RepoMessage::Unavailable { document, .. } => {
                self.opening.remove(&document);
                inner.set_unavailable(document);
                Ok(())
            }
            RepoMessage::Refused { document, hash, code, .. } => {
                inner.note_refusal(document, hash.into(), code)
            }
            RepoMessage::Deleted { document, .. } => {
                self.opening.remove(&document);
                self.states.remove(&document);
                inner.remove(document)
            }
            RepoMessage::Committed { document, heads, .. } => {
                inner.note_committed(document, heads.into_iter().map(Into::into).collect())
            }
            RepoMessage::Error { message, .. } => Err(DeviceError::Protocol(message)),
            RepoMessage::Join { .. }
            | RepoMessage::Peer { .. }
            | RepoMessage::Subscribe { .. }
            | RepoMessage::RemoteHeads { .. }
            | RepoMessage::Ephemeral { .. }
            | RepoMessage::Other => Ok(()),
        }
    }

    fn receive(&mut self, inner: &Inner, document: DocumentId, data: &[u8]) -> Result<(), DeviceError> {
        trace("receives", document, data);
        self.opening.remove(&document);
        // Documents that nobody asked for are not taken: the device holds what its user opened.
        let Some(sync) = self.states.get_mut(&document) else { return Ok(()) };
        match inner.receive(document, sync, data) {
            Ok(()) => {}
            // One damaged document must not end the sync of the others. It begins anew with the next connection.
            Err(error @ (DeviceError::Document(_) | DeviceError::Protocol(_))) => {
                tracing::warn!(%document, %error, "a sync message could not be applied");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        self.queue(document);
        Ok(())
    }
}

/// What a sync message says, for whoever looks for the reason of a sync that stands still.
fn trace(what: &str, document: DocumentId, data: &[u8]) {
    if tracing::enabled!(tracing::Level::TRACE)
        && let Ok(message) = automerge::sync::Message::decode(data)
    {
        let (heads, need, changes) = (&message.heads, &message.need, message.changes.len());
        let (have, flags) = (&message.have, &message.flags);
        tracing::trace!(%document, ?heads, ?need, changes, ?have, ?flags, "{what}");
    }
}

fn decode(bytes: &[u8]) -> Result<RepoMessage, DeviceError> {
    RepoMessage::decode_from_edge(bytes).map_err(|error| DeviceError::Protocol(error.to_string()))
}

fn network(error: tungstenite::Error) -> DeviceError {
    DeviceError::Network(error.to_string())
}

fn closed() -> DeviceError {
    DeviceError::Network("the sync connection was closed".into())
}

#[cfg(test)]
mod tests;
