//! The link to one edge, without its socket: messages in, messages out.
//!
//! Each institute that the edge follows has two tasks: one streams its feed, one works through the edge's requests in
//! their order. Both wait for room in the queue of outgoing messages, so a slow edge slows itself alone; the feed is
//! read from the store from where the edge is, so nothing is lost meanwhile.

mod gossip;
mod others;
mod presence;
#[cfg(test)]
mod tests;

use super::auth::AuthService;
use super::documents::{DocumentError, DocumentService};
use crate::store::{FeedRow, Records, Store, StoreError};
use gossip::{Gossip, Listening};
use presence::{Presence, Present};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use sync_protocol::directory::DirectoryEntry;
use sync_protocol::link::{
    DirectoryPage, DocumentHeads, Feed, Follow, Following, GOSSIP_VERSION, Hash, LinkMessage,
    MAX_DIRECTORY_ENTRIES, Pull, Push, Pushed, Quarantine, RemoteHeads, Watch, Welcome,
};
use sync_protocol::tag;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Messages that may wait for the edge's socket. The largest of them, whole documents, are made after they have a
/// place, so this bounds the memory of one link.
pub(crate) const OUTGOING: usize = 32;
/// Requests of one institute that may wait. An edge has one push in flight and a pull for each document that changed.
const REQUESTS: usize = 64;
/// Institutes that one edge may follow.
const MAX_INSTITUTES: usize = 4096;
/// Feed rows read at a time.
const FEED_PAGE: u32 = 256;
/// Pause before a request is tried again when the store or a worker failed: the edge resends after a break only.
const RETRY: Duration = Duration::from_millis(500);
/// Tries of one request. When the last fails, the link is closed and the edge starts anew from what is acknowledged.
const TRIES: u32 = 5;

#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkFault {
    /// A message that only the origin sends.
    #[error("unexpected message from an edge")]
    Unexpected,
    #[error("more than {MAX_INSTITUTES} institutes on one link")]
    TooManyInstitutes,
    #[error("the connection is gone")]
    Gone,
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone)]
pub(crate) struct LinkService {
    store: Store,
    auth: AuthService,
    documents: DocumentService,
    presence: Presence,
    gossip: Gossip,
}

/// What one institute's worker does.
enum Request {
    Follow(Follow),
    Push(Push),
    Pull(Pull),
    Quarantine(Quarantine),
    Watch(Watch),
    RemoteHeads(RemoteHeads),
}

impl LinkService {
    pub(crate) fn new(store: Store, auth: AuthService, documents: DocumentService) -> Self {
        Self { store, auth, documents, presence: Presence::default(), gossip: Gossip::default() }
    }

    /// Tells the other processes on the store what edges tell each other, until the process stops.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        if let Some(notices) = self.store.notices() {
            tokio::select! {
                () = others::talk(self.gossip, notices) => {}
                () = stopping.cancelled() => {}
            }
        }
    }

    /// The edges that are connected to this process and follow the institute.
    pub(crate) fn edges_of(&self, institute: &str) -> Vec<String> {
        self.presence.edges_of(institute)
    }

    /// Serves an edge, which reads frames of this version of the link, until its messages end or something fails for good.
    pub(crate) async fn serve(
        &self,
        edge: &str,
        version: u32,
        mut incoming: mpsc::Receiver<LinkMessage>,
        outgoing: mpsc::Sender<LinkMessage>,
    ) -> Result<(), LinkFault> {
        let mut keys = self.auth.key_set();
        self.welcome(&mut keys, &outgoing).await?;
        let mut workers = JoinSet::new();
        let mut queues: HashMap<String, mpsc::Sender<Request>> = HashMap::new();
        loop {
            let message = tokio::select! {
                message = incoming.recv() => message,
                Ok(()) = keys.changed() => {
                    // A new key is known at the edge long before it signs.
                    self.welcome(&mut keys, &outgoing).await?;
                    continue;
                }
                Some(ended) = workers.join_next() => {
                    // A worker ends on its own only by a fault.
                    return ended.unwrap_or(Err(LinkFault::Gone));
                }
            };
            let Some(message) = message else { return Ok(()) };
            let (institute, request) = request(message)?;
            if !queues.contains_key(&institute) {
                if queues.len() >= MAX_INSTITUTES {
                    return Err(LinkFault::TooManyInstitutes);
                }
                let (queue, requests) = mpsc::channel(REQUESTS);
                let worker = Worker {
                    service: self.clone(),
                    edge: edge.to_owned(),
                    outgoing: outgoing.clone(),
                    gossips: version >= GOSSIP_VERSION,
                    feed: None,
                    gossip: None,
                    _present: self.presence.enter(&institute, edge),
                };
                workers.spawn(worker.run(requests));
                queues.insert(institute.clone(), queue);
            }
            if let Some(queue) = queues.get(&institute) {
                // A full queue holds the whole link back. That bounds memory; the other institutes of this edge wait.
                queue.send(request).await.map_err(|_| LinkFault::Gone)?;
            }
        }
    }

    /// Tells the edge the epoch and the keys, at first and whenever they change.
    async fn welcome(
        &self,
        keys: &mut watch::Receiver<String>,
        outgoing: &mpsc::Sender<LinkMessage>,
    ) -> Result<(), LinkFault> {
        let keys = keys.borrow_and_update().clone();
        send(outgoing, LinkMessage::Welcome(Welcome { epoch: self.store.epoch(), keys })).await
    }
}

fn request(message: LinkMessage) -> Result<(String, Request), LinkFault> {
    match message {
        LinkMessage::Follow(follow) => Ok((follow.institute.clone(), Request::Follow(follow))),
        LinkMessage::Push(push) => Ok((push.institute.clone(), Request::Push(push))),
        LinkMessage::Pull(pull) => Ok((pull.institute.clone(), Request::Pull(pull))),
        LinkMessage::Quarantine(refused) => Ok((refused.institute.clone(), Request::Quarantine(refused))),
        LinkMessage::Watch(watch) => Ok((watch.institute.clone(), Request::Watch(watch))),
        LinkMessage::RemoteHeads(told) => Ok((told.institute.clone(), Request::RemoteHeads(told))),
        LinkMessage::Welcome(_)
        | LinkMessage::Following(_)
        | LinkMessage::Feed(_)
        | LinkMessage::Pushed(_)
        | LinkMessage::Document(_)
        | LinkMessage::Directory(_)
        | LinkMessage::Quarantined(_) => Err(LinkFault::Unexpected),
    }
}

async fn send(outgoing: &mpsc::Sender<LinkMessage>, message: LinkMessage) -> Result<(), LinkFault> {
    outgoing.send(message).await.map_err(|_| LinkFault::Gone)
}

/// Works through one institute's requests in their order.
struct Worker {
    service: LinkService,
    edge: String,
    outgoing: mpsc::Sender<LinkMessage>,
    /// The edge's host reads the frames of gossip.
    gossips: bool,
    /// Streams the feed; a new follow replaces it.
    feed: Option<AbortOnDrop>,
    /// The same for the gossip of an edge that takes part, with the task that passes on what others say.
    gossip: Option<(Arc<Listening>, AbortOnDrop)>,
    _present: Present,
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Worker {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) -> Result<(), LinkFault> {
        while let Some(request) = requests.recv().await {
            match request {
                Request::Follow(follow) => self.follow(follow).await?,
                Request::Push(push) => {
                    let pushed = self.push(push).await?;
                    send(&self.outgoing, LinkMessage::Pushed(pushed)).await?;
                }
                Request::Pull(pull) => self.pull(pull).await?,
                Request::Quarantine(refused) => {
                    let quarantined = self.service.documents.quarantine(&self.edge, refused).await?;
                    send(&self.outgoing, LinkMessage::Quarantined(quarantined)).await?;
                }
                Request::Watch(watch) => self.gossip.iter().for_each(|(edge, _)| edge.watch(watch.clone())),
                Request::RemoteHeads(told) => self.gossip.iter().for_each(|(edge, _)| edge.say(told.clone())),
            }
        }
        Ok(())
    }

    async fn follow(&mut self, follow: Follow) -> Result<(), LinkFault> {
        // Before the answer: nothing of the old feed may come after it.
        self.feed = None;
        self.gossip = None;
        let gossips = follow.gossip && self.gossips;
        // Before the store is read: no commit falls between the two.
        let changed = self.service.store.watch(&follow.institute);
        let institute = follow.institute.clone();
        let (following, directory) = self
            .service
            .store
            .read::<_, StoreError, _>(&institute, move |records| {
                let (epoch, current) = (records.epoch(), records.revision()?);
                let next = records.feed_after(follow.revision, 1)?;
                let reaches = match next.first() {
                    Some(row) => row.revision == follow.revision + 1,
                    None => follow.revision == current,
                };
                let reset = follow.epoch != epoch || !reaches;
                // Read in the same transaction: what the feed brings after this is not older.
                let directory = if reset || !follow.directory { Some(records.directory()?) } else { None };
                let following = Following {
                    acknowledged: records.acknowledged(&follow.log)?,
                    institute: follow.institute,
                    epoch,
                    revision: if reset { current } else { follow.revision },
                    log: follow.log,
                    reset,
                    gossip: gossips,
                };
                Ok((following, directory))
            })
            .await?;
        let gossip = gossips.then(|| Arc::new(self.service.gossip.join(&institute)));
        let feed = FeedTask {
            store: self.service.store.clone(),
            institute,
            log: following.log.clone(),
            epoch: following.epoch,
            revision: following.revision,
            outgoing: self.outgoing.clone(),
            gossip,
        };
        send(&self.outgoing, LinkMessage::Following(following)).await?;
        if let Some(entries) = directory {
            feed.send_directory(entries).await?;
        }
        self.gossip = feed.gossip.clone().map(|edge| {
            let task = tokio::spawn(pass_on(edge.clone(), self.outgoing.clone()));
            (edge, AbortOnDrop(task.abort_handle()))
        });
        let task = tokio::spawn(feed.run(changed));
        self.feed = Some(AbortOnDrop(task.abort_handle()));
        Ok(())
    }

    async fn push(&self, push: Push) -> Result<Pushed, LinkFault> {
        let mut tries = 1;
        loop {
            match self.service.documents.push_changes(&self.edge, push.clone()).await {
                Ok(pushed) => return Ok(pushed),
                Err(error) if tries < TRIES => {
                    tracing::warn!(%error, edge = self.edge, institute = push.institute, "push, trying again");
                    tries += 1;
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn pull(&self, pull: Pull) -> Result<(), LinkFault> {
        // The place comes first: a document is loaded only when it can be sent.
        let place = self.outgoing.reserve().await.map_err(|_| LinkFault::Gone)?;
        let document = pull.document;
        match self.service.documents.pull_changes(pull).await {
            Ok(answer) => place.send(LinkMessage::Document(answer)),
            // One damaged document must not end the link for all others.
            Err(error @ (DocumentError::Damaged { .. } | DocumentError::Panicked)) => {
                tracing::error!(%error, %document, "pull");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Streams one institute's feed from a revision on, gapless and in order.
struct FeedTask {
    store: Store,
    institute: String,
    /// The edge's log, named in each [`Following`].
    log: String,
    epoch: u64,
    /// Sent so far.
    revision: u64,
    outgoing: mpsc::Sender<LinkMessage>,
    /// None for an edge that takes no part.
    gossip: Option<Arc<Listening>>,
}

/// Passes on to an edge what others gossip, as fast as it takes it.
async fn pass_on(edge: Arc<Listening>, outgoing: mpsc::Sender<LinkMessage>) {
    // Fails when the link ends.
    while send(&outgoing, edge.next().await).await.is_ok() {}
}

impl FeedTask {
    async fn run(mut self, mut changed: tokio::sync::watch::Receiver<u64>) {
        loop {
            // Marked as seen before the store is read: a commit after the reading wakes us again.
            changed.borrow_and_update();
            match self.stream().await {
                Ok(()) => {}
                Err(LinkFault::Store(error)) => {
                    tracing::warn!(%error, institute = self.institute, "feed, trying again");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
                // Only sending can fail besides; then the link ends.
                Err(
                    LinkFault::Gone
                    | LinkFault::Unexpected
                    | LinkFault::TooManyInstitutes
                    | LinkFault::Document(_),
                ) => return,
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Sends all rows that are there.
    async fn stream(&mut self) -> Result<(), LinkFault> {
        loop {
            let after = self.revision;
            let (epoch, rows) = self
                .store
                .read::<_, StoreError, _>(&self.institute, move |records| {
                    let rows = records.feed_after(after, FEED_PAGE)?.into_iter();
                    let rows = rows.map(|row| Ok((members(records, &row)?, row)));
                    Ok((records.epoch(), rows.collect::<Result<Vec<_>, StoreError>>()?))
                })
                .await?;
            if epoch != self.epoch {
                // Another server was promoted: its history may part from the one that the edge has seen.
                return self.reset().await;
            }
            if rows.is_empty() {
                return Ok(());
            }
            // One that is read after these rows shows what all of them did.
            let mut whole = false;
            for (members, row) in rows {
                if row.revision != self.revision + 1 {
                    return self.reset().await;
                }
                self.revision = row.revision;
                let members = match members {
                    Members::These(entries) => entries,
                    Members::All if whole => Vec::new(),
                    Members::All => {
                        whole = true;
                        let entries = self.store.read(&self.institute, |records| records.directory()).await?;
                        self.send_directory(entries).await?;
                        Vec::new()
                    }
                };
                let feed = feed_message(&self.institute, row, members)?;
                send(&self.outgoing, LinkMessage::Feed(feed)).await?;
            }
        }
    }
}

/// Whose entries in the directory a commit changed.
enum Members {
    These(Vec<DirectoryEntry>),
    /// Too many to list.
    All,
}

/// The entries as they are now: a later commit may have changed them again, and will say so too.
fn members(records: &dyn Records, row: &FeedRow) -> Result<Members, StoreError> {
    if row.tags.iter().any(|tag| tag == tag::EVERYTHING) {
        return Ok(Members::All);
    }
    let changed = row.tags.iter().filter_map(|tag| tag::member_of(tag));
    let entries = changed.map(|user| records.directory_entry(user)).filter_map(Result::transpose);
    Ok(Members::These(entries.collect::<Result<_, _>>()?))
}

impl FeedTask {
    /// Sends the whole directory, page by page.
    async fn send_directory(&self, entries: Vec<DirectoryEntry>) -> Result<(), LinkFault> {
        let pages = entries.len().div_ceil(MAX_DIRECTORY_ENTRIES).max(1);
        let mut entries = entries.into_iter();
        for page in 0..pages {
            let page = DirectoryPage {
                institute: self.institute.clone(),
                page: page as u32,
                last: page + 1 == pages,
                entries: entries.by_ref().take(MAX_DIRECTORY_ENTRIES).collect(),
            };
            send(&self.outgoing, LinkMessage::Directory(page)).await?;
        }
        Ok(())
    }

    /// The edge fell so far behind that the rows after its place are trimmed, or its place is of another epoch: tells it
    /// to start anew from here.
    async fn reset(&mut self) -> Result<(), LinkFault> {
        tracing::warn!(
            institute = self.institute,
            revision = self.revision,
            "the feed does not go on from here, the edge resets"
        );
        let log = self.log.clone();
        let (epoch, revision, acknowledged, directory) = self
            .store
            .read::<_, StoreError, _>(&self.institute, move |records| {
                let acknowledged = records.acknowledged(&log)?;
                Ok((records.epoch(), records.revision()?, acknowledged, records.directory()?))
            })
            .await?;
        (self.epoch, self.revision) = (epoch, revision);
        let following = Following {
            institute: self.institute.clone(),
            epoch,
            revision,
            log: self.log.clone(),
            acknowledged,
            reset: true,
            gossip: self.gossip.is_some(),
        };
        send(&self.outgoing, LinkMessage::Following(following)).await?;
        if let Some(edge) = &self.gossip {
            edge.tell_again();
        }
        self.send_directory(directory).await
    }
}

fn feed_message(institute: &str, row: FeedRow, members: Vec<DirectoryEntry>) -> Result<Feed, StoreError> {
    let documents = row.documents.into_iter().map(|(document, heads)| {
        let heads = heads.iter().map(|head| parse_hash(head)).collect::<Result<_, _>>()?;
        Ok(DocumentHeads { document, heads })
    });
    Ok(Feed {
        institute: institute.to_owned(),
        revision: row.revision,
        tags: row.tags.into_iter().filter(|tag| tag::member_of(tag).is_none()).collect(),
        documents: documents.collect::<Result<_, StoreError>>()?,
        members,
    })
}

fn parse_hash(hex: &str) -> Result<Hash, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "head of a document", text: hex.to_owned() };
    let bytes = hex::decode(hex).map_err(|_| corrupt())?;
    Ok(Hash(bytes.try_into().map_err(|_| corrupt())?))
}
