//! What the story must remember from one start to the next, so that it can be played again on the same data.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Serialize, Deserialize, Default)]
pub(crate) struct Chronicle {
    /// How often the story was begun.
    pub(crate) played: u64,
    /// Students of the class by id, as far as the story has met them.
    pub(crate) students: Vec<Student>,
    #[serde(skip)]
    file: PathBuf,
}

#[derive(Serialize, Deserialize, Clone, PartialEq, Eq)]
pub(crate) struct Student {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) batch: String,
}

impl Chronicle {
    pub(crate) fn load(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join("chronicle.json");
        let mut chronicle = match std::fs::read(&file) {
            Ok(json) => serde_json::from_slice(&json).with_context(|| file.display().to_string())?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        chronicle.file = file;
        Ok(chronicle)
    }

    pub(crate) fn begin(&mut self) -> anyhow::Result<()> {
        self.played += 1;
        self.save()
    }

    pub(crate) fn meet(&mut self, students: impl IntoIterator<Item = Student>) -> anyhow::Result<()> {
        for student in students {
            if !self.students.contains(&student) {
                self.students.push(student);
            }
        }
        self.save()
    }

    fn save(&self) -> anyhow::Result<()> {
        // Replaced whole, so that a start that is killed leaves the old one.
        let new = self.file.with_extension("new");
        std::fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&new, &self.file).with_context(|| self.file.display().to_string())
    }
}
