//! The line between edge and origin is cut, mended and shared by two edges.

use device::{Device, DeviceConfig, Kind};
use integration_tests::{House, PASSWORD, SOON, in_step, until};

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_work_together_at_an_edge_whose_line_is_cut_and_the_origin_follows_when_it_is_mended() {
    let house = House::start().await;
    let class = house.class().await;
    let (teacher, assistant) = (house.device(TEACHER, "phone"), house.device(ASSISTANT, "tablet"));
    let sheet = teacher.register(Kind::Attendance, &class.id).await.unwrap();
    assistant.register(Kind::Attendance, &class.id).await.unwrap();
    in_step(&[&teacher, &assistant], sheet).await;
    let at_origin = house.sign_in(TEACHER).await.at(house.origin.url());
    for (round, student) in class.students.iter().take(3).enumerate() {
        house.link.cut();
        teacher.mark_attendance(sheet, student, "present").unwrap();
        in_step(&[&teacher, &assistant], sheet).await;
        assert_eq!(assistant.marks(sheet).unwrap()[student], "present");
        house.link.mend();
        until("the mark to be a row at the origin", SOON, async || {
            let dashboard = at_origin.get("/api/teachers/dashboard").await.ok();
            (dashboard["today"][0]["attendance"]["present"] == round + 1).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_at_one_edge_reaches_a_device_at_another() {
    let house = House::start().await;
    let class = house.class().await;
    let other = house.second_edge().await;
    let teacher = house.device(TEACHER, "phone");
    let folder = tempfile::tempdir().unwrap();
    let config = DeviceConfig::new(other.url(), ASSISTANT, PASSWORD, "tablet");
    let assistant = Device::open(&folder.path().join("device.db"), config).unwrap();
    let notes = teacher.register(Kind::Notes, &class.id).await.unwrap();
    assistant.register(Kind::Notes, &class.id).await.unwrap();
    teacher.splice_text(notes, "text", 0, 0, "From the north. ").unwrap();
    until("the edit to arrive at the other edge", SOON, async || {
        (assistant.text(notes, "text").unwrap() == "From the north. ").then_some(())
    })
    .await;
    assistant.splice_text(notes, "text", 16, 0, "And from the south.").unwrap();
    until("the answer to come back", SOON, async || {
        (teacher.text(notes, "text").unwrap() == "From the north. And from the south.").then_some(())
    })
    .await;
    in_step(&[&teacher, &assistant], notes).await;
}
