//! Assignments, what students handed in, and its grades.

use super::transaction::Transaction;
use crate::store::coursework::{
    Assignment, NewSubmission, ReadCoursework, StudentSubmission, UngradedSubmission, WriteCoursework,
};
use crate::store::error::StoreError;
use crate::store::figures::Figure;
use rusqlite::Row;

// Indexes are named where the planner, which knows nothing of an institute's size, would take the primary key and read
// all of the institute.

const WORK: &str = "s.submission, a.assignment, a.batch, a.title, a.due_at, a.max_score,
     s.submitted_at, s.score, s.feedback, s.graded_at";
const ITS_ASSIGNMENT: &str =
    "CROSS JOIN assignments a ON a.institute = s.institute AND a.assignment = s.assignment";

fn read_assignment(row: &Row<'_>, first: usize) -> rusqlite::Result<Assignment> {
    Ok(Assignment {
        assignment: row.get(first)?,
        batch: row.get(first + 1)?,
        title: row.get(first + 2)?,
        due_at: row.get(first + 3)?,
        max_score: row.get(first + 4)?,
    })
}

fn read_work(row: &Row<'_>) -> rusqlite::Result<StudentSubmission> {
    Ok(StudentSubmission {
        submission: row.get(0)?,
        assignment: read_assignment(row, 1)?,
        submitted_at: row.get(6)?,
        score: row.get(7)?,
        feedback: row.get(8)?,
        graded_at: row.get(9)?,
    })
}

impl ReadCoursework for Transaction<'_> {
    fn assignment(&self, assignment: &str) -> Result<Option<Assignment>, StoreError> {
        let sql = "SELECT assignment, batch, title, due_at, max_score FROM assignments
             WHERE institute = ?1 AND assignment = ?2";
        self.one(sql, (self.institute, assignment), |row| read_assignment(row, 0))
    }

    fn submission(&self, assignment: &str, student: &str) -> Result<Option<StudentSubmission>, StoreError> {
        let sql = format!(
            "SELECT {WORK} FROM submissions s INDEXED BY submissions_by_assignment {ITS_ASSIGNMENT}
             WHERE s.institute = ?1 AND s.assignment = ?2 AND s.student = ?3"
        );
        self.one(&sql, (self.institute, assignment, student), read_work)
    }

    fn student_work(&self, student: &str, limit: u32) -> Result<Vec<StudentSubmission>, StoreError> {
        let sql = format!(
            "SELECT {WORK} FROM submissions s INDEXED BY submissions_by_student {ITS_ASSIGNMENT}
             WHERE s.institute = ?1 AND s.student = ?2
             ORDER BY coalesce(s.graded_at, s.submitted_at) DESC, s.submission LIMIT ?3"
        );
        self.all(&sql, (self.institute, student, limit), read_work)
    }

    fn student_average(&self, student: &str) -> Result<Option<f64>, StoreError> {
        let sql = format!(
            "SELECT avg(s.score / a.max_score)
             FROM submissions s INDEXED BY submissions_by_student {ITS_ASSIGNMENT}
             WHERE s.institute = ?1 AND s.student = ?2 AND s.score IS NOT NULL AND a.max_score > 0"
        );
        let average = self.one(&sql, (self.institute, student), |row| row.get(0))?;
        Ok(average.flatten())
    }

    fn open_assignments(&self, student: &str, limit: u32) -> Result<Vec<Assignment>, StoreError> {
        self.all(
            "SELECT a.assignment, a.batch, a.title, a.due_at, a.max_score FROM enrolments e INDEXED BY enrolments_by_student
             CROSS JOIN assignments a INDEXED BY assignments_by_batch ON a.institute = e.institute AND a.batch = e.batch
             WHERE e.institute = ?1 AND e.student = ?2 AND NOT EXISTS (
                 SELECT 1 FROM submissions s
                 WHERE s.institute = ?1 AND s.assignment = a.assignment AND s.student = ?2)
             ORDER BY a.due_at IS NULL, a.due_at, a.assignment LIMIT ?3",
            (self.institute, student, limit),
            |row| read_assignment(row, 0),
        )
    }

    fn work_to_grade(&self, teacher: &str, limit: u32) -> Result<Vec<UngradedSubmission>, StoreError> {
        self.all(
            "SELECT s.submission, a.assignment, a.batch, a.title, a.due_at, a.max_score,
                    s.submitted_at, s.student, u.name
             FROM batch_teachers t INDEXED BY batch_teachers_by_user
             CROSS JOIN assignments a INDEXED BY assignments_by_batch
                 ON a.institute = t.institute AND a.batch = t.batch
             CROSS JOIN submissions s INDEXED BY submissions_to_grade
                 ON s.institute = a.institute AND s.assignment = a.assignment
             JOIN users u ON u.user = s.student
             WHERE t.institute = ?1 AND t.user = ?2 AND s.score IS NULL
             ORDER BY s.submitted_at, s.submission LIMIT ?3",
            (self.institute, teacher, limit),
            |row| {
                Ok(UngradedSubmission {
                    submission: row.get(0)?,
                    assignment: read_assignment(row, 1)?,
                    submitted_at: row.get(6)?,
                    student: row.get(7)?,
                    student_name: row.get(8)?,
                })
            },
        )
    }

    fn work_to_grade_count(&self, teacher: &str) -> Result<u64, StoreError> {
        self.number(
            "SELECT count(*) FROM batch_teachers t INDEXED BY batch_teachers_by_user
             CROSS JOIN assignments a INDEXED BY assignments_by_batch
                 ON a.institute = t.institute AND a.batch = t.batch
             CROSS JOIN submissions s INDEXED BY submissions_to_grade
                 ON s.institute = a.institute AND s.assignment = a.assignment
             WHERE t.institute = ?1 AND t.user = ?2 AND s.score IS NULL",
            (self.institute, teacher),
        )
    }

    fn highest_score(&self, assignment: &str) -> Result<Option<f64>, StoreError> {
        let sql = "SELECT max(score) FROM submissions INDEXED BY submissions_by_assignment
             WHERE institute = ?1 AND assignment = ?2";
        Ok(self.one(sql, (self.institute, assignment), |row| row.get(0))?.flatten())
    }
}

impl WriteCoursework for Transaction<'_> {
    fn add_assignment(&self, assignment: &Assignment) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO assignments (institute, assignment, batch, title, due_at, max_score)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            (
                self.institute,
                &assignment.assignment,
                &assignment.batch,
                &assignment.title,
                assignment.due_at,
                assignment.max_score,
            ),
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
            "UPDATE assignments SET title = coalesce(?3, title), due_at = coalesce(?4, due_at),
                 max_score = coalesce(?5, max_score)
             WHERE institute = ?1 AND assignment = ?2",
            (self.institute, assignment, title, due_at, max_score),
        )?;
        Ok(())
    }

    fn add_submission(&self, work: &NewSubmission) -> Result<bool, StoreError> {
        let added = self.run(
            "INSERT INTO submissions (institute, submission, assignment, student, submitted_at, text)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
            (
                self.institute,
                &work.submission,
                &work.assignment,
                &work.student,
                work.submitted_at,
                &work.text,
            ),
        )?;
        self.figures.add(Figure::Submissions, "", i64::from(added > 0));
        Ok(added > 0)
    }

    fn replace_submission(&self, submission: &str, text: &str, submitted_at: i64) -> Result<(), StoreError> {
        self.run(
            "UPDATE submissions SET text = ?3, submitted_at = ?4 WHERE institute = ?1 AND submission = ?2",
            (self.institute, submission, text, submitted_at),
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
            "UPDATE submissions SET score = ?3, feedback = ?4, graded_by = ?5, graded_at = ?6
             WHERE institute = ?1 AND submission = ?2",
            (self.institute, submission, score, feedback, graded_by, graded_at),
        )?;
        Ok(())
    }
}
