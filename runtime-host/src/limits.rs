//! Every limit of the edge node that is not a setting: what it bounds, and why it is as large as it is.

use std::time::Duration;

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

/// Largest request body that reaches a component, unless its manifest says otherwise. A phone's batch of offline edits is
/// tens of kilobytes; four MiB is a term of them.
pub const MAX_REQUEST_BODY_BYTES: u64 = 4 * MIB as u64;

/// Longest target of a request. Proxies in front commonly allow 8 KiB for the whole request line.
pub const MAX_TARGET_BYTES: usize = 8 * KIB;

/// Largest header section. A token of 64 batches takes 5 KiB, and cookies of other applications ride along.
pub const MAX_HEADER_BYTES: usize = 32 * KIB;

/// As much of a path as the access log shows.
pub const MAX_LOGGED_PATH_BYTES: usize = 512;

/// Most headers of a request. Browsers send about 20, and a chain of proxies adds as many again.
pub const MAX_HEADERS: usize = 100;

/// Headers that a request has more when a component sees it: Spin's, the trace, the identity.
pub const HEADERS_ADDED: usize = 12;

/// As much of an answer's body is put together before its head goes out: one piece that a guest writes at a time, commonly.
pub const GATHERED_BYTES: usize = 16 * KIB;
/// How often the guest gets its turn for that.
pub const GATHER_TURNS: usize = 2;

/// HTTP/1.1 headers are read up to here, so that who passes the limits above by less is told so by a problem; who passes this
/// gets a bare 431.
pub const MAX_HEADERS_READ: usize = 2 * MAX_HEADERS;
/// Also bounds what is read ahead of a slow component.
pub const MAX_HEADER_BYTES_READ: usize = 2 * MAX_HEADER_BYTES + MAX_TARGET_BYTES;

/// Room for what a client sends before it is clear whether it speaks HTTP/1.1 or 2: most requests whole.
pub const FIRST_READ_BYTES: usize = 2 * KIB;

/// A client must have sent its headers this long after their first byte, or shaken hands for TLS.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection without a request is closed after that. A phone asks again within seconds or not for minutes, and a proxy in
/// front keeps its connections for 60 seconds commonly.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// A component that waits for a request's body waits this long, and one second more for each of these bytes that came: the
/// slowest mobile networks bring 2 KiB a second, and a client that dribbles holds an instance.
pub const BODY_GRACE: Duration = Duration::from_secs(10);
pub const BODY_BYTES_PER_SECOND_MIN: u64 = 240;

/// Pause before connections are taken again when there was no file descriptor for one: others must end first.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often the certificate's files are looked at. A new one comes weeks before the old one ends.
pub const CERTIFICATE_LOOK: Duration = Duration::from_secs(5);

/// How often what histograms have seen is put together: a busy edge keeps a few megabytes of it between.
pub const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Connections at once. Each costs about 20 KiB and a file descriptor; the common limit of descriptors is 1,024 soft and
/// 524,288 hard, so the listener stops accepting well before memory is short.
pub const MAX_CONNECTIONS: usize = 16_384;

/// Streams at once on one HTTP/2 connection: one phone needs a handful, a proxy in front about a hundred.
pub const MAX_HTTP2_STREAMS: u32 = 128;

/// After the signal to stop, what runs has this long to finish.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Component instances at once, of requests and of sync engines together. Each has at most one 4 GiB reservation of address
/// space, so 600 of them fit easily in the 128 TiB of a process.
pub const MAX_INSTANCES: u32 = 600;

/// Instances that answer requests, idle ones too. The rest of [`MAX_INSTANCES`] is for the sync engines, so that neither starves the other.
pub const MAX_REQUEST_INSTANCES: usize = 300;

/// Institutes whose sync engine runs at once.
pub const MAX_ENGINES: usize = 256;

/// How long a request may wait for its component's turn, and then for one of [`MAX_REQUEST_INSTANCES`], before it is answered 503.
pub const INSTANCE_WAIT: Duration = Duration::from_secs(2);

/// Requests that one instance answers before it is replaced, those of them at once, and how long it is kept without work: what
/// Spin does, and so what its users' components are used to.
pub const REQUESTS_PER_INSTANCE: usize = 128;
pub const CONCURRENT_PER_INSTANCE: usize = 16;
pub const INSTANCE_IDLE: Duration = Duration::from_secs(1);
/// Longest `idle_ms` of a manifest: an idle instance holds one of [`MAX_REQUEST_INSTANCES`].
pub const MAX_INSTANCE_IDLE: Duration = Duration::from_secs(60);

/// Requests of one component that run at once when its manifest says nothing, so that one that hangs leaves instances to the
/// others: 1,024 at 16 to an instance are 64 of [`MAX_REQUEST_INSTANCES`].
pub const CONCURRENT_PER_COMPONENT: usize = 1_024;
/// Requests that wait for one of those. Each costs its head and a socket; more than this wait in vain.
pub const QUEUE_PER_COMPONENT: usize = 1_024;
/// Largest of either that a manifest may ask for: there are no more connections.
pub const MAX_CONCURRENT_PER_COMPONENT: usize = MAX_CONNECTIONS;

/// The niceness of the threads on which guests run on that computed for longer than an epoch: a fifth or so of the weight of
/// the threads that answer requests.
pub const BUSY_GUEST_NICENESS: i32 = 8;

/// Memory of one instance when its manifest names none. A Rust component idles at 1 to 2 MiB.
pub const DEFAULT_MEMORY_MIB: u32 = 128;

/// Largest `memory_mb` that a manifest may ask for: the size of the pool's slots.
pub const MAX_MEMORY_MIB: u32 = 2048;

/// Largest file of a component. One with a JavaScript or Python engine in it is tens of megabytes.
pub const MAX_COMPONENT_BYTES: u64 = 256 * MIB as u64;

/// Components within components. Composed ones have two or three levels; each more costs the compiler dearly.
pub const MAX_COMPONENT_DEPTH: usize = 32;

/// Largest manifest. One of a hundred components is tens of kilobytes.
pub const MAX_MANIFEST_BYTES: u64 = MIB as u64;

/// Core instances, memories and tables of one component: a composed one has a few of each for each of its parts.
pub const MAX_CORE_INSTANCES: usize = 100;
pub const MAX_MEMORIES: usize = 10;
pub const MAX_TABLES: usize = 20;

/// Elements of one table: a component built by LLVM has one for each function whose address is taken.
pub const MAX_TABLE_ELEMENTS: usize = 100_000;

/// The period of the clock by which running guests are looked at. Shorter costs wake-ups, longer makes a busy guest hold its
/// thread longer before others get it.
pub const EPOCH_PERIOD: Duration = Duration::from_millis(5);
/// The clock rests after so many periods without a guest: some, so that a request every few milliseconds does not put it to
/// sleep and wake it each time.
pub const QUIET_EPOCHS: u32 = 4;
/// A guest that says after its turn that it has more to do is given its next one at once for this long, before the other tasks
/// of its thread: waking costs more than most turns take. Far below an epoch, which a single turn may take.
pub const TURNS_IN_A_ROW: Duration = Duration::from_micros(500);

/// Processor time of one request when the manifest names none. The three components need milliseconds.
pub const DEFAULT_CPU: Duration = Duration::from_secs(5);

/// A component must have begun its answer by then.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// An instance is gone this long after its last answer, even when that answer's body is still being read by a slow client or
/// the guest still works.
pub const INSTANCE_TIMEOUT: Duration = Duration::from_secs(120);

/// One call of a sync engine, in processor time. Loading a long document takes up to a second.
pub const ENGINE_CPU: Duration = Duration::from_secs(20);

/// One call of a sync engine, on the clock; its database may wait for another writer.
pub const ENGINE_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes that a guest may hand over in one call of the host: the largest link message and a little. wasmtime's own default
/// is 128 MiB.
pub const HOSTCALL_BYTES: usize = 40 * MIB;

/// Handles that a guest may hold open. A request needs tens; wasmtime's own default is 100,000.
pub const MAX_HANDLES: usize = 4_096;

/// Entries of the host's resource table for one guest; wasmtime's own default is 1,000,000.
pub const MAX_RESOURCES: usize = 8_192;

/// Requests whose trace one instance remembers: twice as many as it answers in its life by default.
pub const TRACES_PER_INSTANCE: usize = 2 * REQUESTS_PER_INSTANCE;

/// Random bytes in one call.
pub const MAX_RANDOM_BYTES: u64 = 64 * KIB as u64;

/// Longest line of a guest's standard output or error that is logged whole.
pub const MAX_LOG_LINE_BYTES: usize = 4 * KIB;

/// Bytes of one component's output that are logged in a second; the rest is dropped, so that a guest cannot fill the disk
/// through the log.
pub const LOG_BYTES_PER_SECOND: usize = 64 * KIB;

/// Connecting to another server for a guest.
pub const OUTBOUND_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The other server must have begun its answer by then.
pub const OUTBOUND_FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest pause within the other server's answer.
pub const OUTBOUND_BETWEEN_BYTES_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests of one component to other servers at once; more wait for as long as connecting may take. Each is a connection and
/// a file descriptor here, and work over there.
pub const OUTBOUND_REQUESTS: usize = 256;

/// Largest header section of another server's answer.
pub const OUTBOUND_HEADER_BYTES: usize = 64 * KIB;

/// Idle connections kept for each server, for as long as below.
pub const OUTBOUND_IDLE_CONNECTIONS: usize = 64;
/// Shorter than the 75 s after which common servers close an idle connection, so that we rarely send into a closed one.
pub const OUTBOUND_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections to Redis that one instance may hold open: as many as to its databases.
pub const REDIS_CONNECTIONS_PER_GUEST: usize = SQLITE_CONNECTIONS_PER_GUEST;
/// Longest answer of a Redis server to a guest's command: what a guest may be handed in one call.
pub const REDIS_ANSWER_BYTES: usize = HOSTCALL_BYTES;

/// Connections to Postgres that one instance may hold open: as many as to its databases.
pub const POSTGRES_CONNECTIONS_PER_GUEST: usize = SQLITE_CONNECTIONS_PER_GUEST;
/// One statement of a guest to Postgres, or one connection; as long as one to its own database may take.
pub const POSTGRES_TIMEOUT: Duration = SQLITE_STATEMENT_TIMEOUT;
/// Longest result of a guest's statement: what a guest may be handed in one call.
pub const POSTGRES_ANSWER_BYTES: usize = HOSTCALL_BYTES;

/// Sockets that one instance may hold open: as many as connections to its databases.
pub const SOCKETS_PER_GUEST: usize = SQLITE_CONNECTIONS_PER_GUEST;

/// Longest key of the key-value store, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// Largest value of the key-value store: one cached answer of the origin.
pub const MAX_VALUE_BYTES: usize = 8 * MIB;
/// Stores that one guest may hold open, as in Spin.
pub const KEY_VALUE_STORES_PER_GUEST: usize = 256;
/// Keys and values of one store in memory: it is for tests and for caches that may be lost.
pub const MEMORY_STORE_BYTES: usize = 128 * MIB;
/// Redis must have answered by then; a key-value store that is slower than that is no help.
pub const REDIS_RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often connecting to Redis is tried again before a guest is told, and the longest pause between.
pub const REDIS_RETRIES: usize = 2;
pub const REDIS_RETRY_DELAY: Duration = Duration::from_millis(200);
/// Keys that are asked for at a time, and most keys of a store that are listed: other stores are bounded by the disk.
pub const REDIS_SCAN_COUNT: usize = 1_000;
pub const REDIS_KEYS: usize = 100_000;
/// Writes waiting for the key-value store's writer.
pub const KEY_VALUE_QUEUE: usize = 1024;
/// Most writes that share one commit. With 4 KiB each that is a megabyte of log at a time.
pub const KEY_VALUE_BATCH: usize = 256;

/// A connection of another process or instance may hold the write lock this long.
pub const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// One statement of a guest.
pub const SQLITE_STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Result of one statement. The largest document snapshot is 16 MiB.
pub const SQLITE_RESULT_BYTES: usize = 64 * MIB;
/// Longest text of one statement.
pub const SQLITE_STATEMENT_BYTES: i32 = 256 * KIB as i32;
/// Largest single text or blob.
pub const SQLITE_VALUE_BYTES: i32 = 32 * MIB as i32;
/// Size of one database, in pages of 4 KiB: 16 GiB, years of an institute's edits.
pub const SQLITE_PAGES: u32 = 4 * 1024 * 1024;
/// Prepared statements kept for each connection.
pub const SQLITE_CACHED_STATEMENTS: usize = 64;
/// Memory for pages of a database, in KiB: what SQLite takes by itself.
pub const SQLITE_CACHE_KIB: i32 = 2_000;
/// And while a transaction lasts that has become large: the index over the hashes of 260,000 changes has 27 MB, and its pages are
/// written to in no order. With less, most of them are written to the log and read again many times before the commit.
pub const SQLITE_LARGE_CACHE_KIB: i32 = 32 * KIB as i32;
/// Statements that write, after which a transaction is large: a device that was away writes a thousand.
pub const SQLITE_LARGE_TRANSACTION: u32 = 128;
/// Connections that one instance may hold open: four for each of the requests that it answers at once.
pub const SQLITE_CONNECTIONS_PER_GUEST: usize = 4 * CONCURRENT_PER_INSTANCE;
/// Idle connections kept for one database, and for all of them together (each holds two file descriptors).
pub const SQLITE_IDLE_PER_DATABASE: usize = 4;
pub const SQLITE_IDLE_CONNECTIONS: usize = 128;

/// Largest WebSocket message: a snapshot of one large document, as the link allows.
pub const MAX_MESSAGE_BYTES: usize = 16 * MIB;
/// What is read from a WebSocket at once, in bytes. Each session holds such a buffer, and the library clears all of it before
/// every read; a device's frames are some hundred bytes.
pub const SESSION_READ_BUFFER: usize = 4 * KIB;
/// Frames that wait for a device, and their bytes: more than a device that comes back with a thousand documents is answered
/// at once. One that is behind by more is cut off; it catches up when it connects again.
pub const SESSION_QUEUE: usize = 4_096;
pub const SESSION_QUEUE_BYTES: usize = 4 * MAX_MESSAGE_BYTES;
/// WebSocket sessions of one institute: all connections that the edge takes may be of one.
pub const MAX_SESSIONS_PER_INSTITUTE: usize = MAX_CONNECTIONS;
/// Pings to devices and on the link. Nothing heard for two periods means that the peer is gone.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// A peer that does not take one frame in this time is cut off. A phone on a slow network needs half a minute for a large one.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Events that wait for a sync engine, and the bytes of their frames; its sessions stop reading from their sockets beyond.
pub const ENGINE_QUEUE: usize = 1024;
pub const ENGINE_QUEUE_BYTES: usize = 4 * MAX_MESSAGE_BYTES;
/// Most events in one call of a sync engine, which is one commit of its log.
pub const ENGINE_BATCH: usize = 256;
/// Bytes of the frames in one call, unless a single one has more: as many keystrokes as a paper has, brought at once, take half of
/// [`ENGINE_CPU`].
pub const ENGINE_BATCH_BYTES: usize = MIB;
/// Bytes that wait for room on the link, of one institute, before its engine waits too: two messages of the largest.
pub const LINK_WAITING_BYTES: usize = 2 * MAX_MESSAGE_BYTES;
/// From the end of a call of a sync engine until the next one, when frames come in a row: about what a call costs besides the
/// events, so that acknowledgements of a hundred readers are a few calls and not a hundred. Nobody waits after a longer silence.
pub const ENGINE_PAUSE: Duration = Duration::from_millis(1);
/// A sync engine is told the time this often.
pub const ENGINE_TICK: Duration = Duration::from_secs(1);
/// Pause before a failed sync engine is started again; doubles up to the second value.
pub const ENGINE_BACKOFF: Duration = Duration::from_millis(200);
pub const ENGINE_BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Questions of operators that wait for one sync engine. It answers them one by one, between its devices' batches.
pub const ENGINE_QUESTIONS: usize = 4;
/// Longest wait for the answer: as long as a call of the engine that runs may take, and then the question's own.
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(2 * ENGINE_TIMEOUT.as_secs());
/// Documents or sessions on a page for operators, when they name no number, and the most.
pub const OPERATOR_PAGE: u32 = 100;
pub const MAX_OPERATOR_PAGE: u32 = 500;

/// Sync engines that are replaced by new code at once: for that long an institute has two, and [`MAX_INSTANCES`] has room for
/// so many more.
pub const ENGINE_REPLACEMENTS: usize = 8;

/// With `--watch`, files have settled when none has changed for so long: linking a component takes longer than writing it.
pub const WATCH_QUIET: Duration = Duration::from_millis(200);
/// Files that never settle are looked at this often.
pub const WATCH_QUIET_MAX: Duration = Duration::from_secs(5);

/// Messages that wait for the link. The engines keep what they have to say and wait beyond.
pub const LINK_QUEUE: usize = 64;
/// Pause before the link is tried again: a quarter of the time that it has been down, within these bounds, so that it is
/// back soon after a short break and a long outage is not hammered on.
pub const LINK_BACKOFF: Duration = Duration::from_millis(100);
pub const LINK_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Connecting, the WebSocket handshake, and the origin's first message.
pub const LINK_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause before deliveries to the origin are tried again after it had no room or no answer; doubles up to the second value.
pub const DELIVERY_BACKOFF: Duration = Duration::from_millis(500);
/// Also the pause while the component says that more waits.
pub const DELIVERY_BACKOFF_MAX: Duration = Duration::from_secs(30);
