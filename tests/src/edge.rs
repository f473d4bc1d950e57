//! A real edge in a process of its own.

use crate::artefacts::{program, workspace};
use crate::program::Program;
use crate::service::Service;
use crate::{EDGE_SECRET, template};
use std::ops::{Deref, DerefMut};
use std::path::Path;

pub struct Edge(Service);

impl Edge {
    /// Starts an edge that reaches its origin at `origin`, with its data in `folder`.
    pub async fn start(folder: &Path, origin: &str, id: &str) -> Self {
        Self::start_program(folder, Self::program(folder, origin, id)).await
    }

    /// Starts an edge with more of an environment.
    pub async fn start_with(folder: &Path, origin: &str, environment: &[(&str, &str)]) -> Self {
        let program = Self::program(folder, origin, "edge-1");
        let program =
            environment.iter().fold(program, |program, (name, value)| program.with_environment(name, value));
        Self::start_program(folder, program).await
    }

    async fn start_program(folder: &Path, program: Program) -> Self {
        template::copy_compiled_edge(folder);
        Self(Service::start(program, folder).await)
    }

    /// Starts an edge as any other host of Spin applications would be: from our manifest without our own tables, so without
    /// identity by the host, sync sessions, link and databases of an institute's own.
    pub async fn start_without_our_tables(folder: &Path, origin: &str) -> Self {
        std::fs::create_dir_all(folder).expect("a folder can be made");
        let app = folder.join("spin.toml");
        std::fs::write(&app, manifest_without_our_tables()).expect("a manifest can be written");
        let data = folder.join("data");
        template::copy_compiled_edge(&data);
        let mut program = Self::program(&data, origin, "plain");
        program.set_flag("--app", app.to_str().expect("a temporary path is text"));
        Self(Service::start(program, &data).await)
    }

    /// The program, not started.
    pub fn program(folder: &Path, origin: &str, id: &str) -> Program {
        let app = workspace().join("spin.toml");
        let mut program = Program::new(&program("rollcall-edge"), ["up"]);
        for (flag, value) in [
            ("--app", app.to_str().expect("the workspace's path is text")),
            ("--listen", "127.0.0.1:0"),
            ("--data", folder.to_str().expect("a temporary path is text")),
            ("--origin", origin),
            ("--edge-id", id),
            ("--edge-secret", EDGE_SECRET),
        ] {
            program.set_flag(flag, value);
        }
        program
    }
}

impl Deref for Edge {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.0
    }
}

impl DerefMut for Edge {
    fn deref_mut(&mut self) -> &mut Service {
        &mut self.0
    }
}

fn manifest_without_our_tables() -> String {
    let text = std::fs::read_to_string(workspace().join("spin.toml")).expect("the manifest can be read");
    let mut manifest: toml::Table = text.parse().expect("the manifest is TOML");
    let strip = |table: &mut toml::Value| drop(table.as_table_mut().and_then(|table| table.remove("tool")));
    strip(&mut manifest["application"]);
    let components = manifest["component"].as_table_mut().expect("components are a table");
    for (_, component) in components.iter_mut() {
        strip(component);
        let source = component["source"].as_str().expect("a component's source is a path");
        component["source"] = workspace().join(source).to_string_lossy().into_owned().into();
    }
    manifest.to_string()
}
