//! Clients made with samod are Rollcall clients too, beside those of automerge-repo.

use automerge::transaction::Transactable as _;
use automerge::{Automerge, ObjType, ROOT, ReadDoc as _};
use futures_util::StreamExt as _;
use integration_tests::{House, SOON, SamodClient, until};
use samod::DocHandle;
use serde_json::json;

const TEACHER: &str = "teacher@northside.example";
const STUDENT: &str = "student@northside.example";

fn put(handle: &DocHandle, key: &str, value: i64) {
    handle.with_document(|doc| {
        doc.transact(|tx| tx.put(ROOT, key, value)).expect("a document can be changed");
    });
}

fn number(handle: &DocHandle, key: &str) -> Option<i64> {
    handle.with_document(|doc| doc.get(ROOT, key).expect("the root can be read")?.0.as_i64())
}

fn heads(handle: &DocHandle) -> Vec<String> {
    let mut heads: Vec<String> =
        handle.with_document(|doc| doc.get_heads().iter().map(ToString::to_string).collect());
    heads.sort_unstable();
    heads
}

/// A document with one field.
fn document(key: &str, value: i64) -> Automerge {
    let mut doc = Automerge::new();
    doc.transact(|tx| tx.put(ROOT, key, value)).expect("a document can be changed");
    doc
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samod_and_js_clients_find_each_others_documents_and_edit_them_at_once() {
    let house = House::start().await;
    let samod = SamodClient::start(&house, TEACHER).await;
    let mut js = house.js_client(TEACHER).await;
    let ours = samod.create(document("samod", 1)).await;
    let id = ours.document_id().to_string();
    until("the JS client to find samod's document", SOON, async || js.find(&id).await.ok()).await;
    let theirs = js.create(json!({"js": 1})).await;
    let found =
        until("samod to find the JS client's document", SOON, async || samod.find(&theirs).await).await;
    put(&ours, "both", 1);
    js.put(&id, &["js"], json!(2)).await;
    put(&found, "samod", 3);
    js.put(&theirs, &["js"], json!(4)).await;
    until("both to hold the same of both documents", SOON, async || {
        let complete = number(&ours, "both") == Some(1)
            && number(&ours, "js") == Some(2)
            && number(&found, "samod") == Some(3)
            && number(&found, "js") == Some(4);
        (complete && heads(&ours) == js.heads(&id).await && heads(&found) == js.heads(&theirs).await)
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_samod_client_that_edits_offline_is_in_step_after_it_comes_back() {
    let house = House::start().await;
    let away = SamodClient::start(&house, TEACHER).await;
    let here = SamodClient::start(&house, TEACHER).await;
    let there = away.create(document("first", 1)).await;
    let id = there.document_id().to_string();
    let seen = until("the other client to find it", SOON, async || here.find(&id).await).await;
    away.go_offline().await;
    for n in 0..100 {
        put(&there, &format!("offline-{n}"), n);
        put(&seen, &format!("online-{n}"), n);
    }
    let made = away.create(document("made", 2)).await;
    away.go_online().await;
    until("both to be equal", SOON, async || {
        (number(&seen, "offline-99") == Some(99)
            && number(&there, "online-99") == Some(99)
            && heads(&seen) == heads(&there))
        .then_some(())
    })
    .await;
    let made = made.document_id().to_string();
    let found = until("what was made offline to be found", SOON, async || here.find(&made).await).await;
    assert_eq!(number(&found, "made"), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_samod_client_is_told_that_an_unknown_or_foreign_document_is_unavailable() {
    let house = House::start().await;
    let teacher = SamodClient::start(&house, TEACHER).await;
    let own = teacher.create(document("private", 1)).await;
    let id = own.document_id().to_string();
    let second = SamodClient::start(&house, TEACHER).await;
    until("the edge to have it", SOON, async || second.find(&id).await).await;
    let student = SamodClient::start(&house, STUDENT).await;
    assert!(student.find(&id).await.is_none(), "a private document is its owner's alone");
    let unknown = device::DocumentId::from_bytes([9; 16]).to_string();
    assert!(student.find(&unknown).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_of_megabytes_and_ten_at_once_reach_a_samod_client() {
    let house = House::start().await;
    let writer = SamodClient::start(&house, TEACHER).await;
    let mut large = Automerge::new();
    let text: String = (0..400_000_u32)
        .map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 24) as u8 % 26))
        .collect();
    large
        .transact(|tx| {
            let list = tx.put_object(ROOT, "pages", ObjType::List)?;
            for page in 0..4 {
                tx.insert(&list, page, text.as_str())?;
            }
            Ok::<_, automerge::AutomergeError>(())
        })
        .expect("a document can be changed");
    let mut documents = vec![writer.create(large).await];
    for n in 0..9 {
        documents.push(writer.create(document("number", n)).await);
    }
    let reader = SamodClient::start(&house, TEACHER).await;
    let finding = documents.iter().map(async |handle| {
        let id = handle.document_id().to_string();
        let found = until("a document to be found", SOON, async || reader.find(&id).await).await;
        until("it to be whole", SOON, async || (heads(&found) == heads(handle)).then_some(())).await;
    });
    futures_util::future::join_all(finding).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_reaches_the_other_readers_of_a_document_and_nobody_else() {
    let house = House::start().await;
    let speaker = SamodClient::start(&house, TEACHER).await;
    let handle = speaker.create(document("x", 1)).await;
    let other = speaker.create(document("y", 1)).await;
    let (id, other_id) = (handle.document_id().to_string(), other.document_id().to_string());
    let listener = SamodClient::start(&house, TEACHER).await;
    let heard = until("the document to be found", SOON, async || listener.find(&id).await).await;
    let unrelated = until("the other to be found", SOON, async || listener.find(&other_id).await).await;
    let mut presence = Box::pin(heard.ephemera());
    let mut silence = Box::pin(unrelated.ephemera());
    // CBOR's {"at": 7}
    let said = vec![0xa1, 0x62, b'a', b't', 0x07];
    handle.broadcast(said.clone());
    let message = tokio::time::timeout(SOON, presence.next()).await.expect("presence arrives in time");
    assert_eq!(message, Some(said));
    let nothing = futures_util::FutureExt::now_or_never(silence.next());
    assert!(nothing.is_none(), "readers of another document hear nothing");
}
