//! Plays Rollcall's story on a running edge and origin: two devices that lose the network, meet again and are equal,
//! and a grade that is given while the origin is stopped.
//!
//! Standard output is for people, except lines that begin with `::`. They ask whoever started this program to stop or
//! start the origin, and are answered on standard input with `ok` or `error: …`.

mod chronicle;
mod classroom;
mod director;
mod grade;
mod lesson;
mod narrator;
mod origin;

use anyhow::Context as _;
use chronicle::Chronicle;
use clap::Parser;
use classroom::Classroom;
use director::Director;
use narrator::Narrator;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(name = "rollcall-demo", version, about = "Plays Rollcall's story on a running edge and origin")]
struct Arguments {
    /// The edge, for example http://127.0.0.1:3000.
    #[arg(long, value_name = "URL")]
    edge: String,
    /// The origin, for example http://127.0.0.1:8080.
    #[arg(long, value_name = "URL")]
    origin: String,
    /// Folder of the devices of the story.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Pause before each chapter, for whoever reads along; 0 plays the story at full speed.
    #[arg(long, value_name = "MS", env = "ROLLCALL_DEMO_PAUSE_MS", default_value_t = 2_500)]
    pause_ms: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    match play(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollcall-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn play(arguments: &Arguments) -> anyhow::Result<()> {
    let began = Instant::now();
    let folder = arguments.data.join("story");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut chronicle = Chronicle::load(&folder)?;
    chronicle.begin()?;
    let mut narrator = Narrator::new(Duration::from_millis(arguments.pause_ms));

    println!("THE STORY: a class, two teachers' devices, no network, and an origin that goes away");
    let classroom =
        Classroom::open(&arguments.edge, &arguments.origin, &folder, &mut chronicle, &mut narrator).await?;
    classroom.teach(&chronicle, &mut narrator).await?;
    classroom.grade(&mut Director::new(), &chronicle, &mut narrator).await?;
    narrator.rest().await;
    println!(
        "\nThe story is over after {:.1} s, {:.1} s of it to read. Nothing was lost, nothing happened twice.",
        began.elapsed().as_secs_f64(),
        narrator.rested().as_secs_f64()
    );
    Ok(())
}
