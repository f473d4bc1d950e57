//! Where the story plays: today's first class, its two documents, and the devices of three people.

use crate::chronicle::{Chronicle, Student};
use crate::narrator::Narrator;
use anyhow::{Context as _, ensure};
use device::{Device, DeviceConfig, DocumentId, Kind};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) const TEACHERS_DASHBOARD: &str = "/api/teachers/dashboard";
pub(crate) const STUDENTS_DASHBOARD: &str = "/api/students/dashboard";
/// The sample people's.
const PASSWORD: &str = "rollcall";
/// For what takes milliseconds when all is well; the machine may be busy with a first start.
pub(crate) const SOON: Duration = Duration::from_secs(15);

pub(crate) struct Classroom {
    pub(crate) teacher: Device,
    pub(crate) assistant: Device,
    pub(crate) student: Device,
    pub(crate) origin_url: String,
    pub(crate) class: Class,
    pub(crate) sheet: DocumentId,
    pub(crate) notes: DocumentId,
}

pub(crate) struct Class {
    pub(crate) id: String,
    pub(crate) batch: String,
    title: String,
    starts_at: String,
    room: String,
}

impl Class {
    /// Today's first class of a teacher's dashboard.
    fn first(dashboard: &Value) -> anyhow::Result<Self> {
        let class = dashboard["today"].get(0).context("the teacher has no class today")?;
        let text = |name: &str| -> anyhow::Result<String> {
            Ok(class[name].as_str().with_context(|| format!("the class has no {name}"))?.to_owned())
        };
        Ok(Self {
            id: text("class")?,
            batch: text("batch")?,
            title: text("title")?,
            starts_at: text("starts_at")?,
            room: text("room")?,
        })
    }
}

impl Classroom {
    pub(crate) async fn open(
        edge: &str,
        origin: &str,
        folder: &Path,
        chronicle: &mut Chronicle,
        narrator: &mut Narrator,
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        let open = |who: &str| -> anyhow::Result<Device> {
            let config = DeviceConfig::new(edge, &format!("{who}@northside.example"), PASSWORD, who);
            Ok(Device::open(&folder.join(format!("{who}.db")), config)?)
        };
        let (teacher, assistant, student) = (open("teacher")?, open("assistant")?, open("student")?);
        let dashboard = teacher.get(TEACHERS_DASHBOARD).await.context("the teacher's dashboard")?.body;
        let class = Class::first(&dashboard)?;
        chronicle.meet(students(&dashboard))?;

        let sheet = teacher.register(Kind::Attendance, &class.id).await.context("the attendance sheet")?;
        let notes = teacher.register(Kind::Notes, &class.id).await.context("the class notes")?;
        ensure!(assistant.register(Kind::Attendance, &class.id).await? == sheet, "two sheets for one class");
        ensure!(assistant.register(Kind::Notes, &class.id).await? == notes, "two notes for one class");
        let classroom =
            Self { teacher, assistant, student, origin_url: origin.to_owned(), class, sheet, notes };
        classroom.in_step().await?;
        let opened = began.elapsed();

        let Class { title, starts_at, room, .. } = &classroom.class;
        let hour = starts_at.get(11..16).unwrap_or(starts_at);
        narrator.chapter(&format!("Two devices open the class {title} ({hour}, {room})")).await;
        println!("   attendance sheet automerge:{sheet}");
        println!("   class notes      automerge:{notes}");
        println!("   both devices have both documents after {} ms", opened.as_millis());
        Ok(classroom)
    }

    /// Waits until both devices and the edge have the same of both documents.
    pub(crate) async fn in_step(&self) -> anyhow::Result<()> {
        for document in [self.sheet, self.notes] {
            for device in [&self.teacher, &self.assistant] {
                device.wait_until_acknowledged(document, SOON).await?;
            }
            let equal = |_: &Device| {
                let (one, two) = (self.teacher.heads(document), self.assistant.heads(document));
                matches!((one, two), (Ok(one), Ok(two)) if one == two).then_some(())
            };
            // What arrives at the one device may be all that the other has waited for.
            tokio::select! {
                equal = self.teacher.wait_for("both devices to be equal", SOON, equal) => equal?,
                equal = self.assistant.wait_for("both devices to be equal", SOON, equal) => equal?,
            }
        }
        Ok(())
    }

    /// The figures of the class on a teacher's dashboard.
    pub(crate) fn class_on<'a>(&self, dashboard: &'a Value) -> anyhow::Result<&'a Value> {
        let classes =
            dashboard["today"].as_array().context("the dashboard has no list of today's classes")?;
        classes
            .iter()
            .find(|class| class["class"] == *self.class.id)
            .context("the class is not on the dashboard")
    }

    /// Students of the class.
    pub(crate) fn students<'a>(&self, chronicle: &'a Chronicle) -> Vec<&'a Student> {
        chronicle.students.iter().filter(|student| student.batch == self.class.batch).collect()
    }
}

/// The students whose work waits for a grade: those whom a teacher's dashboard names.
fn students(dashboard: &Value) -> Vec<Student> {
    let waiting = dashboard["to_grade"]["submissions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let student = |work: &Value| {
        Some(Student {
            id: work["student"].as_str()?.to_owned(),
            name: work["student_name"].as_str()?.to_owned(),
            batch: work["batch"].as_str()?.to_owned(),
        })
    };
    waiting.iter().filter_map(student).collect()
}
