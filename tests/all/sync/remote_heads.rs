//! Unmodified automerge-repo clients hear what others have of the documents that both read, at whatever edge those are.

use device::Kind;
use integration_tests::{Edge, House, JsClient, Person, SOON, until};
use serde_json::json;

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";

struct Client {
    js: JsClient,
    storage: String,
    _folder: tempfile::TempDir,
}

impl Client {
    async fn at(edge: &Edge, email: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let person = Person::sign_in(edge.url(), email, "js").await;
        let mut js = JsClient::start_gossiping(edge.address(), &person.token, folder.path()).await;
        let storage = js.storage().await;
        Self { js, storage, _folder: folder }
    }

    /// Waits until this client was told that the other has all that it has itself, and the other has so.
    async fn hears_of(&mut self, other: &mut Self, document: &str) {
        until("a client to be told what the other has", SOON, async || {
            let (told, own) = self.js.remote_heads(document, &other.storage).await;
            let (_, others) = other.js.remote_heads(document, &self.storage).await;
            (told == others && own == others).then_some(())
        })
        .await;
    }
}

/// Two clients at two edges, each of which wants to know whether the other has what it has written.
async fn clients_hear_of_each_other(house: &House, far_edge: &Edge) -> (String, Client, Client) {
    let class = house.class().await;
    let device = house.device(TEACHER, "phone");
    let notes = device.register(Kind::Notes, &class.id).await.unwrap();
    let document = notes.to_string();
    let mut near = Client::at(&house.edge, TEACHER).await;
    let mut far = Client::at(far_edge, ASSISTANT).await;
    near.js.find(&document).await.unwrap();
    near.js.subscribe(&[&far.storage]).await;
    assert_eq!(near.js.remote_heads(&document, &far.storage).await.0, json!(null));

    // What is there when somebody has asked already.
    far.js.find(&document).await.unwrap();
    near.hears_of(&mut far, &document).await;
    // What is there before somebody asks.
    far.js.subscribe(&[&near.storage]).await;
    far.hears_of(&mut near, &document).await;
    for round in 0..5 {
        near.js.put(&document, &["x-near"], json!(round)).await;
        far.js.put(&document, &["x-far"], json!(round)).await;
    }
    near.hears_of(&mut far, &document).await;
    far.hears_of(&mut near, &document).await;
    assert_eq!(far.js.read(&document).await["x-near"], 4);
    (document, near, far)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn js_clients_hear_what_those_at_another_edge_have_also_after_the_link_was_cut() {
    let house = House::start().await;
    let far_edge = house.second_edge().await;
    let (document, mut near, mut far) = clients_hear_of_each_other(&house, &far_edge).await;
    house.link.cut();
    far.js.put(&document, &["x-far"], json!("meanwhile")).await;
    near.js.put(&document, &["x-near"], json!("meanwhile")).await;
    house.link.mend();
    near.hears_of(&mut far, &document).await;
    far.hears_of(&mut near, &document).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn js_clients_hear_what_those_at_an_edge_of_another_origin_process_have() {
    let house = House::start_on_postgres().await;
    let (_far_origin, far_edge) = house.second_origin().await;
    clients_hear_of_each_other(&house, &far_edge).await;
}
