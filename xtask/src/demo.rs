//! The story: played by `rollcall-demo`, which asks us to stop and start programs as it goes.
//!
//! Its standard output is shown, except lines that begin with `::`, such as `::stop origin`. Those are orders; each is
//! answered on its standard input with `ok`, or with `error: …`.

use crate::house::{House, Waited};
use crate::service::die_with_parent;
use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const ORDER: &str = "::";
/// The story's program ends at once on SIGTERM; it has nothing to save.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// Plays the story. Says whether it was played to its end.
pub(crate) fn play(house: &mut House, program: &Path, data: &Path) -> anyhow::Result<bool> {
    let mut command = Command::new(program);
    command
        .args(["--edge", &house.url("edge")?, "--origin", &house.url("origin")?, "--data"])
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0);
    die_with_parent(&mut command);
    let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
    let mut player = Player { child };
    let output = player.child.stdout.take().context("the story's output is piped")?;
    let mut orders = player.child.stdin.take().context("the story's input is piped")?;

    let (said, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if said.send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = house.watch(&lines)? {
        match line.strip_prefix(ORDER) {
            None => println!("{line}"),
            Some(order) => {
                let answer = match carry_out(house, order) {
                    Ok(()) => "ok\n".to_owned(),
                    Err(error) => format!("error: {}\n", format!("{error:#}").replace('\n', " ")),
                };
                // When it has ended meanwhile, the loop finds its output closed.
                let _ = orders.write_all(answer.as_bytes());
            }
        }
    }
    if house.is_stopping() {
        return Ok(false);
    }
    let status = player.child.wait()?;
    if !status.success() {
        eprintln!("the story stopped early ({status}); edge and origin go on");
    }
    Ok(status.success())
}

fn carry_out(house: &mut House, order: &str) -> anyhow::Result<()> {
    match order.trim().split_once(' ') {
        Some(("stop", name)) => house.stop(name),
        Some(("start", name)) => match house.start(name)? {
            Waited::Done => Ok(()),
            Waited::Stopped => anyhow::bail!("everything stops"),
        },
        _ => anyhow::bail!("order {order:?} is not `stop NAME` or `start NAME`"),
    }
}

/// The story's process, which does not outlive its playing.
struct Player {
    child: Child,
}

impl Drop for Player {
    fn drop(&mut self) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
