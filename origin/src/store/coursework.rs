//! Assignments, what students handed in, and its grades.

use super::error::StoreError;

#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) assignment: String,
    pub(crate) batch: String,
    pub(crate) title: String,
    pub(crate) due_at: Option<i64>,
    pub(crate) max_score: f64,
}

/// A student's work with its assignment and grade.
#[derive(Debug, Clone)]
pub(crate) struct StudentSubmission {
    pub(crate) submission: String,
    pub(crate) assignment: Assignment,
    pub(crate) submitted_at: Option<i64>,
    pub(crate) score: Option<f64>,
    pub(crate) feedback: Option<String>,
    pub(crate) graded_at: Option<i64>,
}

/// Work that waits for its grade.
#[derive(Debug, Clone)]
pub(crate) struct UngradedSubmission {
    pub(crate) submission: String,
    pub(crate) student: String,
    pub(crate) student_name: String,
    pub(crate) assignment: Assignment,
    pub(crate) submitted_at: Option<i64>,
}

#[derive(Debug, Clone)]
pub(crate) struct NewSubmission {
    pub(crate) submission: String,
    pub(crate) assignment: String,
    pub(crate) student: String,
    pub(crate) submitted_at: Option<i64>,
    pub(crate) text: Option<String>,
}

pub(crate) trait ReadCoursework {
    fn assignment(&self, assignment: &str) -> Result<Option<Assignment>, StoreError>;

    /// A student's work for one assignment.
    fn submission(&self, assignment: &str, student: &str) -> Result<Option<StudentSubmission>, StoreError>;

    /// All of a student's work, the newest first, at most `limit`.
    fn student_work(&self, student: &str, limit: u32) -> Result<Vec<StudentSubmission>, StoreError>;

    /// The mean share of the full score in a student's graded work; none without any.
    fn student_average(&self, student: &str) -> Result<Option<f64>, StoreError>;

    /// Assignments of a student's batches that the student has not handed in, the next due first.
    fn open_assignments(&self, student: &str, limit: u32) -> Result<Vec<Assignment>, StoreError>;

    /// Work in a teacher's batches that waits for its grade, the longest waiting first, at most `limit`.
    fn work_to_grade(&self, teacher: &str, limit: u32) -> Result<Vec<UngradedSubmission>, StoreError>;

    /// How many works in a teacher's batches wait for their grade.
    fn work_to_grade_count(&self, teacher: &str) -> Result<u64, StoreError>;

    /// The highest score that was given for an assignment.
    fn highest_score(&self, assignment: &str) -> Result<Option<f64>, StoreError>;
}

pub(crate) trait WriteCoursework {
    fn add_assignment(&self, assignment: &Assignment) -> Result<bool, StoreError>;

    /// Changes an assignment; what is absent stays.
    fn change_assignment(
        &self,
        assignment: &str,
        title: Option<&str>,
        due_at: Option<i64>,
        max_score: Option<f64>,
    ) -> Result<(), StoreError>;

    /// Adds work unless the student has handed in that assignment; whether it was added.
    fn add_submission(&self, work: &NewSubmission) -> Result<bool, StoreError>;

    /// Replaces the text of work that was handed in before.
    fn replace_submission(&self, submission: &str, text: &str, submitted_at: i64) -> Result<(), StoreError>;

    fn grade_submission(
        &self,
        submission: &str,
        score: f64,
        feedback: Option<&str>,
        graded_by: &str,
        graded_at: i64,
    ) -> Result<(), StoreError>;
}
