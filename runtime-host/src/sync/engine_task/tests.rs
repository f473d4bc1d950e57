//! An engine task with a component small enough to read behind it.

use super::*;
use crate::sync::institutes::{EngineHandle, Institutes};
use crate::sync::questions::QuestionError;
use crate::test_host::{TestHost, broken_engine, echo_engine, old_engine};
use futures_util::future::join_all;
use std::path::Path;
use sync_protocol::document_id::DocumentId;
use sync_protocol::link::Follow;
use tokio::sync::watch;

const SETTINGS: &str = "sqlite_databases = [\"default\"]\ntool.rollcall.sqlite = \"per-institute\"";
const NORTHSIDE: &str = "northside.example";
const RIVERSIDE: &str = "riverside.example";
/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Edge {
    host: TestHost,
    institutes: Institutes,
    link: watch::Sender<Option<LinkSender>>,
    stop: CancellationToken,
}

/// An edge whose engines say `follow` when the link comes up.
fn edge(follow: &[u8]) -> Edge {
    edge_with(&echo_engine(follow))
}

fn edge_with(engine: &[u8]) -> Edge {
    let host = TestHost::new();
    let guest = host.load(Some(engine), SETTINGS).unwrap();
    let (link, state) = watch::channel(None);
    let stop = CancellationToken::new();
    Edge { host, institutes: Institutes::new(guest, state, stop.clone()).unwrap(), link, stop }
}

fn follow(institute: &str) -> Vec<u8> {
    let (institute, log) = (institute.to_owned(), "log".to_owned());
    LinkMessage::Follow(Follow { institute, epoch: 0, revision: 0, log, directory: false, gossip: false })
        .encode()
}

struct Device {
    session: SessionId,
    engine: EngineHandle,
    received: mpsc::Receiver<Outgoing>,
    cut: CancellationToken,
}

impl Edge {
    async fn connect(&self, institute: &str, session: SessionId, queue: usize) -> Device {
        let engine = self.institutes.activate(institute).unwrap();
        let (frames, received) = mpsc::channel(queue);
        let cut = CancellationToken::new();
        let outgoing = SessionSender { frames, room: Room::new(1024), cut: cut.clone() };
        let opened = EngineInput::Opened { session, claims: "{}".into(), outgoing };
        engine.inputs.send(opened).await.ok().unwrap();
        Device { session, engine, received, cut }
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.institutes.drain()).await.unwrap();
    }
}

impl Device {
    async fn send(&self, bytes: &'static [u8]) {
        let bytes = self.engine.room.take(Bytes::from_static(bytes)).await;
        let frame = EngineInput::Frame { session: self.session, bytes };
        self.engine.inputs.send(frame).await.ok().unwrap();
    }

    async fn receive(&mut self) -> Outgoing {
        tokio::time::timeout(PATIENCE, self.received.recv()).await.unwrap().unwrap()
    }

    async fn assert_echo(&mut self, bytes: &'static [u8]) {
        self.send(bytes).await;
        match self.receive().await {
            Outgoing::Frame(echo) => assert_eq!(&echo.into_bytes()[..], bytes),
            Outgoing::Close { code, reason } => panic!("closed: {code} {reason}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_come_back_and_the_log_is_the_institutes_own() {
    let edge = edge(b"");
    let mut device = edge.connect(NORTHSIDE, 1, 8).await;
    device.assert_echo(b"hello").await;
    let file = |institute: &str| {
        let path = Path::new("data/institutes").join(institute).join("test.db");
        edge.host.folder.path().join(path).exists()
    };
    assert!(file(NORTHSIDE));
    assert!(!file(RIVERSIDE));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_traps_closes_its_own_sessions_and_starts_again() {
    let edge = edge(b"");
    let mut north = edge.connect(NORTHSIDE, 1, 8).await;
    let mut river = edge.connect(RIVERSIDE, 2, 8).await;
    north.assert_echo(b"hello").await;
    river.assert_echo(b"hello").await;
    north.send(b"X").await;
    assert!(matches!(north.receive().await, Outgoing::Close { code: CLOSE_ERROR, .. }));
    river.assert_echo(b"still here").await;
    let mut again = edge.connect_again(NORTHSIDE, 3).await;
    again.assert_echo(b"as before").await;
    edge.stop().await;
}

impl Edge {
    /// A session that the engine takes, be it after a pause in which it sends sessions away.
    async fn connect_again(&self, institute: &str, first_session: SessionId) -> Device {
        for session in first_session.. {
            let mut device = self.connect(institute, session, 8).await;
            device.send(b"again").await;
            match device.receive().await {
                Outgoing::Frame(_) => return device,
                Outgoing::Close { code, .. } => {
                    assert!([CLOSE_TRY_AGAIN, CLOSE_RESTART].contains(&code), "{code}")
                }
            }
            // Nobody is told when the pause ends; until then it is asked again.
            tokio::task::yield_now().await;
        }
        unreachable!("sessions have no last number")
    }

    fn replace(&self, code: &[u8]) {
        let guest = self.host.load(Some(code), SETTINGS).unwrap();
        self.institutes.replace_guest(&guest);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_code_takes_over_and_asks_sessions_to_connect_again() {
    const SAID: usize = 50;
    let follow = follow(NORTHSIDE);
    let edge = edge(&follow);
    let (messages, mut sent) = mpsc::channel(8);
    edge.link.send_replace(Some(LinkSender { generation: 1, messages }));
    let mut device = edge.connect(NORTHSIDE, 1, 2 * SAID).await;
    device.assert_echo(b"hello").await;
    assert_eq!(tokio::time::timeout(PATIENCE, sent.recv()).await.unwrap().as_ref(), Some(&follow));
    for _ in 0..SAID {
        device.send(b"said before").await;
    }
    edge.replace(&echo_engine(&follow));
    let mut answers = 0;
    loop {
        match device.receive().await {
            Outgoing::Frame(echo) => assert_eq!(&echo.into_bytes()[..], b"said before"),
            Outgoing::Close { code, .. } => break assert_eq!(code, CLOSE_RESTART),
        }
        answers += 1;
    }
    assert_eq!(answers, SAID, "what was said before the new code came is answered");
    let mut again = edge.connect_again(NORTHSIDE, 2).await;
    again.assert_echo(b"as before").await;
    // The link was up before it; the new code hears of it nevertheless.
    assert_eq!(tokio::time::timeout(PATIENCE, sent.recv()).await.unwrap(), Some(follow));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_does_not_start_leaves_the_old_engine_and_its_sessions() {
    let edge = edge(b"");
    let mut north = edge.connect(NORTHSIDE, 1, 8).await;
    north.assert_echo(b"hello").await;
    edge.replace(&broken_engine());
    // Nothing else is there to run for an institute that comes now.
    let mut river = edge.connect(RIVERSIDE, 2, 8).await;
    assert!(matches!(river.receive().await, Outgoing::Close { code: CLOSE_ERROR | CLOSE_TRY_AGAIN, .. }));
    for _ in 0..50 {
        north.assert_echo(b"still here").await;
    }
    // Nor does a failure of the old code lead to the one that does not start.
    north.send(b"X").await;
    assert!(matches!(north.receive().await, Outgoing::Close { code: CLOSE_ERROR, .. }));
    let mut north = edge.connect_again(NORTHSIDE, 3).await;
    north.assert_echo(b"again").await;
    edge.replace(&echo_engine(b"mended"));
    assert!(matches!(north.receive().await, Outgoing::Close { code: CLOSE_RESTART, .. }));
    edge.connect_again(NORTHSIDE, 1000).await.assert_echo(b"new").await;
    edge.connect_again(RIVERSIDE, 2000).await.assert_echo(b"new").await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_takes_nothing_is_cut_off() {
    let edge = edge(b"");
    let device = edge.connect(NORTHSIDE, 1, 1).await;
    device.send(b"one").await;
    device.send(b"two").await;
    tokio::time::timeout(PATIENCE, device.cut.cancelled()).await.unwrap();
    let mut other = edge.connect(NORTHSIDE, 2, 8).await;
    other.assert_echo(b"hello").await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_hears_of_a_link_that_was_up_before_it() {
    let bytes = follow(NORTHSIDE);
    let edge = edge(&bytes);
    let (messages, mut sent) = mpsc::channel(8);
    edge.link.send_replace(Some(LinkSender { generation: 1, messages }));
    edge.institutes.activate(NORTHSIDE).unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, sent.recv()).await.unwrap(), Some(bytes));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_without_room_holds_up_no_device() {
    let bytes = follow(NORTHSIDE);
    let edge = edge(&bytes);
    let (messages, mut sent) = mpsc::channel(1);
    let others = b"what another institute says".to_vec();
    messages.send(others.clone()).await.unwrap();
    edge.link.send_replace(Some(LinkSender { generation: 1, messages }));
    let mut device = edge.connect(NORTHSIDE, 1, 8).await;
    device.assert_echo(b"hello").await;
    for expected in [others, bytes] {
        assert_eq!(tokio::time::timeout(PATIENCE, sent.recv()).await.unwrap(), Some(expected));
    }
    edge.stop().await;
}

#[test]
fn what_shares_a_call_is_bounded_in_bytes_and_a_large_frame_goes_alone() {
    let frame = |bytes: usize| EngineInput::LinkFrame { generation: 1, bytes: vec![0; bytes] };
    let half = limits::ENGINE_BATCH_BYTES / 2;
    assert_eq!(in_one_call(&[]), 0);
    assert_eq!(in_one_call(&[frame(4 * half), frame(1)]), 1);
    assert_eq!(in_one_call(&[frame(half), EngineInput::Closed(1), frame(half), frame(1)]), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_speaks_for_another_institute_is_stopped() {
    let edge = edge(&follow(RIVERSIDE));
    let mut device = edge.connect(NORTHSIDE, 1, 8).await;
    device.assert_echo(b"hello").await;
    let (messages, mut sent) = mpsc::channel(8);
    edge.link.send_replace(Some(LinkSender { generation: 1, messages }));
    assert!(matches!(device.receive().await, Outgoing::Close { code: CLOSE_ERROR, .. }));
    assert!(sent.try_recv().is_err());
    edge.stop().await;
}

const DOCUMENT: DocumentId = DocumentId::from_bytes([1; 16]);

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered_beside_the_devices() {
    let edge = edge(b"");
    let mut device = edge.connect(NORTHSIDE, 1, 8).await;
    device.assert_echo(b"before").await;
    let found = device.engine.documents(Some(DOCUMENT), 5).await.unwrap();
    let [figures] = &found[..] else { panic!("{found:?}") };
    assert_eq!((figures.id.as_str(), figures.bytes, figures.behind), ("document", 123, true));
    assert_eq!((&figures.batch, &figures.last_refusal), (&None, &None));
    assert_eq!(device.engine.document(DOCUMENT).await, Ok(None));
    let refused = device.engine.documents(None, 1).await;
    assert_eq!(refused, Err(QuestionError::Failed("no page".into())));
    device.assert_echo(b"after").await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_at_which_the_engine_traps_ends_it_as_a_frame_does() {
    let edge = edge(b"");
    let mut device = edge.connect(NORTHSIDE, 1, 8).await;
    device.assert_echo(b"before").await;
    assert_eq!(device.engine.documents(None, 2).await, Err(QuestionError::NotRunning));
    assert!(matches!(device.receive().await, Outgoing::Close { code: CLOSE_ERROR, .. }));
    edge.connect_again(NORTHSIDE, 2).await.assert_echo(b"again").await;
    assert_eq!(edge.institutes.get(NORTHSIDE).unwrap().document(DOCUMENT).await, Ok(None));
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_from_before_there_were_questions_syncs_and_answers_none() {
    let edge = edge_with(&old_engine());
    let mut device = edge.connect(NORTHSIDE, 1, 8).await;
    device.assert_echo(b"hello").await;
    assert_eq!(device.engine.documents(None, 5).await, Err(QuestionError::NotOffered));
    assert_eq!(device.engine.document(DOCUMENT).await, Err(QuestionError::NotOffered));
    device.assert_echo(b"still here").await;
    edge.replace(&echo_engine(b""));
    assert!(matches!(device.receive().await, Outgoing::Close { code: CLOSE_RESTART, .. }));
    assert_eq!(device.engine.documents(None, 5).await.map(|found| found.len()), Ok(1));
    // And back, as after a mistake.
    edge.replace(&old_engine());
    let back = async || device.engine.documents(None, 5).await == Err(QuestionError::NotOffered);
    tokio::time::timeout(PATIENCE, async { while !back().await {} }).await.unwrap();
    edge.stop().await;
}

/// On one thread, so that the engine takes the first question when the last has been asked.
#[tokio::test]
async fn more_questions_than_may_wait_are_refused_at_once() {
    let edge = edge(b"");
    let engine = edge.institutes.activate(NORTHSIDE).unwrap();
    let answers = join_all((0..limits::ENGINE_QUESTIONS + 2).map(|_| engine.documents(None, 5))).await;
    let refused = answers.iter().filter(|answer| **answer == Err(QuestionError::Busy)).count();
    let answered = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!((answered, refused), (limits::ENGINE_QUESTIONS, 2));
    edge.stop().await;
}
