//! Mail through a program that reads a message from its standard input, such as `sendmail -t -i`.

use super::{MailError, Mailer};
use std::io::Write as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A program that takes longer hangs, and is ended.
const TAKES_MAX: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(20);

pub(super) struct CommandMailer {
    /// The program and its arguments; not empty.
    pub(super) command: Vec<String>,
}

impl Mailer for CommandMailer {
    fn deliver(&self, message: &[u8]) -> Result<(), MailError> {
        let (program, arguments) = self.command.split_first().expect("settings with no program are refused");
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        // A message is far smaller than a pipe holds, so this waits for nobody; the pipe is closed after it.
        let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(message));
        let ended = wait(&mut child, TAKES_MAX)?;
        if !ended.success() {
            return Err(MailError::Failed(ended));
        }
        Ok(written?)
    }
}

fn wait(child: &mut Child, takes_max: Duration) -> Result<ExitStatus, MailError> {
    let began = Instant::now();
    loop {
        if let Some(ended) = child.try_wait()? {
            return Ok(ended);
        }
        if began.elapsed() > takes_max {
            child.kill()?;
            child.wait()?;
            return Err(MailError::Overdue(takes_max));
        }
        std::thread::sleep(POLL_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> CommandMailer {
        CommandMailer { command: ["sh", "-c", script].map(str::to_owned).to_vec() }
    }

    #[test]
    fn a_program_gets_the_message_and_its_refusal_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mail");
        shell(&format!("cat > {}", file.display())).deliver(b"To: a@b\r\n\r\nhello").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"To: a@b\r\n\r\nhello");
        assert!(matches!(shell("exit 75").deliver(b"x"), Err(MailError::Failed(_))));
        let missing = CommandMailer { command: vec!["/no/such/program".into()] };
        assert!(matches!(missing.deliver(b"x"), Err(MailError::Io(_))));
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(matches!(wait(&mut child, Duration::from_millis(50)), Err(MailError::Overdue(_))));
        assert!(child.try_wait().unwrap().is_some());
    }
}
