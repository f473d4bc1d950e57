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
mod origin;

use anyhow::Context as _;
use chronicle::Chronicle;
use clap::Parser;
use classroom::Classroom;
use director::Director;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

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

    println!("THE STORY: a class, two teachers' devices, no network, and an origin that goes away");
    let classroom = Classroom::open(&arguments.edge, &arguments.origin, &folder, &mut chronicle).await?;
    classroom.teach(&chronicle).await?;
    classroom.grade(&mut Director::new(), &chronicle).await?;
    println!(
        "\nThe story is over after {:.1} s. Nothing was lost, nothing happened twice.",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}
