//! One institute's engine: gathers what happened into one call, hands out what follows, and starts anew from the log when the
//! engine fails or its code is replaced. Because all that waits goes into one call, all of it shares one commit.

use crate::guest::Guest;
use crate::guest_state::{CpuClock, CpuExceeded, GuestState};
use crate::host::bindings::exports::rollcall::sync::engine as wit;
use crate::host::inspection_bindings::Inspector;
use crate::limits;
use crate::link::{LinkSender, LinkState};
use crate::sync::engine_code::EngineCode;
use crate::sync::questions::{EngineQuestion, QuestionError};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use sync_protocol::link::{LinkError, LinkMessage};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use wasmtime::Store;

/// Names a session within this process.
pub type SessionId = u64;

/// What a session or the link tells the engine.
pub enum EngineInput {
    Opened { session: SessionId, claims: String, outgoing: SessionSender },
    Frame { session: SessionId, bytes: Counted },
    Closed(SessionId),
    LinkFrame { generation: u64, bytes: Vec<u8> },
}

/// Bytes in a queue that is bounded in bytes: they make room when they are dropped.
#[derive(Debug)]
pub struct Counted {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Room for bytes in a queue.
#[derive(Debug, Clone)]
pub struct Room {
    bytes: Arc<Semaphore>,
    most: usize,
}

impl Room {
    pub fn new(most: usize) -> Self {
        Self { bytes: Arc::new(Semaphore::new(most)), most }
    }

    /// What alone is larger than the room fits when the room is empty.
    fn permits(&self, bytes: &Bytes) -> u32 {
        bytes.len().min(self.most) as u32
    }

    /// How much of it is taken.
    pub fn taken(&self) -> usize {
        self.most.saturating_sub(self.bytes.available_permits())
    }

    /// Waits for room.
    pub async fn take(&self, bytes: Bytes) -> Counted {
        let room = self.bytes.clone().acquire_many_owned(self.permits(&bytes)).await;
        Counted { bytes, _room: room.expect("the semaphore is never closed") }
    }

    /// None when there is no room now.
    pub fn try_take(&self, bytes: Bytes) -> Option<Counted> {
        let room = self.bytes.clone().try_acquire_many_owned(self.permits(&bytes)).ok()?;
        Some(Counted { bytes, _room: room })
    }
}

impl Counted {
    /// Takes the bytes out of the queue.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// The engine's way to one session.
#[derive(Clone)]
pub struct SessionSender {
    pub frames: mpsc::Sender<Outgoing>,
    pub room: Room,
    /// Cuts off a session whose queue is full, and which so cannot be told.
    pub cut: CancellationToken,
}

/// What a session is to write.
#[derive(Debug)]
pub enum Outgoing {
    Frame(Counted),
    Close { code: u16, reason: String },
}

/// WebSocket close codes (RFC 6455, section 7.4.1, and the registry that it makes).
pub const CLOSE_POLICY: u16 = 1008;
pub const CLOSE_ERROR: u16 = 1011;
pub const CLOSE_RESTART: u16 = 1012;
pub const CLOSE_TRY_AGAIN: u16 = 1013;

#[derive(Debug, thiserror::Error)]
enum EngineFailure {
    #[error("the engine trapped: {0:#}")]
    Trapped(wasmtime::Error),
    #[error("{CpuExceeded}")]
    CpuExceeded,
    #[error("a call took longer than {:?}", limits::ENGINE_TIMEOUT)]
    TimedOut,
    #[error("the engine gave up: {0}")]
    GaveUp(String),
}

impl From<wasmtime::Error> for EngineFailure {
    fn from(error: wasmtime::Error) -> Self {
        match error.downcast_ref::<CpuExceeded>() {
            Some(CpuExceeded) => Self::CpuExceeded,
            None => Self::Trapped(error),
        }
    }
}

/// Why an engine's message may not go to the origin: a fault of the component.
#[derive(Debug, thiserror::Error)]
enum LinkSendError {
    #[error(transparent)]
    Malformed(#[from] LinkError),
    #[error("message is not one that an edge sends")]
    WrongDirection,
    #[error("message is about another institute")]
    OtherInstitute,
}

pub struct EngineTask {
    institute: String,
    code: EngineCode,
    inputs: mpsc::Receiver<EngineInput>,
    questions: mpsc::Receiver<EngineQuestion>,
    log_changed: Arc<Notify>,
    link_state: LinkState,
    /// The link as the engine knows it.
    link: Option<LinkSender>,
    /// What waits for room on it: devices do not wait for the origin.
    for_link: ForLink,
    sessions: HashMap<SessionId, SessionSender>,
}

/// Messages for the origin, in their order.
#[derive(Default)]
struct ForLink {
    messages: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl ForLink {
    fn push(&mut self, message: Vec<u8>) {
        self.bytes += message.len();
        self.messages.push_back(message);
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.len();
        Some(message)
    }
}

/// Why an instance runs no more.
enum End {
    Failed(EngineFailure),
    /// By this one, which runs newer code.
    Replaced(Box<Instance>),
}

/// A running instance.
struct Instance {
    store: Store<GuestState>,
    bindings: crate::host::bindings::Guest,
    /// None for a component that answers no questions.
    inspector: Option<Inspector>,
    clock: Arc<CpuClock>,
}

impl EngineTask {
    pub fn new(
        institute: String,
        code: EngineCode,
        (inputs, questions): (mpsc::Receiver<EngineInput>, mpsc::Receiver<EngineQuestion>),
        log_changed: Arc<Notify>,
        link_state: LinkState,
    ) -> Self {
        let (for_link, sessions) = (ForLink::default(), HashMap::new());
        Self { institute, code, inputs, questions, log_changed, link_state, link: None, for_link, sessions }
    }

    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = limits::ENGINE_BACKOFF;
        let mut replacement = None;
        loop {
            let started = Instant::now();
            let end = tokio::select! {
                () = stop.cancelled() => return,
                end = self.run_instance(replacement.take()) => end,
            };
            self.link = None;
            self.for_link = ForLink::default();
            let failure = match end {
                End::Replaced(instance) => {
                    // What they said before is in the log; what the new code does not know of them they say again.
                    self.close_sessions(CLOSE_RESTART, "the sync engine has a new version; connect again");
                    replacement = Some(*instance);
                    continue;
                }
                End::Failed(failure) => failure,
            };
            tracing::error!(
                institute = self.institute,
                sessions = self.sessions.len(),
                "sync engine: {failure}"
            );
            self.close_sessions(CLOSE_ERROR, "the sync engine failed; connect again");
            if started.elapsed() > limits::ENGINE_BACKOFF_MAX {
                backoff = limits::ENGINE_BACKOFF;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.refuse_for(backoff) => {}
            }
            backoff = (backoff * 2).min(limits::ENGINE_BACKOFF_MAX);
        }
    }

    fn close_sessions(&mut self, code: u16, reason: &str) {
        for (_, session) in self.sessions.drain() {
            close(&session, code, reason);
        }
    }

    /// Sends away whoever comes while there is no engine. What the link says meanwhile is said again after the next link-up.
    async fn refuse_for(&mut self, pause: Duration) {
        let refuse = async {
            loop {
                tokio::select! {
                    Some(input) = self.inputs.recv() => match input {
                        EngineInput::Opened { outgoing, .. } => {
                            close(&outgoing, CLOSE_TRY_AGAIN, "the sync engine starts again; try again soon");
                        }
                        EngineInput::Frame { .. } | EngineInput::Closed(_) | EngineInput::LinkFrame { .. } => {}
                    },
                    Some(question) = self.questions.recv() => question.refuse(QuestionError::NotRunning),
                    else => return,
                }
            }
        };
        let _ = tokio::time::timeout(pause, refuse).await;
    }

    /// Runs one instance until it fails or is replaced.
    async fn run_instance(&mut self, started: Option<Instance>) -> End {
        let mut instance = match started {
            Some(instance) => instance,
            None => match self.start().await {
                Ok(instance) => instance,
                Err(failure) => return End::Failed(failure),
            },
        };
        // The new instance must hear of a link that is up already.
        self.link_state.mark_changed();
        let mut tick = tokio::time::interval(limits::ENGINE_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut inputs = Vec::with_capacity(limits::ENGINE_BATCH);
        let mut events = Vec::with_capacity(limits::ENGINE_BATCH);
        let mut called = Instant::now();
        loop {
            tokio::select! {
                received = self.inputs.recv_many(&mut inputs, limits::ENGINE_BATCH), if inputs.is_empty() => {
                    if received == 0 {
                        return End::Failed(EngineFailure::GaveUp("nobody can reach it any more".to_owned()));
                    }
                    gather(called).await;
                    self.take_inputs(&mut inputs);
                }
                // What one call had no room for.
                () = std::future::ready(()), if !inputs.is_empty() => {}
                Some(()) = room_on(self.link.as_ref()), if !self.for_link.messages.is_empty() => {
                    self.write_to_link().await;
                }
                Ok(()) = self.link_state.changed() => self.link_changed(&mut events),
                () = self.log_changed.notified() => events.push(wit::Event::LogChanged),
                _ = tick.tick() => events.push(wit::Event::Tick),
                Some(question) = self.questions.recv() => {
                    if let Err(failure) = instance.answer(question).await {
                        return End::Failed(failure);
                    }
                }
                (guest, _turn) = self.code.replacement() => match self.replace(&mut instance, guest).await {
                    Ok(Some(new)) => return End::Replaced(Box::new(new)),
                    Ok(None) => {}
                    Err(failure) => return End::Failed(failure),
                },
            }
            let next = inputs.drain(..in_one_call(&inputs));
            events.extend(next.filter_map(|input| self.event(input)));
            if events.is_empty() {
                continue;
            }
            if let Err(failure) = self.handle(&mut instance, &mut events).await {
                return End::Failed(failure);
            }
            called = Instant::now();
        }
    }

    fn take_inputs(&mut self, inputs: &mut Vec<EngineInput>) {
        while inputs.len() < limits::ENGINE_BATCH
            && let Ok(input) = self.inputs.try_recv()
        {
            inputs.push(input);
        }
    }

    /// Whatever an effect leads to at once, such as a session that had to be cut off, is told in the next call.
    async fn handle(
        &mut self,
        instance: &mut Instance,
        events: &mut Vec<wit::Event>,
    ) -> Result<(), EngineFailure> {
        while !events.is_empty() {
            let effects = instance.handle(events).await?;
            events.clear();
            for effect in effects {
                if let Err(error) = self.dispatch(effect, events).await {
                    return Err(EngineFailure::GaveUp(format!("link-send: {error}")));
                }
            }
        }
        Ok(())
    }

    /// Starts an instance of `guest` beside the old one; none when it does not start, and then the old one runs on.
    ///
    /// What waits is answered by the old one before, so that little has to be said again. Meanwhile neither is called, so
    /// that nobody writes to the log while the new one reads it.
    async fn replace(
        &mut self,
        old: &mut Instance,
        guest: Arc<Guest>,
    ) -> Result<Option<Instance>, EngineFailure> {
        self.code.tried(guest.clone());
        for _ in 0..limits::ENGINE_QUEUE / limits::ENGINE_BATCH {
            let mut inputs = Vec::new();
            self.take_inputs(&mut inputs);
            let mut events: Vec<_> = inputs.into_iter().filter_map(|input| self.event(input)).collect();
            self.handle(old, &mut events).await?;
        }
        match self.start_with(&guest).await {
            Ok(instance) => {
                metrics::counter!(REPLACEMENTS, "result" => "done").increment(1);
                self.code.worked(guest);
                Ok(Some(instance))
            }
            Err(failure) => {
                metrics::counter!(REPLACEMENTS, "result" => "failed").increment(1);
                tracing::error!(
                    institute = self.institute,
                    "the new version of the sync engine does not start, the old one runs on: {failure}"
                );
                Ok(None)
            }
        }
    }

    async fn start(&mut self) -> Result<Instance, EngineFailure> {
        let mut failed = None;
        for guest in self.code.candidates() {
            match self.start_with(&guest).await {
                Ok(instance) => {
                    self.code.worked(guest);
                    return Ok(instance);
                }
                Err(failure) => {
                    tracing::error!(institute = self.institute, "the sync engine does not start: {failure}");
                    failed = failed.or(Some(failure));
                }
            }
        }
        Err(failed.unwrap_or_else(|| EngineFailure::GaveUp("there is no code for it".to_owned())))
    }

    async fn start_with(&self, guest: &Guest) -> Result<Instance, EngineFailure> {
        let clock = guest.clock(limits::ENGINE_CPU);
        let mut store = guest.store(Some(&self.institute), &clock)?;
        let pre = guest.sync_engine().map_err(|e| EngineFailure::GaveUp(e.to_string()))?;
        let work = async {
            let instance = pre.instance_pre().instantiate_async(&mut store).await?;
            let bindings = crate::host::bindings::Guest::new(&mut store, &instance)?;
            let engine = bindings.rollcall_sync_engine();
            let started = engine.call_start(&mut store, &self.institute, now_ms()).await?;
            wasmtime::error::Ok((instance, bindings, started))
        };
        let (instance, bindings, started) = bounded(&clock, work).await?;
        started.map_err(EngineFailure::GaveUp)?;
        // One that was built before there were questions, or for another version of them, syncs all the same.
        let inspector = Inspector::new(&mut store, &instance);
        let questions =
            inspector.as_ref().map_or_else(|error| format!("{error:#}"), |_| "answered".to_owned());
        tracing::info!(institute = self.institute, questions, "sync engine started");
        Ok(Instance { store, bindings, inspector: inspector.ok(), clock })
    }

    /// Drops what concerns sessions and links of which this instance does not know.
    fn event(&mut self, input: EngineInput) -> Option<wit::Event> {
        match input {
            EngineInput::Opened { session, claims, outgoing } => {
                if self.sessions.len() >= limits::MAX_SESSIONS_PER_INSTITUTE {
                    close(&outgoing, CLOSE_TRY_AGAIN, "too many sessions; try again later");
                    return None;
                }
                self.sessions.insert(session, outgoing);
                Some(wit::Event::Opened(wit::Opened { session, claims }))
            }
            EngineInput::Frame { session, bytes } => self
                .sessions
                .contains_key(&session)
                .then(|| wit::Event::Frame(wit::Frame { session, bytes: bytes.into_bytes().into() })),
            EngineInput::Closed(session) => {
                self.sessions.remove(&session).map(|_| wit::Event::Closed(session))
            }
            EngineInput::LinkFrame { generation, bytes } => self
                .link
                .as_ref()
                .is_some_and(|link| link.generation == generation)
                .then_some(wit::Event::LinkFrame(bytes)),
        }
    }

    fn link_changed(&mut self, events: &mut Vec<wit::Event>) {
        let now = self.link_state.borrow_and_update().clone();
        let generation = |link: &Option<LinkSender>| link.as_ref().map(|link| link.generation);
        if generation(&self.link) == generation(&now) {
            return;
        }
        if self.link.is_some() {
            events.push(wit::Event::LinkDown);
        }
        if now.is_some() {
            events.push(wit::Event::LinkUp);
        }
        self.link = now;
        self.for_link = ForLink::default();
    }

    async fn dispatch(
        &mut self,
        effect: wit::Effect,
        events: &mut Vec<wit::Event>,
    ) -> Result<(), LinkSendError> {
        match effect {
            wit::Effect::Send(wit::Frame { session, bytes }) => {
                let Some(sender) = self.sessions.get(&session) else { return Ok(()) };
                let frame = sender.room.try_take(bytes.into()).map(Outgoing::Frame);
                if frame.is_none_or(|frame| sender.frames.try_send(frame).is_err()) {
                    // Full, or gone already.
                    sender.cut.cancel();
                    self.sessions.remove(&session);
                    events.push(wit::Event::Closed(session));
                }
            }
            wit::Effect::Close(wit::Closing { session, reason }) => {
                if let Some(sender) = self.sessions.get(&session) {
                    close(sender, CLOSE_POLICY, &reason);
                }
            }
            wit::Effect::LinkSend(bytes) => {
                self.check_link_message(&bytes)?;
                self.for_link.push(bytes);
                self.write_to_link().await;
            }
        }
        Ok(())
    }

    /// Hands over what the link has room for, and waits only when too much waits already.
    async fn write_to_link(&mut self) {
        let Some(link) = &self.link else {
            self.for_link = ForLink::default();
            return;
        };
        loop {
            let place = match link.messages.try_reserve() {
                Ok(place) => place,
                Err(TrySendError::Full(())) if self.for_link.bytes <= limits::LINK_WAITING_BYTES => return,
                Err(TrySendError::Full(())) => match link.messages.reserve().await {
                    Ok(place) => place,
                    Err(_) => return,
                },
                // The link is gone, which the engine learns in a moment.
                Err(TrySendError::Closed(())) => return,
            };
            match self.for_link.pop() {
                Some(message) => place.send(message),
                None => return,
            }
        }
    }

    /// The component speaks for its own institute, whatever bytes a device made it write.
    fn check_link_message(&self, bytes: &[u8]) -> Result<(), LinkSendError> {
        let message = LinkMessage::decode(bytes)?;
        match &message {
            LinkMessage::Follow(_)
            | LinkMessage::Push(_)
            | LinkMessage::Pull(_)
            | LinkMessage::Quarantine(_)
            | LinkMessage::Watch(_)
            | LinkMessage::RemoteHeads(_) => {}
            LinkMessage::Welcome(_)
            | LinkMessage::Following(_)
            | LinkMessage::Feed(_)
            | LinkMessage::Pushed(_)
            | LinkMessage::Document(_)
            | LinkMessage::Directory(_)
            | LinkMessage::Quarantined(_) => return Err(LinkSendError::WrongDirection),
        }
        match message.institute() == Some(&self.institute) {
            true => Ok(()),
            false => Err(LinkSendError::OtherInstitute),
        }
    }
}

impl Instance {
    async fn handle(&mut self, events: &[wit::Event]) -> Result<Vec<wit::Effect>, EngineFailure> {
        self.clock.restart();
        let engine = self.bindings.rollcall_sync_engine();
        let call = engine.call_handle(&mut self.store, now_ms(), events);
        bounded(&self.clock, call).await?.map_err(EngineFailure::GaveUp)
    }

    /// Whoever asked learns what the engine says. A failure here is one of the engine, as while it handles events.
    async fn answer(&mut self, question: EngineQuestion) -> Result<(), EngineFailure> {
        let Some(inspector) = &self.inspector else {
            question.refuse(QuestionError::NotOffered);
            return Ok(());
        };
        if question.is_abandoned() {
            return Ok(());
        }
        self.clock.restart();
        let inspection = inspector.rollcall_sync_inspection();
        match question {
            EngineQuestion::Documents { after, limit, answer } => {
                let after = after.map(|document| document.to_string());
                let call = inspection.call_documents(&mut self.store, after.as_deref(), limit);
                let found = bounded(&self.clock, call).await?;
                // Nobody may wait for it any more.
                let _ = answer.send(found.map_err(QuestionError::Failed));
            }
            EngineQuestion::Document { document, answer } => {
                let document = document.to_string();
                let call = inspection.call_document(&mut self.store, &document);
                let found = bounded(&self.clock, call).await?;
                let _ = answer.send(found.map_err(QuestionError::Failed));
            }
        }
        Ok(())
    }
}

/// How many of the inputs share a call. Its work follows their bytes, and what it may take is limited: one that holds much goes alone.
fn in_one_call(inputs: &[EngineInput]) -> usize {
    let mut bytes = 0;
    let fits = |input: &&EngineInput| {
        bytes += match input {
            EngineInput::Frame { bytes, .. } => bytes.bytes.len(),
            EngineInput::LinkFrame { bytes, .. } => bytes.len(),
            EngineInput::Opened { .. } | EngineInput::Closed(_) => 0,
        };
        bytes <= limits::ENGINE_BATCH_BYTES
    };
    inputs.iter().take_while(fits).count().max(1).min(inputs.len())
}

/// Waits for room on the link; none when there is no link.
async fn room_on(link: Option<&LinkSender>) -> Option<()> {
    link?.messages.reserve().await.ok().map(drop)
}

/// Lets others say what they are about to: it shares the next call, and its commit, instead of waiting for the one after.
async fn gather(called: Instant) {
    match limits::ENGINE_PAUSE.checked_sub(called.elapsed()) {
        Some(pause) => tokio::time::sleep(pause).await,
        None => tokio::task::yield_now().await,
    }
}

async fn bounded<T>(
    clock: &Arc<CpuClock>,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> Result<T, EngineFailure> {
    match tokio::time::timeout(limits::ENGINE_TIMEOUT, clock.measure(call)).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(EngineFailure::TimedOut),
    }
}

/// A session whose queue is full is cut off instead: it is beyond being told.
fn close(session: &SessionSender, code: u16, reason: &str) {
    if session.frames.try_send(Outgoing::Close { code, reason: reason.to_owned() }).is_err() {
        session.cut.cancel();
    }
}

const REPLACEMENTS: &str = "rollcall_sync_engine_replacements_total";

/// Says what the metrics of this file mean, to whoever collects them.
pub fn describe() {
    metrics::describe_counter!(
        REPLACEMENTS,
        "Sync engines that new code took over, or failed to: then the old code runs on."
    );
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
mod tests;
