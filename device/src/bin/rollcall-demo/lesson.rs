//! The first half of the story: offline edits meet.

use crate::chronicle::{Chronicle, Student};
use crate::classroom::{Classroom, SOON, TEACHERS_DASHBOARD};
use crate::narrator::Narrator;
use crate::origin::Origin;
use anyhow::{Context as _, bail, ensure};
use device::{Device, View};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two looks at a view that is about to change.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

const BY_TEACHER: [&str; 4] = [
    "Completing the square always works.",
    "Draw the graph before you compute.",
    "A negative discriminant means no real root.",
    "Check the result by putting it back in.",
];
const BY_ASSISTANT: [&str; 4] = [
    "Homework is exercise 7.",
    "Rana's question on page 41 is open.",
    "Bring the formula sheet on Friday.",
    "The second example was the hard one.",
];

/// Who is marked how in this playing.
struct Plan<'a> {
    /// Marked by the teacher alone and by the assistant alone, both alike.
    alone: (&'a Student, &'a Student),
    mark: &'static str,
    /// Marked by both: thus by the teacher, and so by the assistant.
    both: &'a Student,
    thus: &'static str,
    so: &'static str,
}

impl<'a> Plan<'a> {
    /// Two students of one mark, so that marking both alike changes the figures whatever was played before.
    fn choose(students: &[&'a Student], marks: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let now = |student: &Student| marks.get(&student.id).map(String::as_str);
        let (both, rest) = students.split_first().context("the class has no students")?;
        let pair = rest.iter().enumerate().find_map(|(at, one)| {
            let two = rest[at + 1..].iter().find(|two| now(two) == now(one))?;
            Some((*one, *two))
        });
        let alone = pair.context("the class has too few students")?;
        let mark = if now(alone.0) == Some("present") { "absent" } else { "present" };
        // Writing what stands there already is no change, so neither mark is the one that is shown now.
        let mut fresh = ["present", "late", "absent"].into_iter().filter(|mark| now(both) != Some(mark));
        let (thus, so) = fresh.next().zip(fresh.next()).context("three marks but one are two")?;
        Ok(Self { alone, mark, both, thus, so })
    }
}

impl Classroom {
    pub(crate) async fn teach(&self, chronicle: &Chronicle, narrator: &mut Narrator) -> anyhow::Result<()> {
        let cached = self.cached_dashboard().await?;
        let before = self.class_on(&cached.body)?["attendance"].clone();
        narrator.chapter("The teacher's dashboard at the edge, before the class").await;
        println!("   {}", figures(&before));
        println!("   Cache-Status: {}", cached.cache_status.unwrap_or_default());

        let lesson = chronicle.played;
        let paragraph = format!("Lesson {lesson}: quadratic equations. ");
        let at = self.teacher.text(self.notes, "text")?.chars().count();
        let opening = if at == 0 { paragraph.clone() } else { format!("\n{paragraph}") };
        self.teacher.splice_text(self.notes, "text", at, 0, &opening)?;
        self.in_step().await?;

        narrator.chapter("Both devices lose the network and work on").await;
        self.edit_offline(chronicle)?;
        narrator.chapter("The network returns").await;
        let back = self.meet_again().await?;
        self.show_conflict(chronicle)?;
        self.show_notes(lesson)?;
        let arrived = self.show_origin(&before).await?;
        println!("   that is {} ms after the devices were back", (arrived - back).as_millis());
        Ok(())
    }

    /// Reads until the edge's cache has the view.
    async fn cached_dashboard(&self) -> anyhow::Result<View> {
        let began = Instant::now();
        loop {
            let view = self.teacher.get(TEACHERS_DASHBOARD).await?;
            if view.is_hit() {
                return Ok(view);
            }
            ensure!(began.elapsed() < SOON, "waited {SOON:?} for the edge to cache the teacher's dashboard");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn edit_offline(&self, chronicle: &Chronicle) -> anyhow::Result<()> {
        self.teacher.go_offline();
        self.assistant.go_offline();
        let students = self.students(chronicle);
        let plan = Plan::choose(&students, &self.teacher.marks(self.sheet)?)?;
        let Plan { alone: (one, two), mark, both, thus, so } = plan;
        self.teacher.mark_attendance(self.sheet, &one.id, mark)?;
        self.teacher.mark_attendance(self.sheet, &both.id, thus)?;
        self.assistant.mark_attendance(self.sheet, &two.id, mark)?;
        self.assistant.mark_attendance(self.sheet, &both.id, so)?;
        println!("   teacher:   {} is {mark}, {} is {thus}", one.name, both.name);
        println!("   assistant: {} is {mark}, {} is {so}", two.name, both.name);

        let end = self.teacher.text(self.notes, "text")?.chars().count();
        for (device, who, sentence) in self.sentences(chronicle.played) {
            device.splice_text(self.notes, "text", end, 0, &format!("{sentence} "))?;
            println!("   {who} in the same paragraph: {sentence}");
        }
        Ok(())
    }

    fn sentences(&self, lesson: u64) -> [(&Device, &'static str, &'static str); 2] {
        let at = usize::try_from(lesson).unwrap_or(0);
        [
            (&self.teacher, "teacher writes  ", BY_TEACHER[at % BY_TEACHER.len()]),
            (&self.assistant, "assistant writes", BY_ASSISTANT[at % BY_ASSISTANT.len()]),
        ]
    }

    async fn meet_again(&self) -> anyhow::Result<Instant> {
        let back = Instant::now();
        self.teacher.go_online();
        self.assistant.go_online();
        self.in_step().await?;
        println!("   both replicas are equal {} ms later", back.elapsed().as_millis());
        Ok(back)
    }

    fn show_conflict(&self, chronicle: &Chronicle) -> anyhow::Result<()> {
        let conflicts = self.teacher.conflicts(self.sheet)?;
        ensure!(conflicts == self.assistant.conflicts(self.sheet)?, "the devices show different conflicts");
        let conflict = conflicts.first().context("two marks for one student, and no conflict is shown")?;
        let name = chronicle.students.iter().find(|student| student.id == conflict.student);
        let name = name.map_or(conflict.student.as_str(), |student| student.name.as_str());
        let marks = conflict.marks.join(" and ");
        println!("   {name} was marked {marks} at the same time; every replica shows {}", conflict.shown);
        Ok(())
    }

    fn show_notes(&self, lesson: u64) -> anyhow::Result<()> {
        let text = self.teacher.text(self.notes, "text")?;
        ensure!(text == self.assistant.text(self.notes, "text")?, "the devices show different notes");
        for (_, who, sentence) in self.sentences(lesson) {
            ensure!(text.contains(sentence), "the notes lost what the {} wrote", who.trim());
        }
        println!("   The paragraph has both sentences: {:?}", text.lines().last().unwrap_or_default().trim());
        Ok(())
    }

    /// The origin's tables and the edge's cache follow.
    async fn show_origin(&self, before: &Value) -> anyhow::Result<Instant> {
        let expected = counts(self.teacher.marks(self.sheet)?.values());
        let origin = Origin::sign_in(&self.origin_url, "teacher@northside.example", "rollcall").await?;
        let began = Instant::now();
        loop {
            let dashboard = origin.get(TEACHERS_DASHBOARD).await?;
            let class = self.class_on(&dashboard)?;
            if shows(class, &expected) {
                println!("   at the origin the marks are rows: {}", figures(&class["attendance"]));
                break;
            }
            if began.elapsed() > SOON {
                let has = figures(&class["attendance"]);
                bail!("waited {SOON:?} for the origin to have {expected}; it has {has}");
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        loop {
            let view = self.teacher.get(TEACHERS_DASHBOARD).await?;
            let class = self.class_on(&view.body)?;
            if shows(class, &expected) && class["attendance"] != *before {
                println!("   at the edge the dashboard shows: {}", figures(&class["attendance"]));
                println!("   Cache-Status: {}", view.cache_status.unwrap_or_default());
                return Ok(Instant::now());
            }
            if began.elapsed() > SOON {
                let has = figures(&class["attendance"]);
                bail!("waited {SOON:?} for the dashboard at the edge to show {expected}; it shows {has}");
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

fn counts<'a>(marks: impl Iterator<Item = &'a String>) -> Value {
    let mut counts = BTreeMap::from([("present", 0), ("absent", 0), ("late", 0), ("excused", 0)]);
    for mark in marks {
        if let Some(count) = counts.get_mut(mark.as_str()) {
            *count += 1;
        }
    }
    json!(counts)
}

fn shows(class: &Value, expected: &Value) -> bool {
    ["present", "absent", "late", "excused"].iter().all(|mark| class["attendance"][mark] == expected[mark])
}

fn figures(attendance: &Value) -> String {
    let count = |mark: &str| attendance[mark].as_u64().unwrap_or(0);
    format!(
        "{} present, {} late, {} absent, {} not marked yet",
        count("present"),
        count("late"),
        count("absent"),
        count("unmarked")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn student(id: &str) -> Student {
        Student { id: id.into(), name: id.into(), batch: "b".into() }
    }

    /// Whatever was played before, the figures after it differ from those before it.
    #[test]
    fn every_plan_changes_the_figures() {
        let students: Vec<Student> = ["a", "b", "c", "d", "e", "f"].iter().map(|id| student(id)).collect();
        let students: Vec<&Student> = students.iter().collect();
        let mut marks = BTreeMap::new();
        for played in 0..12 {
            let before = counts(marks.values());
            let plan = Plan::choose(&students, &marks).unwrap();
            for student in [plan.alone.0, plan.alone.1] {
                marks.insert(student.id.clone(), plan.mark.to_owned());
            }
            assert_ne!(plan.thus, plan.so);
            assert!(marks.get(&plan.both.id).is_none_or(|now| *now != plan.thus && *now != plan.so));
            let shown = if played % 2 == 0 { plan.so } else { plan.thus };
            marks.insert(plan.both.id.clone(), shown.to_owned());
            assert_ne!(counts(marks.values()), before, "{played}");
        }
    }
}
