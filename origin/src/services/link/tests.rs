//! The link as an edge sees it, without the socket.

use super::*;
use crate::testing::{TestOrigin, User};
use automerge::transaction::Transactable as _;
use automerge::{Automerge, ROOT};
use serde_json::json;
use sync_protocol::document_id::DocumentId;
use sync_protocol::link::PushItem;

const NORTHSIDE: &str = "northside.example";
/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(20);

struct Edge {
    send: mpsc::Sender<LinkMessage>,
    receive: mpsc::Receiver<LinkMessage>,
    serving: tokio::task::JoinHandle<Result<(), LinkFault>>,
}

impl Edge {
    async fn connect(origin: &TestOrigin) -> Self {
        let (send, incoming) = mpsc::channel(8);
        let (outgoing, receive) = mpsc::channel(OUTGOING);
        let link = origin.app.link.clone();
        let serving = tokio::spawn(async move { link.serve("edge-1", incoming, outgoing).await });
        let mut edge = Self { send, receive, serving };
        let LinkMessage::Welcome(welcome) = edge.next().await else { panic!("no welcome") };
        assert_eq!(welcome.epoch, 1);
        assert!(welcome.keys.contains("Ed25519"));
        edge
    }

    async fn next(&mut self) -> LinkMessage {
        tokio::time::timeout(PATIENCE, self.receive.recv()).await.unwrap().unwrap()
    }

    async fn follow(&mut self, epoch: u64, revision: u64) -> Following {
        let follow = Follow { institute: NORTHSIDE.into(), epoch, revision, log: "log".into() };
        self.send.send(LinkMessage::Follow(follow)).await.unwrap();
        // What the feed before sent may still be on its way.
        loop {
            match self.next().await {
                LinkMessage::Following(following) => return following,
                LinkMessage::Feed(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn feed(&mut self) -> Feed {
        match self.next().await {
            LinkMessage::Feed(feed) => feed,
            other => panic!("{other:?}"),
        }
    }
}

async fn post_message(origin: &TestOrigin, user: &User, key: &str) {
    let command = json!({"command": "post-message", "to": {"batch": "maths-a"}, "text": key});
    assert!(origin.command(user, key, command).await.status.is_success());
}

#[tokio::test]
async fn the_feed_comes_in_order_without_a_gap_and_resumes() {
    let origin = TestOrigin::start().await;
    let teacher = origin.user("teacher@northside.example").await;
    let mut edge = Edge::connect(&origin).await;
    let following = edge.follow(1, 1).await;
    assert_eq!((following.reset, following.revision, following.acknowledged), (false, 1, 0));
    for n in 2..40 {
        post_message(&origin, &teacher, &n.to_string()).await;
    }
    for revision in 2..40 {
        let feed = edge.feed().await;
        assert_eq!(feed.revision, revision);
        assert!(feed.tags.contains(&"batch:maths-a".to_owned()));
    }
    drop(edge);
    post_message(&origin, &teacher, "missed").await;
    let mut edge = Edge::connect(&origin).await;
    assert!(!edge.follow(1, 30).await.reset);
    for revision in 31..=40 {
        assert_eq!(edge.feed().await.revision, revision);
    }
}

#[tokio::test]
async fn a_slow_edge_loses_nothing_and_holds_up_nobody() {
    let origin = TestOrigin::start().await;
    let teacher = origin.user("teacher@northside.example").await;
    let mut slow = Edge::connect(&origin).await;
    let mut quick = Edge::connect(&origin).await;
    slow.follow(1, 1).await;
    quick.follow(1, 1).await;
    let commits = OUTGOING as u64 * 3;
    for n in 0..commits {
        post_message(&origin, &teacher, &n.to_string()).await;
        assert_eq!(quick.feed().await.revision, n + 2);
    }
    for n in 0..commits {
        assert_eq!(slow.feed().await.revision, n + 2);
    }
}

#[tokio::test]
async fn another_epoch_or_a_future_revision_resets_the_edge() {
    let origin = TestOrigin::start().await;
    let teacher = origin.user("teacher@northside.example").await;
    let mut edge = Edge::connect(&origin).await;
    for (epoch, revision) in [(0, 0), (2, 1), (1, 99)] {
        let following = edge.follow(epoch, revision).await;
        assert_eq!((following.reset, following.epoch, following.revision), (true, 1, 1));
    }
    post_message(&origin, &teacher, "next").await;
    assert_eq!(edge.feed().await.revision, 2);
}

#[tokio::test]
async fn a_push_is_acknowledged_and_the_acknowledgement_survives_the_link() {
    let origin = TestOrigin::start().await;
    let student = origin.user("student@northside.example").await;
    let document = DocumentId::from_bytes([7; 16]);
    let mut doc = Automerge::new();
    let mut tx = doc.transaction();
    tx.put(ROOT, "x", 1).unwrap();
    tx.commit();
    let bytes = doc.get_changes(&[])[0].raw_bytes().to_vec();
    let (user, device) = (student.claims.sub.clone(), "phone".to_owned());
    let item = PushItem { sequence: 12, document, user, device, bytes: bytes.into() };
    let push = Push { institute: NORTHSIDE.into(), log: "log".into(), items: vec![item] };
    let mut edge = Edge::connect(&origin).await;
    // Twice, as after a break.
    for _ in 0..2 {
        edge.send.send(LinkMessage::Push(push.clone())).await.unwrap();
        let LinkMessage::Pushed(pushed) = edge.next().await else { panic!("no answer") };
        assert_eq!((pushed.acknowledged, pushed.refused.len()), (12, 0));
    }
    drop(edge);
    let mut edge = Edge::connect(&origin).await;
    assert_eq!(edge.follow(1, 2).await.acknowledged, 12);
    let pull = Pull { institute: NORTHSIDE.into(), document, have: vec![] };
    edge.send.send(LinkMessage::Pull(pull)).await.unwrap();
    let LinkMessage::Document(answer) = edge.next().await else { panic!("no document") };
    assert_eq!(answer.heads, doc.get_heads().into_iter().map(Hash::from).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_message_that_only_the_origin_sends_ends_the_link() {
    let origin = TestOrigin::start().await;
    let edge = Edge::connect(&origin).await;
    let welcome = LinkMessage::Welcome(Welcome { epoch: 1, keys: String::new() });
    edge.send.send(welcome).await.unwrap();
    assert!(matches!(edge.serving.await.unwrap(), Err(LinkFault::Unexpected)));
}
