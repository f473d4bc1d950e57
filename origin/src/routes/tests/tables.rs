//! CSV out and in.

use crate::testing::{Answer, TestOrigin, User, on_both_engines};
use axum::http::{Method, StatusCode};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

async fn import(origin: &TestOrigin, user: &User, path: &str, csv: impl Into<String>) -> Answer {
    let bearer = user.bearer();
    let headers = [("authorization", bearer.as_str()), ("content-type", "text/csv")];
    origin.request(Method::POST, path, &headers, csv.into()).await
}

fn rows(answer: &Answer) -> Vec<csv::StringRecord> {
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8", "{answer:?}");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(answer.body.as_slice());
    reader.records().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn exports_have_a_header_and_every_row_of_the_institute_once() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    // More rows than one part has, and fields that need quotes.
    let added = origin.app.store.write::<_, crate::store::StoreError, _>("northside.example", |tx| {
        for n in 0..2_500 {
            let email = format!("many{n}@northside.example");
            let (user, name) = (format!("many-{n}"), format!("\"Many, {n}\""));
            let role = sync_protocol::token::Role::Student;
            tx.add_user(&crate::store::NewUser { user, email, name, role, password_hash: None }, 0)?;
        }
        Ok(())
    });
    added.await.unwrap();
    let people = rows(&origin.get(&admin, "/admin/v1/export/people").await);
    assert_eq!(people[0].iter().take(4).collect::<Vec<_>>(), ["user", "email", "name", "role"]);
    let mut ids: Vec<&str> = people[1..].iter().map(|row| &row[0]).collect();
    assert!(ids.len() > 2_500);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), people.len() - 1);
    assert!(people.iter().any(|row| &row[2] == "\"Many, 2499\""));
    for table in ["attendance", "grades", "payments"] {
        let exported = origin.get(&admin, &format!("/admin/v1/export/{table}")).await;
        assert!(rows(&exported).len() > 10, "{table}");
        assert!(!String::from_utf8(exported.body).unwrap().contains("riverside"));
    }
    let teacher = origin.user("teacher@northside.example").await;
    let refused = origin.get(&teacher, "/admin/v1/export/people").await;
    assert_eq!(refused.problem(), (403, "forbidden".into()));
}

#[tokio::test]
async fn an_import_reports_each_fault_by_row_and_column_and_writes_all_or_nothing() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    let faulty = "email,name,role,batch\nnew@northside.example,New,student,maths-a\nnobody,N,student,\n\
        x@northside.example,X,janitor,\nadmin@riverside.example,A,admin,\n";
    let answer = import(&origin, &admin, "/admin/v1/import/roster", faulty).await;
    assert_eq!(answer.problem(), (422, "invalid-table".into()));
    let report = answer.json();
    let places: Vec<(&Value, &Value)> =
        report["faults"].as_array().unwrap().iter().map(|fault| (&fault["row"], &fault["column"])).collect();
    assert_eq!(
        places,
        [(&json!(3), &json!("email")), (&json!(4), &json!("role")), (&json!(5), &json!("email")),]
    );
    let sound = "email,name,role,batch\nnew@northside.example,New,student,maths-a\n";
    let counts = json!([{"kind": "users", "new": 1, "there": 0}, {"kind": "batches", "new": 0, "there": 1},
        {"kind": "enrolments", "new": 1, "there": 0}]);
    let dry = import(&origin, &admin, "/admin/v1/import/roster?dry_run=true", sound).await;
    assert_eq!(dry.json(), json!({"dry_run": true, "counts": counts}));
    let done = import(&origin, &admin, "/admin/v1/import/roster", sound).await;
    assert_eq!(done.json(), json!({"dry_run": false, "counts": counts}));
    let again = import(&origin, &admin, "/admin/v1/import/roster", sound).await.json();
    assert_eq!(again["counts"][0], json!({"kind": "users", "new": 0, "there": 1}));
    let results = "email,assignment,score,max\nnew@northside.example,maths-a-homework-3,7,20\n";
    let results = import(&origin, &admin, "/admin/v1/import/results", results).await;
    assert_eq!(results.json()["counts"][0]["new"], 1, "{results:?}");
    let log = origin.get(&admin, "/admin/v1/audit?command=import-roster").await.json();
    assert_eq!(log["items"].as_array().unwrap().len(), 2);
    assert_eq!(log["items"][0]["after"]["counts"], counts);
}

/// A table of which the header arrives and nothing else.
fn endless() -> axum::body::Body {
    let header = futures_util::stream::once(async {
        Ok::<_, std::io::Error>(axum::body::Bytes::from_static(b"email,name,role,batch\n"))
    });
    axum::body::Body::from_stream(header.chain(futures_util::stream::pending()))
}

#[tokio::test]
async fn a_slow_client_holds_up_no_import_of_another_institute() {
    let origin = TestOrigin::start().await;
    let slow = ["admin@northside.example", "admin@riverside.example"];
    let (slow, other) = (origin.user(slow[0]).await, origin.user(slow[1]).await);
    let bearer = slow.bearer();
    let headers = [("authorization", bearer.as_str())];
    let path = "/admin/v1/import/roster";
    let mut hanging = std::pin::pin!(origin.request(Method::POST, path, &headers, endless()));
    // As far as it comes.
    let waited = tokio::time::timeout(std::time::Duration::from_millis(300), hanging.as_mut()).await;
    assert!(waited.is_err(), "{waited:?}");
    let sound = "email,name,role,batch\nnew@riverside.example,New,student,\n";
    let imported = tokio::select! {
        _ = hanging.as_mut() => panic!("an endless table ended"),
        imported = import(&origin, &other, path, sound) => imported,
    };
    assert_eq!(imported.json()["counts"][0]["new"], 1, "{imported:?}");
}

#[tokio::test]
async fn an_import_goes_on_when_the_slow_client_before_it_has_gone() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    let bearer = admin.bearer();
    let headers = [("authorization", bearer.as_str())];
    let path = "/admin/v1/import/roster";
    let hanging = origin.request(Method::POST, path, &headers, endless());
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), hanging).await.is_err());
    let sound = "email,name,role,batch\nnew@northside.example,New,student,\n";
    assert_eq!(import(&origin, &admin, path, sound).await.json()["counts"][0]["new"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_not_older_than_what_its_reader_has_seen() {
    on_both_engines(async |origin| {
        let admin = origin.user("admin@northside.example").await;
        let seen = origin.get(&admin, "/admin/v1/institute").await.header("rollcall-bookmark").to_owned();
        let export = async |bookmark: &str| {
            let headers = [("authorization", admin.bearer()), ("rollcall-bookmark", bookmark.to_owned())];
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            origin.request(Method::GET, "/admin/v1/export/people", &headers, "").await
        };
        let told = export(&seen).await;
        assert_eq!((told.status, told.point()), (StatusCode::OK, crate::testing::point_of(&seen)));
        let point: sync_protocol::bookmark::Bookmark = seen.parse().unwrap();
        let later = sync_protocol::bookmark::Bookmark::new(point.epoch, point.revision + 1);
        let later = origin.app.auth.prove_bookmark("northside.example", later, 0).to_string();
        assert_eq!(export(&later).await.problem(), (503, "origin-behind".into()));
    })
    .await;
}

#[tokio::test]
async fn an_import_is_bounded_and_for_admins() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    let line = format!("x@northside.example,{},student,\n", "X".repeat(240));
    let huge = format!("email,name,role,batch\n{}", line.repeat(24 * 1024 * 1024 / line.len() + 1));
    let refused = import(&origin, &admin, "/admin/v1/import/roster?dry_run=true", huge).await;
    assert_eq!(refused.problem(), (413, "body-too-large".into()));
    let many = format!("email,name,role,batch\n{}", "x@y.example,X,student,\n".repeat(300_001));
    let many = import(&origin, &admin, "/admin/v1/import/roster?dry_run=true", many).await;
    assert_eq!(many.json()["faults"][0]["row"], 300_002, "{many:?}");
    let empty = import(&origin, &admin, "/admin/v1/import/roster", "").await;
    assert_eq!(empty.problem(), (422, "invalid-table".into()));
    let query = import(&origin, &admin, "/admin/v1/import/roster?dry_run=perhaps", "").await;
    assert_eq!(query.problem(), (422, "invalid-field".into()));
    let teacher = origin.user("teacher@northside.example").await;
    let refused = import(&origin, &teacher, "/admin/v1/import/roster", "").await;
    assert_eq!(refused.problem(), (403, "forbidden".into()));
    assert_eq!(origin.get(&admin, "/admin/v1/import/roster").await.status, StatusCode::METHOD_NOT_ALLOWED);
}
