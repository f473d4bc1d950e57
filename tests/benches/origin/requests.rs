//! The requests that are measured, each with the SQL that the origin executes for it.

use crate::institute::{Institute, Keeps, SIGNED_IN};
use crate::recorded_sql::Script;
use crate::{CONNECTIONS, Options};
use serde_json::{Value, json};
use std::path::PathBuf;
use test_servers::wrk::{self, Figures, Load};

pub(crate) const DASHBOARD: &str = "/api/students/dashboard";
/// Students whose SQL pgbench runs in turn.
const RECORDED: u32 = 8;

/// Revisions that commands are recorded at are no other number of the institute.
const RECORDED_REVISION: u64 = 7_000_000;

/// Sends the requests of a file in turn, each of three lines: the token, the idempotency key's beginning (empty for a GET), the
/// body. Keys get a number, so that each request is a new one.
const SCRIPT: &str = r#"
local requests, at = {}, 0
function init(arguments)
  local lines = {}
  for line in io.lines(arguments[1]) do lines[#lines + 1] = line end
  for i = 1, #lines, 3 do
    requests[#requests + 1] = { token = lines[i], key = lines[i + 1], body = lines[i + 2] }
  end
end
function request()
  at = at + 1
  local r = requests[at % #requests + 1]
  local headers = { ["authorization"] = "Bearer " .. r.token }
  if r.key == "" then return wrk.format("GET", nil, headers) end
  headers["idempotency-key"] = r.key .. at
  headers["content-type"] = "application/json"
  return wrk.format("POST", nil, headers, r.body)
end
"#;

pub(crate) struct Request {
    pub(crate) name: &'static str,
    /// One for each of some users, or for each of some commands.
    pub(crate) sql: Vec<Script>,
    path: &'static str,
    script: PathBuf,
    requests: PathBuf,
    /// Whether each run is told apart, in the keys of its commands.
    keyed: Option<Vec<(String, Value)>>,
}

impl Request {
    /// Loads the origin that keeps views so.
    pub(crate) fn load(&self, institute: &Institute, keeps: Keeps, options: &Options) -> Figures {
        if let Some(commands) = &self.keyed {
            let run = uuid::Uuid::new_v4().simple().to_string();
            write(
                &self.requests,
                commands.iter().map(|(token, body)| (token.clone(), run.clone(), body.to_string())),
            );
        }
        let script = Some((self.script.as_path(), self.requests.as_path()));
        let load = Load { connections: CONNECTIONS, seconds: options.seconds, script };
        wrk::run(&load, &institute.url(keeps, self.path)).expect("the origin answers")
    }
}

fn write(file: &PathBuf, requests: impl Iterator<Item = (String, String, String)>) {
    let text: String = requests.map(|(token, key, body)| format!("{token}\n{key}\n{body}\n")).collect();
    std::fs::write(file, text).expect("a temporary file can be written");
}

pub(crate) async fn student_dashboard(institute: &Institute) -> Request {
    let mut tokens = Vec::new();
    let mut sql = Vec::new();
    for number in 1..=SIGNED_IN {
        let student = institute.sign_in(&format!("student-{number}")).await;
        if number <= RECORDED {
            // Statements are prepared the first time, which is not what is measured.
            student.get(DASHBOARD).await.ok();
            sql.push(institute.record(async { student.get(DASHBOARD).await.ok() }).await);
        }
        tokens.push(student.token);
    }
    let (script, requests) = files(institute, "dashboard");
    write(&requests, tokens.into_iter().map(|token| (token, String::new(), String::new())));
    Request { name: "student dashboard", sql, path: DASHBOARD, script, requests, keyed: None }
}

pub(crate) async fn grade_submission(institute: &Institute) -> Request {
    let teacher = institute.sign_in("teacher-1").await;
    // Students of the first teacher's batch, and the assignment whose work each of them has handed in.
    let command = |turn: u32, score: u32| {
        json!({
            "command": "grade-submission", "assignment": "assignment-1",
            "student": format!("student-{}", 220 * (turn + 1)), "score": score,
        })
    };
    let commands: Vec<_> = (0..4).map(|turn| (teacher.token.clone(), command(turn, 3))).collect();
    let mut sql = Vec::new();
    for (turn, (_, command)) in (0..).zip(&commands) {
        // Statements are prepared the first time, which is not what is measured.
        for time in 0..2 {
            // A revision that was made cannot be made again.
            let revision = RECORDED_REVISION + 1_000 * turn + 10 * time;
            institute.set_revision(revision);
            let key = uuid::Uuid::new_v4().to_string();
            let script = institute.record(async { teacher.commands(&key, command).await.ok() }).await;
            sql.push(script.after_any_revision(revision));
        }
        sql.remove(turn as usize);
    }
    let (script, requests) = files(institute, "grade");
    Request { name: "grade-submission", sql, path: "/commands", script, requests, keyed: Some(commands) }
}

fn files(institute: &Institute, name: &str) -> (PathBuf, PathBuf) {
    let script = institute.folder().join(format!("{name}.lua"));
    std::fs::write(&script, SCRIPT).expect("a temporary file can be written");
    (script, institute.folder().join(format!("{name}.requests")))
}
