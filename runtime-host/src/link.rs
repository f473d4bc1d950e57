//! The link: the one connection that this edge opens to its origin and opens again whenever it breaks.

use crate::feed_state::FeedState;
use crate::identity::Identity;
use crate::limits;
use crate::sync::engine_task::EngineInput;
use crate::sync::institutes::Institutes;
use crate::tls::{self, TlsError};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Uri, header};
use rustls::pki_types::ServerName;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use sync_protocol::link::{
    LINK_VERSION, LinkError, LinkMessage, MAX_LINK_MESSAGE_BYTES, VERSION_HEADER, Welcome,
};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;

/// A way to the origin, as long as the connection lives that it was made for.
#[derive(Clone)]
pub struct LinkSender {
    /// Counts connections, so that what one brought is not taken for what the next one brings.
    pub generation: u64,
    pub messages: mpsc::Sender<Vec<u8>>,
}

/// The link as its users see it; none while it is down.
pub type LinkState = watch::Receiver<Option<LinkSender>>;

type Socket = WebSocketStream<Either<TcpStream, Box<TlsStream<TcpStream>>>>;

#[derive(Debug, thiserror::Error)]
pub enum LinkSettingsError {
    #[error("origin_url `{0}` is not http://HOST[:PORT] or https://HOST[:PORT]")]
    Url(String),
    #[error("origin_ca: {0}")]
    Tls(#[from] TlsError),
    #[error("edge_id and edge_secret must be ASCII text")]
    Credentials,
}

#[derive(Debug, thiserror::Error)]
enum LinkBreak {
    #[error("connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("handshake: {0}")]
    Handshake(#[source] Box<WebSocketError>),
    #[error("{0}")]
    Socket(#[from] Box<WebSocketError>),
    #[error("no answer within {:?}", limits::LINK_CONNECT_TIMEOUT)]
    NoAnswer,
    #[error("the origin's first message is not a welcome")]
    NoWelcome,
    #[error("nothing heard for {:?}", limits::HEARTBEAT * 2)]
    Silent,
    #[error("nothing taken for {:?}", limits::WRITE_TIMEOUT)]
    Stuck,
    #[error("the origin closed")]
    Closed,
    #[error("{0}")]
    Message(#[from] LinkError),
    #[error("{0}")]
    Store(#[from] crate::key_value::KeyValueError),
}

/// Where the link goes, and who this edge is there.
#[derive(Clone)]
pub struct LinkSettings {
    url: Uri,
    host: String,
    port: u16,
    /// None for an origin without TLS.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    id: HeaderValue,
    authorization: HeaderValue,
}

impl LinkSettings {
    /// `ca` holds the authorities that may vouch for an `https` origin; without it the system's do.
    pub fn new(
        origin_url: &str,
        edge_id: &str,
        edge_secret: &str,
        ca: Option<&Path>,
    ) -> Result<Self, LinkSettingsError> {
        let bad = || LinkSettingsError::Url(origin_url.to_owned());
        let origin: Uri = origin_url.trim_end_matches('/').parse().map_err(|_| bad())?;
        let (scheme, port) = match origin.scheme_str() {
            Some("http") => ("ws", 80),
            Some("https") => ("wss", 443),
            _ => return Err(bad()),
        };
        if origin.path() != "/" || origin.query().is_some() {
            return Err(bad());
        }
        let authority = origin.authority().ok_or_else(bad)?.clone();
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(port);
        let tls = match scheme {
            "wss" => {
                let name = ServerName::try_from(host.clone()).map_err(|_| bad())?;
                Some((TlsConnector::from(tls::client_config(tls::origin_roots(ca)?)?), name))
            }
            _ => None,
        };
        let url = Uri::builder().scheme(scheme).authority(authority).path_and_query("/edge/v1/link");
        let mut authorization = HeaderValue::try_from(format!("Bearer {edge_secret}"))
            .map_err(|_| LinkSettingsError::Credentials)?;
        authorization.set_sensitive(true);
        Ok(Self {
            url: url.build().map_err(|_| bad())?,
            host,
            port,
            tls,
            id: HeaderValue::try_from(edge_id).map_err(|_| LinkSettingsError::Credentials)?,
            authorization,
        })
    }
}

/// Keeps the link up.
pub struct Link {
    pub settings: LinkSettings,
    pub state: watch::Sender<Option<LinkSender>>,
    pub identity: Arc<Identity>,
    pub institutes: Option<Arc<Institutes>>,
    pub feeds: Option<FeedState>,
}

impl Link {
    pub async fn run(self, stop: CancellationToken) {
        let mut generation = 0;
        let mut down_since = Instant::now();
        loop {
            generation += 1;
            let broken = tokio::select! {
                () = stop.cancelled() => return,
                broken = self.connection(generation) => broken,
            };
            if self.state.send_replace(None).is_some() {
                tracing::warn!("link down: {broken}");
                down_since = Instant::now();
            } else {
                tracing::debug!("link: {broken}");
            }
            self.unlink_feeds().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(backoff(down_since.elapsed())) => {}
            }
        }
    }

    async fn unlink_feeds(&self) {
        if let Some(feeds) = &self.feeds
            && let Err(error) = feeds.unlink_all().await
        {
            tracing::error!(%error, "the cache may take cached views for fresh");
        }
    }

    /// One connection, from its start to its end.
    async fn connection(&self, generation: u64) -> LinkBreak {
        let (socket, welcome) = match tokio::time::timeout(limits::LINK_CONNECT_TIMEOUT, self.connect()).await
        {
            Ok(Ok(connected)) => connected,
            Ok(Err(broken)) => return broken,
            Err(_) => return LinkBreak::NoAnswer,
        };
        if let Err(error) = self.identity.replace_keys(&welcome.keys) {
            tracing::error!(%error, "the origin's keys are not kept");
        }
        tracing::info!(epoch = welcome.epoch, "link up");
        let (messages, outgoing) = mpsc::channel(limits::LINK_QUEUE);
        let (sink, stream) = socket.split();
        self.state.send_replace(Some(LinkSender { generation, messages }));
        tokio::select! {
            broken = write(sink, outgoing) => broken,
            broken = self.read(stream, generation) => broken,
        }
    }

    async fn connect(&self) -> Result<(Socket, Welcome), LinkBreak> {
        let handshake = |error| LinkBreak::Handshake(Box::new(error));
        let mut request = self.settings.url.clone().into_client_request().map_err(handshake)?;
        request.headers_mut().insert(header::AUTHORIZATION, self.settings.authorization.clone());
        request.headers_mut().insert("rollcall-edge", self.settings.id.clone());
        request.headers_mut().insert(VERSION_HEADER, HeaderValue::from(LINK_VERSION));
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_LINK_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_LINK_MESSAGE_BYTES));
        let stream = TcpStream::connect((self.settings.host.as_str(), self.settings.port)).await?;
        stream.set_nodelay(true)?;
        let stream = match &self.settings.tls {
            None => Either::Left(stream),
            Some((tls, name)) => Either::Right(Box::new(tls.connect(name.clone(), stream).await?)),
        };
        let connected = client_async_with_config(request, stream, Some(config)).await;
        let (mut socket, _) = connected.map_err(handshake)?;
        loop {
            match socket.next().await.ok_or(LinkBreak::Closed)?.map_err(Box::new)? {
                Message::Binary(bytes) => match LinkMessage::decode(&bytes)? {
                    LinkMessage::Welcome(welcome) => return Ok((socket, welcome)),
                    _ => return Err(LinkBreak::NoWelcome),
                },
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                Message::Text(_) => return Err(LinkBreak::NoWelcome),
                Message::Close(_) => return Err(LinkBreak::Closed),
            }
        }
    }

    async fn read(&self, mut stream: SplitStream<Socket>, generation: u64) -> LinkBreak {
        loop {
            let message = match tokio::time::timeout(limits::HEARTBEAT * 2, stream.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return Box::new(error).into(),
                Ok(None) => return LinkBreak::Closed,
                Err(_) => return LinkBreak::Silent,
            };
            match message {
                Message::Binary(bytes) => {
                    if let Err(broken) = self.receive(bytes.into(), generation).await {
                        return broken;
                    }
                }
                Message::Close(_) => return LinkBreak::Closed,
                Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Before the engine learns of it: nobody who was deactivated comes in again after being put out.
    fn note_members(&self, message: &LinkMessage) {
        let noted = match message {
            LinkMessage::Directory(page) => {
                self.identity.note_members(&page.institute, &page.entries, page.page == 0)
            }
            LinkMessage::Feed(feed) => self.identity.note_members(&feed.institute, &feed.members, false),
            LinkMessage::Welcome(_)
            | LinkMessage::Follow(_)
            | LinkMessage::Following(_)
            | LinkMessage::Push(_)
            | LinkMessage::Pushed(_)
            | LinkMessage::Pull(_)
            | LinkMessage::Document(_)
            | LinkMessage::Quarantine(_)
            | LinkMessage::Quarantined(_)
            | LinkMessage::Watch(_)
            | LinkMessage::RemoteHeads(_) => Ok(()),
        };
        if let Err(error) = noted {
            tracing::error!(%error, "who was deactivated is not kept over a restart");
        }
    }

    /// First the cache learns of a commit, then the engine: a device that is told of a change must not read a view without it.
    async fn receive(&self, bytes: Vec<u8>, generation: u64) -> Result<(), LinkBreak> {
        let message = LinkMessage::decode(&bytes)?;
        match (&message, &self.feeds) {
            (LinkMessage::Welcome(welcome), _) => {
                if let Err(error) = self.identity.replace_keys(&welcome.keys) {
                    tracing::error!(%error, "the origin's new keys are not kept");
                }
            }
            (LinkMessage::Following(following), Some(feeds)) => feeds.following(following).await?,
            (LinkMessage::Feed(feed), Some(feeds)) => feeds.commit(feed).await?,
            (
                LinkMessage::Following(_)
                | LinkMessage::Feed(_)
                | LinkMessage::Follow(_)
                | LinkMessage::Push(_)
                | LinkMessage::Pushed(_)
                | LinkMessage::Pull(_)
                | LinkMessage::Document(_)
                | LinkMessage::Directory(_)
                | LinkMessage::Quarantine(_)
                | LinkMessage::Quarantined(_)
                | LinkMessage::Watch(_)
                | LinkMessage::RemoteHeads(_),
                _,
            ) => {}
        }
        self.note_members(&message);
        let engine = message
            .institute()
            .and_then(|institute| self.institutes.as_ref().and_then(|institutes| institutes.get(institute)));
        if let Some(engine) = engine {
            // Fails only when the edge stops.
            let _ = engine.inputs.send(EngineInput::LinkFrame { generation, bytes }).await;
        }
        Ok(())
    }
}

/// Writes what the engines send, and pings, which make the origin answer within the reader's patience.
async fn write(mut sink: SplitSink<Socket, Message>, mut outgoing: mpsc::Receiver<Vec<u8>>) -> LinkBreak {
    let mut heartbeat = tokio::time::interval(limits::HEARTBEAT);
    loop {
        let message = tokio::select! {
            message = outgoing.recv() => match message {
                Some(message) => Message::Binary(message.into()),
                None => return LinkBreak::Closed,
            },
            _ = heartbeat.tick() => Message::Ping(bytes::Bytes::new()),
        };
        match tokio::time::timeout(limits::WRITE_TIMEOUT, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Box::new(error).into(),
            Err(_) => return LinkBreak::Stuck,
        }
    }
}

/// The pause before the next attempt. Every edge draws its own, so that an origin that comes back is not met by all at once.
fn backoff(down: Duration) -> Duration {
    let pause = (down / 4).clamp(limits::LINK_BACKOFF, limits::LINK_BACKOFF_MAX);
    // The standard library's only source of randomness.
    let random = RandomState::new().build_hasher().finish() % 1_000;
    pause.mul_f64(0.5 + random as f64 / 2_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_is_named_by_scheme_host_and_port() {
        let url = |origin| {
            LinkSettings::new(origin, "edge", "secret", None).map(|settings| settings.url.to_string())
        };
        assert_eq!(url("http://127.0.0.1:8080").unwrap(), "ws://127.0.0.1:8080/edge/v1/link");
        assert_eq!(url("http://origin.example/").unwrap(), "ws://origin.example/edge/v1/link");
        assert_eq!(url("https://origin.example").unwrap(), "wss://origin.example/edge/v1/link");
        assert_eq!(url("https://[::1]:8443").unwrap(), "wss://[::1]:8443/edge/v1/link");
        for bad in ["ftp://origin.example", "origin.example", "http://origin.example/path", "http://o?q", ""]
        {
            assert!(matches!(url(bad), Err(LinkSettingsError::Url(_))), "{bad}");
        }
        assert!(matches!(
            LinkSettings::new("http://o", "edge", "two\nlines", None),
            Err(LinkSettingsError::Credentials)
        ));
    }

    #[test]
    fn the_pause_grows_with_the_outage_within_its_bounds() {
        for down in [0, 1, 2, 10, 1_000].map(Duration::from_secs) {
            let pause = backoff(down);
            assert!(pause >= limits::LINK_BACKOFF / 2 && pause <= limits::LINK_BACKOFF_MAX, "{pause:?}");
            assert!(pause <= (down / 4).max(limits::LINK_BACKOFF), "{pause:?} after {down:?}");
        }
    }
}
