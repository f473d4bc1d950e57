//! `rollcall:sync/engine`: the institute's engine for the host, which owns the sockets.

use crate::bindings::exports::rollcall::sync::engine::{Closing, Effect, Event, Frame, Guest};
use crate::log::LogError;
use crate::runner::Runner;
use std::cell::RefCell;
use sync_protocol::engine as protocol;
use sync_protocol::link::LinkMessage;

thread_local! {
    /// An instance serves one institute and is single-threaded. None before `start` and after a failed batch.
    static RUNNER: RefCell<Option<Runner>> = const { RefCell::new(None) };
}

pub(crate) struct Engine;

impl Guest for Engine {
    fn start(institute: String, _now_ms: u64) -> Result<(), String> {
        let runner = Runner::open(&institute).map_err(|error| error.to_string())?;
        RUNNER.set(Some(runner));
        Ok(())
    }

    fn handle(now_ms: u64, events: Vec<Event>) -> Result<Vec<Effect>, String> {
        let mut runner = RUNNER.take().ok_or("the engine has not been started, or has failed")?;
        // A query for each batch would cost more than most batches: the host tells when others have written, and a tick finds
        // what it could not know.
        if events.iter().any(|event| matches!(event, Event::LogChanged | Event::Tick)) {
            runner.look_for_foreign().map_err(|error| error.to_string())?;
        }
        let events = events.into_iter().filter_map(protocol_event).collect();
        let effects = runner.run(now_ms, events).map_err(|error| error.to_string())?;
        RUNNER.set(Some(runner));
        Ok(effects.into_iter().filter_map(host_effect).collect())
    }
}

/// Lets `ask` look at the institute's documents, as they were left by the last batch of events.
pub(crate) fn with_runner<T>(ask: impl FnOnce(&mut Runner) -> Result<T, LogError>) -> Result<T, String> {
    RUNNER.with_borrow_mut(|runner| {
        let runner = runner.as_mut().ok_or("the engine has not been started, or has failed")?;
        ask(runner).map_err(|error| error.to_string())
    })
}

/// None for what the host should not have sent: it is reported and passed over.
fn protocol_event(event: Event) -> Option<protocol::Event> {
    Some(match event {
        Event::Opened(opened) => match serde_json::from_str(&opened.claims) {
            Ok(claims) => protocol::Event::Opened { session: opened.session, claims },
            Err(error) => {
                eprintln!("claims of session {}: {error}", opened.session);
                return None;
            }
        },
        Event::Frame(frame) => protocol::Event::Frame { session: frame.session, bytes: frame.bytes },
        Event::Closed(session) => protocol::Event::Closed { session },
        Event::LinkUp => protocol::Event::LinkUp,
        Event::LinkDown => protocol::Event::LinkDown,
        Event::LinkFrame(bytes) => match LinkMessage::decode(&bytes) {
            Ok(message) => protocol::Event::Link(message),
            Err(error) => {
                eprintln!("link: {error}");
                return None;
            }
        },
        // The runner has looked already.
        Event::LogChanged => return None,
        Event::Tick => protocol::Event::Tick,
    })
}

fn host_effect(effect: protocol::Effect) -> Option<Effect> {
    match effect {
        protocol::Effect::Send { session, bytes } => Some(Effect::Send(Frame { session, bytes })),
        protocol::Effect::Close { session, reason } => Some(Effect::Close(Closing { session, reason })),
        protocol::Effect::Link(message) => Some(Effect::LinkSend(message.encode())),
        // Carried out by the runner.
        protocol::Effect::Load(_)
        | protocol::Effect::LoadNews(_)
        | protocol::Effect::ReadLog { .. }
        | protocol::Effect::ListDocuments
        | protocol::Effect::SaveRecord(_)
        | protocol::Effect::Append { .. }
        | protocol::Effect::Snapshot { .. }
        | protocol::Effect::Quarantine { .. }
        | protocol::Effect::Discard { .. }
        | protocol::Effect::SaveCursor { .. }
        | protocol::Effect::SaveAcknowledged(_)
        | protocol::Effect::SaveCommitted { .. }
        | protocol::Effect::SaveBinding { .. }
        | protocol::Effect::Delete(_)
        | protocol::Effect::ReadQuarantine
        | protocol::Effect::SaveTold(_)
        | protocol::Effect::SaveDirectory { .. }
        | protocol::Effect::MarkBehind(_)
        | protocol::Effect::MarkCurrent(_)
        | protocol::Effect::Report(_) => None,
    }
}
