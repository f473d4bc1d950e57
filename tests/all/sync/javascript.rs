//! Unmodified automerge-repo clients are Rollcall clients.

use automerge::transaction::Transactable as _;
use automerge::{Automerge, ReadDoc as _};
use device::{Device, DocumentId};
use integration_tests::{House, SOON, until};
use serde_json::json;

const TEACHER: &str = "teacher@northside.example";

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
