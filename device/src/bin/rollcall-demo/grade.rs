//! The second half of the story: a grade is given while the origin is stopped.

use crate::chronicle::Chronicle;
use crate::classroom::{Classroom, SOON, STUDENTS_DASHBOARD, TEACHERS_DASHBOARD};
use crate::director::Director;
use crate::narrator::Narrator;
use anyhow::{Context as _, bail, ensure};
use device::{Command, CommandState, Priority};
use serde_json::Value;
use std::time::{Duration, Instant};

/// The origin has to open its store, and the edge to notice it.
const DELIVERY: Duration = Duration::from_secs(30);

struct Work {
    assignment: String,
    title: String,
    max_score: f64,
}

impl Classroom {
    pub(crate) async fn grade(
        &self,
        director: &mut Director,
        chronicle: &Chronicle,
        narrator: &mut Narrator,
    ) -> anyhow::Result<()> {
        let dashboard = self.student.get(STUDENTS_DASHBOARD).await.context("the student's dashboard")?.body;
        let work = work_to_grade(&dashboard, &self.class.batch)?;
        let student = dashboard["student"]["id"].as_str().context("the dashboard has no student")?.to_owned();
        let name = dashboard["student"]["name"].as_str().unwrap_or("the student").to_owned();
        let score = fresh_score(&dashboard, &work, chronicle.played);
        let waiting = self.waiting_grades().await?;

        narrator.chapter("The origin stops").await;
        tokio::task::block_in_place(|| director.order("stop origin"))?;
        let command = Command::GradeSubmission {
            assignment: work.assignment.clone(),
            student,
            score,
            feedback: Some("Clear working.".into()),
        };
        let key = self.teacher.submit(&command, Priority::High)?;
        println!("   The teacher grades {name}'s {:?}: {score} of {} points", work.title, work.max_score);
        match self.teacher.wait_until_sent(&key, SOON).await? {
            CommandState::AtEdge => println!("   the edge answers 202 with a receipt: /commands/{key}"),
            other => bail!("the origin is stopped, and the grade is {other:?}"),
        }
        let view = self.teacher.get(TEACHERS_DASHBOARD).await.context("the dashboard without the origin")?;
        ensure!(view.is_hit(), "the dashboard came from an origin that is stopped");
        println!("   the dashboard is still there, {waiting} pieces of work to grade");
        println!(
            "   Cache-Status: {}{}",
            view.cache_status.as_deref().unwrap_or_default(),
            view.age.map(|age| format!(", Age: {age} s")).unwrap_or_default()
        );

        narrator.chapter("The origin starts again").await;
        tokio::task::block_in_place(|| director.order("start origin"))?;
        let back = Instant::now();
        match self.teacher.wait_until_settled(&key, DELIVERY).await? {
            CommandState::Committed { bookmark, .. } => {
                let revision = bookmark.map(|bookmark| format!(", revision {bookmark}")).unwrap_or_default();
                println!("   the grade is delivered {} ms later{revision}", back.elapsed().as_millis());
            }
            other => bail!("the grade was not committed: {other:?}"),
        }
        self.show_grade(&work, score, &name).await
    }

    async fn waiting_grades(&self) -> anyhow::Result<u64> {
        let dashboard = self.teacher.get(TEACHERS_DASHBOARD).await?.body;
        dashboard["to_grade"]["count"].as_u64().context("the dashboard does not count the work to grade")
    }

    /// The student sees the grade, once.
    async fn show_grade(&self, work: &Work, score: f64, name: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let dashboard = self.student.get(STUDENTS_DASHBOARD).await?.body;
            let grades = grades_of(&dashboard, work);
            if grades == [score] {
                println!("   {name}'s dashboard shows the grade, once: {score} of {} points", work.max_score);
                break;
            }
            ensure!(
                began.elapsed() < SOON,
                "waited {SOON:?} for the student's dashboard to show one grade of {score}; it shows {grades:?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let waiting = self.waiting_grades().await?;
        println!("   the teacher's dashboard has {waiting} pieces of work to grade");
        Ok(())
    }
}

/// Work that waits for a grade, else some that may get a new one.
fn work_to_grade(dashboard: &Value, batch: &str) -> anyhow::Result<Work> {
    let of_batch = |list: &str| {
        let work = dashboard["assignments"][list].as_array()?;
        work.iter().find(|work| work["batch"] == *batch)
    };
    let found = of_batch("submitted").or_else(|| of_batch("graded"));
    let found = found.context("the student has handed in nothing that could be graded")?;
    Ok(Work {
        assignment: found["assignment"].as_str().context("the work has no assignment")?.to_owned(),
        title: found["title"].as_str().unwrap_or("work").to_owned(),
        max_score: found["max_score"].as_f64().context("the work has no full score")?,
    })
}

fn grades_of(dashboard: &Value, work: &Work) -> Vec<f64> {
    let graded = dashboard["assignments"]["graded"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_work = graded.iter().filter(|grade| grade["assignment"] == *work.assignment);
    of_work.filter_map(|grade| grade["score"].as_f64()).collect()
}

/// A score that the student does not have yet.
fn fresh_score(dashboard: &Value, work: &Work, played: u64) -> f64 {
    let has = grades_of(dashboard, work);
    let steps = u32::try_from(played % 5).unwrap_or(0);
    let scores =
        (0..6).map(|step| (work.max_score * f64::from(90 - 5 * ((steps + step) % 6)) / 100.0).round());
    scores.clone().find(|score| !has.contains(score)).unwrap_or(work.max_score)
}
