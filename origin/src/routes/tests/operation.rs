//! What admins see of operation: devices, refunds, and the queue with what was set aside.

use super::notifications::until_unread;
use crate::store::{AfterFailure, StoreError};
use crate::testing::{TestOrigin, User, on_both_engines};
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

async fn get(origin: &TestOrigin, user: &User, path: &str) -> Value {
    let answer = origin.get(user, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
    answer.json()
}

/// Has the notifications of a message to the batch fail for good; the revision of its commit.
async fn fail_message(origin: &TestOrigin, teacher: &User, key: &str) -> u64 {
    let post = json!({"command": "post-message", "to": {"batch": "maths-a"}, "text": "between us"});
    let posted = origin.command(teacher, key, post).await;
    let revision = posted.point().split_once('.').unwrap().1.parse().unwrap();
    let failed = origin.app.store.write_aside::<_, StoreError, _>("northside.example", move |tx| {
        tx.fail_work("notifications", revision, "it broke", AfterFailure::SetAside)
    });
    failed.await.unwrap();
    revision
}

/// Drops the first, replays the second and then the rest; the audit log has each.
async fn settle(origin: &TestOrigin, (admin, teacher, foreign): (&User, &User, &User), revisions: &[u64]) {
    let list = "/admin/v1/queues/set-aside";
    let settled = |revision: &str, what: &str| format!("{list}/notifications/{revision}/{what}");
    let [one, two] = [0, 1].map(|n| revisions[n].to_string());
    let none = (404, "not-found".to_owned());
    for (user, path, problem) in [
        (teacher, settled(&one, "drop"), (403, "forbidden".to_owned())),
        (foreign, settled(&one, "drop"), none.clone()),
        (foreign, settled(&one, "replay"), none.clone()),
        (admin, settled("0", "replay"), none.clone()),
        (admin, settled("+1", "replay"), none.clone()),
        (admin, settled("99999999999999999999", "drop"), none.clone()),
        (admin, format!("{list}/nobody/{one}/drop"), none.clone()),
    ] {
        assert_eq!(origin.post(user, &path, json!({})).await.problem(), problem, "{path}");
    }
    let dropped = origin.post(admin, &settled(&one, "drop"), json!({})).await;
    assert_eq!(dropped.status, StatusCode::NO_CONTENT, "{dropped:?}");
    assert_eq!(origin.post(admin, &settled(&one, "drop"), json!({})).await.problem(), none);
    let replayed = origin.post(admin, &settled(&two, "replay"), json!({})).await;
    assert_eq!(replayed.status, StatusCode::NO_CONTENT, "{replayed:?}");
    assert_eq!(origin.post(admin, &settled(&two, "replay"), json!({})).await.problem(), none);
    assert_eq!(
        origin.post(foreign, &format!("{list}/replay"), json!({})).await.json(),
        json!({"replayed": 0})
    );
    assert_eq!(origin.post(admin, &format!("{list}/replay"), json!({})).await.json(), json!({"replayed": 2}));
    let queue = get(origin, admin, "/admin/v1/queues").await["items"][0].clone();
    assert_eq!((&queue["waiting"], &queue["set_aside"]), (&json!(4), &json!(0)));

    let audit = get(origin, admin, "/admin/v1/audit?sort=-entry&limit=3").await;
    let acts = audit["items"].as_array().unwrap().iter();
    let acts: Vec<&str> = acts.map(|entry| entry["command"].as_str().unwrap()).collect();
    assert_eq!(acts, ["replay-work", "replay-work", "drop-work"]);
    let entry = &audit["items"][2];
    assert_eq!(entry["record"], format!("notifications/{one}"));
    assert_eq!((&entry["before"]["fault"], &entry["after"]), (&json!("it broke"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_was_set_aside_is_listed_replayed_and_dropped_by_admins() {
    on_both_engines(async |origin| {
        let admin = origin.user("admin@northside.example").await;
        let teacher = origin.user("teacher@northside.example").await;
        let student = origin.user("student@northside.example").await;
        let foreign = origin.user("admin@riverside.example").await;
        let queues = get(origin, &admin, "/admin/v1/queues").await;
        let empty = json!({"consumer": "notifications", "waiting": 0, "oldest_at": null, "set_aside": 0});
        assert_eq!(queues["items"], json!([empty]));
        let mut revisions = Vec::new();
        for key in ["one", "two", "three", "four"] {
            revisions.push(fail_message(origin, &teacher, key).await);
        }
        let post = json!({"command": "post-message", "to": {"user": student.claims.sub}, "text": "to you"});
        assert_eq!(origin.command(&teacher, "five", post).await.status, StatusCode::OK);
        let queue = get(origin, &admin, "/admin/v1/queues").await["items"][0].clone();
        assert_eq!((&queue["waiting"], &queue["set_aside"]), (&json!(1), &json!(4)));
        assert!(queue["oldest_at"].is_string(), "{queue}");
        let list = "/admin/v1/queues/set-aside";
        let page = get(origin, &admin, &format!("{list}?limit=3")).await;
        let rest =
            get(origin, &admin, &format!("{list}?limit=3&cursor={}", page["next"].as_str().unwrap())).await;
        assert_eq!(
            (page["items"].as_array().unwrap().len(), rest["items"].as_array().unwrap().len()),
            (3, 1)
        );
        assert_eq!(page["items"][0]["revision"], json!(revisions[0]));
        assert_eq!(
            (&page["items"][0]["fault"], &page["items"][0]["failures"]),
            (&json!("it broke"), &json!(1))
        );
        assert!(!page.to_string().contains("between us"), "what people write is not shown");
        assert_eq!(get(origin, &foreign, list).await["items"], json!([]));

        settle(origin, (&admin, &teacher, &foreign), &revisions).await;
        // What was dropped is never done, the rest is.
        let working = tokio::spawn(origin.app.queue.clone().run(origin.app.stopping.clone()));
        until_unread(origin, &student, 4).await;
        assert_eq!(get(origin, &admin, "/admin/v1/queues").await["items"], json!([empty]));
        origin.app.stopping.cancel();
        working.await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_and_refunds_are_listed_for_the_institutes_admins() {
    on_both_engines(async |origin| {
        let admin = origin.user("admin@northside.example").await;
        let student = origin.user("student@northside.example").await;
        let foreign = origin.user("admin@riverside.example").await;
        let headers = [("authorization", student.bearer())];
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = json!({"name": "My phone", "platform": "android"}).to_string();
        let put = origin.request(Method::PUT, "/api/auth/devices/phone", &headers, body).await;
        assert!(put.status.is_success(), "{put:?}");
        let own = format!("/admin/v1/devices?user={}", student.claims.sub);
        let device = get(origin, &admin, &own).await["items"][0].clone();
        assert_eq!((&device["device"], &device["name"]), (&json!("phone"), &json!("My phone")));
        assert_eq!((&device["user_name"], &device["platform"]), (&json!("Sam Student"), &json!("android")));
        assert_eq!(get(origin, &admin, "/admin/v1/devices").await["items"], json!([device]));
        assert_eq!(get(origin, &foreign, "/admin/v1/devices").await["items"], json!([]));

        assert_eq!(get(origin, &admin, "/admin/v1/refunds").await["items"], json!([]));
        for (key, amount, reason) in [("r1", 300, json!("moved away")), ("r2", 200, Value::Null)] {
            let mut refund =
                json!({"command": "refund-payment", "payment": "tuition-student-1", "amount_minor": amount});
            if !reason.is_null() {
                refund["reason"] = reason;
            }
            let done = origin.command(&admin, key, refund).await;
            assert_eq!(done.status, StatusCode::OK, "{done:?}");
        }
        let page = get(origin, &admin, "/admin/v1/refunds?payment=tuition-student-1").await;
        let amounts = page["items"].as_array().unwrap().iter().map(|refund| refund["amount_minor"].as_i64());
        assert_eq!(amounts.collect::<Vec<_>>(), [Some(300), Some(200)], "the oldest first");
        let first = &page["items"][0];
        assert_eq!((&first["reason"], &first["student_name"]), (&json!("moved away"), &json!("Sam Student")));
        assert_eq!(first["refunded_by"], json!(admin.claims.sub));
        let one = format!("/admin/v1/refunds/{}", first["refund"].as_str().unwrap());
        assert_eq!(get(origin, &admin, &one).await, *first);
        assert_eq!(origin.get(&foreign, &one).await.problem(), (404, "not-found".into()));
        assert_eq!(
            get(origin, &admin, "/admin/v1/refunds?from=2100-01-01T00:00:00Z").await["items"],
            json!([])
        );
    })
    .await;
}
