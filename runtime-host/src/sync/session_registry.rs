//! The sessions that are open, and what each has said and heard: for operators.

use super::engine_task::{Room, SessionId};
use metrics::{Counter, Gauge};
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::{Bound, Deref};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use sync_protocol::token::Claims;

/// All sessions of this edge.
pub struct SessionRegistry {
    sessions: Mutex<BTreeMap<SessionId, Arc<SessionRecord>>>,
    totals: Totals,
}

/// One session.
pub struct SessionRecord {
    session: SessionId,
    institute: String,
    user: String,
    device: String,
    opened_at_ms: u64,
    received: Traffic,
    sent: Traffic,
    /// For what waits to be written to it.
    room: Room,
    totals: Totals,
}

#[derive(Default)]
struct Traffic {
    frames: AtomicU64,
    bytes: AtomicU64,
}

/// Of all sessions together; by session or institute there would be a metric for each of thousands.
#[derive(Clone)]
struct Totals {
    open: Gauge,
    frames_received: Counter,
    bytes_received: Counter,
    frames_sent: Counter,
    bytes_sent: Counter,
}

/// A session as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SessionFigures {
    pub session: SessionId,
    pub institute: String,
    pub user: String,
    pub device: String,
    /// Since the Unix epoch.
    pub opened_at_ms: u64,
    /// Messages of the sync protocol, each a binary WebSocket frame, and their bytes.
    pub frames_received: u64,
    pub bytes_received: u64,
    pub frames_sent: u64,
    pub bytes_sent: u64,
    /// How far the device is behind: what it has not taken yet.
    pub bytes_waiting: u64,
}

impl Default for SessionRegistry {
    fn default() -> Self {
        Self { sessions: Mutex::default(), totals: Totals::new() }
    }
}

impl SessionRegistry {
    /// Lists a session until the value is dropped. What waits for it is counted by `room`.
    pub fn open(self: &Arc<Self>, session: SessionId, claims: &Claims, room: Room) -> OpenSession {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = Arc::new(SessionRecord {
            session,
            institute: claims.inst.clone(),
            user: claims.sub.clone(),
            device: claims.dev.clone(),
            opened_at_ms: since.as_millis() as u64,
            received: Traffic::default(),
            sent: Traffic::default(),
            room,
            totals: self.totals.clone(),
        });
        self.totals.open.increment(1);
        self.sessions().insert(session, record.clone());
        OpenSession { registry: self.clone(), record }
    }

    /// Sessions behind `after`, in the order in which they were opened, be it of one institute alone.
    pub fn page(
        &self,
        institute: Option<&str>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Vec<SessionFigures> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let sessions = self.sessions();
        let behind = sessions.range((from, Bound::Unbounded)).map(|(_, record)| record);
        let wanted = behind.filter(|record| institute.is_none_or(|wanted| record.institute == wanted));
        wanted.take(limit).map(|record| record.figures()).collect()
    }

    /// How many sessions each institute has, as far as it has one.
    pub fn count_by_institute(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for record in self.sessions().values() {
            match counts.get_mut(&record.institute) {
                Some(count) => *count += 1,
                None => drop(counts.insert(record.institute.clone(), 1)),
            }
        }
        counts
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, BTreeMap<SessionId, Arc<SessionRecord>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionRecord {
    /// The device has sent a frame of so many bytes.
    pub fn received(&self, bytes: usize) {
        self.received.add(bytes);
        self.totals.frames_received.increment(1);
        self.totals.bytes_received.increment(bytes as u64);
    }

    /// A frame of so many bytes was written to the device.
    pub fn sent(&self, bytes: usize) {
        self.sent.add(bytes);
        self.totals.frames_sent.increment(1);
        self.totals.bytes_sent.increment(bytes as u64);
    }

    fn figures(&self) -> SessionFigures {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SessionFigures {
            session: self.session,
            institute: self.institute.clone(),
            user: self.user.clone(),
            device: self.device.clone(),
            opened_at_ms: self.opened_at_ms,
            frames_received: of(&self.received.frames),
            bytes_received: of(&self.received.bytes),
            frames_sent: of(&self.sent.frames),
            bytes_sent: of(&self.sent.bytes),
            bytes_waiting: self.room.taken() as u64,
        }
    }
}

impl Traffic {
    fn add(&self, bytes: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A session that is listed.
pub struct OpenSession {
    registry: Arc<SessionRegistry>,
    record: Arc<SessionRecord>,
}

impl Deref for OpenSession {
    type Target = SessionRecord;

    fn deref(&self) -> &SessionRecord {
        &self.record
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.registry.sessions().remove(&self.record.session);
        self.registry.totals.open.decrement(1);
    }
}

const SESSIONS: &str = "rollcall_sync_sessions";
const FRAMES: &str = "rollcall_sync_frames_total";
const BYTES: &str = "rollcall_sync_bytes_total";

impl Totals {
    fn new() -> Self {
        Self {
            open: metrics::gauge!(SESSIONS),
            frames_received: metrics::counter!(FRAMES, "direction" => "received"),
            bytes_received: metrics::counter!(BYTES, "direction" => "received"),
            frames_sent: metrics::counter!(FRAMES, "direction" => "sent"),
            bytes_sent: metrics::counter!(BYTES, "direction" => "sent"),
        }
    }
}

/// Says what the metrics of this file mean, to whoever collects them.
pub fn describe() {
    metrics::describe_gauge!(SESSIONS, "Devices that are connected by WebSocket.");
    metrics::describe_counter!(FRAMES, "Messages of sync sessions.");
    metrics::describe_counter!(BYTES, "Bytes of the messages of sync sessions.");
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use sync_protocol::token::{AUDIENCE, ISSUER, Role};

    fn claims(institute: &str, user: &str) -> Claims {
        Claims {
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            sub: user.into(),
            inst: institute.into(),
            role: Role::Student,
            name: user.into(),
            dev: "phone".into(),
            batches: Vec::new(),
            iat: 0,
            exp: 0,
            jti: String::new(),
            sid: String::new(),
        }
    }

    #[test]
    fn a_session_is_listed_with_what_it_said_heard_and_has_not_taken_until_it_ends() {
        let registry = Arc::new(SessionRegistry::default());
        let room = Room::new(1024);
        let session = registry.open(7, &claims("northside.example", "ann"), room.clone());
        session.received(10);
        session.received(5);
        session.sent(100);
        let waiting = room.try_take(Bytes::from_static(b"waits")).unwrap();
        let listed = registry.page(None, None, 10);
        let [figures] = &listed[..] else { panic!("{listed:?}") };
        assert_eq!((figures.session, figures.user.as_str(), figures.device.as_str()), (7, "ann", "phone"));
        assert_eq!((figures.frames_received, figures.bytes_received), (2, 15));
        assert_eq!((figures.frames_sent, figures.bytes_sent, figures.bytes_waiting), (1, 100, 5));
        assert!(figures.opened_at_ms > 0);
        drop(waiting);
        assert_eq!(registry.page(None, None, 10)[0].bytes_waiting, 0);
        drop(session);
        assert_eq!(registry.page(None, None, 10), []);
    }

    #[test]
    fn pages_follow_each_other_and_keep_to_their_institute() {
        let registry = Arc::new(SessionRegistry::default());
        let open = |session| {
            let institute = if session % 2 == 0 { "even.example" } else { "odd.example" };
            registry.open(session, &claims(institute, "ann"), Room::new(1))
        };
        let _open: Vec<_> = (1..=6).map(open).collect();
        let ids = |institute, after, limit| {
            let page = registry.page(institute, after, limit);
            page.iter().map(|figures| figures.session).collect::<Vec<_>>()
        };
        assert_eq!(ids(None, None, 4), [1, 2, 3, 4]);
        assert_eq!(ids(None, Some(4), 4), [5, 6]);
        assert_eq!(ids(Some("even.example"), Some(2), 9), [4, 6]);
        assert_eq!(ids(Some("none.example"), None, 9), [0; 0]);
        let counts = registry.count_by_institute();
        assert_eq!(counts, BTreeMap::from([("even.example".into(), 3), ("odd.example".into(), 3)]));
    }
}
