//! An unmodified automerge-repo client in Node.js, told what to do line by line.

use crate::SOON;
use crate::artefacts::workspace;
use serde_json::{Value, json};
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

pub struct JsClient {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl JsClient {
    /// Starts a client and waits until it is connected to the edge.
    pub async fn start(edge: &str, token: &str) -> Self {
        Self::start_with(edge, token, None).await
    }

    /// As [`JsClient::start`], with its documents kept in `store`.
    pub async fn start_with(edge: &str, token: &str, store: Option<&Path>) -> Self {
        Self::start_as(edge, token, store, &[]).await
    }

    /// The same, and it takes part in the gossip of remote heads.
    pub async fn start_gossiping(edge: &str, token: &str, store: &Path) -> Self {
        Self::start_as(edge, token, Some(store), &["gossip"]).await
    }

    async fn start_as(edge: &str, token: &str, store: Option<&Path>, more: &[&str]) -> Self {
        let folder = workspace().join("tests/js");
        let there = folder.clone();
        tokio::task::spawn_blocking(move || js_packages(&there)).await.expect("installing does not panic");
        let mut child = Command::new("node")
            .arg("client.js")
            .arg(format!("ws://{edge}/sync?access_token={token}"))
            .args(store)
            .args(more)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the tests need Node.js; `cargo xtask test` installs it");
        let input = child.stdin.take().expect("stdin is piped");
        let output = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut client = Self { input, output, _child: child };
        client.ask(json!({"do": "connected"})).await.expect("the client connects");
        client
    }

    /// Makes a document and gives its id.
    pub async fn create(&mut self, content: Value) -> String {
        let made =
            self.ask(json!({"do": "create", "content": content})).await.expect("a document can be made");
        made["document"].as_str().expect("the client names the document").to_owned()
    }

    /// Finds a document; an error says why not, for example that it is unavailable.
    pub async fn find(&mut self, document: &str) -> Result<(), String> {
        self.ask(json!({"do": "find", "document": document})).await.map(drop)
    }

    /// Makes documents at once.
    pub async fn create_many(&mut self, count: usize) -> Vec<String> {
        let made = self.ask(json!({"do": "createMany", "count": count})).await;
        texts(&made.expect("documents can be made")["documents"])
    }

    /// Finds documents at once; an error says why one was not found.
    pub async fn find_many(&mut self, documents: &[String]) -> Result<(), String> {
        self.ask(json!({"do": "findMany", "documents": documents})).await.map(drop)
    }

    pub async fn put_many(&mut self, documents: &[String], field: &str, value: i64) {
        let put = json!({"do": "putMany", "documents": documents, "field": field, "value": value});
        self.ask(put).await.expect("documents can be changed");
    }

    /// How many of the documents have the value.
    pub async fn count_having(&mut self, documents: &[String], field: &str, value: i64) -> usize {
        let count = json!({"do": "countHaving", "documents": documents, "field": field, "value": value});
        let count = self.ask(count).await.expect("documents can be read")["count"].as_u64();
        count.and_then(|count| count.try_into().ok()).expect("a count is a number")
    }

    /// Says something to the document's readers that is not kept.
    pub async fn broadcast(&mut self, document: &str, message: Value) {
        let said = json!({"do": "broadcast", "document": document, "message": message});
        self.ask(said).await.expect("a client can speak");
    }

    /// What others have said since this client found the document.
    pub async fn heard(&mut self, document: &str) -> Value {
        self.ask(json!({"do": "heard", "document": document})).await.expect("a client tells what it heard")["messages"].take()
    }

    pub async fn put(&mut self, document: &str, path: &[&str], value: Value) {
        let put = json!({"do": "put", "document": document, "path": path, "value": value});
        self.ask(put).await.expect("a document can be changed");
    }

    pub async fn splice(&mut self, document: &str, field: &str, at: usize, deleted: usize, inserted: &str) {
        let splice = json!({
            "do": "splice", "document": document, "field": field,
            "at": at, "deleted": deleted, "inserted": inserted,
        });
        self.ask(splice).await.expect("a text can be changed");
    }

    pub async fn read(&mut self, document: &str) -> Value {
        self.ask(json!({"do": "read", "document": document})).await.expect("a document can be read")["content"].take()
    }

    /// The document's heads in hexadecimal, sorted.
    pub async fn heads(&mut self, document: &str) -> Vec<String> {
        let read =
            self.ask(json!({"do": "read", "document": document})).await.expect("a document can be read");
        texts(&read["heads"])
    }

    /// What the client calls its store; others name it so.
    pub async fn storage(&mut self) -> String {
        let told = self.ask(json!({"do": "storage"})).await.expect("a client with a store names it");
        told["storage"].as_str().expect("the client has a store").to_owned()
    }

    /// Asks to be told what other clients, by their stores, have.
    pub async fn subscribe(&mut self, storages: &[&str]) {
        self.ask(json!({"do": "subscribe", "storages": storages})).await.expect("a client can subscribe");
    }

    /// The heads that another client has of the document, as this one was told (null: it was not), and those that it has itself.
    pub async fn remote_heads(&mut self, document: &str, storage: &str) -> (Value, Value) {
        let asked = json!({"do": "remoteHeads", "document": document, "storage": storage});
        let mut told = self.ask(asked).await.expect("a client tells what it was told");
        (told["told"].take(), told["own"].take())
    }

    /// All values that were written to a field at once.
    pub async fn conflicts(&mut self, document: &str, path: &[&str]) -> Vec<String> {
        let asked = json!({"do": "conflicts", "document": document, "path": path});
        texts(&self.ask(asked).await.expect("conflicts can be asked for")["values"])
    }

    /// The hash of the migration to version 2 of an attendance sheet, as the client makes it under this actor.
    pub async fn migration(&mut self, document: &str, actor: &str) -> String {
        let asked = json!({"do": "migration", "document": document, "actor": actor});
        let made = self.ask(asked).await.expect("a migration can be made");
        made["hash"].as_str().expect("a hash is a text").to_owned()
    }

    /// Closes the connection, and opens none before [`JsClient::go_online`].
    pub async fn go_offline(&mut self) {
        self.ask(json!({"do": "offline"})).await.expect("a client can leave");
    }

    pub async fn go_online(&mut self) {
        self.ask(json!({"do": "online"})).await.expect("a client can come back");
    }

    async fn ask(&mut self, what: Value) -> Result<Value, String> {
        let line = format!("{what}\n");
        self.input.write_all(line.as_bytes()).await.expect("the client reads");
        let answered = tokio::time::timeout(SOON, self.output.next_line()).await;
        let answer =
            answered.unwrap_or_else(|_| panic!("waited {SOON:?} for the JS client's answer to {what}"));
        let answer = answer
            .expect("the client writes text")
            .unwrap_or_else(|| panic!("the JS client ended at {what}"));
        let answer: Value = serde_json::from_str(&answer).expect("the client writes JSON");
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer),
        }
    }
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("the client gives a list");
    let mut texts: Vec<String> =
        list.iter().map(|text| text.as_str().map_or_else(|| text.to_string(), str::to_owned)).collect();
    texts.sort_unstable();
    texts
}

/// Installs the packages of a folder of JavaScript, as its lock file says, where they are not there.
pub fn js_packages(folder: &Path) {
    let lock = File::create(crate::artefacts::target().join("tests-js.lock"))
        .expect("the target folder is writable");
    lock.lock().expect("a file can be locked");
    if folder.join("node_modules/.package-lock.json").exists() {
        return;
    }
    let installed = std::process::Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund"])
        .current_dir(folder)
        .output()
        .expect("the tests need npm; `cargo xtask test` installs it");
    assert!(installed.status.success(), "npm ci: {}", String::from_utf8_lossy(&installed.stderr));
}
