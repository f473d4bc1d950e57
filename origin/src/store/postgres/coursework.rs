//! Assignments, what students handed in, and its grades.

use super::transaction::{Answer, Millis, Transaction, some_millis};
use crate::store::coursework::{
    Assignment, NewSubmission, ReadCoursework, StudentSubmission, UngradedSubmission, WriteCoursework,
};
use crate::store::error::StoreError;
use crate::store::figures::Figure;
use tokio_postgres::Row;

const WORK: &str = "s.submission, a.assignment, a.batch, a.title, a.due_at, a.max_score,
     s.submitted_at, s.score, s.feedback, s.graded_at";
const ITS_ASSIGNMENT: &str =
    "JOIN assignments a ON a.institute = s.institute AND a.assignment = s.assignment";
/// What waits in a teacher's batches.
const TO_GRADE: &str = r#"batch_teachers t
     JOIN assignments a ON a.institute = t.institute AND a.batch = t.batch
     JOIN submissions s ON s.institute = a.institute AND s.assignment = a.assignment AND s.score IS NULL"#;

fn read_assignment(row: &Row, first: usize) -> Result<Assignment, tokio_postgres::Error> {
    Ok(Assignment {
        assignment: row.try_get(first)?,
        batch: row.try_get(first + 1)?,
        title: row.try_get(first + 2)?,
        due_at: some_millis(row, first + 3)?,
        max_score: row.try_get(first + 4)?,
    })
}

fn read_work(row: &Row) -> Result<StudentSubmission, tokio_postgres::Error> {
    Ok(StudentSubmission {
        submission: row.try_get(0)?,
        assignment: read_assignment(row, 1)?,
        submitted_at: some_millis(row, 6)?,
        score: row.try_get(7)?,
        feedback: row.try_get(8)?,
        graded_at: some_millis(row, 9)?,
    })
}

impl Transaction<'_> {
    pub(super) async fn ask_student_work(&self, student: &str, limit: u32) -> Answer<Vec<StudentSubmission>> {
        let sql = format!(
            "SELECT {WORK} FROM submissions s {ITS_ASSIGNMENT} WHERE s.institute = $1 AND s.student = $2
             ORDER BY coalesce(s.graded_at, s.submitted_at) DESC NULLS LAST, s.submission LIMIT $3"
        );
        self.ask_all(&sql, &[&self.institute, &student, &i64::from(limit)], read_work).await
    }

    pub(super) async fn ask_work_to_grade(
        &self,
        teacher: &str,
        limit: u32,
    ) -> Answer<Vec<UngradedSubmission>> {
        let sql = format!(
            r#"SELECT s.submission, a.assignment, a.batch, a.title, a.due_at, a.max_score,
                    s.submitted_at, s.student, u.name
             FROM {TO_GRADE} JOIN users u ON u."user" = s.student
             WHERE t.institute = $1 AND t."user" = $2
             ORDER BY s.submitted_at NULLS FIRST, s.submission LIMIT $3"#
        );
        self.ask_all(&sql, &[&self.institute, &teacher, &i64::from(limit)], |row| {
            Ok(UngradedSubmission {
                submission: row.try_get(0)?,
                assignment: read_assignment(row, 1)?,
                submitted_at: some_millis(row, 6)?,
                student: row.try_get(7)?,
                student_name: row.try_get(8)?,
            })
        })
        .await
    }

    pub(super) async fn ask_work_to_grade_count(&self, teacher: &str) -> Answer<u64> {
        let sql = format!(r#"SELECT count(*) FROM {TO_GRADE} WHERE t.institute = $1 AND t."user" = $2"#);
        self.ask_number(&sql, &[&self.institute, &teacher]).await
    }

    pub(super) async fn ask_student_average(&self, student: &str) -> Answer<Option<f64>> {
        let sql = format!(
            "SELECT avg(s.score / a.max_score) FROM submissions s {ITS_ASSIGNMENT}
             WHERE s.institute = $1 AND s.student = $2 AND s.score IS NOT NULL AND a.max_score > 0"
        );
        let average = self.ask_one(&sql, &[&self.institute, &student], |row| row.try_get(0)).await?;
        Ok(average.flatten())
    }

    pub(super) async fn ask_open_assignments(&self, student: &str, limit: u32) -> Answer<Vec<Assignment>> {
        self.ask_all(
            "SELECT a.assignment, a.batch, a.title, a.due_at, a.max_score
             FROM enrolments e JOIN assignments a ON a.institute = e.institute AND a.batch = e.batch
             WHERE e.institute = $1 AND e.student = $2 AND NOT EXISTS (
                 SELECT FROM submissions s
                 WHERE s.institute = $1 AND s.assignment = a.assignment AND s.student = $2)
             ORDER BY a.due_at NULLS LAST, a.assignment LIMIT $3",
            &[&self.institute, &student, &i64::from(limit)],
            |row| read_assignment(row, 0),
        )
        .await
    }
}

impl ReadCoursework for Transaction<'_> {
    fn assignment(&self, assignment: &str) -> Result<Option<Assignment>, StoreError> {
        let sql = "SELECT assignment, batch, title, due_at, max_score FROM assignments
             WHERE institute = $1 AND assignment = $2";
        self.one(sql, &[&self.institute, &assignment], |row| read_assignment(row, 0))
    }

    fn submission(&self, assignment: &str, student: &str) -> Result<Option<StudentSubmission>, StoreError> {
        let sql = format!(
            "SELECT {WORK} FROM submissions s {ITS_ASSIGNMENT}
             WHERE s.institute = $1 AND s.assignment = $2 AND s.student = $3"
        );
        self.one(&sql, &[&self.institute, &assignment, &student], read_work)
    }

    fn student_work(&self, student: &str, limit: u32) -> Result<Vec<StudentSubmission>, StoreError> {
        self.wait(self.ask_student_work(student, limit))
    }

    fn student_average(&self, student: &str) -> Result<Option<f64>, StoreError> {
        self.wait(self.ask_student_average(student))
    }

    fn open_assignments(&self, student: &str, limit: u32) -> Result<Vec<Assignment>, StoreError> {
        self.wait(self.ask_open_assignments(student, limit))
    }

    fn work_to_grade(&self, teacher: &str, limit: u32) -> Result<Vec<UngradedSubmission>, StoreError> {
        self.wait(self.ask_work_to_grade(teacher, limit))
    }

    fn work_to_grade_count(&self, teacher: &str) -> Result<u64, StoreError> {
        self.wait(self.ask_work_to_grade_count(teacher))
    }

    fn highest_score(&self, assignment: &str) -> Result<Option<f64>, StoreError> {
        let sql = "SELECT max(score) FROM submissions WHERE institute = $1 AND assignment = $2";
        Ok(self.one(sql, &[&self.institute, &assignment], |row| row.try_get(0))?.flatten())
    }
}

impl WriteCoursework for Transaction<'_> {
    fn add_assignment(&self, assignment: &Assignment) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO assignments (institute, assignment, batch, title, due_at, max_score)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            &[
                &self.institute,
                &assignment.assignment,
                &assignment.batch,
                &assignment.title,
                &Millis::of(assignment.due_at),
                &assignment.max_score,
            ],
        )?;
        Ok(added > 0)
    }

    fn change_assignment(
        &self,
        assignment: &str,
        title: Option<&str>,
        due_at: Option<i64>,
        max_score: Option<f64>,
    ) -> Result<(), StoreError> {
        self.run(
            "UPDATE assignments SET title = coalesce($3, title), due_at = coalesce($4::timestamptz, due_at),
                 max_score = coalesce($5, max_score)
             WHERE institute = $1 AND assignment = $2",
            &[&self.institute, &assignment, &title, &Millis::of(due_at), &max_score],
        )?;
        Ok(())
    }

    fn add_submission(&self, work: &NewSubmission) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO submissions (institute, submission, assignment, student, submitted_at, text)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            &[
                &self.institute,
                &work.submission,
                &work.assignment,
                &work.student,
                &Millis::of(work.submitted_at),
                &work.text,
            ],
        )?;
        self.figures.add(Figure::Submissions, "", i64::from(added > 0));
        Ok(added > 0)
    }

    fn replace_submission(&self, submission: &str, text: &str, submitted_at: i64) -> Result<(), StoreError> {
        self.run(
            "UPDATE submissions SET text = $3, submitted_at = $4 WHERE institute = $1 AND submission = $2",
            &[&self.institute, &submission, &text, &Millis(submitted_at)],
        )?;
        Ok(())
    }

    fn grade_submission(
        &self,
        submission: &str,
        score: f64,
        feedback: Option<&str>,
        graded_by: &str,
        graded_at: i64,
    ) -> Result<(), StoreError> {
        self.run(
            "UPDATE submissions SET score = $3, feedback = $4, graded_by = $5, graded_at = $6
             WHERE institute = $1 AND submission = $2",
            &[&self.institute, &submission, &score, &feedback, &graded_by, &Millis(graded_at)],
        )?;
        Ok(())
    }
}
