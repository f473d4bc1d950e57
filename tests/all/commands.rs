//! Commands: applied once, in order, with and without the origin.

use device::{Command, CommandState, Priority};
use integration_tests::{Answer, House, Person, SOON, until};
use serde_json::{Value, json};

const TEACHER: &str = "teacher@northside.example";
const STUDENT: &str = "student@northside.example";
const ADMIN: &str = "admin@northside.example";

/// Work of the sample student that waits for a grade of `teacher`.
struct Work {
    assignment: String,
    student: String,
    batch: String,
}

impl Work {
    async fn of(house: &House) -> Self {
        let class = house.class().await;
        let student = house.sign_in(STUDENT).await;
        let dashboard = student.get("/api/students/dashboard").await.ok();
        let submitted = dashboard["assignments"]["submitted"].as_array().unwrap();
        let work = submitted.iter().find(|work| work["batch"] == *class.batch).unwrap();
        Self {
            assignment: work["assignment"].as_str().unwrap().to_owned(),
            student: dashboard["student"]["id"].as_str().unwrap().to_owned(),
            batch: class.batch,
        }
    }

    fn grade(&self, score: f64) -> Value {
        json!({"command": "grade-submission", "assignment": self.assignment, "student": self.student, "score": score})
    }

    /// All grades of this work, as the student sees them at the origin.
    async fn grades(&self, house: &House) -> Vec<f64> {
        let student = house.sign_in(STUDENT).await.at(house.origin.url());
        let dashboard = student.get("/api/students/dashboard").await.ok();
        let graded = dashboard["assignments"]["graded"].as_array().unwrap();
        let of_this = graded.iter().filter(|grade| grade["assignment"] == *self.assignment);
        of_this.map(|grade| grade["score"].as_f64().unwrap()).collect()
    }
}

async fn receipt(person: &Person, key: &str) -> Value {
    person.get(&format!("/commands/{key}")).await.ok()
}

async fn delivered(person: &Person, key: &str) -> Value {
    until("the command to be settled", SOON, async || {
        let receipt = receipt(person, key).await;
        (receipt["status"] != "pending").then_some(receipt)
    })
    .await
}

#[tokio::test]
async fn with_the_origin_up_a_command_is_answered_with_its_outcome_and_bookmark() {
    let house = House::start().await;
    let work = Work::of(&house).await;
    let teacher = house.sign_in(TEACHER).await;
    let answer = teacher.commands("k1", &work.grade(13.0)).await;
    let body = answer.ok();
    assert_eq!(body["outcome"]["score"], 13.0);
    assert_eq!(answer.header("rollcall-bookmark"), body["bookmark"].as_str());
    assert_eq!(work.grades(&house).await, [13.0]);
    // A read that carries the bookmark shows the write.
    let student = house.sign_in(STUDENT).await;
    let request = student
        .request("GET".parse().unwrap(), "/api/students/dashboard")
        .header("rollcall-bookmark", answer.header("rollcall-bookmark").unwrap());
    let graded = student.send(request).await.ok()["assignments"]["graded"].clone();
    assert!(graded.as_array().unwrap().iter().any(|grade| grade["score"] == 13.0), "{graded}");
    assert_eq!(receipt(&teacher, "k1").await["status"], "delivered");
}

#[tokio::test]
async fn every_command_has_its_effect() {
    let house = House::start().await;
    let work = Work::of(&house).await;
    let (admin, teacher, student) =
        (house.sign_in(ADMIN).await, house.sign_in(TEACHER).await, house.sign_in(STUDENT).await);
    let dashboard = student.get("/api/students/dashboard").await.ok();
    let open = dashboard["assignments"]["open"][0]["assignment"].as_str().unwrap();
    let class = house.class().await.id;
    let commands = [
        (&teacher, work.grade(11.5)),
        (
            &admin,
            json!({"command": "record-payment", "invoice": "library-student", "amount_minor": 100, "method": "cash"}),
        ),
        (
            &teacher,
            json!({"command": "post-message", "to": {"batch": work.batch}, "text": "See you at nine."}),
        ),
        (&student, json!({"command": "submit-assignment", "assignment": open, "text": "My answers."})),
        (&admin, json!({"command": "enroll-student", "student": work.student, "batch": "chemistry-a"})),
        (
            &teacher,
            json!({
                "command": "reschedule-class", "class": class, "room": "Hall",
                "starts_at": "2026-11-30T10:00:00+05:30", "ends_at": "2026-11-30T11:00:00+05:30",
            }),
        ),
    ];
    for (number, (person, command)) in commands.iter().enumerate() {
        let body = person.commands(&format!("every-{number}"), command).await.ok();
        assert_eq!(body["outcome"]["command"], command["command"], "{body}");
    }
}

#[tokio::test]
async fn without_the_origin_a_command_is_kept_over_a_killed_edge_and_delivered_once() {
    let mut house = House::start().await;
    let work = Work::of(&house).await;
    let teacher = house.sign_in(TEACHER).await;
    house.origin.stop().await;
    let accepted = teacher.commands("kept", &work.grade(9.0)).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    assert_eq!(accepted.json()["status"], "pending");
    assert_eq!(receipt(&teacher, "kept").await["status"], "pending");
    house.edge.kill9().await;
    house.edge.start_again().await;
    // Sent once more, as by a device that never saw the answer.
    let again = teacher.commands("kept", &work.grade(9.0)).await;
    assert_eq!(again.status, 202, "{}", again.text());
    house.origin.start_again().await;
    let receipt = delivered(&teacher, "kept").await;
    assert_eq!(receipt["status"], "delivered");
    assert_eq!(receipt["outcome"]["score"], 9.0);
    assert_eq!(work.grades(&house).await, [9.0]);
}

/// Nobody asks for the receipts: the edge delivers when the link is back.
#[tokio::test]
async fn commands_of_a_device_arrive_in_the_order_in_which_they_were_given() {
    let mut house = House::start().await;
    let work = Work::of(&house).await;
    let teacher = house.sign_in(TEACHER).await;
    house.origin.stop().await;
    for score in 1..=5 {
        let answer = teacher.commands(&format!("order-{score}"), &work.grade(f64::from(score))).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    house.origin.start_again().await;
    until("the last grade to stand", SOON, async || (work.grades(&house).await == [5.0]).then_some(())).await;
    let mut revisions = Vec::new();
    for score in 1..=5 {
        let receipt = delivered(&teacher, &format!("order-{score}")).await;
        let bookmark = receipt["bookmark"].as_str().unwrap_or_else(|| panic!("{receipt}")).to_owned();
        revisions.push(bookmark.split('.').nth(1).unwrap().parse::<u64>().unwrap());
    }
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
}

#[tokio::test]
async fn a_command_that_is_refused_later_says_why_and_does_not_hold_up_the_next() {
    let mut house = House::start().await;
    let work = Work::of(&house).await;
    let teacher = house.sign_in(TEACHER).await;
    house.origin.stop().await;
    let mut nobody = work.grade(3.0);
    nobody["student"] = "nobody".into();
    assert_eq!(teacher.commands("refused", &nobody).await.status, 202);
    assert_eq!(teacher.commands("good", &work.grade(4.0)).await.status, 202);
    house.origin.start_again().await;
    assert_eq!(delivered(&teacher, "good").await["status"], "delivered");
    let refused = delivered(&teacher, "refused").await;
    assert_eq!(refused["status"], "refused");
    assert_eq!(refused["outcome"]["code"], "not-found", "{refused}");
    assert_eq!(work.grades(&house).await, [4.0]);
}

async fn unread(house: &House) -> u64 {
    let student = house.sign_in(STUDENT).await.at(house.origin.url());
    student.get("/api/students/dashboard").await.ok()["unread_messages"].as_u64().unwrap()
}

fn message(student: &str, text: &str) -> Value {
    json!({"command": "post-message", "to": {"user": student}, "text": text})
}

#[tokio::test]
async fn the_same_key_has_one_effect_and_belongs_to_one_command() {
    let house = House::start().await;
    let teacher = house.sign_in(TEACHER).await;
    let sample = house.sign_in(STUDENT).await.claims()["sub"].as_str().unwrap().to_owned();
    let before = unread(&house).await;
    let first = teacher.commands("same", &message(&sample, "Well done.")).await;
    let second = teacher.commands("same", &message(&sample, "Well done.")).await;
    assert_eq!(first.ok(), second.ok());
    assert_eq!(unread(&house).await, before + 1);
    let other = teacher.commands("same", &message(&sample, "Something else.")).await;
    assert_eq!(other.problem(422), "idempotency-key-reused");
    let by_another = house.sign_in(ADMIN).await.commands("same", &message(&sample, "Well done.")).await;
    assert_eq!(by_another.problem(422), "idempotency-key-reused");
    assert_eq!(unread(&house).await, before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_comes_many_times_at_once_has_one_effect() {
    let house = House::start().await;
    let teacher = house.sign_in(TEACHER).await;
    let sample = house.sign_in(STUDENT).await.claims()["sub"].as_str().unwrap().to_owned();
    let before = unread(&house).await;
    let command = message(&sample, "All at once.");
    let send = || teacher.commands("at-once", &command);
    let answers: [Answer; 6] = tokio::join!(send(), send(), send(), send(), send(), send()).into();
    for answer in &answers {
        match answer.status {
            200 => assert_eq!(answer.json()["outcome"]["command"], "post-message"),
            202 => assert_eq!(answer.json()["status"], "pending"),
            _ => assert_eq!(answer.problem(409), "idempotency-in-flight"),
        }
    }
    assert_eq!(delivered(&teacher, "at-once").await["status"], "delivered");
    assert_eq!(unread(&house).await, before + 1);
}

#[tokio::test]
async fn a_receipt_is_shown_to_the_device_that_gave_the_command_alone() {
    let mut house = House::start().await;
    let work = Work::of(&house).await;
    let phone = house.sign_in_on(TEACHER, "phone").await;
    let laptop = house.sign_in_on(TEACHER, "laptop").await;
    let admin = house.sign_in(ADMIN).await;
    house.origin.stop().await;
    assert_eq!(phone.commands("mine", &work.grade(2.0)).await.status, 202);
    assert_eq!(receipt(&phone, "mine").await["status"], "pending");
    for other in [&laptop, &admin] {
        assert_eq!(other.get("/commands/mine").await.problem(404), "not-found");
    }
    house.origin.start_again().await;
    assert_eq!(delivered(&phone, "mine").await["status"], "delivered");
    assert_eq!(laptop.get("/commands/mine").await.problem(404), "not-found");
}

#[tokio::test]
async fn who_may_not_give_a_command_is_told() {
    let house = House::start().await;
    let work = Work::of(&house).await;
    let student = house.sign_in(STUDENT).await;
    assert_eq!(student.commands("cheat", &work.grade(20.0)).await.problem(403), "forbidden");
    let elsewhere = house.sign_in("teacher@riverside.example").await;
    let answer = elsewhere.commands("cheat", &work.grade(20.0)).await;
    assert!(matches!(answer.status, 403 | 404), "{}", answer.text());
    assert_eq!(work.grades(&house).await, Vec::<f64>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_was_offline_delivers_its_commands_in_order_and_sees_what_was_refused() {
    let house = House::start().await;
    let work = Work::of(&house).await;
    let device = house.offline_device(TEACHER, "phone");
    let grade = |student: &str, score| Command::GradeSubmission {
        assignment: work.assignment.clone(),
        student: student.to_owned(),
        score,
        feedback: None,
    };
    let refused = device.submit(&grade("nobody", 1.0), Priority::Normal).unwrap();
    device.submit(&grade(&work.student, 2.0), Priority::Normal).unwrap();
    let last = device.submit(&grade(&work.student, 3.0), Priority::Normal).unwrap();
    device.close().await;
    let device = house.device(TEACHER, "phone");
    let state = device.wait_until_settled(&last, SOON).await.unwrap();
    assert!(matches!(state, CommandState::Committed { .. }), "{state:?}");
    let refused = device.command(&refused).unwrap().unwrap();
    assert!(matches!(&refused, CommandState::Refused(problem) if problem.code == "not-found"), "{refused:?}");
    assert_eq!(work.grades(&house).await, [3.0]);
}
