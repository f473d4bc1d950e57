//! What the edges of this process and those of the others on the same store tell each other of remote heads, by notices of the
//! database (`docs/decisions/0035-gossip-between-processes.md`).
//!
//! A process says what its edges watch when that changes, and all of it again once in a while: so one that is new, or has missed
//! something, hears of it, and one that has died is forgotten.

use super::gossip::Gossip;
use crate::store::{Notice, Notices};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use sync_protocol::link::{LinkMessage, Watch};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often a process says again what its edges watch.
const REPEAT: Duration = Duration::from_secs(20);
/// What was not said again for so long is watched no more: two repetitions may be lost.
const FORGET: Duration = Duration::from_secs(65);
/// Bytes of gossip in one notice, about: Postgres takes 8,000 of text, and there are four letters for three bytes.
const NOTICE_BYTES: usize = 5_000;
/// Most storages that are remembered of other processes: as many as eight edges watch.
const MAX_REMEMBERED: usize = 65_536;

/// What a notice says, as one letter before the name of the process that says it and the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saying {
    /// Something new.
    News,
    /// What it has said before.
    Again,
    /// Nothing: it has just come, and asks the others to say again what their edges watch.
    Hello,
}

impl Saying {
    fn letter(self) -> char {
        match self {
            Saying::News => 'n',
            Saying::Again => 'a',
            Saying::Hello => 'h',
        }
    }

    fn of(letter: char) -> Option<Self> {
        [Saying::News, Saying::Again, Saying::Hello].into_iter().find(|saying| saying.letter() == letter)
    }
}

/// What the other processes watch: by institute, storage and process, when it was last said.
#[derive(Default)]
struct Remembered(BTreeMap<(String, String), BTreeMap<String, Instant>>);

struct Talk {
    gossip: Gossip,
    notices: Notices,
    /// This process's name, made at random.
    name: String,
    others: Remembered,
}

/// Goes on until the store is closed.
pub(super) async fn talk(gossip: Gossip, notices: Notices) {
    let wake = Arc::new(Notify::new());
    gossip.connect_others(wake.clone());
    let name = uuid::Uuid::new_v4().to_string();
    let mut talk = Talk { gossip, notices, name, others: Remembered::default() };
    let mut repeat = tokio::time::interval(REPEAT);
    loop {
        let going_on = tokio::select! {
            () = wake.notified() => talk.pass_on().await,
            _ = repeat.tick() => {
                talk.forget();
                talk.say_again().await
            }
            notice = talk.notices.heard.recv() => match notice {
                Some(Notice::Connected) => talk.say(Saying::Hello, None).await && talk.say_again().await,
                Some(Notice::Said(text)) => talk.hear(&text).await,
                None => false,
            },
        };
        if !going_on {
            return;
        }
    }
}

impl Talk {
    /// False when nobody takes it any more.
    async fn say(&self, saying: Saying, message: Option<LinkMessage>) -> bool {
        let message = message.map(|message| BASE64.encode(message.encode())).unwrap_or_default();
        let text = format!("{} {} {message}", saying.letter(), self.name);
        self.notices.say.send(text).await.is_ok()
    }

    async fn pass_on(&self) -> bool {
        while let Some(message) = self.gossip.next_for_others(NOTICE_BYTES) {
            if !self.say(Saying::News, Some(message)).await {
                return false;
            }
        }
        true
    }

    async fn say_again(&self) -> bool {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (institute, storage) in self.gossip.watched_here() {
            all.entry(institute).or_default().push(storage);
        }
        for (institute, storages) in all {
            for part in parts(storages) {
                let watch = Watch { institute: institute.clone(), add: part, remove: Vec::new() };
                if !self.say(Saying::Again, Some(LinkMessage::Watch(watch))).await {
                    return false;
                }
            }
        }
        true
    }

    async fn hear(&mut self, text: &str) -> bool {
        let mut parts = text.splitn(3, ' ');
        let (Some(letter), Some(process), Some(message)) = (parts.next(), parts.next(), parts.next()) else {
            return true;
        };
        let Some(saying) = letter.parse().ok().and_then(Saying::of).filter(|_| process != self.name) else {
            return true;
        };
        if saying == Saying::Hello {
            return self.say_again().await;
        }
        let message = BASE64.decode(message).ok().and_then(|bytes| LinkMessage::decode(&bytes).ok());
        match message {
            Some(LinkMessage::Watch(watch)) => {
                let watch = self.others.note(process, watch, saying, Instant::now());
                self.gossip.others_watch(watch);
            }
            Some(LinkMessage::RemoteHeads(told)) => self.gossip.others_say(told),
            // Of a program of tomorrow.
            Some(_) | None => tracing::debug!("a notice that this program does not know"),
        }
        true
    }

    /// Forgets what processes watched that have died.
    fn forget(&mut self) {
        for watch in self.others.forget(Instant::now()) {
            self.gossip.others_watch(watch);
        }
    }
}

impl Remembered {
    /// What changes by it for the edges of this process. What another process has said before asks for nothing.
    fn note(&mut self, process: &str, watch: Watch, saying: Saying, now: Instant) -> Watch {
        let institute = watch.institute;
        let mut changed = Watch { institute: institute.clone(), ..Watch::default() };
        for storage in watch.remove {
            let key = (institute.clone(), storage);
            let Some(processes) = self.0.get_mut(&key) else { continue };
            processes.remove(process);
            if processes.is_empty() {
                self.0.remove(&key);
                changed.remove.push(key.1);
            }
        }
        for storage in watch.add {
            let key = (institute.clone(), storage);
            if self.0.len() >= MAX_REMEMBERED && !self.0.contains_key(&key) {
                continue;
            }
            let before = self.0.entry(key.clone()).or_default().insert(process.to_owned(), now);
            if before.is_none() || saying == Saying::News {
                changed.add.push(key.1);
            }
        }
        changed
    }

    fn forget(&mut self, now: Instant) -> Vec<Watch> {
        let mut gone = Vec::new();
        self.0.retain(|(institute, storage), processes| {
            processes.retain(|_, said| now.duration_since(*said) < FORGET);
            if processes.is_empty() {
                let (institute, remove) = (institute.clone(), vec![storage.clone()]);
                gone.push(Watch { institute, add: Vec::new(), remove });
            }
            !processes.is_empty()
        });
        gone
    }
}

/// In parts that fit into a notice each.
fn parts(storages: Vec<String>) -> Vec<Vec<String>> {
    let mut parts: Vec<Vec<String>> = Vec::new();
    let mut room = 0;
    for storage in storages {
        // With what CBOR writes before a text.
        let bytes = storage.len() + 2;
        if parts.is_empty() || bytes > room {
            parts.push(Vec::new());
            room = NOTICE_BYTES;
        }
        room -= bytes;
        parts.last_mut().expect("one was just made").push(storage);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(add: &[&str], remove: &[&str]) -> Watch {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Watch { institute: "northside.example".into(), add: texts(add), remove: texts(remove) }
    }

    #[test]
    fn a_storage_is_watched_until_the_last_process_has_gone_or_been_silent() {
        let mut others = Remembered::default();
        let start = Instant::now();
        assert_eq!(others.note("p", watch(&["s"], &[]), Saying::Again, start), watch(&["s"], &[]));
        assert_eq!(others.note("q", watch(&["s"], &[]), Saying::News, start), watch(&["s"], &[]));
        assert_eq!(others.note("p", watch(&["s"], &[]), Saying::Again, start), watch(&[], &[]));
        assert_eq!(others.note("p", watch(&["s"], &[]), Saying::News, start), watch(&["s"], &[]));
        assert_eq!(others.note("p", watch(&[], &["s"]), Saying::News, start), watch(&[], &[]));
        assert_eq!(others.note("q", watch(&[], &["s"]), Saying::News, start), watch(&[], &["s"]));

        others.note("p", watch(&["s"], &[]), Saying::News, start);
        others.note("q", watch(&["s", "t"], &[]), Saying::News, start);
        let later = start + FORGET;
        others.note("q", watch(&["t"], &[]), Saying::Again, later);
        assert_eq!(others.forget(later), [watch(&[], &["s"])]);
        assert_eq!(others.0.len(), 1);
    }

    #[test]
    fn what_is_said_again_fits_into_notices() {
        let storages: Vec<String> = (0..1_000).map(|n| format!("{n:064}")).collect();
        let parts = parts(storages.clone());
        let institute = "i".repeat(253);
        for add in &parts {
            let watch = Watch { institute: institute.clone(), add: add.clone(), remove: Vec::new() };
            let bytes = LinkMessage::Watch(watch).encode();
            assert!(BASE64.encode(&bytes).len() < 7_900, "{}", bytes.len());
        }
        assert_eq!(parts.concat(), storages);
    }
}
