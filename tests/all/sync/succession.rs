//! A history that is cut while a device is away with its edits.

use device::Kind;
use integration_tests::{House, SOON, SamodClient, in_step, until};
use serde_json::json;

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";
const STUDENT: &str = "student@northside.example";
const ADMIN: &str = "admin@northside.example";

/// The device that was away brings what it wrote into the old document, and is led to what continues it; an unmodified client sees
/// the way too, and what it goes on writing is not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_device_wrote_while_the_history_was_cut_is_in_the_successor() {
    let house = House::start().await;
    let class = house.class().await;
    let admin = house.sign_in(ADMIN).await.at(house.origin.url());
    let teacher = house.device(TEACHER, "phone");
    let old = teacher.register(Kind::Notes, &class.id).await.unwrap();
    teacher.splice_text(old, "text", 0, 0, "one two three").unwrap();
    let away = house.device(ASSISTANT, "tablet");
    assert_eq!(away.register(Kind::Notes, &class.id).await.unwrap(), old);
    in_step(&[&teacher, &away], old).await;
    let client = SamodClient::start(&house, TEACHER).await;
    let handle = until("the client to find it", SOON, async || client.find(&old.to_string()).await).await;
    let agreed: Vec<String> = teacher.heads(old).unwrap().iter().map(ToString::to_string).collect();

    away.go_offline();
    away.splice_text(old, "text", 4, 4, "2 ").unwrap();
    let path = format!("/admin/v1/documents/{old}/cut-history");
    let cut = until("the origin to have what was agreed on", SOON, async || {
        let answer = admin.post(&path, &json!({"heads": agreed})).await;
        (answer.status == 200).then(|| answer.ok())
    })
    .await;
    let new: device::DocumentId = cut["successor"].as_str().unwrap().parse().unwrap();
    assert_eq!(away.register(Kind::Notes, &class.id).await.unwrap(), old, "it has not heard");

    until("the teacher's device to be led on", SOON, async || {
        (teacher.register(Kind::Notes, &class.id).await.unwrap() == new).then_some(())
    })
    .await;
    assert_eq!(teacher.successor(old).unwrap(), Some(new));
    until("what it said there to arrive", SOON, async || {
        (teacher.text(new, "text").is_ok_and(|text| text == "one two three")).then_some(())
    })
    .await;
    teacher.splice_text(new, "text", 0, 0, "zero ").unwrap();

    away.go_online();
    until("the device that was away to be led on", SOON, async || {
        (away.register(Kind::Notes, &class.id).await.unwrap() == new).then_some(())
    })
    .await;
    until("all to be in the successor", SOON, async || {
        (away.text(new, "text").is_ok_and(|text| text == "zero one 2 three")).then_some(())
    })
    .await;
    in_step(&[&teacher, &away], new).await;
    let field = handle.with_document(|doc| {
        use automerge::ReadDoc as _;
        let text = doc.get(automerge::ROOT, "text").unwrap().unwrap().1;
        let end = doc.length(&text);
        doc.transact(|tx| automerge::transaction::Transactable::splice_text(tx, &text, end, 0, " four"))
            .unwrap();
        doc.get(automerge::ROOT, sync_protocol::kind::SUCCESSOR).unwrap().map(|(value, _)| value.to_string())
    });
    assert!(field.is_some_and(|field| field.contains(&new.to_string())), "an unmodified client sees it");
    until("what the unmodified client wrote on to arrive", SOON, async || {
        (teacher.text(new, "text").unwrap() == "zero one 2 three four").then_some(())
    })
    .await;
    // Who comes for the first time, by the other edge, knows of nothing else.
    let second = house.second_edge().await;
    let reader = house.device_at(&second, STUDENT, "reader");
    assert_eq!(reader.register(Kind::Notes, &class.id).await.unwrap(), new);
    in_step(&[&teacher, &reader], new).await;
    assert_eq!(reader.text(new, "text").unwrap(), "zero one 2 three four");
}
