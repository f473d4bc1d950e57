//! The institutes that are active at this edge, each with its engine.

use super::engine_code::EngineCode;
use super::engine_task::{EngineInput, EngineTask, Room};
use super::questions::EngineQuestion;
use super::session_registry::SessionRegistry;
use crate::data_folder::is_institute;
use crate::guest::{Guest, LoadError};
use crate::limits;
use crate::link::LinkState;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Starts engines and finds them again. An engine lives until the edge stops.
pub struct Institutes {
    guest: watch::Sender<Arc<Guest>>,
    /// Bounds the engines that are replaced at once.
    replacements: Arc<Semaphore>,
    link: LinkState,
    sessions: Arc<SessionRegistry>,
    engines: Mutex<HashMap<String, EngineHandle>>,
    running: TaskTracker,
    stop: CancellationToken,
}

/// The way to one institute's engine.
#[derive(Clone)]
pub struct EngineHandle {
    pub inputs: mpsc::Sender<EngineInput>,
    /// For the bytes of frames among the inputs.
    pub room: Room,
    /// Not among the inputs: operators wait rather than devices.
    pub questions: mpsc::Sender<EngineQuestion>,
    /// Many changes of the log are one event to an engine that is busy.
    log_changed: Arc<Notify>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ActivationError {
    #[error("the institute is no domain name")]
    NoInstitute,
    #[error("{} institutes are active, which is the limit", limits::MAX_ENGINES)]
    Full,
}

impl Institutes {
    /// `guest` must export the sync engine.
    pub fn new(guest: Arc<Guest>, link: LinkState, stop: CancellationToken) -> Result<Self, LoadError> {
        guest.sync_engine()?;
        let guest = watch::Sender::new(guest);
        let replacements = Arc::new(Semaphore::new(limits::ENGINE_REPLACEMENTS));
        let (sessions, engines, running) = (Arc::default(), Mutex::default(), TaskTracker::new());
        Ok(Self { guest, replacements, link, sessions, engines, running, stop })
    }

    /// Lets the engines that run, and those that come, run `guest`, which must export the sync engine.
    pub fn replace_guest(&self, guest: &Arc<Guest>) {
        self.guest.send_if_modified(|current| {
            let new = !Arc::ptr_eq(current, guest);
            if new {
                *current = guest.clone();
            }
            new
        });
    }

    /// The engine of `institute`, started if need be.
    pub fn activate(&self, institute: &str) -> Result<EngineHandle, ActivationError> {
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.get(institute) {
            return Ok(engine.clone());
        }
        if !is_institute(institute) {
            return Err(ActivationError::NoInstitute);
        }
        if engines.len() >= limits::MAX_ENGINES {
            return Err(ActivationError::Full);
        }
        let (inputs, received) = mpsc::channel(limits::ENGINE_QUEUE);
        let (questions, asked) = mpsc::channel(limits::ENGINE_QUESTIONS);
        let log_changed = Arc::new(Notify::new());
        let task = EngineTask::new(
            institute.to_owned(),
            EngineCode::new(self.guest.subscribe(), self.replacements.clone()),
            (received, asked),
            log_changed.clone(),
            self.link.clone(),
        );
        self.running.spawn(task.run(self.stop.clone()));
        let room = Room::new(limits::ENGINE_QUEUE_BYTES);
        let engine = EngineHandle { inputs, room, questions, log_changed };
        engines.insert(institute.to_owned(), engine.clone());
        Ok(engine)
    }

    pub fn get(&self, institute: &str) -> Option<EngineHandle> {
        self.engines.lock().unwrap_or_else(PoisonError::into_inner).get(institute).cloned()
    }

    /// The engine of an institute that has a log here; it is started for one that is not active. None where there is no log,
    /// and then none is made.
    pub fn with_log(&self, institute: &str) -> Result<Option<EngineHandle>, ActivationError> {
        if let Some(engine) = self.get(institute) {
            return Ok(Some(engine));
        }
        let has_log = self.guest.borrow().has_database_of(institute);
        if has_log { self.activate(institute).map(Some) } else { Ok(None) }
    }

    /// The institutes that are active, in the order of their names, each with the bytes that wait for its engine.
    pub fn active(&self) -> BTreeMap<String, usize> {
        let engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        engines.iter().map(|(institute, engine)| (institute.clone(), engine.room.taken())).collect()
    }

    /// The sessions that are open.
    pub fn sessions(&self) -> &Arc<SessionRegistry> {
        &self.sessions
    }

    /// Tells an active institute's engine that another instance may have written to its log.
    pub fn log_changed(&self, institute: &str) {
        if let Some(engine) = self.get(institute) {
            engine.log_changed.notify_one();
        }
    }

    /// Runs a session, so that [`Institutes::drain`] waits for its end.
    pub fn spawn_session(&self, session: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(session);
    }

    /// Waits until all engines and sessions have ended after the stop.
    pub async fn drain(&self) {
        self.running.close();
        self.running.wait().await;
    }
}
