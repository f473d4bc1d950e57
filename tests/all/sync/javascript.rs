//! Unmodified automerge-repo clients are Rollcall clients.

use automerge::transaction::Transactable as _;
use automerge::{Automerge, ReadDoc as _};
use device::{Device, DocumentId};
use integration_tests::{House, JsClient, SOON, until};
use serde_json::json;
use std::time::Duration;

const TEACHER: &str = "teacher@northside.example";
/// For a thousand documents in a JavaScript client, which takes longest itself.
const LONG: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_a_js_client_makes_is_found_by_the_same_users_device_and_edited_by_both() {
    let house = House::start().await;
    let mut js = house.js_client(TEACHER).await;
    let id = js.create(json!({"title": "Plan", "steps": {"first": "read"}})).await;
    let document: DocumentId = id.parse().unwrap();
    let device = house.device(TEACHER, "phone");
    until("the device to find the document", SOON, async || device.find(document, SOON).await.ok()).await;
    let (_, steps) = device
        .read(document, |doc| doc.get(automerge::ROOT, "steps").unwrap().map(|(v, id)| (v.to_owned(), id)))
        .unwrap()
        .unwrap();
    device.edit(document, |tx| tx.put(&steps, "second", "write")).unwrap();
    device.wait_until_acknowledged(document, SOON).await.unwrap();
    until("the JS client to have the device's edit", SOON, async || {
        (js.read(&id).await["steps"]["second"] == "write").then_some(())
    })
    .await;
    assert_eq!(js.read(&id).await, json!({"title": "Plan", "steps": {"first": "read", "second": "write"}}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_a_device_makes_is_found_by_the_same_users_js_client() {
    let house = House::start().await;
    let device = house.device(TEACHER, "phone");
    let document = device.create_private(|tx| tx.put(automerge::ROOT, "title", "From the phone")).unwrap();
    device.wait_until_acknowledged(document, SOON).await.unwrap();
    let mut js = house.js_client(TEACHER).await;
    let id = document.to_string();
    js.find(&id).await.unwrap();
    assert_eq!(js.read(&id).await["title"], "From the phone");
    js.put(&id, &["title"], json!("From the browser")).await;
    until("the device to have the JS client's edit", SOON, async || {
        (title(&device, document)? == "From the browser").then_some(())
    })
    .await;
}

/// Strings that JS clients write are texts, ours are plain values.
fn title(device: &Device, document: DocumentId) -> Option<String> {
    let look = |doc: &Automerge| {
        let (value, id) = doc.get(automerge::ROOT, "title").ok()??;
        if value.is_object() { doc.text(id).ok() } else { value.into_string().ok() }
    };
    device.read(document, look).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_js_client_is_told_that_an_unknown_document_is_unavailable() {
    let house = House::start().await;
    let mut js = house.js_client(TEACHER).await;
    let unknown = DocumentId::from_bytes([3; 16]).to_string();
    let error = js.find(&unknown).await.unwrap_err();
    assert!(error.contains("unavailable"), "{error}");
}

/// What was made while the edge could not be reached arrives when it can.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_js_client_that_edits_offline_is_in_step_after_it_comes_back() {
    let house = House::start().await;
    let mut js = house.js_client(TEACHER).await;
    let id = js.create(json!({"count": 1})).await;
    let document: DocumentId = id.parse().unwrap();
    let device = house.device(TEACHER, "phone");
    until("the device to find the document", SOON, async || device.find(document, SOON).await.ok()).await;
    js.go_offline().await;
    js.put(&id, &["offline"], json!(true)).await;
    device.edit(document, |tx| tx.put(automerge::ROOT, "meanwhile", true)).unwrap();
    js.go_online().await;
    until("both to be equal", SOON, async || {
        let doc = js.read(&id).await;
        let both = doc["offline"] == true && doc["meanwhile"] == true;
        let mut heads: Vec<String> =
            device.heads(document).unwrap().iter().map(ToString::to_string).collect();
        heads.sort_unstable();
        (both && heads == js.heads(&id).await).then_some(())
    })
    .await;
}

/// Presence: who looks at a document, where the cursor is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn js_clients_of_one_document_hear_each_others_presence() {
    let house = House::start().await;
    let mut speaker = house.js_client(TEACHER).await;
    let mut listener = house.js_client(TEACHER).await;
    let id = speaker.create(json!({"title": "Board"})).await;
    until("the listener to find the document", SOON, async || listener.find(&id).await.ok()).await;
    speaker.broadcast(&id, json!({"cursor": 7})).await;
    let heard = until("the listener to hear it", SOON, async || {
        let heard = listener.heard(&id).await;
        heard.as_array().is_some_and(|heard| !heard.is_empty()).then_some(heard)
    });
    assert_eq!(heard.await, json!([{"cursor": 7}]));
}

/// The first sync of a document of megabytes is one message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_document_reaches_another_js_client_whole() {
    let house = House::start().await;
    let mut writer = house.js_client(TEACHER).await;
    let text: String = (0..300_000_u32)
        .map(|n| char::from(b'a' + u8::try_from((n.wrapping_mul(2_654_435_761) >> 24) % 26).unwrap()))
        .collect();
    let id = writer.create(json!({"title": "Book", "text": text})).await;
    let mut reader = house.js_client(TEACHER).await;
    until("the reader to find the document", SOON, async || reader.find(&id).await.ok()).await;
    until("both to be equal", SOON, async || {
        (reader.heads(&id).await == writer.heads(&id).await).then_some(())
    })
    .await;
    assert_eq!(reader.read(&id).await["text"], text);
}

/// What a phone does that was away for a term: it comes back with all that it has, and all of it edited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_js_client_that_comes_back_with_a_thousand_edited_documents_is_in_step_and_nobody_is_cut_off() {
    const DOCUMENTS: usize = 1_000;
    let house = House::start().await;
    let store = tempfile::tempdir().unwrap();
    let token = house.sign_in_on(TEACHER, "js").await.token;
    let mut away = JsClient::start_with(house.edge.address(), &token, Some(store.path())).await;
    let documents = away.create_many(DOCUMENTS).await;
    let mut here = house.js_client(TEACHER).await;
    until("another client to find them", LONG, async || here.find_many(&documents).await.ok()).await;
    away.go_offline().await;
    away.put_many(&documents, "edited", 1).await;
    drop(away);
    let mut back = JsClient::start_with(house.edge.address(), &token, Some(store.path())).await;
    back.find_many(&documents).await.unwrap();
    until("the other client to have every edit", LONG, async || {
        (here.count_having(&documents, "edited", 1).await == DOCUMENTS).then_some(())
    })
    .await;
}
