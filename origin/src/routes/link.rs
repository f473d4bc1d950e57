//! The link's WebSocket: frames in and out, life signs, and nothing of what they mean.

use super::error::ApiError;
use super::extract::Edge;
use crate::app::App;
use crate::services::link::{LinkService, OUTGOING};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use sync_protocol::link::{LinkMessage, MAX_LINK_MESSAGE_BYTES, VERSION_HEADER};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A ping goes out so often while nothing else does.
const PING_EVERY: Duration = Duration::from_secs(15);
/// An edge that was silent for so long, answers to pings included, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// An edge that does not take a frame for so long is gone.
const SEND_MAX: Duration = Duration::from_secs(30);
/// Messages that were read and not yet handed on: reading stops meanwhile, which is how an edge is slowed.
const INCOMING: usize = 8;
/// What an edge reads that says nothing of it.
const FIRST_VERSION: u32 = 1;

pub(super) async fn open(
    State(app): State<App>,
    Edge(edge): Edge,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| ApiError::NOT_A_WEBSOCKET)?;
    let upgrade = upgrade.max_message_size(MAX_LINK_MESSAGE_BYTES).max_frame_size(MAX_LINK_MESSAGE_BYTES);
    let version = headers.get(VERSION_HEADER).and_then(|version| version.to_str().ok()?.parse().ok());
    let edge = (edge, version.unwrap_or(FIRST_VERSION));
    let (link, stopping) = (app.link.clone(), app.stopping.clone());
    Ok(upgrade.on_upgrade(move |socket| serve(link, stopping, edge, socket)))
}

async fn serve(
    link: LinkService,
    stopping: CancellationToken,
    (edge, version): (String, u32),
    socket: WebSocket,
) {
    tracing::info!(edge, version, "link opened");
    let (sink, stream) = socket.split();
    let (incoming_sender, incoming) = mpsc::channel(INCOMING);
    let (outgoing, outgoing_receiver) = mpsc::channel(OUTGOING);
    let (last, reason) = watch::channel(None);
    let writing = tokio::spawn(write(sink, outgoing_receiver, reason));
    let ended = tokio::select! {
        ended = link.serve(&edge, version, incoming, outgoing) => ended.map_err(|fault| fault.to_string()),
        ended = read(stream, incoming_sender) => ended,
        () = stopping.cancelled() => Err("the origin stops".to_owned()),
    };
    match &ended {
        Ok(()) => tracing::info!(edge, "link closed"),
        Err(reason) => tracing::warn!(edge, reason, "link ended"),
    }
    last.send_replace(Some(ended.err().unwrap_or_default()));
    // Within its own deadlines; an error here is an edge that has gone already.
    drop(writing.await);
}

/// Reads frames until the socket closes.
async fn read(mut stream: SplitStream<WebSocket>, incoming: mpsc::Sender<LinkMessage>) -> Result<(), String> {
    loop {
        let frame = timeout(SILENCE_MAX, stream.next()).await.map_err(|_| "silence".to_owned())?;
        let Some(frame) = frame else { return Ok(()) };
        match frame.map_err(|error| error.to_string())? {
            Message::Binary(bytes) => {
                let message = LinkMessage::decode(&bytes).map_err(|error| error.to_string())?;
                // A closed queue is the service's end, which has its own reason.
                if incoming.send(message).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Text(_) => return Err("a text frame on the link".to_owned()),
            Message::Close(_) => return Ok(()),
        }
    }
}

/// Writes messages and pings until the link ends, then the reason.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut outgoing: mpsc::Receiver<LinkMessage>,
    mut reason: watch::Receiver<Option<String>>,
) {
    let mut pings = tokio::time::interval(PING_EVERY);
    loop {
        let frame = tokio::select! {
            Some(message) = outgoing.recv() => Message::Binary(message.encode().into()),
            _ = pings.tick() => Message::Ping(Bytes::new()),
            _ = reason.wait_for(Option::is_some) => break,
        };
        if !matches!(timeout(SEND_MAX, sink.send(frame)).await, Ok(Ok(()))) {
            // The reader sees the broken socket, or the silence, and ends the link.
            outgoing.close();
            return;
        }
    }
    let reason = reason.borrow().clone().unwrap_or_default();
    let reason: String = reason.chars().filter(char::is_ascii).take(120).collect();
    let close = CloseFrame { code: close_code::NORMAL, reason: reason.into() };
    let goodbye = timeout(Duration::from_secs(1), sink.send(Message::Close(Some(close))));
    drop(goodbye.await);
}
