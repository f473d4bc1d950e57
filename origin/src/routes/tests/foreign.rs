//! Every public route in the name of another institute: the list of routes is the description's own, so that a new one is
//! walked by itself.

use crate::store::{DoubtRow, StoreError};
use crate::testing::{TestDatabase, TestOrigin, User};
use axum::http::{Method, StatusCode};
use serde_json::{Map, Value, json};

/// In names, titles and texts of the walked institute, and nowhere else.
const CANARY: &str = "canary";

/// Ids of Northside's records, by the name of the path part, parameter or field that takes them.
struct Ids(Vec<(&'static str, Vec<String>)>);

impl Ids {
    async fn of(origin: &TestOrigin, admin: &User) -> Self {
        let mut ids = Vec::new();
        for (list, key) in [
            ("users", "user"),
            ("batches", "batch"),
            ("classes", "class"),
            ("assignments", "assignment"),
            ("submissions", "submission"),
            ("invoices", "invoice"),
            ("payments", "payment"),
            ("documents", "document"),
            ("doubts", "document"),
            ("sessions", "session"),
            ("audit", "entry"),
            ("payment-events", "provider"),
            ("payment-events", "event"),
        ] {
            let page = origin.get(admin, &format!("/admin/v1/{list}?limit=2")).await.json();
            let found: Vec<String> = page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item[key].as_str().unwrap().to_owned())
                .collect();
            assert!(!found.is_empty(), "{list} has something to leak");
            ids.push((key, found));
        }
        for (role, names) in [
            ("student", ["student", "record"]),
            ("teacher", ["teacher", "guardian"]),
            ("admin", ["key", "device"]),
        ] {
            let page = origin.get(admin, &format!("/admin/v1/users?limit=1&role={role}")).await.json();
            let user = page["items"][0]["user"].as_str().unwrap().to_owned();
            ids.extend(names.map(|name| (name, vec![user.clone()])));
        }
        ids.push(("subject", ids.iter().find(|(name, _)| *name == "class").unwrap().1.clone()));
        Self(ids)
    }

    /// What is put where `name` stands.
    fn at(&self, name: &str) -> Vec<String> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map_or_else(|| vec!["northside.example".to_owned()], |(_, ids)| ids.clone())
    }
}

/// Fills Northside with canaries.
async fn plant(origin: &TestOrigin, admin: &User) {
    let commands = [
        json!({"command": "change-institute", "name": "The canary institute"}),
        json!({"command": "change-user", "user": admin.claims.sub, "name": "Canary Admin"}),
        json!({"command": "change-batch", "batch": "maths-a", "title": "Canary mathematics"}),
        json!({"command": "create-assignment", "assignment": "c-1", "batch": "maths-a", "title": "Canary", "max_score": 1}),
        json!({"command": "post-message", "to": {"batch": "maths-a"}, "text": "canary"}),
    ];
    for (n, command) in commands.into_iter().enumerate() {
        let done = origin.command(admin, &format!("plant-{n}"), command).await;
        assert_eq!(done.status, StatusCode::OK, "{done:?}");
    }
    let told = super::fees::paid("evt_1", "pi_1", "canary", 1);
    assert_eq!(super::fees::tell(origin, &told).await.json()["status"], "set-aside");
    let users = origin.get(admin, "/admin/v1/users?limit=200").await.json();
    for (n, user) in users["items"].as_array().unwrap().iter().enumerate() {
        let change = json!({"command": "change-user", "user": user["user"], "name": format!("Canary {n}"),
            "email": format!("canary{n}@northside.example")});
        // The admin keeps their address, to sign in with.
        if user["user"] != admin.claims.sub.as_str() {
            assert_eq!(origin.command(admin, &format!("rename-{n}"), change).await.status, StatusCode::OK);
        }
    }
    plant_doubt(origin, admin).await;
    let class = origin.get(admin, "/admin/v1/classes?limit=1").await.json()["items"][0]["class"].clone();
    let register = json!({"kind": "notes", "subject": class});
    assert_eq!(origin.post(admin, "/api/documents", register).await.status, StatusCode::OK);
}

/// A thread that says it, which no edge has brought.
async fn plant_doubt(origin: &TestOrigin, admin: &User) {
    let register = json!({"kind": "doubt", "subject": "maths-a/why"});
    let document = origin.post(admin, "/api/documents", register).await.json();
    let row = DoubtRow {
        subject: "maths-a/why".into(),
        document: document["documentId"].as_str().unwrap().into(),
        batch: "maths-a".into(),
        asked_by: admin.claims.sub.clone(),
        question: "Canary?".into(),
        answers: r#"[{"author":"u","text":"canary"}]"#.into(),
        answer_count: 1,
        answered_by: Some("u".into()),
        conflicts: 0,
        omitted_bytes: 0,
        // The walk looks for the name of the institute.
        words: "canary example northside".into(),
        asked_at: 1,
        updated_at: 1,
        heads: "[]".into(),
    };
    let planted = origin.app.store.write("northside.example", move |tx| tx.put_doubt(&row));
    let planted: Result<_, StoreError> = planted.await;
    planted.unwrap();
}

/// A value for a field: an id of Northside's, or something that its schema takes.
fn sample(document: &Value, name: &str, schema: &Value, ids: &Ids) -> Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let component = reference.rsplit('/').next().unwrap();
        return match component {
            "Id" => ids.at(name)[0].clone().into(),
            "Title" | "Room" | "LongText" => "x".into(),
            "Email" => "new@riverside.example".into(),
            "Moment" if name == "ends_at" => "2030-01-01T01:00:00Z".into(),
            "Moment" => "2030-01-01T00:00:00Z".into(),
            "Day" => "2030-01-01".into(),
            "TimeZoneName" => "UTC".into(),
            "Currency" => "EUR".into(),
            "RoleName" => "student".into(),
            _ => sample(document, name, &document["components"]["schemas"][component], ids),
        };
    }
    match schema["type"].as_str() {
        Some("object") => {
            let properties = schema["properties"].as_object().cloned().unwrap_or_default();
            let fields =
                properties.iter().map(|(name, schema)| (name.clone(), sample(document, name, schema, ids)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Some("array") => json!([sample(document, name, &schema["items"], ids)]),
        Some("integer" | "number") => 1.into(),
        Some("boolean") => true.into(),
        _ => match name {
            "kind" => "notes".into(),
            "path" => format!("/api/classes/{}/roster", ids.at("class")[0]).into(),
            "email" | "password" | "refresh_token" => "x@riverside.example".into(),
            _ => ids.at(name)[0].clone().into(),
        },
    }
}

/// Every way to fill the parts of a path with Northside's ids.
fn fill(path: &str, ids: &Ids) -> Vec<String> {
    let mut filled = vec![String::new()];
    for part in path.split('/').skip(1) {
        let values = match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => ids.at(name),
            None => vec![part.to_owned()],
        };
        filled = filled
            .iter()
            .flat_map(|before| values.iter().map(move |value| format!("{before}/{value}")))
            .collect();
    }
    filled
}

async fn walk(origin: TestOrigin) {
    let admin = origin.user("admin@northside.example").await;
    let mut strangers = Vec::new();
    for who in ["admin", "teacher", "student"] {
        strangers.push(origin.user(&format!("{who}@riverside.example")).await);
    }
    plant(&origin, &admin).await;
    let ids = Ids::of(&origin, &admin).await;
    let before = origin.get(&admin, "/admin/v1/institute").await;
    assert!(before.json()["name"].as_str().unwrap().contains("canary"));
    let document = origin.request(Method::GET, "/openapi.json", &[], "").await.json();
    let mut walked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            let body = if body.is_null() { Value::Null } else { sample(&document, "", body, &ids) };
            let mut targets = fill(path, &ids);
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap();
                if parameter["in"] == "query" && ids.0.iter().any(|(known, _)| *known == name) {
                    targets.push(format!("{}?{name}={}", targets[0], ids.at(name)[0]));
                }
            }
            if path == "/admin/v1/search" {
                targets = ["canary", "northside", "maths"].map(|q| format!("{path}?q={q}")).to_vec();
            }
            for target in &targets {
                for stranger in &strangers {
                    walked += 1;
                    visit(&origin, stranger, (method, target), &body, walked).await;
                }
            }
        }
    }
    assert!(walked > 250, "{walked} requests");
    let after = origin.get(&admin, "/admin/v1/institute").await;
    assert_eq!(after.header("rollcall-bookmark"), before.header("rollcall-bookmark"), "nothing was written");
}

async fn visit(
    origin: &TestOrigin,
    stranger: &User,
    (method, target): (&str, &str),
    body: &Value,
    number: usize,
) {
    let bearer = stranger.bearer();
    let key = format!("walk-{number}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("idempotency-key", key.as_str()),
        ("if-match", "*"),
        ("content-type", "application/json"),
    ];
    let method = method.to_uppercase().parse::<Method>().unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = origin.request(method.clone(), target, &headers, body).await;
    assert!(!answer.status.is_server_error(), "{method} {target}: {answer:?}");
    let told = String::from_utf8_lossy(&answer.body).to_lowercase();
    assert!(!told.contains(CANARY), "{method} {target} tells {told}");
    let told: String = answer.headers.values().filter_map(|value| value.to_str().ok()).collect();
    assert!(!told.to_lowercase().contains(CANARY), "{method} {target} tells {told}");
}

#[tokio::test]
async fn no_public_route_tells_or_changes_anything_of_another_institute() {
    walk(TestOrigin::start().await).await;
}

#[tokio::test]
async fn no_public_route_does_on_postgres() {
    let database = tokio::task::spawn_blocking(TestDatabase::create).await.unwrap();
    walk(TestOrigin::start_on_postgres(database.config()).await).await;
    // Not before the origin's connections are gone.
    tokio::task::spawn_blocking(move || drop(database)).await.unwrap();
}
