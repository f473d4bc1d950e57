//! A real origin in a process of its own.

use crate::artefacts::program;
use crate::program::Program;
use crate::service::Service;
use crate::{EDGE_SECRET, template};
use std::ops::{Deref, DerefMut};
use std::path::Path;

pub struct Origin(Service);

impl Origin {
    /// Starts an origin with the two sample institutes, whose store is in `folder`.
    pub async fn start(folder: &Path) -> Self {
        template::copy_seeded_origin(folder);
        let arguments = [
            "serve".into(),
            "--data".into(),
            folder.as_os_str().to_owned(),
            "--listen".into(),
            "127.0.0.1:0".into(),
        ];
        let mail = folder.join("mail");
        let program = Program::new(&program("rollcall-origin"), arguments)
            .with_environment("ROLLCALL_ORIGIN_MAIL__FOLDER", &mail.to_string_lossy())
            .with_environment("ROLLCALL_ORIGIN_EDGE_SECRET", EDGE_SECRET);
        Self(Service::start(program, folder).await)
    }

    /// Starts an origin with the two sample institutes on a Postgres database, which other origins may share.
    pub async fn start_on_postgres(folder: &Path, url: &str) -> Self {
        Self::start_with(folder, &[("ROLLCALL_ORIGIN_STORE__URL", url)]).await
    }

    /// Starts an origin with the two sample institutes and settings from the environment.
    pub async fn start_with(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--seed"];
        let mut program = Program::new(&program("rollcall-origin"), arguments)
            .in_folder(folder)
            .with_environment("ROLLCALL_ORIGIN_MAIL__FOLDER", &folder.join("mail").to_string_lossy())
            .with_environment("ROLLCALL_ORIGIN_EDGE_SECRET", EDGE_SECRET);
        for (name, value) in settings {
            program = program.with_environment(name, value);
        }
        Self(Service::start(program, folder).await)
    }
}

impl Deref for Origin {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.0
    }
}

impl DerefMut for Origin {
    fn deref_mut(&mut self) -> &mut Service {
        &mut self.0
    }
}
