//! The timetable: whose schedule a class is on.

use super::notifications::until_unread;
use crate::testing::{TestOrigin, User, on_both_engines};
use axum::http::StatusCode;
use serde_json::{Value, json};

/// Applies a command and gives its outcome.
async fn done(origin: &TestOrigin, by: &User, command: Value) -> Value {
    let key = uuid::Uuid::new_v4().to_string();
    let answer = origin.command(by, &key, command).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["outcome"].clone()
}

/// The titles on a teacher's schedule of a day.
async fn titles(origin: &TestOrigin, teacher: &User, day: &str) -> Vec<String> {
    let view = origin.get(teacher, &format!("/api/teachers/schedule?date={day}")).await.json();
    let classes = view["classes"].as_array().unwrap().iter();
    classes.map(|class| class["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_is_on_the_schedule_of_its_teacher_whose_batch_it_is_not() {
    on_both_engines(async |origin| {
        let admin = origin.user("admin@northside.example").await;
        let omar = origin.user("omar@northside.example").await;
        let nadia = origin.user("nadia@northside.example").await;
        let tara = origin.user("teacher@northside.example").await;
        let working = tokio::spawn(origin.app.queue.clone().run(origin.app.stopping.clone()));
        let day = "2031-06-03";
        let create = |class: &str, teacher: &User, hour: u32| {
            json!({"command": "create-class", "class": class, "batch": "maths-a", "title": class, "room": "Room 1",
                "teacher": teacher.claims.sub, "starts_at": format!("{day}T{hour:02}:00:00+05:30"),
                "ends_at": format!("{day}T{hour:02}:45:00+05:30")})
        };
        assert_eq!(titles(origin, &omar, day).await, Vec::<String>::new());
        done(origin, &admin, create("late", &omar, 11)).await;
        done(origin, &admin, create("early", &tara, 9)).await;
        assert_eq!(titles(origin, &omar, day).await, ["late"], "nothing that was kept hides it");
        assert_eq!(titles(origin, &tara, day).await, ["early", "late"], "hers are each there once, in order");
        // Whom to expect is for the teacher of the class to know, and for no other of another batch.
        let roster = "/api/classes/late/roster";
        assert_eq!(origin.get(&omar, roster).await.json()["students"].as_array().unwrap().len(), 21);
        assert_eq!(origin.get(&nadia, roster).await.problem(), (403, "forbidden".into()));

        let (starts_at, ends_at) = (format!("{day}T12:00:00+05:30"), format!("{day}T12:45:00+05:30"));
        let moved = json!({"command": "reschedule-class", "class": "late", "starts_at": starts_at, "ends_at": ends_at});
        done(origin, &tara, moved).await;
        let view = origin.get(&omar, &format!("/api/teachers/schedule?date={day}")).await.json();
        assert_eq!(view["classes"][0]["starts_at"], starts_at);
        let told = until_unread(origin, &omar, 1).await;
        assert_eq!(told["notifications"][0]["kind"], "class-rescheduled");
        done(origin, &admin, json!({"command": "change-class", "class": "late", "teacher": nadia.claims.sub})).await;
        assert_eq!(titles(origin, &omar, day).await, Vec::<String>::new());
        assert_eq!(origin.get(&omar, roster).await.problem(), (403, "forbidden".into()));
        assert_eq!(titles(origin, &nadia, day).await, ["late"]);
        done(origin, &admin, json!({"command": "cancel-class", "class": "late"})).await;
        assert_eq!(titles(origin, &nadia, day).await, Vec::<String>::new());
        assert_eq!(until_unread(origin, &nadia, 1).await["notifications"][0]["kind"], "class-cancelled");
        origin.app.stopping.cancel();
        working.await.unwrap();
    })
    .await;
}
