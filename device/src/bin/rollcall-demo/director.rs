//! Orders to whoever started this program: the origin stops and starts on the story's word.

use anyhow::bail;
use std::io::{BufRead as _, Write as _};
use std::sync::mpsc;
use std::time::Duration;

/// A stop drains requests, a start opens stores.
const ORDER_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct Director {
    answers: mpsc::Receiver<String>,
}

impl Director {
    pub(crate) fn new() -> Self {
        let (said, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        Self { answers }
    }

    /// Gives an order, for example `stop origin`, and waits until it is carried out. Blocks.
    pub(crate) fn order(&mut self, order: &str) -> anyhow::Result<()> {
        println!("::{order}");
        std::io::stdout().flush()?;
        match self.answers.recv_timeout(ORDER_TIMEOUT) {
            Ok(answer) if answer.trim() == "ok" => Ok(()),
            Ok(answer) => bail!("asked for `{order}`, was told {answer:?}"),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("waited {} s for an answer to `{order}` on standard input", ORDER_TIMEOUT.as_secs())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                bail!("nobody answers `{order}` on standard input; `cargo xtask up` does")
            }
        }
    }
}
