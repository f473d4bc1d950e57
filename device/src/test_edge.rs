//! An edge and its origin in this process, as far as a device meets them: the sync protocol over Automerge documents
//! in memory, sign-in, registration, the batch route and commands.

use crate::config::DeviceConfig;
use crate::device::Device;
use automerge::Automerge;
use automerge::sync::{Message as SyncMessage, State as SyncState, SyncDoc as _};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, body};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use sync_protocol::batch::{BatchRequest, BatchResponse, BatchResult, Outcome};
use sync_protocol::document_id::DocumentId;
use sync_protocol::kind::{self, Kind};
use sync_protocol::repo_message::RepoMessage;
use tokio::sync::{Notify, watch};

#[derive(Default)]
struct Content {
    documents: HashMap<DocumentId, Automerge>,
    /// Keys of commands in the order of their effect.
    commands: Vec<String>,
    receipts: Vec<String>,
    logins: usize,
    /// Access tokens that are still good; a sign-in makes one.
    tokens: Vec<String>,
    refresh_works: bool,
    origin_is_down: bool,
    sockets_are_refused: bool,
    sockets: usize,
    opened: Vec<DocumentId>,
}

struct Shared {
    content: Mutex<Content>,
    /// Rises with every change of a document.
    version: watch::Sender<u64>,
    hang_up: Notify,
}

pub(crate) struct TestEdge {
    url: String,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

pub(crate) struct DeviceOnEdge {
    path: std::path::PathBuf,
    config: DeviceConfig,
}

impl DeviceOnEdge {
    pub(crate) fn offline(mut self) -> Self {
        self.config = self.config.offline();
        self
    }

    pub(crate) fn open(self) -> Device {
        Device::open(&self.path, self.config).unwrap()
    }
}

impl TestEdge {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared {
            content: Mutex::new(Content { refresh_works: true, ..Content::default() }),
            version: watch::Sender::new(0),
            hang_up: Notify::new(),
        });
        let router = Router::new()
            .route("/api/auth/login", post(login))
            .route("/api/auth/refresh", post(refresh))
            .route("/api/documents", post(register))
            .route("/commands", post(command))
            .route("/commands/{key}", get(receipt))
            .route("/sync/v1/batch", post(batch))
            .route("/sync", get(sync))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, server }
    }

    pub(crate) fn device(&self, folder: &tempfile::TempDir, name: &str) -> DeviceOnEdge {
        DeviceOnEdge {
            path: folder.path().join("device.db"),
            config: DeviceConfig::new(&self.url, "teacher@x.example", "rollcall", name),
        }
    }

    fn content(&self) -> std::sync::MutexGuard<'_, Content> {
        self.shared.content.lock().unwrap()
    }

    pub(crate) fn commands(&self) -> Vec<String> {
        self.content().commands.clone()
    }

    pub(crate) fn stop_origin(&self) {
        self.content().origin_is_down = true;
    }

    pub(crate) fn start_origin(&self) {
        let mut content = self.content();
        content.origin_is_down = false;
        let receipts = std::mem::take(&mut content.receipts);
        content.commands.extend(receipts);
        self.shared.version.send_modify(|version| *version += 1);
    }

    pub(crate) fn refuse_sockets(&self) {
        self.content().sockets_are_refused = true;
        self.hang_up();
    }

    /// Closes every sync connection.
    pub(crate) fn hang_up(&self) {
        self.shared.hang_up.notify_waiters();
    }

    pub(crate) fn logins(&self) -> usize {
        self.content().logins
    }

    pub(crate) fn revoke_access_tokens(&self) {
        self.content().tokens.clear();
    }

    pub(crate) fn end_sessions(&self) {
        let mut content = self.content();
        content.tokens.clear();
        content.refresh_works = false;
    }

    /// Documents in the order in which devices opened them.
    pub(crate) fn opened(&self) -> Vec<DocumentId> {
        self.content().opened.clone()
    }

    /// A document that somebody else made.
    pub(crate) fn put_document(&self, document: DocumentId, doc: Automerge) {
        self.content().documents.insert(document, doc);
        self.shared.version.send_modify(|version| *version += 1);
    }

    pub(crate) fn document(&self, document: DocumentId) -> Option<Automerge> {
        self.content().documents.get(&document).map(Automerge::fork)
    }

    /// Forgets what it knew of a document, as after a restore from an old backup.
    pub(crate) fn forget_document(&self, document: DocumentId) {
        self.content().documents.remove(&document);
        self.hang_up();
    }
}

impl Drop for TestEdge {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn problem(status: StatusCode, code: &str) -> Response {
    (status, Json(json!({"status": status.as_u16(), "code": code, "detail": "because"}))).into_response()
}

fn tokens(content: &mut Content) -> Response {
    let token = format!("token-{}", uuid::Uuid::now_v7());
    content.tokens.push(token.clone());
    Json(json!({"access_token": token, "token_type": "Bearer", "expires_in": 900, "refresh_token": "again"}))
        .into_response()
}

async fn login(State(shared): State<Arc<Shared>>, Json(body): Json<Value>) -> Response {
    if body["password"] != "rollcall" || !body["device"].is_string() {
        return problem(StatusCode::UNAUTHORIZED, "wrong-credentials");
    }
    let mut content = shared.content.lock().unwrap();
    content.logins += 1;
    content.refresh_works = true;
    tokens(&mut content)
}

async fn refresh(State(shared): State<Arc<Shared>>) -> Response {
    let mut content = shared.content.lock().unwrap();
    if content.refresh_works {
        tokens(&mut content)
    } else {
        problem(StatusCode::UNAUTHORIZED, "token-invalid")
    }
}

/// 401 unless the token is one of ours.
fn refused(shared: &Shared, headers: &HeaderMap) -> Option<Response> {
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let known = |token: &str| shared.content.lock().unwrap().tokens.iter().any(|known| known == token);
    (!bearer.is_some_and(known)).then(|| problem(StatusCode::UNAUTHORIZED, "token-invalid"))
}

async fn register(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if let Some(refused) = refused(&shared, &headers) {
        return refused;
    }
    let (kind, subject) = (body["kind"].as_str().unwrap(), body["subject"].as_str().unwrap());
    let mut id = [kind.len() as u8; 16];
    id[..subject.len().min(16)].copy_from_slice(&subject.as_bytes()[..subject.len().min(16)]);
    let document = DocumentId::from_bytes(id);
    let genesis = kind::genesis(kind.parse::<Kind>().unwrap(), document).unwrap();
    let mut content = shared.content.lock().unwrap();
    content.documents.entry(document).or_insert_with(|| Automerge::load(&genesis).unwrap());
    Json(json!({"documentId": document, "kind": kind, "subject": subject})).into_response()
}

async fn command(State(shared): State<Arc<Shared>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if let Some(refused) = refused(&shared, &headers) {
        return refused;
    }
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let mut content = shared.content.lock().unwrap();
    match body["student"].as_str() {
        Some("nobody") => problem(StatusCode::NOT_FOUND, "not-found"),
        Some("poison") => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        _ if content.origin_is_down => {
            content.receipts.push(key);
            (StatusCode::ACCEPTED, Json(json!({"status": "pending"}))).into_response()
        }
        _ => {
            if !content.commands.contains(&key) {
                content.commands.push(key);
            }
            let bookmark = format!("1.{}", content.commands.len());
            Json(json!({"outcome": {"score": body["score"]}, "bookmark": bookmark})).into_response()
        }
    }
}

async fn receipt(State(shared): State<Arc<Shared>>, Path(key): Path<String>) -> Response {
    let content = shared.content.lock().unwrap();
    let answer = if content.commands.contains(&key) {
        json!({"status": "delivered", "outcome": {"outcome": {"score": 1}, "bookmark": "1.7"}})
    } else if content.receipts.contains(&key) {
        json!({"status": "pending"})
    } else {
        return problem(StatusCode::NOT_FOUND, "not-found");
    };
    Json(answer).into_response()
}

async fn batch(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: body::Bytes) -> Response {
    if let Some(refused) = refused(&shared, &headers) {
        return refused;
    }
    let request = BatchRequest::decode(&body).unwrap();
    let mut content = shared.content.lock().unwrap();
    let results = request.messages.into_iter().map(|message| {
        let doc = content.documents.entry(message.document).or_default();
        let mut state = SyncState::new();
        doc.receive_sync_message(&mut state, SyncMessage::decode(&message.data).unwrap()).unwrap();
        let in_step = state.their_heads.as_ref() == Some(&doc.get_heads());
        let reply = if in_step { None } else { doc.generate_sync_message(&mut state) };
        BatchResult {
            document: message.document,
            outcome: Outcome::Synced(reply.map(|reply| reply.encode().into())),
            refused: None,
            committed: None,
        }
    });
    let response = BatchResponse { results: results.collect() };
    shared.version.send_modify(|version| *version += 1);
    response.encode().into_response()
}

async fn sync(State(shared): State<Arc<Shared>>, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    if let Some(refused) = refused(&shared, &headers) {
        return refused;
    }
    if shared.content.lock().unwrap().sockets_are_refused {
        return problem(StatusCode::NOT_FOUND, "not-found");
    }
    upgrade.on_upgrade(move |socket| async move {
        tokio::select! {
            () = serve(&shared, socket) => {}
            () = shared.hang_up.notified() => {}
        }
    })
}

/// automerge-repo's protocol, as its JS server speaks it.
#[expect(clippy::too_many_lines, reason = "one arm for each message")]
async fn serve(shared: &Shared, mut socket: WebSocket) {
    let mut version = shared.version.subscribe();
    let mut states: HashMap<DocumentId, SyncState> = HashMap::new();
    let mut peer = String::new();
    shared.content.lock().unwrap().sockets += 1;
    loop {
        let mut frames = Vec::new();
        tokio::select! {
            frame = socket.recv() => {
                let Some(Ok(frame)) = frame else { return };
                let Message::Binary(bytes) = frame else { continue };
                match RepoMessage::decode(&bytes).unwrap() {
                    RepoMessage::Join { sender, .. } => {
                        frames.push(RepoMessage::Peer { sender: "edge".into(), target: sender.clone(), storage: None });
                        peer = sender;
                    }
                    RepoMessage::Sync { request, document, data, .. } => {
                        let mut content = shared.content.lock().unwrap();
                        if !states.contains_key(&document) {
                            content.opened.push(document);
                        }
                        let known = content.documents.contains_key(&document);
                        let state = states.entry(document).or_default();
                        if request && !known {
                            frames.push(RepoMessage::Unavailable { sender: "edge".into(), target: peer.clone(), document });
                            states.remove(&document);
                        } else {
                            let doc = content.documents.entry(document).or_default();
                            doc.receive_sync_message(state, SyncMessage::decode(&data).unwrap()).unwrap();
                            drop(content);
                            shared.version.send_modify(|version| *version += 1);
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
            _ = version.changed() => {
                let content = shared.content.lock().unwrap();
                for (document, state) in &mut states {
                    let Some(doc) = content.documents.get(document) else { continue };
                    // One at a time: a request for a reset is generated for as long as it is not answered.
                    if let Some(message) = doc.generate_sync_message(state) {
                        frames.push(RepoMessage::Sync {
                            request: false,
                            sender: "edge".into(),
                            target: peer.clone(),
                            document: *document,
                            data: message.encode(),
                        });
                    }
                    if !content.origin_is_down {
                        frames.push(RepoMessage::Committed {
                            sender: "edge".into(),
                            target: peer.clone(),
                            document: *document,
                            heads: doc.get_heads().into_iter().map(Into::into).collect(),
                        });
                    }
                }
            }
        }
        for frame in frames {
            if socket.send(Message::Binary(frame.encode().into())).await.is_err() {
                return;
            }
        }
    }
}
