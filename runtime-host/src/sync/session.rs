//! One device's WebSocket: upgraded after its token is checked, then frames in both directions until either side ends it.

use super::engine_task::{EngineInput, Outgoing, Room, SessionId, SessionSender};
use super::institutes::{EngineHandle, Institutes};
use super::session_registry::{OpenSession, SessionRegistry};
use crate::identity::Identity;
use crate::limits;
use crate::problem::{Problem, whole_body};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use sync_protocol::token::Claims;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::WasiBody;

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Longest close reason: a control frame holds 125 bytes, of which two are the code (RFC 6455, section 5.5).
const MAX_REASON_BYTES: usize = 120;

#[derive(Debug, thiserror::Error)]
enum SessionEnd {
    #[error("the device closed")]
    Closed,
    #[error("the edge closed: {0}")]
    ByEdge(String),
    #[error("nothing heard for {:?}", limits::HEARTBEAT * 2)]
    Silent,
    #[error("nothing taken for {:?}", limits::WRITE_TIMEOUT)]
    Stuck,
    #[error("the sync engine is gone")]
    NoEngine,
    #[error("{0}")]
    Socket(#[from] Box<WebSocketError>),
}

/// Answers the upgrade and starts the session. `request` has been authenticated as `claims`.
pub fn accept(
    mut request: Request<Incoming>,
    claims: Arc<Claims>,
    identity: Arc<Identity>,
    institutes: &Institutes,
    engine: EngineHandle,
    stop: CancellationToken,
) -> Result<Response<WasiBody>, Problem> {
    let key = upgrade_key(request.headers())?;
    let upgrade = hyper::upgrade::on(&mut request);
    let registry = institutes.sessions().clone();
    institutes.spawn_session(async move {
        let ended = run(upgrade, &claims, &identity, (engine, registry), stop).await;
        let (institute, user) = (&claims.inst, &claims.sub);
        match ended {
            Ok(end) => tracing::debug!(institute, user, "session ended: {end}"),
            Err(error) => tracing::debug!(institute, user, "session not upgraded: {error}"),
        }
    });
    let mut response = Response::new(whole_body(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    Ok(response)
}

/// Checks the request's side of the handshake (RFC 6455, section 4.2.1) and makes the answer's key.
fn upgrade_key(headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let names =
        |name, wanted: &str| text(name).split(',').any(|part| part.trim().eq_ignore_ascii_case(wanted));
    if !names(header::UPGRADE, "websocket") || !names(header::CONNECTION, "upgrade") {
        let detail = "this route speaks WebSocket";
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, "websocket-required", detail));
    }
    let key = text(header::SEC_WEBSOCKET_KEY);
    if text(header::SEC_WEBSOCKET_VERSION) != "13" || key.is_empty() {
        let detail = "the WebSocket handshake is not version 13 with a key";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad-handshake", detail));
    }
    HeaderValue::try_from(derive_accept_key(key.as_bytes()))
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "bad-handshake", "the WebSocket key is malformed"))
}

async fn run(
    upgrade: OnUpgrade,
    claims: &Claims,
    identity: &Identity,
    (engine, registry): (EngineHandle, Arc<SessionRegistry>),
    stop: CancellationToken,
) -> Result<SessionEnd, hyper::Error> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id: SessionId = NEXT.fetch_add(1, Ordering::Relaxed);
    let config = WebSocketConfig::default()
        .read_buffer_size(limits::SESSION_READ_BUFFER)
        .max_message_size(Some(limits::MAX_MESSAGE_BYTES))
        .max_frame_size(Some(limits::MAX_MESSAGE_BYTES));
    let socket = TokioIo::new(upgrade.await?);
    let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
    let (frames, outgoing) = mpsc::channel(limits::SESSION_QUEUE);
    let cut = CancellationToken::new();
    let room = Room::new(limits::SESSION_QUEUE_BYTES);
    let record = registry.open(id, claims, room.clone());
    let sender = SessionSender { frames, room, cut: cut.clone() };
    let claims_json = serde_json::to_string(claims).expect("claims are strings and numbers");
    let opened = EngineInput::Opened { session: id, claims: claims_json, outgoing: sender };
    if engine.inputs.send(opened).await.is_err() {
        return Ok(SessionEnd::NoEngine);
    }
    let mut session = Session { id, socket, outgoing, engine, record, heard: Instant::now() };
    let end = tokio::select! {
        end = session.exchange() => end,
        () = cut.cancelled() => SessionEnd::ByEdge("too far behind".to_owned()),
        () = stop.cancelled() => session.close(CloseCode::Away, "the edge stops").await,
        () = identity.revoked(claims) => session.close(CloseCode::Policy, "the session was ended").await,
    };
    // Fails only when the edge stops.
    let _ = session.engine.inputs.send(EngineInput::Closed(id)).await;
    Ok(end)
}

struct Session {
    id: SessionId,
    socket: Socket,
    outgoing: mpsc::Receiver<Outgoing>,
    engine: EngineHandle,
    record: OpenSession,
    heard: Instant,
}

impl Session {
    async fn exchange(&mut self) -> SessionEnd {
        let mut heartbeat = tokio::time::interval(limits::HEARTBEAT);
        loop {
            let result = tokio::select! {
                outgoing = self.outgoing.recv() => match outgoing {
                    Some(outgoing) => self.write(outgoing).await,
                    None => Err(SessionEnd::NoEngine),
                },
                message = self.socket.next() => self.receive(message).await,
                _ = heartbeat.tick() => self.beat().await,
            };
            if let Err(end) = result {
                return end;
            }
        }
    }

    async fn receive(&mut self, message: Option<Result<Message, WebSocketError>>) -> Result<(), SessionEnd> {
        self.heard = Instant::now();
        match message {
            Some(Ok(Message::Binary(bytes))) => {
                self.record.received(bytes.len());
                // Waits when the engine is behind: then this socket is not read, and its sender slows down.
                let bytes = self.engine.room.take(bytes).await;
                let frame = EngineInput::Frame { session: self.id, bytes };
                let sent = self.engine.inputs.send(frame).await.map_err(|_| SessionEnd::NoEngine);
                // While the engine is behind, nothing of the device is read that would show that it is there.
                self.heard = Instant::now();
                sent
            }
            Some(Ok(Message::Text(_))) => {
                Err(self.close(CloseCode::Unsupported, "messages are binary CBOR").await)
            }
            // Pings are answered by the library with the next write or read.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
            Some(Ok(Message::Close(_))) | None => Err(SessionEnd::Closed),
            Some(Err(WebSocketError::Capacity(error))) => {
                Err(self.close(CloseCode::Size, &error.to_string()).await)
            }
            Some(Err(error)) => Err(Box::new(error).into()),
        }
    }

    async fn beat(&mut self) -> Result<(), SessionEnd> {
        if self.heard.elapsed() > limits::HEARTBEAT * 2 {
            return Err(SessionEnd::Silent);
        }
        self.send(Message::Ping(bytes::Bytes::new())).await?;
        self.flush().await
    }

    /// Writes `first` and all that waits behind it, then flushes once.
    async fn write(&mut self, first: Outgoing) -> Result<(), SessionEnd> {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            match outgoing {
                Outgoing::Frame(bytes) => {
                    let bytes = bytes.into_bytes();
                    let length = bytes.len();
                    self.send(Message::Binary(bytes)).await?;
                    self.record.sent(length);
                }
                Outgoing::Close { code, reason } => return Err(self.close(code.into(), &reason).await),
            }
            next = self.outgoing.try_recv().ok();
        }
        self.flush().await
    }

    async fn send(&mut self, message: Message) -> Result<(), SessionEnd> {
        let started = Instant::now();
        match tokio::time::timeout(limits::WRITE_TIMEOUT, self.socket.feed(message)).await {
            Ok(result) => result.map_err(Box::new)?,
            Err(_) => return Err(SessionEnd::Stuck),
        }
        self.forgive(started);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SessionEnd> {
        let started = Instant::now();
        match tokio::time::timeout(limits::WRITE_TIMEOUT, self.socket.flush()).await {
            Ok(result) => result.map_err(Box::new)?,
            Err(_) => return Err(SessionEnd::Stuck),
        }
        self.forgive(started);
        Ok(())
    }

    /// A device on a slow network takes a large frame for longer than a heartbeat, in which it could not be heard: that it
    /// took the frame is a sign of life.
    fn forgive(&mut self, started: Instant) {
        if started.elapsed() > limits::HEARTBEAT {
            self.heard = Instant::now();
        }
    }

    async fn close(&mut self, code: CloseCode, reason: &str) -> SessionEnd {
        let end = reason.floor_char_boundary(MAX_REASON_BYTES);
        let frame = CloseFrame { code, reason: reason[..end].into() };
        let closing = async {
            self.socket.close(Some(frame)).await?;
            // The device's own close frame, so that its last frames are not answered with a reset.
            while let Some(Ok(_)) = self.socket.next().await {}
            Ok::<_, WebSocketError>(())
        };
        let _ = tokio::time::timeout(limits::HEARTBEAT / 5, closing).await;
        SessionEnd::ByEdge(reason.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_handshake_is_the_one_of_the_standard() {
        let good = [
            ("upgrade", "websocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        // The sample of RFC 6455, section 1.3.
        assert_eq!(upgrade_key(&headers(&good)).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(upgrade_key(&headers(&good[1..])).unwrap_err().code, "websocket-required");
        assert_eq!(upgrade_key(&headers(&good[..3])).unwrap_err().code, "bad-handshake");
        let old = [good[0], good[1], ("sec-websocket-version", "8"), good[3]];
        assert_eq!(upgrade_key(&headers(&old)).unwrap_err().code, "bad-handshake");
    }
}
