//! The components in a host that knows nothing of Rollcall: they verify tokens themselves, sync over HTTP, cache views for a
//! few seconds, and deliver what waits when they are asked.

use automerge::transaction::Transactable as _;
use device::{Device, DeviceConfig, Kind};
use integration_tests::{Edge, House, PASSWORD, Person, SOON, until};
use sync_protocol::token::IDENTITY_HEADER;

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_sync_by_batch_and_views_are_cached() {
    let house = House::start().await;
    let class = house.class().await;
    let folder = tempfile::tempdir().unwrap();
    let plain = Edge::start_without_our_tables(folder.path(), house.origin.url()).await;
    let device = |email, name: &str| {
        let config = DeviceConfig::new(plain.url(), email, PASSWORD, name).batch_only();
        Device::open(&folder.path().join(format!("{name}.db")), config).unwrap()
    };
    let (teacher, assistant) = (device(TEACHER, "phone"), device(ASSISTANT, "tablet"));
    let sheet = teacher.register(Kind::Attendance, &class.id).await.unwrap();
    assert_eq!(assistant.register(Kind::Attendance, &class.id).await.unwrap(), sheet);
    teacher.mark_attendance(sheet, &class.students[0], "late").unwrap();
    let diary = teacher.create_private(|tx| tx.put(automerge::ROOT, "diary", "mine")).unwrap();
    let report = teacher.sync_batch().await.unwrap();
    assert!(report.requests <= 3 && report.in_step.contains(&sheet), "{report:?}");
    assert!(teacher.acknowledged(diary).unwrap());
    assistant.sync_batch().await.unwrap();
    assert_eq!(assistant.marks(sheet).unwrap()[&class.students[0]], "late");

    until("the view to come from the cache", SOON, async || {
        let view = teacher.get("/api/teachers/dashboard").await.unwrap();
        assert_eq!(view.body["teacher"]["email"], TEACHER);
        view.is_hit().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_identity_header_is_not_believed() {
    let house = House::start().await;
    let folder = tempfile::tempdir().unwrap();
    let plain = Edge::start_without_our_tables(folder.path(), house.origin.url()).await;
    let teacher = Person::sign_in(plain.url(), TEACHER, "browser").await;
    let claims = r#"{"iss":"rollcall","aud":"rollcall","sub":"x","inst":"northside.example","role":"admin","name":"x","dev":"x","iat":0,"exp":9999999999,"jti":"x"}"#;
    let stranger = Person::stranger(plain.url());
    let forged =
        stranger.request("GET".parse().unwrap(), "/api/admin/dashboard").header(IDENTITY_HEADER, claims);
    let answer = stranger.send(forged).await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    let forged =
        teacher.request("GET".parse().unwrap(), "/api/admin/dashboard").header(IDENTITY_HEADER, claims);
    let answer = teacher.send(forged).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
}
