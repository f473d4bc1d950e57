//! A device tells apart what is durable at the edge and what is committed at the origin.

use device::{Command, Device, DocumentId, Kind, Priority, Receipt};
use integration_tests::{House, SOON, in_step, until};

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";

fn of_head(device: &Device, document: DocumentId) -> Receipt {
    let heads = device.heads(document).unwrap();
    device.receipt(document, heads[0]).unwrap().unwrap()
}

/// The origin is away, the edge is killed and the device closed in between: nobody forgets how far the change has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_at_the_edge_and_then_at_the_origin_over_restarts_of_both() {
    let mut house = House::start().await;
    let class = house.class().await;
    let teacher = house.device(TEACHER, "phone");
    let sheet = teacher.register(Kind::Attendance, &class.id).await.unwrap();
    teacher.wait_until_committed(sheet, SOON).await.unwrap();
    house.origin.stop().await;

    teacher.go_offline();
    teacher.mark_attendance(sheet, &class.students[0], "late").unwrap();
    let first = teacher.heads(sheet).unwrap()[0];
    assert_eq!(of_head(&teacher, sheet), Receipt::Local);
    let command = Command::PostMessage {
        to: device::Recipient::Batch(class.batch.clone()),
        text: "Test tomorrow.".into(),
    };
    let key = teacher.submit(&command, Priority::Normal).unwrap();
    assert_eq!(teacher.command_receipt(&key).unwrap(), Some(Receipt::Local));
    teacher.go_online();
    teacher.wait_until_acknowledged(sheet, SOON).await.unwrap();
    teacher.wait_until_sent(&key, SOON).await.unwrap();
    assert_eq!(of_head(&teacher, sheet), Receipt::AtEdge);
    assert_eq!(teacher.command_receipt(&key).unwrap(), Some(Receipt::AtEdge));

    house.edge.kill9().await;
    teacher.close().await;
    house.edge.start_again().await;
    let teacher = house.device(TEACHER, "phone");
    teacher.wait_until_connected(SOON).await.unwrap();
    teacher.mark_attendance(sheet, &class.students[1], "late").unwrap();
    teacher.wait_until_acknowledged(sheet, SOON).await.unwrap();
    assert_eq!(of_head(&teacher, sheet), Receipt::AtEdge);

    house.origin.start_again().await;
    teacher.wait_until_committed(sheet, SOON).await.unwrap();
    teacher.wait_until_settled(&key, SOON).await.unwrap();
    assert_eq!(teacher.receipt(sheet, first).unwrap(), Some(Receipt::AtOrigin));
    assert_eq!(teacher.command_receipt(&key).unwrap(), Some(Receipt::AtOrigin));

    // Without any network the device still knows.
    teacher.close().await;
    let teacher = house.offline_device(TEACHER, "phone");
    assert!(teacher.committed(sheet).unwrap());
    // An edge that starts again tells a device that comes back, without any news from the origin.
    teacher.close().await;
    house.origin.stop().await;
    house.edge.kill9().await;
    house.edge.start_again().await;
    let assistant = house.device(ASSISTANT, "tablet");
    assistant.find(sheet, SOON).await.unwrap();
    assistant.wait_until_committed(sheet, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_batch_answer_says_what_the_origin_has_committed() {
    let house = House::start().await;
    let class = house.class().await;
    let phone = house.batch_device(TEACHER, "phone");
    let notes = phone.register(Kind::Notes, &class.id).await.unwrap();
    phone.splice_text(notes, "text", 0, 0, "On the bus. ").unwrap();
    house.link.cut();
    phone.sync_batch().await.unwrap();
    assert_eq!(of_head(&phone, notes), Receipt::AtEdge);
    house.link.mend();
    until("the batch answer to name the origin's heads", SOON, async || {
        phone.sync_batch().await.unwrap();
        (of_head(&phone, notes) == Receipt::AtOrigin).then_some(())
    })
    .await;
}

/// The second edge learns from the origin, and tells its devices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_moves_to_another_edge_hears_the_same_there() {
    let house = House::start().await;
    let class = house.class().await;
    let second = house.second_edge().await;
    let teacher = house.device(TEACHER, "phone");
    let notes = teacher.register(Kind::Notes, &class.id).await.unwrap();
    let assistant = house.device_at(&second, ASSISTANT, "tablet");
    assistant.register(Kind::Notes, &class.id).await.unwrap();
    teacher.splice_text(notes, "text", 0, 0, "From the first edge. ").unwrap();
    teacher.wait_until_committed(notes, SOON).await.unwrap();
    assistant.splice_text(notes, "text", 0, 0, "From the second. ").unwrap();
    assistant.wait_until_committed(notes, SOON).await.unwrap();
    in_step(&[&teacher, &assistant], notes).await;
    teacher.wait_until_committed(notes, SOON).await.unwrap();
}
