//! As many devices as one edge is built for, most of them idle, some of them writing: light clients in this process, each a
//! WebSocket with an Automerge document of its own.

use crate::light_client::{LightClient, Replica};
use crate::process;
use crate::servers::Server;
use automerge::sync::State;
use automerge::transaction::Transactable as _;
use automerge::{AutoCommit, ROOT, ReadDoc as _};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use sync_protocol::document_id::DocumentId;
use sync_protocol::repo_message::RepoMessage;
use tokio::sync::{Barrier, Semaphore, watch};
use uuid::Uuid;

/// The one field of each document: how many edits it has had.
const COUNT: &str = "count";
/// Handshakes under way at once, so that what is measured later is not the backlog of the listener.
const JOINING_AT_ONCE: usize = 64;
/// A delivery that has not come so long after the last edit counts as missing.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Devices that are all connected; each document is written by one of them, once a second, and read by others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) name: &'static str,
    devices: usize,
    documents: usize,
    readers_of_each: usize,
    seconds: u32,
}

pub(crate) const CROWDS: [Crowd; 2] = [
    Crowd {
        name: "10000-devices-1-reader",
        devices: 10_000,
        documents: 1_000,
        readers_of_each: 1,
        seconds: 30,
    },
    Crowd {
        name: "10000-devices-4-readers",
        devices: 10_000,
        documents: 1_000,
        readers_of_each: 4,
        seconds: 30,
    },
];

pub(crate) struct Figures {
    crowd: Crowd,
    edits: usize,
    /// From an edit to one reader, sorted.
    delays: Vec<Duration>,
    idle_bytes: u64,
    joined_bytes: u64,
    peak_bytes: u64,
    /// Of the server, while edits were made.
    processor: Duration,
    lasted: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |share: f64| {
            let at = ((self.delays.len() as f64 * share) as usize).min(self.delays.len().saturating_sub(1));
            self.delays.get(at).map_or(f64::NAN, |delay| delay.as_secs_f64() * 1e3)
        };
        let expected = self.edits * self.crowd.readers_of_each;
        write!(
            f,
            "{}: {} edits in {:.0} s ({:.0}/s), {} of {expected} deliveries, from edit to reader p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms; \
             {:.1} KB a connected device; resident {:.0}/{:.0}/{:.0} MB idle/joined/peak; {:.3} ms CPU a delivery",
            self.crowd.name,
            self.edits,
            self.lasted.as_secs_f64(),
            self.edits as f64 / self.lasted.as_secs_f64(),
            self.delays.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            self.joined_bytes.saturating_sub(self.idle_bytes) as f64 / 1e3 / self.crowd.devices as f64,
            self.idle_bytes as f64 / 1e6,
            self.joined_bytes as f64 / 1e6,
            self.peak_bytes as f64 / 1e6,
            self.processor.as_secs_f64() * 1e3 / self.delays.len().max(1) as f64,
        )
    }
}

/// What all devices share.
struct Scene {
    url: String,
    joining: Semaphore,
    joined: Barrier,
    /// When each edit of each document was made.
    made: Vec<Mutex<Vec<Instant>>>,
    delays: Mutex<Vec<Duration>>,
    start: watch::Receiver<Option<Instant>>,
    edits_of_each: usize,
}

#[derive(Clone, Copy)]
enum Part {
    Writer { document: usize },
    Reader { document: usize },
    Idle,
}

impl Crowd {
    fn part(&self, device: usize) -> Part {
        match device / self.documents {
            0 => Part::Writer { document: device },
            turn if turn <= self.readers_of_each => Part::Reader { document: device % self.documents },
            _ => Part::Idle,
        }
    }
}

pub(crate) async fn run(crowd: Crowd, server: &Server) -> Figures {
    let idle_bytes = process::resident(server.process());
    let (start, started) = watch::channel(None);
    let scene = Arc::new(Scene {
        url: server.url().to_owned(),
        joining: Semaphore::new(JOINING_AT_ONCE),
        joined: Barrier::new(crowd.devices + 1),
        made: (0..crowd.documents).map(|_| Mutex::default()).collect(),
        delays: Mutex::default(),
        start: started,
        edits_of_each: crowd.seconds as usize,
    });
    let documents: Vec<DocumentId> =
        (0..crowd.documents).map(|_| DocumentId::from_bytes(Uuid::new_v4().into_bytes())).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for device in 0..crowd.devices {
        let (scene, part) = (scene.clone(), crowd.part(device));
        let document = match part {
            Part::Writer { document } | Part::Reader { document } => Some(documents[document]),
            Part::Idle => None,
        };
        tasks.spawn(async move { live(&scene, device, part, document, crowd.documents).await });
    }
    scene.joined.wait().await;
    let joined_bytes = process::resident(server.process());
    let before = process::processor_time(server.process());
    let began = Instant::now();
    start.send(Some(began)).expect("the devices wait");
    let edits = crowd.documents * crowd.seconds as usize;
    let expected = edits * crowd.readers_of_each;
    let end = began + Duration::from_secs(u64::from(crowd.seconds)) + TIMEOUT;
    while delivered(&scene) < expected && Instant::now() < end {
        assert!(tasks.try_join_next().is_none(), "no device's connection ends");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (processor, lasted) = (process::processor_time(server.process()) - before, began.elapsed());
    let mut delays = scene.delays.lock().expect("nobody panicked").clone();
    delays.sort_unstable();
    tasks.shutdown().await;
    let peak_bytes = process::peak(server.process());
    Figures { crowd, edits, delays, idle_bytes, joined_bytes, peak_bytes, processor, lasted }
}

fn delivered(scene: &Scene) -> usize {
    scene.delays.lock().expect("nobody panicked").len()
}

/// One device's life: it joins, brings or finds its document, waits for the others, and edits or reads until it is stopped.
async fn live(scene: &Scene, device: usize, part: Part, document: Option<DocumentId>, documents: usize) {
    let client = {
        let _turn = scene.joining.acquire().await.expect("never closed");
        LightClient::join(&scene.url, format!("device-{device}")).await
    };
    let mut client = Member { client, open: None };
    if let Some(document) = document {
        client.open(document, matches!(part, Part::Writer { .. })).await;
    }
    let joined = scene.joined.wait();
    client.listen_until(scene, part, joined).await;
    let mut start = scene.start.clone();
    let began = async {
        let began = start.wait_for(Option::is_some).await.expect("the start is given");
        began.expect("waited for")
    };
    let began = client.listen_until(scene, part, began).await;
    if let Part::Writer { document } = part {
        // Spread over the second.
        let phase = Duration::from_secs(1).mul_f64(document as f64 / documents as f64);
        for edit in 0..scene.edits_of_each {
            let due = began + phase + Duration::from_secs(edit as u64);
            client.listen_until(scene, part, tokio::time::sleep_until(due.into())).await;
            client.edit(scene, document, edit as u64 + 1).await;
        }
    }
    client.listen_until(scene, part, std::future::pending::<()>()).await;
}

/// A device with the document that it writes or reads, if any.
struct Member {
    client: LightClient,
    open: Option<Open>,
}

struct Open {
    replica: Replica,
    /// Edits that have arrived.
    count: u64,
}

impl Member {
    /// Brings the document, or asks for it until it is there.
    async fn open(&mut self, id: DocumentId, brings: bool) {
        let mut document = AutoCommit::new();
        if brings {
            document.put(ROOT, COUNT, 0_u64).expect("a map takes a number");
        }
        let mut replica = Replica::new(id, document);
        self.client.offer(&mut replica, !brings).await;
        loop {
            let heard = self.client.hear().await;
            let sought = matches!(heard, RepoMessage::Unavailable { .. });
            replica.take(heard);
            let done = match brings {
                true => replica.is_known(),
                false => replica.document.get(ROOT, COUNT).expect("a map").is_some(),
            };
            if sought {
                // Its writer has not brought it yet.
                tokio::time::sleep(Duration::from_millis(200)).await;
                replica.state = State::new();
            }
            self.client.offer(&mut replica, sought).await;
            if done {
                self.open = Some(Open { replica, count: 0 });
                return;
            }
        }
    }

    async fn edit(&mut self, scene: &Scene, document: usize, count: u64) {
        let open = self.open.as_mut().expect("a writer has a document");
        scene.made[document].lock().expect("nobody panicked").push(Instant::now());
        open.replica.document.put(ROOT, COUNT, count).expect("a map takes a number");
        self.client.offer(&mut open.replica, false).await;
    }

    /// Answers the edge until `end` is there.
    async fn listen_until<T>(&mut self, scene: &Scene, part: Part, end: impl Future<Output = T>) -> T {
        let mut end = std::pin::pin!(end);
        loop {
            let heard = tokio::select! {
                end = end.as_mut() => return end,
                heard = self.client.hear() => heard,
            };
            let Some(open) = self.open.as_mut() else { continue };
            open.replica.take(heard);
            if let Part::Reader { document } = part {
                note(scene, document, open);
            }
            self.client.offer(&mut open.replica, false).await;
        }
    }
}

/// Notes how long ago each edit was made that is here for the first time.
fn note(scene: &Scene, document: usize, open: &mut Open) {
    let value = open.replica.document.get(ROOT, COUNT).expect("a map");
    let count = value.and_then(|(value, _)| value.as_u64()).expect("the count is a number");
    let made = scene.made[document].lock().expect("nobody panicked");
    let mut delays = scene.delays.lock().expect("nobody panicked");
    delays.extend(made[open.count as usize..count as usize].iter().map(Instant::elapsed));
    open.count = count;
}
