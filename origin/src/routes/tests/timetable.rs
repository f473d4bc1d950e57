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

/// Somebody who stands in for a colleague sees the class of today, whom to expect, and no sheet, which is the batch's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_of_another_batch_is_on_the_dashboard_of_its_teacher_without_the_batchs_documents() {
    on_both_engines(async |origin| {
        let admin = origin.user("admin@northside.example").await;
        let omar = origin.user("omar@northside.example").await;
        let tara = origin.user("teacher@northside.example").await;
        let class = origin.class_today("maths-a").await;
        origin.post(&tara, "/api/documents", json!({"kind": "attendance", "subject": class})).await;
        let today = async |teacher: &User| {
            let view = origin.get(teacher, "/api/teachers/dashboard").await.json();
            view["today"].as_array().unwrap().iter().find(|today| today["class"] == class[..]).cloned()
        };
        assert_eq!(today(&omar).await, None);
        let change = json!({"command": "change-class", "class": class, "teacher": omar.claims.sub});
        done(origin, &admin, change).await;
        let (his, hers) = (today(&omar).await.unwrap(), today(&tara).await.unwrap());
        assert_eq!(his["attendance"], hers["attendance"]);
        let sum: u64 = ["present", "absent", "late", "excused", "unmarked"]
            .iter()
            .map(|mark| his["attendance"][mark].as_u64().unwrap())
            .sum();
        assert_eq!(sum, 21);
        assert!(hers["documents"]["attendance"].is_string(), "{hers}");
        assert_eq!(his["documents"], json!({"attendance": null, "notes": null}));
    })
    .await;
}

/// Ids and begins of classes of a series that are on the timetable.
async fn series(origin: &TestOrigin, admin: &User, series: &str) -> Vec<(String, String)> {
    let list = format!("/admin/v1/classes?series={series}&limit=200&cancelled=false");
    let page = origin.get(admin, &list).await.json();
    let text = |class: &Value, field: &str| class[field].as_str().unwrap().to_owned();
    let classes = page["items"].as_array().unwrap().iter();
    classes.map(|class| (text(class, "class"), text(class, "starts_at"))).collect()
}

fn algebra(teacher: &User) -> Value {
    json!({
        "command": "create-class-series", "series": "algebra", "batch": "maths-a", "title": "Algebra", "room": "Room 9",
        "teacher": teacher.claims.sub, "weekdays": ["saturday", "sunday"], "from": "2031-03-22", "until": "2031-04-06",
        "starts": "09:30", "minutes": 90, "except": ["2031-03-23", "2031-01-01"],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_series_is_made_changed_and_cancelled_from_a_class_on() {
    on_both_engines(async |origin| {
        let working = tokio::spawn(origin.app.queue.clone().run(origin.app.stopping.clone()));
        // In London clocks change on 30 March 2031.
        let admin = origin.user("admin@riverside.example").await;
        let tara = origin.user("teacher@riverside.example").await;
        let made = origin.command(&admin, "series", algebra(&tara)).await;
        assert_eq!(made.status, StatusCode::OK, "{made:?}");
        let classes = series(origin, &admin, "algebra").await;
        let begins: Vec<&str> = classes.iter().map(|(_, at)| at.as_str()).collect();
        assert_eq!(
            begins,
            [
                "2031-03-22T09:30:00+00:00",
                "2031-03-29T09:30:00+00:00",
                "2031-03-30T09:30:00+01:00",
                "2031-04-05T09:30:00+01:00",
                "2031-04-06T09:30:00+01:00",
            ]
        );
        assert_eq!(classes[1].0, "algebra-2031-03-29");
        let outcome = made.json()["outcome"].clone();
        assert_eq!(outcome["classes"].as_array().unwrap().len(), 5);
        assert_eq!((&outcome["first_at"], &outcome["last_at"]), (&json!(begins[0]), &json!(begins[4])));
        // The same key is the same command; another one with the same id is refused, and nothing of it stays.
        assert_eq!(origin.command(&admin, "series", algebra(&tara)).await.json()["outcome"], outcome);
        let mut again = algebra(&tara);
        again["until"] = json!("2031-05-30");
        assert_eq!(origin.command(&admin, "other", again).await.problem(), (409, "already-exists".into()));
        assert_eq!(series(origin, &admin, "algebra").await.len(), 5);
        let entry =
            origin.get(&admin, "/admin/v1/audit?command=create-class-series&sort=-entry").await.json();
        let entry =
            entry["items"].as_array().unwrap().iter().find(|entry| entry["refusal"].is_null()).unwrap();
        assert_eq!((&entry["record"], &entry["before"]), (&json!("algebra"), &Value::Null));
        assert_eq!((&entry["after"]["classes"], &entry["after"]["first_at"]), (&json!(5), &json!(begins[0])));

        change_and_cancel(origin, &admin).await;
        origin.app.stopping.cancel();
        working.await.unwrap();
    })
    .await;
}

/// Changes the series from the second class on, and cancels it from the fourth on.
async fn change_and_cancel(origin: &TestOrigin, admin: &User) {
    let tara = origin.user("teacher@riverside.example").await;
    let omar = origin.user("omar@riverside.example").await;
    let student = origin.user("student@riverside.example").await;
    // From the second on: another time, room and teacher; each stays on its day.
    let change = json!({"command": "change-class-series", "class": "algebra-2031-03-29", "starts": "17:00",
        "room": "Lab", "teacher": omar.claims.sub});
    assert_eq!(done(origin, &tara, change).await["classes"].as_array().unwrap().len(), 4);
    let begins: Vec<String> = series(origin, admin, "algebra").await.into_iter().map(|(_, at)| at).collect();
    assert_eq!(
        begins,
        [
            "2031-03-22T09:30:00+00:00",
            "2031-03-29T17:00:00+00:00",
            "2031-03-30T17:00:00+01:00",
            "2031-04-05T17:00:00+01:00",
            "2031-04-06T17:00:00+01:00",
        ]
    );
    let class = origin.get(admin, "/admin/v1/classes/algebra-2031-03-30").await.json();
    assert_eq!((&class["ends_at"], &class["room"]), (&json!("2031-03-30T18:30:00+01:00"), &json!("Lab")));
    assert_eq!(titles(origin, &omar, "2031-03-30").await, ["Algebra"]);
    let told = until_unread(origin, &student, 1).await["notifications"][0].clone();
    assert_eq!((&told["kind"], &told["about"]["classes"]), (&json!("class-series-rescheduled"), &json!(4)));
    until_unread(origin, &omar, 1).await;

    // One of them alone, then those from the fourth on.
    done(origin, &omar, json!({"command": "cancel-class", "class": "algebra-2031-03-30"})).await;
    let cancel = json!({"command": "cancel-class-series", "class": "algebra-2031-04-05"});
    assert_eq!(origin.command(&tara, "not-hers", cancel.clone()).await.problem(), (403, "forbidden".into()));
    assert_eq!(
        done(origin, &omar, cancel).await["classes"],
        json!(["algebra-2031-04-05", "algebra-2031-04-06"])
    );
    let left: Vec<String> =
        series(origin, admin, "algebra").await.into_iter().map(|(class, _)| class).collect();
    assert_eq!(left, ["algebra-2031-03-22", "algebra-2031-03-29"]);
    let told = until_unread(origin, &student, 3).await["notifications"][0].clone();
    assert_eq!((&told["kind"], &told["about"]["classes"]), (&json!("class-series-cancelled"), &json!(2)));
}

#[tokio::test]
async fn what_is_no_series_is_refused_by_its_field() {
    let origin = TestOrigin::start().await;
    let admin = origin.user("admin@northside.example").await;
    let tara = origin.user("teacher@northside.example").await;
    for (change, status, field) in [
        (json!({"batch": "nowhere"}), 404, "batch"),
        (json!({"teacher": admin.claims.sub}), 404, "teacher"),
        (json!({"until": "2031-03-21"}), 422, "until"),
        (json!({"until": "2041-03-21"}), 422, "until"),
        (json!({"until": "2031-02-30"}), 422, "until"),
        (json!({"except": ["2031-02-30"]}), 422, "except"),
        (json!({"weekdays": ["monday"], "until": "2031-03-23"}), 422, "weekdays"),
        (json!({"weekdays": ["someday"]}), 422, "weekdays"),
        (json!({"starts": "25:00"}), 422, "starts"),
    ] {
        let mut command = algebra(&tara);
        for (name, value) in change.as_object().unwrap() {
            command[name] = value.clone();
        }
        let refused = origin.command(&admin, &uuid::Uuid::new_v4().to_string(), command).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["field"]), (status, &json!(field)), "{change}");
    }
    let student = origin.user("student@northside.example").await;
    assert_eq!(origin.command(&student, "s", algebra(&tara)).await.problem(), (403, "forbidden".into()));
    let class = origin.class_today("maths-a").await;
    for command in ["change-class-series", "cancel-class-series"] {
        let mut order = json!({"command": command, "class": class});
        if command == "change-class-series" {
            order["room"] = json!("Lab");
        }
        let refused = origin.command(&admin, command, order.clone()).await;
        assert_eq!(
            (refused.problem(), &refused.json()["field"]),
            ((422, "invalid-field".into()), &json!("class"))
        );
        order["class"] = json!("no-class");
        let refused = origin.command(&admin, &format!("{command}-2"), order).await;
        assert_eq!(refused.problem(), (404, "not-found".into()));
    }
    // The admin API has the same.
    let mut body = algebra(&tara);
    body.as_object_mut().unwrap().remove("command");
    assert_eq!(origin.post(&admin, "/admin/v1/class-series", body).await.status, StatusCode::CREATED);
    let cancelled =
        origin.post(&admin, "/admin/v1/classes/algebra-2031-04-05/following/cancel", json!({})).await;
    assert_eq!(cancelled.json()["outcome"]["classes"].as_array().unwrap().len(), 2, "{cancelled:?}");
    assert_eq!(series(&origin, &admin, "algebra").await.len(), 3);
}
