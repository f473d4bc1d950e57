//! Writes the first inputs of the corpora: what honest clients say. `cargo run --example seeds` in the folder `fuzz`.

use automerge::sync::{State, SyncDoc as _};
use automerge::transaction::Transactable as _;
use automerge::{ActorId, Automerge, ObjType, ROOT};
use std::path::Path;
use sync_protocol::batch::{BatchMessage, BatchRequest, BatchResponse, BatchResult, Outcome, Priority};
use sync_protocol::document_id::DocumentId;
use sync_protocol::kind::{self, Kind};
use sync_protocol::link::{
    Feed, Follow, Following, Hash, LinkMessage, Pull, Push, PushItem, Pushed, Welcome,
};
use sync_protocol::repo_message::RepoMessage;

fn seed(target: &str, inputs: impl IntoIterator<Item = Vec<u8>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&folder).expect("the corpus can be written");
    for (n, input) in inputs.into_iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{n}")), input).expect("the corpus can be written");
    }
}

fn document() -> Automerge {
    let mut doc = Automerge::new().with_actor(ActorId::from([2]));
    let mut tx = doc.transaction();
    tx.put(ROOT, "n", 1).expect("a root takes values");
    let text = tx.put_object(ROOT, "text", ObjType::Text).expect("a root takes values");
    tx.splice_text(&text, 0, 0, &"a long text ".repeat(40)).expect("a text takes text");
    tx.commit();
    let mut tx = doc.transaction();
    tx.put(ROOT, "n", 2).expect("a root takes values");
    tx.commit();
    doc
}

/// What two peers say to each other until they are in step.
fn talk() -> Vec<Vec<u8>> {
    let (mut a, mut b) = (document(), document().with_actor(ActorId::from([3])));
    let mut tx = b.transaction();
    tx.put(ROOT, "m", 1).expect("a root takes values");
    tx.commit();
    let (mut for_a, mut for_b) = (State::new(), State::new());
    let mut said = Vec::new();
    for _ in 0..10 {
        if let Some(message) = a.generate_sync_message(&mut for_b) {
            said.push(message.clone().encode());
            b.receive_sync_message(&mut for_a, message).expect("an honest message is taken");
        }
        if let Some(message) = b.generate_sync_message(&mut for_a) {
            said.push(message.clone().encode());
            a.receive_sync_message(&mut for_b, message).expect("an honest message is taken");
        }
    }
    said
}

fn repo_messages() -> Vec<RepoMessage> {
    let (sender, target) = ("alice".to_owned(), "server".to_owned());
    let document = DocumentId::from_bytes([9; 16]);
    vec![
        RepoMessage::Join { sender: sender.clone(), versions: vec!["1".into()], extended: true },
        RepoMessage::Sync {
            request: true,
            sender: sender.clone(),
            target: target.clone(),
            document,
            data: vec![0x42, 0, 0, 0, 0],
        },
        RepoMessage::Unavailable { sender: sender.clone(), target: target.clone(), document },
        RepoMessage::Ephemeral { sender, target, document, session: "s".into(), count: 7, data: vec![1] },
    ]
}

fn link_messages() -> Vec<LinkMessage> {
    let (institute, log) = ("northside.example".to_owned(), "log".to_owned());
    let document = DocumentId::from_bytes([9; 16]);
    let (user, device) = ("u".to_owned(), "d".to_owned());
    let items = vec![PushItem { sequence: 1, document, user, device, bytes: vec![1, 2].into(), logged_at: 3 }];
    vec![
        LinkMessage::Welcome(Welcome { epoch: 1, keys: "{}".into() }),
        LinkMessage::Follow(Follow {
            institute: institute.clone(),
            epoch: 1,
            revision: 2,
            log: log.clone(),
            directory: true,
            gossip: true,
        }),
        LinkMessage::Following(Following {
            institute: institute.clone(),
            epoch: 1,
            revision: 2,
            log: log.clone(),
            acknowledged: 3,
            reset: false,
            gossip: true,
        }),
        LinkMessage::Feed(Feed {
            institute: institute.clone(),
            revision: 3,
            tags: vec!["batch:b1".into()],
            documents: Vec::new(),
            members: Vec::new(),
        }),
        LinkMessage::Push(Push { institute: institute.clone(), log: log.clone(), items }),
        LinkMessage::Pushed(Pushed {
            institute: institute.clone(),
            log,
            acknowledged: 1,
            refused: Vec::new(),
        }),
        LinkMessage::Pull(Pull { institute, document, have: vec![Hash([1; 32])] }),
    ]
}

fn texts(target: &str, texts: &[&str]) {
    seed(target, texts.iter().map(|text| text.as_bytes().to_vec()));
}

fn main() {
    seed("repo_message", repo_messages().iter().map(RepoMessage::encode));
    seed("link", link_messages().iter().map(LinkMessage::encode));
    let document_id = DocumentId::from_bytes([9; 16]);
    let message =
        BatchMessage { document: document_id, priority: Priority::High, data: vec![0x42, 0, 0].into() };
    let result = |outcome| BatchResult { document: document_id, outcome, refused: None };
    let outcomes =
        [Outcome::Synced(Some(vec![1].into())), Outcome::Unavailable, Outcome::Refused("x".into())];
    seed(
        "batch",
        [
            BatchRequest { messages: vec![message.clone()] }.encode(),
            BatchRequest { messages: vec![message; 3] }.encode(),
            BatchResponse { results: outcomes.map(result).into() }.encode(),
        ],
    );
    texts("document_id", &[&document_id.to_string(), &document_id.to_url(), "automerge:", "1111"]);
    texts("bookmark", &["1.2", "18446744073709551615.0", "1.", "+1.2"]);
    texts("tag", &["batch:B1, user:u", "institute", ",,, a,"]);
    texts(
        "command",
        &[
            r#"{"command":"grade-submission","assignment":"a","student":"s","score":1.5}"#,
            r#"{"command":"post-message","to":{"user":"u"},"text":"t"}"#,
            r#"{"command":"record-payment","invoice":"i","amount_minor":1,"method":"cash"}"#,
            r#"{"command":"reschedule-class","class":"c","starts_at":"a","ends_at":"b"}"#,
        ],
    );
    texts(
        "token",
        &[
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
            r#"{"iss":"rollcall","aud":"rollcall","sub":"u","inst":"i","role":"admin","name":"n","dev":"d","iat":0,"exp":9,"jti":""}"#,
            "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCIsImtpZCI6ImsifQ.e30.AA",
        ],
    );
    seed("gate_message", talk());
    let doc = document();
    let saved = doc.save();
    let mut chunks = vec![vec![3]];
    chunks[0].extend(&saved);
    for change in doc.get_changes(&[]) {
        let raw = change.raw_bytes();
        chunks.push([&[3], raw].concat());
        // Without magic, checksum, kind and a length of two bytes or one.
        let body = if raw[9] & 0x80 == 0 { 10 } else { 11 };
        chunks.push([&[1], &raw[body..]].concat());
        chunks.push([&[2], &raw[body..]].concat());
    }
    seed("gate_changes", chunks);
    let genesis = [Kind::Attendance, Kind::Doubt].map(|kind| kind::genesis(kind, document_id));
    assert!(genesis.iter().all(Option::is_some), "kinds with rules have a first change");
    let programs = |length: usize| (0..6_u64).map(move |n| program(n, length));
    seed("rules", programs(120));
    seed("engine", programs(300));
}

/// Bytes without a pattern: to a target that reads decisions, some decisions.
fn program(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| byte()).collect()
}
