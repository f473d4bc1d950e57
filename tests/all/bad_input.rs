//! Bad input gets a clear error, and nobody else is harmed.

use automerge::Automerge;
use automerge::sync::{State, SyncDoc as _};
use device::{Device, DocumentId, Kind};
use futures_util::{SinkExt as _, StreamExt as _};
use integration_tests::{Edge, House, Person, Program, SOON, in_step, program, until, workspace};
use serde_json::json;
use sync_protocol::batch::{BatchMessage, BatchRequest, BatchResponse, CONTENT_TYPE, Outcome, Priority};
use sync_protocol::repo_message::RepoMessage;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";

/// Somebody in the same institute who works while others send nonsense.
struct Bystander {
    device: Device,
    notes: DocumentId,
}

impl Bystander {
    async fn at(house: &House) -> Self {
        let class = house.class().await;
        let device = house.device(TEACHER, "phone");
        let notes = device.register(Kind::Notes, &class.id).await.unwrap();
        in_step(&[&device], notes).await;
        Self { device, notes }
    }

    /// An edit of theirs is still taken, over the connection that they had all the time.
    async fn is_unharmed(&self) {
        assert!(self.device.is_connected(), "the bystander has lost the connection");
        self.device.splice_text(self.notes, "text", 0, 0, "still here ").unwrap();
        self.device.wait_until_acknowledged(self.notes, SOON).await.unwrap();
        assert_eq!(self.device.get("/api/teachers/dashboard").await.unwrap().status, 200);
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A WebSocket after the handshake.
async fn joined(house: &House, person: &Person) -> Socket {
    let url = format!("ws://{}/sync?access_token={}", house.edge.address(), person.token);
    let (mut socket, _) = connect_async(url).await.unwrap();
    let join = RepoMessage::Join { sender: "stranger".into(), versions: vec!["1".into()], extended: false };
    socket.send(Message::binary(join.encode())).await.unwrap();
    loop {
        let answer = socket.next().await.expect("the edge answers the handshake").unwrap();
        if let Message::Binary(bytes) = answer {
            assert!(matches!(RepoMessage::decode(&bytes), Ok(RepoMessage::Peer { .. })), "{bytes:?}");
            return socket;
        }
    }
}

/// Sends a frame that must end the connection, and gives the reason that the edge says.
async fn refused(mut socket: Socket, frame: Vec<u8>) -> String {
    socket.send(Message::binary(frame)).await.unwrap();
    let mut reason = String::new();
    let ended = tokio::time::timeout(SOON, async {
        while let Some(Ok(frame)) = socket.next().await {
            if let Message::Binary(bytes) = &frame
                && let Ok(RepoMessage::Error { message, .. }) = RepoMessage::decode(bytes)
            {
                reason = message;
            }
        }
    });
    ended.await.expect("the edge ends a connection that makes no sense");
    reason
}

fn first_message() -> Vec<u8> {
    let mut doc = Automerge::new();
    let mut tx = doc.transaction();
    automerge::transaction::Transactable::put(&mut tx, automerge::ROOT, "a", "b").unwrap();
    tx.commit();
    let (mut ours, mut theirs) = (State::new(), State::new());
    let hello = doc.generate_sync_message(&mut ours).unwrap();
    let mut other = Automerge::new();
    other.receive_sync_message(&mut theirs, hello).unwrap();
    doc.receive_sync_message(&mut ours, other.generate_sync_message(&mut theirs).unwrap()).unwrap();
    doc.generate_sync_message(&mut ours).unwrap().encode()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_no_messages_end_their_own_connection_alone() {
    let house = House::start().await;
    let bystander = Bystander::at(&house).await;
    let assistant = house.sign_in(ASSISTANT).await;
    let not_cbor = b"hello, is this automerge?".to_vec();
    let mut deep = vec![0xa1, 0x61, b'x'];
    deep.extend(std::iter::repeat_n(0x81, 10_000));
    let no_document = {
        let mut bytes = Vec::new();
        let mut e = minicbor::Encoder::new(&mut bytes);
        e.map(2)
            .unwrap()
            .str("type")
            .unwrap()
            .str("sync")
            .unwrap()
            .str("senderId")
            .unwrap()
            .str("x")
            .unwrap();
        bytes
    };
    for frame in [not_cbor, deep, no_document, vec![]] {
        let reason = refused(joined(&house, &assistant).await, frame).await;
        assert!(!reason.is_empty(), "the edge says why");
        bystander.is_unharmed().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_sync_message_is_refused_on_both_routes() {
    let house = House::start().await;
    let bystander = Bystander::at(&house).await;
    let assistant = house.sign_in(ASSISTANT).await;
    let whole = first_message();
    let document = DocumentId::from_bytes([6; 16]);
    for end in [0, 1, whole.len() / 2, whole.len() - 1] {
        let sync = RepoMessage::Sync {
            request: false,
            sender: "stranger".into(),
            target: "edge".into(),
            document,
            data: whole[..end].to_vec(),
        };
        let reason = refused(joined(&house, &assistant).await, sync.encode()).await;
        assert!(!reason.is_empty(), "the edge says why, cut at {end}");
    }
    bystander.is_unharmed().await;

    let message = |document, data: &[u8]| BatchMessage {
        document,
        priority: Priority::Normal,
        data: data.to_vec().into(),
    };
    let sound = DocumentId::from_bytes([7; 16]);
    let cut = &whole[..whole.len() / 2];
    let request = BatchRequest { messages: vec![message(document, cut), message(sound, &whole)] };
    let answer = post_batch(&assistant, request.encode()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let results = BatchResponse::decode(&answer.body).unwrap().results;
    let outcome =
        |document| results.iter().find(|result| result.document == document).unwrap().outcome.clone();
    assert_eq!(outcome(document), Outcome::Refused("invalid-sync-message".into()));
    assert!(matches!(outcome(sound), Outcome::Synced(_)), "{:?}", outcome(sound));
    bystander.is_unharmed().await;
}

async fn post_batch(person: &Person, body: Vec<u8>) -> integration_tests::Answer {
    let request =
        person.request("POST".parse().unwrap(), "/sync/v1/batch").header("content-type", CONTENT_TYPE);
    person.send(request.body(body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_not_cbor_and_one_of_too_many_messages_are_named() {
    let house = House::start().await;
    let bystander = Bystander::at(&house).await;
    let assistant = house.sign_in(ASSISTANT).await;
    let whole = BatchRequest { messages: vec![] }.encode();
    for body in [b"not cbor at all".to_vec(), vec![], vec![0xff; 1000], whole[..whole.len() - 1].to_vec()] {
        assert_eq!(post_batch(&assistant, body).await.problem(400), "invalid-cbor");
    }
    let message = |n: u16| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        BatchMessage {
            document: DocumentId::from_bytes(id),
            priority: Priority::Low,
            data: first_message().into(),
        }
    };
    let many = BatchRequest { messages: (0..257).map(message).collect() };
    let answer = post_batch(&assistant, many.encode()).await;
    assert_eq!(answer.problem(answer.status), "invalid-field");
    bystander.is_unharmed().await;
}

/// A request whose body is 100 MB: announced by its length and never sent, or sent piece by piece until the edge has
/// had enough. Gives the answer.
async fn answer_to_100_mb(house: &House, person: &Person, path: &str, announced: bool) -> String {
    const BYTES: usize = 100 * 1024 * 1024;
    let stream = TcpStream::connect(house.edge.address()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let length =
        if announced { format!("content-length: {BYTES}") } else { "transfer-encoding: chunked".to_owned() };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: edge\r\nauthorization: Bearer {}\r\nidempotency-key: huge\r\n\
         content-type: application/octet-stream\r\n{length}\r\n\r\n",
        person.token
    );
    writer.write_all(head.as_bytes()).await.unwrap();
    let sending = tokio::spawn(async move {
        let mut chunk = format!("{:x}\r\n", 64 * 1024).into_bytes();
        chunk.extend(std::iter::repeat_n(b'x', 64 * 1024));
        chunk.extend(b"\r\n");
        let mut sent = 0;
        while !announced && sent < BYTES && writer.write_all(&chunk).await.is_ok() {
            sent += 64 * 1024;
        }
        // The connection stays open in this direction while the answer is read.
        (sent, writer)
    });
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    let read = tokio::time::timeout(SOON, async {
        while !String::from_utf8_lossy(&answer)
            .split_once("\r\n\r\n")
            .is_some_and(|(_, body)| body.contains('}'))
        {
            match reader.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(n) => answer.extend_from_slice(&piece[..n]),
            }
        }
    });
    read.await.expect("the edge answers a body that is too large");
    drop(reader);
    let (sent, _) = sending.await.unwrap();
    assert!(sent < BYTES, "the edge read all {BYTES} bytes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_100_mb_is_refused_before_it_is_read() {
    let house = House::start().await;
    let bystander = Bystander::at(&house).await;
    let assistant = house.sign_in(ASSISTANT).await;
    for path in ["/sync/v1/batch", "/commands", "/api/documents", "/api/auth/login"] {
        for announced in [true, false] {
            let answer = answer_to_100_mb(&house, &assistant, path, announced).await;
            assert!(answer.starts_with("HTTP/1.1 413 "), "{path}, announced: {announced}: {answer}");
            assert!(answer.contains("\"body-too-large\""), "{path}, announced: {announced}: {answer}");
        }
    }
    bystander.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_a_command_has_its_code() {
    let house = House::start().await;
    let bystander = Bystander::at(&house).await;
    let teacher = house.sign_in(TEACHER).await;
    let sound = json!({"command": "grade-submission", "assignment": "a", "student": "s", "score": 1});
    let without_key = teacher.post("/commands", &sound).await;
    assert_eq!(without_key.problem(400), "missing-idempotency-key");
    assert_eq!(teacher.commands("two words", &sound).await.problem(400), "invalid-idempotency-key");
    assert_eq!(teacher.commands(&"k".repeat(201), &sound).await.problem(400), "invalid-idempotency-key");
    for (command, code, field) in [
        (json!({"command": "fly"}), "unknown-command", None),
        (json!({"command": 7}), "invalid-field", Some("command")),
        (json!([]), "invalid-field", Some("command")),
        (
            json!({"command": "grade-submission", "student": "s", "score": 1}),
            "invalid-field",
            Some("assignment"),
        ),
        (
            json!({"command": "grade-submission", "assignment": "a", "student": "s", "score": -1}),
            "invalid-field",
            Some("score"),
        ),
        (
            json!({"command": "enroll-student", "student": "../s", "batch": "b"}),
            "invalid-field",
            Some("student"),
        ),
    ] {
        let answer = teacher.commands("fault", &command).await;
        assert!(matches!(answer.status, 400 | 422), "{command}: {}", answer.text());
        assert_eq!(answer.problem(answer.status), code, "{command}");
        assert_eq!(answer.json()["field"].as_str(), field, "{command}");
    }
    let request = teacher
        .request("POST".parse().unwrap(), "/commands")
        .header("idempotency-key", "fault")
        .body("{\"comm");
    assert_eq!(teacher.send(request).await.problem(400), "invalid-json");
    bystander.is_unharmed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_cannot_be_registered_are_refused_with_a_reason() {
    let house = House::start().await;
    let bystander = Bystander::at(&house).await;
    let teacher = house.sign_in(TEACHER).await;
    for (body, status, code) in [
        (json!({"kind": "attendance", "subject": "no-such-class"}), 404, "not-found"),
        (json!({"kind": "private", "subject": "x"}), 0, "invalid-field"),
        (json!({"kind": "diary", "subject": "x"}), 0, "invalid-field"),
        (json!({"kind": "notes"}), 0, ""),
    ] {
        let answer = teacher.post("/api/documents", &body).await;
        let expected = if status == 0 { answer.status } else { status };
        assert!((400..500).contains(&answer.status), "{body}: {}", answer.text());
        let said = answer.problem(expected);
        assert!(code.is_empty() || said == code, "{body}: {said}");
    }
    assert_eq!(teacher.get("/api/nothing").await.problem(404), "not-found");
    bystander.is_unharmed().await;
}

#[tokio::test]
async fn a_malformed_manifest_stops_the_edge_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let sound = std::fs::read_to_string(workspace().join("spin.toml")).unwrap();
    for (broken, line) in [
        (sound.replacen("spin_manifest_version = 2", "spin_manifest_version = ", 1), ":2:"),
        (sound.replacen("[application]", "[application]\nnmae = \"x\"", 1), "nmae"),
        (sound.replacen("component = \"dashboards\"", "component = \"dashbords\"", 1), "dashbords"),
    ] {
        assert_ne!(broken, sound);
        let app = folder.path().join("spin.toml");
        std::fs::write(&app, broken).unwrap();
        let mut edge = Edge::program(&folder.path().join("data"), "http://127.0.0.1:1", "e1");
        edge.set_flag("--app", app.to_str().unwrap());
        edge.start().await;
        let status = edge.ends().await;
        assert!(!status.success());
        let log = edge.log();
        assert!(log.contains("spin.toml") && log.contains(line), "{line} in:\n{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

#[tokio::test]
async fn a_taken_port_is_named_by_both_programs() {
    let house = House::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut edge = Edge::program(&folder.path().join("edge"), "http://127.0.0.1:1", "e1");
    edge.set_flag("--listen", house.edge.address());
    let data = folder.path().join("origin").into_os_string();
    let mut origin = Program::new(&program("rollcall-origin"), ["serve".into(), "--data".into(), data]);
    origin.set_flag("--listen", house.origin.address());
    for (program, address) in [(&mut edge, house.edge.address()), (&mut origin, house.origin.address())] {
        program.start().await;
        assert!(!program.ends().await.success());
        let log = program.log();
        assert!(log.contains(address) && log.to_lowercase().contains("in use"), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
    let teacher = house.sign_in(TEACHER).await;
    assert_eq!(teacher.get("/api/teachers/dashboard").await.status, 200, "those who were there first go on");
}

#[tokio::test]
async fn a_store_in_use_is_refused_to_a_second_process_and_the_first_goes_on() {
    let house = House::start().await;
    let mut edge = Edge::program(house.edge.folder(), house.origin.url(), "e1");
    let data = house.origin.folder().as_os_str().to_owned();
    let mut origin =
        Program::new(&program("rollcall-origin"), ["serve".into(), "--data".into(), data.clone()]);
    origin.set_flag("--listen", "127.0.0.1:0");
    let mut seed = Program::new(&program("rollcall-origin"), ["seed".into(), "--data".into(), data]);
    for program in [&mut edge, &mut origin, &mut seed] {
        program.start().await;
        assert!(!program.ends().await.success());
        let log = program.log();
        assert!(log.to_lowercase().contains("in use"), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
    let teacher = house.sign_in(TEACHER).await;
    until("the first ones to go on", SOON, async || {
        (teacher.get("/api/teachers/dashboard").await.status == 200).then_some(())
    })
    .await;
}
