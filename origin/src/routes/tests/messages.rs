//! Messages for admins: lists, reading one, taking one back, and the trace that each of them leaves.

use super::notifications::until_unread;
use crate::testing::{TestOrigin, User, on_both_engines};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

async fn items(origin: &TestOrigin, admin: &User, query: &str) -> Vec<Value> {
    let answer = origin.get(admin, &format!("/admin/v1/messages{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{query}: {answer:?}");
    answer.json()["items"].as_array().unwrap().clone()
}

async fn retract(origin: &TestOrigin, user: &User, message: &str, body: Value) -> (u16, Value) {
    let bearer = user.bearer();
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let path = format!("/admin/v1/messages/{message}/retract");
    let answer = origin.request(Method::POST, &path, &headers, body.to_string()).await;
    (answer.status.as_u16(), answer.json())
}

async fn audit(origin: &TestOrigin, admin: &User, command: &str) -> Vec<Value> {
    let log = origin.get(admin, &format!("/admin/v1/audit?command={command}")).await.json();
    log["items"].as_array().unwrap().clone()
}

async fn are_listed_and_read_with_a_trace(origin: &TestOrigin) {
    let admin = origin.user("admin@northside.example").await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let all = items(origin, &admin, "").await;
    assert_eq!(all.len(), 5);
    assert!(
        all.iter().all(|message| message.get("text").is_none()),
        "a list says nothing of what is written"
    );
    let by_teacher = items(origin, &admin, &format!("?author={}", teacher.claims.sub)).await;
    assert_eq!(by_teacher.len(), 3);
    let to_student = items(origin, &admin, &format!("?recipient={}", student.claims.sub)).await;
    assert_eq!(to_student.iter().map(|m| &m["message"]).collect::<Vec<_>>(), ["welcome"]);
    assert_eq!(items(origin, &admin, "?batch=maths-a").await.len(), 2);
    // Newest first, one at a time, by the cursors.
    let (mut paged, mut next) = (Vec::new(), String::new());
    loop {
        let page =
            origin.get(&admin, &format!("/admin/v1/messages?sort=-posted_at&limit=2{next}")).await.json();
        paged.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next"].as_str() else { break };
        next = format!("&cursor={cursor}");
    }
    paged.reverse();
    assert_eq!(paged, all);
    let middle = all[2]["posted_at"].as_str().unwrap().replace('+', "%2B");
    assert_eq!(items(origin, &admin, &format!("?until={middle}")).await, all[..2]);
    assert_eq!(items(origin, &admin, &format!("?from={middle}")).await, all[2..]);
    for wrong in ["limit=201", "limit=0", "text=x", "retracted=maybe", "from=yesterday"] {
        let refused = origin.get(&admin, &format!("/admin/v1/messages?{wrong}")).await;
        assert_eq!(refused.problem(), (422, "invalid-field".into()), "{wrong}");
    }

    let read = origin.get(&admin, "/admin/v1/messages/welcome").await.json();
    assert!(read["text"].as_str().unwrap().starts_with("Welcome"), "{read}");
    assert_eq!(origin.get(&admin, "/admin/v1/messages/none").await.problem(), (404, "not-found".into()));
    let looked = audit(origin, &admin, "read-message").await;
    assert_eq!(looked.len(), 1, "{looked:?}");
    assert_eq!((&looked[0]["record"], &looked[0]["user"]), (&json!("welcome"), &json!(admin.claims.sub)));
    let lists = audit(origin, &admin, "list-messages").await;
    assert_eq!(lists[1]["after"], json!({"query": {"author": teacher.claims.sub}, "messages": 3}));
    assert!(!json!([looked, lists]).to_string().contains("Welcome"), "the trace does not repeat it");
    for user in [&teacher, &student] {
        let refused = origin.get(user, "/admin/v1/messages/welcome").await;
        assert_eq!(refused.problem(), (403, "forbidden".into()));
    }
}

#[tokio::test]
async fn admins_list_and_read_messages_and_the_audit_log_says_who_did() {
    on_both_engines(are_listed_and_read_with_a_trace).await;
}

async fn go_from_their_readers(origin: &TestOrigin) {
    let admin = origin.user("admin@northside.example").await;
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let secret = "A secret that went to everybody";
    let post = json!({"command": "post-message", "to": {"batch": "maths-a"}, "text": secret});
    let posted = origin.command(&teacher, "post", post).await.json();
    let message = posted["outcome"]["message"].as_str().unwrap();
    let working = tokio::spawn(origin.app.queue.clone().run(origin.app.stopping.clone()));
    until_unread(origin, &student, 1).await;
    let dashboard = async || origin.get(&student, "/api/students/dashboard").await.json();
    let notified = async || origin.get(&student, "/api/notifications").await.json();
    assert_eq!(dashboard().await["unread_messages"], 3);
    assert!(dashboard().await.to_string().contains(secret) && notified().await.to_string().contains(secret));
    let logged = audit(origin, &admin, "post-message").await;
    assert!(!json!(logged).to_string().contains(secret), "the audit log is for all admins, and for good");

    let stranger = origin.user("admin@riverside.example").await;
    let path = format!("/admin/v1/messages/{message}");
    assert_eq!(origin.get(&stranger, &path).await.problem(), (404, "not-found".into()));
    assert_eq!(retract(origin, &stranger, message, json!({"reason": "Mine"})).await.0, 404);

    let reason = json!({"reason": "It was not for everybody"});
    assert_eq!(retract(origin, &teacher, message, reason.clone()).await.0, 403);
    assert_eq!(retract(origin, &admin, "none", reason.clone()).await.0, 404);
    for wrong in [json!({}), json!({"reason": " "}), json!({"reason": null}), json!({"reason": "a\nb"})] {
        assert_eq!(retract(origin, &admin, message, wrong.clone()).await.0, 422, "{wrong}");
    }
    let (status, done) = retract(origin, &admin, message, reason.clone()).await;
    assert_eq!((status, &done["outcome"]["retracted"]), (200, &json!(true)), "{done}");
    let (_, again) = retract(origin, &admin, message, json!({"reason": "Another"})).await;
    assert_eq!(again["outcome"]["retracted"], false, "once");

    let seen = dashboard().await;
    assert_eq!(seen["unread_messages"], 2);
    let shown =
        seen["messages"]["recent"].as_array().unwrap().iter().find(|m| m["message"] == message).unwrap();
    assert_eq!((&shown["text"], &shown["retracted"]), (&json!(""), &json!(true)));
    assert!(!seen.to_string().contains(secret) && !notified().await.to_string().contains(secret));
    assert_eq!(notified().await["notifications"][0]["about"]["retracted"], true);
    let of_all = items(origin, &admin, "?retracted=true").await;
    assert_eq!(of_all.iter().map(|m| m["message"].as_str().unwrap()).collect::<Vec<_>>(), [message]);
    assert_eq!(items(origin, &admin, "?retracted=false").await.len(), 5);
    let read = origin.get(&admin, &format!("/admin/v1/messages/{message}")).await.json();
    assert_eq!((&read["text"], &read["reason"]), (&json!(secret), &reason["reason"]));
    assert_eq!(read["retracted_by"], admin.claims.sub.as_str());
    let trail = audit(origin, &admin, "retract-message").await;
    assert_eq!(trail[0]["refusal"], "not-found");
    let entry = trail.iter().find(|entry| entry["after"]["retracted"] == true).unwrap();
    assert_eq!(
        (&entry["before"]["retracted"], &entry["after"]["reason"]),
        (&json!(false), &reason["reason"])
    );
    assert!(!json!(trail).to_string().contains(secret));
    origin.app.stopping.cancel();
    working.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retracted_message_is_read_by_nobody_but_admins() {
    on_both_engines(go_from_their_readers).await;
}

/// A message as an edge forwards it that took it some time ago.
async fn forward(origin: &TestOrigin, author: &User, key: &str, accepted_at: i64) {
    let headers =
        [("authorization", format!("Bearer {}", crate::testing::SECRET)), ("rollcall-edge", "edge-1".into())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let command = json!({"command": "post-message", "to": {"batch": "maths-a"}, "text": "From the bus"});
    let body = json!({"identity": author.claims, "key": key, "accepted_at": accepted_at, "command": command});
    let answer = origin.request(Method::POST, "/edge/v1/commands", &headers, body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
}

async fn are_marked_read(origin: &TestOrigin) {
    let teacher = origin.user("teacher@northside.example").await;
    let student = origin.user("student@northside.example").await;
    let seen = async |user: &User, path: &str| origin.get(user, path).await.json()["messages"].clone();
    let student_sees = async || seen(&student, "/api/students/dashboard").await;
    let before = student_sees().await;
    assert_eq!(before["unread"], 2);
    let mark = |until: &Value| json!({"command": "mark-messages-read", "until": until});
    let marked = origin.command(&student, "m1", mark(&before["until"])).await.json();
    assert_eq!(marked["outcome"]["marked"], true);
    let after = student_sees().await;
    assert_eq!((&after["unread"], &after["until"]), (&json!(0), &Value::Null));
    assert_eq!(after["recent"], before["recent"], "they are there still");
    let again = origin.command(&student, "m2", mark(&before["until"])).await.json();
    assert_eq!(again["outcome"]["marked"], false);

    // Written a week ago, before all that the student has read, and brought by an edge now.
    forward(origin, &teacher, "late", crate::clock::unix_ms() - 7 * 24 * 60 * 60 * 1000).await;
    let late = student_sees().await;
    assert_eq!(late["unread"], 1);
    let post = json!({"command": "post-message", "to": {"batch": "maths-a"}, "text": "Bring a ruler."});
    assert_eq!(origin.command(&teacher, "p1", post).await.status, StatusCode::OK);
    // What came after the dashboard that the student looked at stays unread.
    origin.command(&student, "m3", mark(&late["until"])).await;
    let last = student_sees().await;
    assert_eq!(last["unread"], 1);
    assert_eq!(
        seen(&teacher, "/api/teachers/dashboard").await["unread"],
        1,
        "the assistant's, and none of one's own"
    );
    // Nobody marks what is to come.
    origin.command(&student, "m4", mark(&json!(i64::MAX))).await;
    forward(origin, &teacher, "later", crate::clock::unix_ms()).await;
    assert_eq!(student_sees().await["unread"], 1);
}

#[tokio::test]
async fn messages_are_marked_read_up_to_what_was_seen() {
    on_both_engines(are_marked_read).await;
}
