//! The link as an edge sees it, without the socket.

use super::*;
use crate::testing::{TestOrigin, User};
use automerge::transaction::Transactable as _;
use automerge::{Automerge, ROOT};
use serde_json::json;
use sync_protocol::document_id::DocumentId;
use sync_protocol::link::{LINK_VERSION, PushItem};

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
        let serving =
            tokio::spawn(async move { link.serve("edge-1", LINK_VERSION, incoming, outgoing).await });
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
        let follow = Follow {
            institute: NORTHSIDE.into(),
            epoch,
            revision,
            log: "log".into(),
            directory: true,
            gossip: true,
        };
        self.send.send(LinkMessage::Follow(follow)).await.unwrap();
        // What the feed before sent may still be on its way.
        loop {
            match self.next().await {
                LinkMessage::Following(following) => return following,
                LinkMessage::Feed(_) | LinkMessage::Directory(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next commit; a directory before it is passed over.
    async fn feed(&mut self) -> Feed {
        loop {
            match self.next().await {
                LinkMessage::Feed(feed) => return feed,
                LinkMessage::Directory(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn directory(&mut self) -> Vec<DirectoryEntry> {
        let mut entries = Vec::new();
        for number in 0.. {
            let LinkMessage::Directory(page) = self.next().await else { panic!("no page {number}") };
            assert_eq!(page.page, number);
            entries.extend(page.entries);
            if page.last {
                break;
            }
        }
        entries
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
    let item = PushItem { sequence: 12, document, user, device, bytes: bytes.into(), logged_at: 1 };
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

/// The whole directory comes to an edge that has none; after that, each commit brings what it changed.
#[tokio::test]
async fn an_edge_gets_the_directory_whole_and_then_what_each_commit_changes() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    let student = origin.user("student@northside.example").await.claims.sub;
    let teacher = origin.user("teacher@northside.example").await.claims.sub;
    let mut edge = Edge::connect(&origin).await;
    let follow = Follow {
        institute: NORTHSIDE.into(),
        epoch: 1,
        revision: 1,
        log: "log".into(),
        directory: false,
        gossip: false,
    };
    edge.send.send(LinkMessage::Follow(follow)).await.unwrap();
    assert!(matches!(edge.next().await, LinkMessage::Following(following) if !following.reset));
    let directory = edge.directory().await;
    let of = |user: &str| directory.iter().find(|entry| entry.user == user).unwrap().clone();
    assert_eq!(of(&admin.claims.sub).role, sync_protocol::token::Role::Admin);
    assert!(of(&student).batches.contains(&"maths-a".to_owned()) && of(&student).active);
    assert!(of(&teacher).batches.contains(&"maths-a".to_owned()));
    let guardian = of(&crate::services::seed::user_id_of("guardian@northside.example"));
    assert_eq!(guardian.role, sync_protocol::token::Role::Guardian);
    assert!(guardian.guardian_of.contains(&student) && guardian.batches.is_empty());

    let mut changes = 0;
    let mut change = async |name: &str, fields: serde_json::Value| {
        let mut command = fields;
        command["command"] = name.into();
        changes += 1;
        let answer = origin.command(&admin, &format!("change-{changes}"), command).await;
        assert!(answer.status.is_success(), "{answer:?}");
        let feed = edge.feed().await;
        assert!(!feed.tags.iter().any(|tag| tag.starts_with("member:")), "{:?}", feed.tags);
        assert_eq!(feed.members.len(), 1, "{name}");
        feed.members.into_iter().next().unwrap()
    };
    let in_maths = |entry: &DirectoryEntry| entry.batches.contains(&"maths-a".to_owned());
    let of_student = json!({"student": student, "batch": "maths-a"});
    let of_teacher = json!({"teacher": teacher, "batch": "maths-a"});
    assert!(!in_maths(&change("withdraw-student", of_student.clone()).await));
    assert!(in_maths(&change("enroll-student", of_student).await));
    assert!(!in_maths(&change("unassign-teacher", of_teacher.clone()).await));
    assert!(in_maths(&change("assign-teacher", of_teacher).await));
    let of_guardian = json!({"guardian": teacher, "student": student});
    assert_eq!(change("add-guardian", of_guardian.clone()).await.guardian_of, [student.as_str()]);
    assert!(change("remove-guardian", of_guardian).await.guardian_of.is_empty());
    assert!(!change("deactivate-user", json!({"user": student})).await.active);
    let login = origin.login("student@northside.example", "rollcall").await;
    assert_eq!(login.problem(), (401, "wrong-credentials".into()));
    assert!(change("reactivate-user", json!({"user": student})).await.active);
    assert!(origin.login("student@northside.example", "rollcall").await.status.is_success());
}

/// An import is many commits that change too much to list.
#[tokio::test]
async fn commits_that_wait_together_bring_one_directory() {
    let origin = TestOrigin::start().await;
    for name in ["one", "two", "three"] {
        let written = origin.app.store.write::<_, StoreError, _>(NORTHSIDE, move |tx| {
            let (email, role) = (format!("{name}@northside.example"), sync_protocol::token::Role::Student);
            let (user, name) = (name.to_owned(), name.to_owned());
            tx.add_user(&crate::store::NewUser { user, email, name, role, password_hash: None }, 0)?;
            tx.touch_everything();
            Ok(())
        });
        written.await.unwrap();
    }
    let mut edge = Edge::connect(&origin).await;
    assert!(!edge.follow(1, 1).await.reset);
    let directory = edge.directory().await;
    for name in ["one", "two", "three"] {
        assert!(directory.iter().any(|entry| entry.user == name), "{name}");
    }
    for revision in 2..=4 {
        let LinkMessage::Feed(feed) = edge.next().await else { panic!("another directory") };
        assert_eq!(feed.revision, revision);
    }
}

#[tokio::test]
async fn only_an_admin_changes_members_and_what_changes_nothing_makes_no_commit() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let refused = async |by: &User, key: &str, command: serde_json::Value| {
        origin.command(by, key, command).await.problem()
    };
    let withdraw = json!({"command": "withdraw-student", "student": student.claims.sub, "batch": "maths-a"});
    assert_eq!(refused(&teacher, "a", withdraw).await, (403, "forbidden".into()));
    let itself = json!({"command": "deactivate-user", "user": admin.claims.sub});
    assert_eq!(refused(&admin, "b", itself).await, (403, "forbidden".into()));
    let no_teacher = json!({"command": "assign-teacher", "teacher": student.claims.sub, "batch": "maths-a"});
    assert_eq!(refused(&admin, "c", no_teacher).await, (404, "not-found".into()));
    let nobody = json!({"command": "deactivate-user", "user": "nobody"});
    assert_eq!(refused(&admin, "d", nobody).await, (404, "not-found".into()));
    let elsewhere = origin.user("teacher@riverside.example").await.claims.sub;
    let foreign = json!({"command": "deactivate-user", "user": elsewhere});
    assert_eq!(refused(&admin, "e", foreign).await, (404, "not-found".into()));
    let again = json!({"command": "enroll-student", "student": student.claims.sub, "batch": "maths-a"});
    let answer = origin.command(&admin, "f", again).await;
    assert_eq!(answer.json()["outcome"]["enrolled"], false);
    assert_eq!(crate::testing::point_of(answer.json()["bookmark"].as_str().unwrap()), "1.1");
}

/// What a user wrote before being withdrawn and an edge brings later is refused: the origin's word of now counts.
#[tokio::test]
async fn a_push_is_judged_by_the_rights_of_now() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let document = DocumentId::from_bytes([8; 16]);
    let mut doc = Automerge::new();
    let mut push = async |n: u64| {
        let mut tx = doc.transaction();
        tx.put(ROOT, "n", n).unwrap();
        tx.commit();
        let bytes = doc.get_changes(&[]).pop().unwrap().raw_bytes().to_vec();
        let (user, device) = (student.claims.sub.clone(), "phone".to_owned());
        let item = PushItem { sequence: n, document, user, device, bytes: bytes.into(), logged_at: 1 };
        let push = Push { institute: NORTHSIDE.into(), log: "log".into(), items: vec![item] };
        let pushed = origin.app.documents.push_changes("edge-1", push).await.unwrap();
        pushed.refused.into_iter().map(|refused| refused.code).collect::<Vec<_>>()
    };
    assert_eq!(push(1).await, Vec::<String>::new());
    let user = &student.claims.sub;
    let gone = origin.command(&admin, "gone", json!({"command": "deactivate-user", "user": user})).await;
    assert!(gone.status.is_success());
    assert_eq!(push(2).await, ["unknown-user"]);
}

#[tokio::test]
async fn a_message_that_only_the_origin_sends_ends_the_link() {
    let origin = TestOrigin::start().await;
    let edge = Edge::connect(&origin).await;
    let welcome = LinkMessage::Welcome(Welcome { epoch: 1, keys: String::new() });
    edge.send.send(welcome).await.unwrap();
    assert!(matches!(edge.serving.await.unwrap(), Err(LinkFault::Unexpected)));
}
