//! The device: opens the store, runs the background work and lets callers wait for what it does.

use crate::config::DeviceConfig;
use crate::error::DeviceError;
use crate::replica::Replica;
use crate::session::Session;
use crate::store::Store;
use crate::{outbox, socket};
use automerge::ChangeHash;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use sync_protocol::document_id::DocumentId;
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::JoinHandle;

/// Events that a slow listener may fall behind by; it then learns that it missed some.
const MAX_EVENTS_BEHIND: usize = 256;

/// What happened on the device, for a user interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Connected,
    Disconnected,
    /// Changes of others arrived.
    RemoteChange(DocumentId),
    /// The edge did not take a change of this device. Its code says why; the change is here still, and nowhere else.
    Refused {
        document: DocumentId,
        change: ChangeHash,
        code: String,
    },
    /// The document was deleted, for everybody and for good; it is gone from this device too.
    Deleted(DocumentId),
    /// The origin has committed more of this document.
    Committed(DocumentId),
    /// The state of a command changed.
    Command(String),
}

/// Whether the device may use the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    Online,
    Offline,
    /// The device is being dropped.
    Closing,
}

/// What the API and the background tasks share.
pub(crate) struct Inner {
    pub(crate) config: DeviceConfig,
    /// The id that the edge knows this device by.
    pub(crate) device: String,
    pub(crate) session: Session,
    pub(crate) network: watch::Sender<Network>,
    /// Rises with every change of state, for [`Device::wait_for`].
    version: watch::Sender<u64>,
    events: broadcast::Sender<Event>,
    /// Rung when documents have something to say to the server.
    pub(crate) touched: Notify,
    /// Rung when the outbox has work.
    pub(crate) submitted: Notify,
    state: Mutex<State>,
}

/// Held for the length of one edit or one message, never across an await.
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) replicas: HashMap<DocumentId, Replica>,
    pub(crate) touched: BTreeSet<DocumentId>,
    pub(crate) connected: bool,
}

/// An offline-first replica of a user's documents with an outbox for commands.
///
/// Calls that only need the store are synchronous and write to disk; they take milliseconds. Everything else happens
/// in background tasks that end when the device is dropped.
pub struct Device {
    pub(crate) inner: Arc<Inner>,
    tasks: Vec<JoinHandle<()>>,
}

impl Device {
    /// Opens the store at `path`, or makes it, and starts the background work on the current Tokio runtime.
    pub fn open(path: &Path, config: DeviceConfig) -> Result<Self, DeviceError> {
        let suffix = uuid::Uuid::now_v7().simple().to_string();
        let name: String =
            config.device_name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(24).collect();
        let store = Store::open(path, &config.email, &format!("{name}-{}", &suffix[20..]))?;
        let device = store.device()?;
        let network = if config.online { Network::Online } else { Network::Offline };
        let inner = Arc::new(Inner {
            session: Session::new(store.tokens()?)?,
            config,
            device,
            network: watch::Sender::new(network),
            version: watch::Sender::new(0),
            events: broadcast::Sender::new(MAX_EVENTS_BEHIND),
            touched: Notify::new(),
            submitted: Notify::new(),
            state: Mutex::new(State {
                store,
                replicas: HashMap::new(),
                touched: BTreeSet::new(),
                connected: false,
            }),
        });
        let mut tasks = vec![tokio::spawn(outbox::run(Arc::clone(&inner)))];
        if inner.config.socket {
            tasks.push(tokio::spawn(socket::run(Arc::clone(&inner))));
        }
        Ok(Self { inner, tasks })
    }

    /// The id that the edge knows this device by: the unit of command order.
    pub fn id(&self) -> &str {
        &self.inner.device
    }

    /// Cuts the network off at once, in the middle of whatever goes on.
    pub fn go_offline(&self) {
        self.inner.network.send_replace(Network::Offline);
        self.inner.set_connected(false);
    }

    pub fn go_online(&self) {
        self.inner.network.send_replace(Network::Online);
    }

    /// The WebSocket to the edge is up.
    pub fn is_connected(&self) -> bool {
        self.inner.lock().connected
    }

    pub async fn wait_until_connected(&self, deadline: Duration) -> Result<(), DeviceError> {
        self.wait_for("the sync connection to the edge", deadline, |device| {
            device.is_connected().then_some(())
        })
        .await
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// Waits until `ready` gives a value; looks again whenever something on the device changed.
    pub async fn wait_for<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut ready: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T, DeviceError> {
        let mut version = self.inner.version.subscribe();
        let found = async {
            loop {
                version.borrow_and_update();
                if let Some(value) = ready(self) {
                    return value;
                }
                // The sender lives in `inner`, which outlives this borrow.
                let _ = version.changed().await;
            }
        };
        tokio::time::timeout(deadline, found)
            .await
            .map_err(|_| DeviceError::Deadline { what: what.to_owned(), seconds: deadline.as_secs_f64() })
    }

    /// Ends the background work and gives the store free, so that it can be opened again.
    pub async fn close(mut self) {
        self.inner.network.send_replace(Network::Closing);
        for task in std::mem::take(&mut self.tasks) {
            // A task that panicked has been reported by the runtime; the store is closed all the same.
            let _ = task.await;
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.inner.network.send_replace(Network::Closing);
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Inner {
    /// A panic in an edit closure leaves nothing half done: its transaction rolls back, so the lock is taken over.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    pub(crate) fn tell(&self, event: Event) {
        // Nobody listens: nothing to do.
        let _ = self.events.send(event);
        self.changed();
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        let before = std::mem::replace(&mut self.lock().connected, connected);
        if before != connected {
            self.tell(if connected { Event::Connected } else { Event::Disconnected });
        }
    }

    pub(crate) fn is_online(&self) -> bool {
        *self.network.borrow() == Network::Online
    }
}

/// Waits until the device may use the network; false when it closes.
pub(crate) async fn online(network: &mut watch::Receiver<Network>) -> bool {
    match network.wait_for(|network| *network != Network::Offline).await {
        Ok(network) => *network == Network::Online,
        Err(_) => false,
    }
}
