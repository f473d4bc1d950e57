//! The harness of the origin's own tests: a router in process over a temporary store with the sample institutes.

use crate::app::{App, Parts};
use crate::config::EdgeSecret;
use crate::services::cache::CacheConfig;
use crate::services::mail::MailSettings;
use crate::services::seed;
use crate::services::webhooks::Webhooks;
use crate::store::{PostgresConfig, Store};
use crate::{clock, routes};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use sync_protocol::token::Claims;
use tempfile::TempDir;
use test_servers::Postgres;
use tower::ServiceExt as _;

pub(crate) const SECRET: &str = "secret of the edges";
/// Of the payment provider `stripe` at Northside.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_of_northside";

/// A database of its own on a server that the tests of one process share.
pub(crate) struct TestDatabase {
    pub(crate) server: Arc<Postgres>,
    pub(crate) name: String,
}

impl TestDatabase {
    pub(crate) fn create() -> Self {
        static SERVER: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let server = {
            let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
            let server = shared.upgrade().unwrap_or_else(|| Arc::new(Postgres::start()));
            *shared = Arc::downgrade(&server);
            server
        };
        let name = format!("rollcall{}", NEXT.fetch_add(1, Ordering::Relaxed));
        server.create_database(&name);
        Self { server, name }
    }

    pub(crate) fn config(&self) -> PostgresConfig {
        PostgresConfig::of(&self.server.url(&self.name), Vec::new())
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql)
    }

    /// Has the server explain in its log whatever connections that begin from now on execute, within functions too.
    pub(crate) fn explain_statements(&self) {
        for setting in [
            "session_preload_libraries = 'auto_explain'",
            "auto_explain.log_min_duration = 0",
            "auto_explain.log_nested_statements = on",
        ] {
            self.sql(&format!("ALTER DATABASE {} SET {setting}", self.name));
        }
    }
}

/// How many statements a server's log explains.
pub(crate) fn plans(log: &str) -> usize {
    log.matches("Query Text:").count()
}

/// Scans of whole tables that a server's log explains, each with its statement, but for those that cost no more than `nothing` by
/// the planner's count: a table or partition of no rows may be read.
pub(crate) fn scans_of(log: &str, tables: &[&str], nothing: f64) -> Vec<String> {
    let (mut statement, mut scans) = ("", Vec::new());
    for line in log.lines() {
        if line.contains("Query Text:") {
            statement = line;
        }
        let cost = line.split("..").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
        let costly = cost.is_none_or(|cost| cost > nothing);
        if costly && tables.iter().any(|table| line.contains(&format!("Seq Scan on {table}"))) {
            scans.push(format!("{line}\n    of {statement}"));
        }
    }
    scans
}

/// A running origin; the store goes with it.
pub(crate) struct TestOrigin {
    pub(crate) app: App,
    router: Router,
    folder: TempDir,
}

/// `EPOCH.REVISION` of a bookmark with its proof.
pub(crate) fn point_of(bookmark: &str) -> &str {
    let end = bookmark.match_indices('.').nth(1).map_or("", |(end, _)| &bookmark[..end]);
    assert!(!end.is_empty(), "{bookmark:?} has no proof");
    end
}

/// What a request got.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Epoch and revision of the bookmark.
    pub(crate) fn point(&self) -> &str {
        point_of(self.header("rollcall-bookmark"))
    }

    /// Status and `code` of problem details.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        (self.status.as_u16(), problem["code"].as_str().unwrap().to_owned())
    }
}

/// Runs a test on an origin of each engine, each with the sample institutes.
pub(crate) async fn on_both_engines(test: impl AsyncFn(&TestOrigin)) {
    test(&TestOrigin::start().await).await;
    let database = tokio::task::spawn_blocking(TestDatabase::create).await.unwrap();
    let origin = TestOrigin::start_on_postgres(database.config()).await;
    test(&origin).await;
    drop(origin);
    // Not before the origin's connections are gone.
    tokio::task::spawn_blocking(move || drop(database)).await.unwrap();
}

impl TestOrigin {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    async fn start_in(folder: TempDir) -> Self {
        let path: PathBuf = folder.path().to_owned();
        Self::start_on(folder, CacheConfig::default(), move || Store::open(&path).unwrap()).await
    }

    /// On a database of a cluster; several may share one.
    pub(crate) async fn start_on_postgres(config: PostgresConfig) -> Self {
        Self::start_with_cache(config, CacheConfig::default()).await
    }

    /// The same with a cache of one's own.
    pub(crate) async fn start_with_cache(config: PostgresConfig, cache: CacheConfig) -> Self {
        Self::start_on(tempfile::tempdir().unwrap(), cache, move || Store::connect(&config).unwrap()).await
    }

    async fn start_on(
        folder: TempDir,
        cache: CacheConfig,
        open: impl FnOnce() -> Store + Send + 'static,
    ) -> Self {
        let mut faults = Vec::new();
        let mail = MailSettings::to_folder(folder.path().join("mail")).check(&mut faults);
        let webhooks = Webhooks::of("northside.example", "stripe", WEBHOOK_SECRET);
        let parts = Parts { cache, mail, webhooks, ..Parts::default() };
        let app = tokio::task::spawn_blocking(move || {
            let store = open();
            seed::load(&store, clock::unix_ms()).unwrap();
            App::new(store, Some(EdgeSecret::new(SECRET)), parts).unwrap()
        });
        let app = app.await.unwrap();
        Self { router: routes::router(app.clone()), app, folder }
    }

    /// Stops and starts again on the same store.
    pub(crate) async fn restart(self) -> Self {
        let Self { app, router, folder } = self;
        drop((app, router));
        Self::start_in(folder).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, user: &User, path: &str) -> Answer {
        self.request(Method::GET, path, &[("authorization", &user.bearer())], Body::empty()).await
    }

    pub(crate) async fn post(&self, user: &User, path: &str, body: Value) -> Answer {
        let headers = [("authorization", user.bearer())];
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.request(Method::POST, path, &headers, body.to_string()).await
    }

    pub(crate) async fn command(&self, user: &User, key: &str, command: Value) -> Answer {
        let headers = [("authorization", user.bearer()), ("idempotency-key", key.to_owned())];
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.request(Method::POST, "/commands", &headers, command.to_string()).await
    }

    pub(crate) async fn login(&self, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "password": password, "device": "phone"}).to_string();
        let headers = [(header::CONTENT_TYPE.as_str(), "application/json")];
        self.request(Method::POST, "/api/auth/login", &headers, body).await
    }

    /// The texts of all mail that was sent so far, oldest first.
    pub(crate) fn mail(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path().join("mail")).unwrap();
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
        files.sort();
        let text = |file| {
            let message = std::fs::read_to_string(file).unwrap();
            let (head, body) = message.split_once("\r\n\r\n").unwrap();
            let body = STANDARD.decode(body.replace("\r\n", "")).unwrap();
            format!("{head}\n\n{}", String::from_utf8(body).unwrap())
        };
        files.into_iter().map(text).collect()
    }

    /// A signed-in sample person.
    pub(crate) async fn user(&self, email: &str) -> User {
        let answer = self.login(email, "rollcall").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let tokens = answer.json();
        let access = tokens["access_token"].as_str().unwrap().to_owned();
        let claims = self.app.auth.verify(&access).unwrap();
        User {
            access,
            refresh: tokens["refresh_token"].as_str().unwrap().to_owned(),
            claims: (*claims).clone(),
        }
    }

    /// The id of today's class of a batch at Northside.
    pub(crate) async fn class_today(&self, batch: &str) -> String {
        let teacher = self.user("teacher@northside.example").await;
        let dashboard = self.get(&teacher, "/api/teachers/dashboard").await.json();
        let today = dashboard["today"].as_array().unwrap();
        let class = today.iter().find(|class| class["batch"] == batch).unwrap();
        class["class"].as_str().unwrap().to_owned()
    }
}

pub(crate) struct User {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) claims: Claims,
}

impl User {
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.access)
    }
}
