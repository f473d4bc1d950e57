//! An origin, an edge and the link between them.

use crate::edge::Edge;
use crate::faulty_link::FaultyLink;
use crate::js_client::JsClient;
use crate::origin::Origin;
use crate::person::Person;
use crate::until::until;
use crate::{PASSWORD, SOON};
use device::{Device, DeviceConfig};
use serde_json::Value;
use tempfile::TempDir;
use test_servers::Postgres;

/// The origins' database.
const DATABASE: &str = "rollcall";

pub struct House {
    pub origin: Origin,
    pub link: FaultyLink,
    pub edge: Edge,
    folder: TempDir,
    /// The database server of the origin, unless its store is embedded.
    postgres: Option<Postgres>,
}

/// A class of today, as a teacher's dashboard has it.
#[derive(Debug, Clone)]
pub struct Class {
    pub id: String,
    pub batch: String,
    /// Ids of some students of the class.
    pub students: Vec<String>,
}

impl House {
    /// Starts everything, with the two sample institutes.
    ///
    /// With `RUST_LOG=device=trace` the devices of a failed test tell what they said and heard.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The same on Postgres.
    pub async fn start_on_postgres() -> Self {
        let server = tokio::task::spawn_blocking(|| {
            let server = Postgres::start();
            server.create_database(DATABASE);
            server
        });
        Self::start_with(Some(server.await.expect("the server starts"))).await
    }

    async fn start_with(postgres: Option<Postgres>) -> Self {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // Tests in one process share it: the first one has set it.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let origin = match &postgres {
            None => Origin::start(&folder.path().join("origin")).await,
            Some(server) => Origin::start_on_postgres(folder.path(), &server.url(DATABASE)).await,
        };
        let link = FaultyLink::to(origin.address()).await;
        let edge = Edge::start(&folder.path().join("edge"), &link.url(), "edge-1").await;
        let house = Self { origin, link, edge, folder, postgres };
        house.edge_knows_the_origin().await;
        house
    }

    /// A second edge of the same origin.
    pub async fn second_edge(&self) -> Edge {
        let edge = Edge::start(&self.folder.path().join("edge-2"), self.origin.url(), "edge-2").await;
        knows_the_origin(edge.url()).await;
        edge
    }

    /// A second origin on the same store, which must be Postgres, and an edge of it.
    pub async fn second_origin(&self) -> (Origin, Edge) {
        let server = self.postgres.as_ref().expect("an embedded store has one origin");
        let origin = Origin::start_on_postgres(self.folder.path(), &server.url(DATABASE)).await;
        let edge = Edge::start(&self.folder.path().join("edge-2"), origin.url(), "edge-2").await;
        knows_the_origin(edge.url()).await;
        (origin, edge)
    }

    /// A device that reaches another edge than the house's own.
    pub fn device_at(&self, edge: &Edge, email: &str, name: &str) -> Device {
        self.open_device(DeviceConfig::new(edge.url(), email, PASSWORD, name))
    }

    /// Waits until the edge has the origin's keys, without which it knows nobody.
    pub async fn edge_knows_the_origin(&self) {
        knows_the_origin(self.edge.url()).await;
    }

    pub async fn sign_in(&self, email: &str) -> Person {
        Person::sign_in(self.edge.url(), email, "browser").await
    }

    pub async fn sign_in_on(&self, email: &str, device: &str) -> Person {
        Person::sign_in(self.edge.url(), email, device).await
    }

    pub fn stranger(&self) -> Person {
        Person::stranger(self.edge.url())
    }

    /// A device of its own store; opened again under the same names, it is the same device.
    pub fn device(&self, email: &str, name: &str) -> Device {
        self.open_device(DeviceConfig::new(self.edge.url(), email, PASSWORD, name))
    }

    pub fn offline_device(&self, email: &str, name: &str) -> Device {
        self.open_device(DeviceConfig::new(self.edge.url(), email, PASSWORD, name).offline())
    }

    /// A device that syncs by the batch route alone.
    pub fn batch_device(&self, email: &str, name: &str) -> Device {
        self.open_device(DeviceConfig::new(self.edge.url(), email, PASSWORD, name).batch_only())
    }

    fn open_device(&self, config: DeviceConfig) -> Device {
        let file = format!("{}-{}.db", config.email, config.device_name);
        Device::open(&self.folder.path().join(file), config).expect("a device's store can be opened")
    }

    /// An unmodified automerge-repo client.
    pub async fn js_client(&self, email: &str) -> JsClient {
        let person = self.sign_in_on(email, "js").await;
        JsClient::start(self.edge.address(), &person.token).await
    }

    /// The first class of today of the teacher of northside.example.
    pub async fn class(&self) -> Class {
        let teacher = self.sign_in("teacher@northside.example").await;
        let dashboard = teacher.get("/api/teachers/dashboard").await.ok();
        let class = &dashboard["today"][0];
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("in {dashboard}")).to_owned();
        let batch = text(&class["batch"]);
        let waiting = dashboard["to_grade"]["submissions"].as_array().expect("work waits for grades");
        let of_class = waiting.iter().filter(|work| work["batch"] == *batch);
        let mut students: Vec<String> = of_class.map(|work| text(&work["student"])).collect();
        students.dedup();
        assert!(students.len() >= 3, "the class has students: {dashboard}");
        Class { id: text(&class["class"]), batch, students }
    }
}

/// A token that nobody signed is `token-invalid` for an edge with keys, and not known to be so for one without.
async fn knows_the_origin(edge: &str) {
    let nobody = Person::stranger(edge).with_token("a.b.c");
    until("the edge to have the origin's keys", SOON, async || {
        (nobody.get("/api/teachers/dashboard").await.status == 401).then_some(())
    })
    .await;
}
