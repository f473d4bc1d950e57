//! `cargo xtask up`: one origin, one edge, two sample institutes, and the story.

use crate::cargo::{cargo, program, root, run as run_shown};
use crate::house::{House, Waited};
use crate::service::Spec;
use crate::{components, demo, packages};
use anyhow::{Context as _, bail};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;

/// Set by `cargo xtask test` for the tests: everything is built, and building again would take their time and cargo's lock.
pub(crate) const BUILT: &str = "ROLLCALL_XTASK_BUILT";
/// The edge's name at the origin.
const EDGE_ID: &str = "edge-1";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    data: PathBuf,
    edge: String,
    origin: String,
    demo: bool,
    release: bool,
}

impl Options {
    pub(crate) fn read(arguments: Vec<String>) -> anyhow::Result<Self> {
        let mut options = Self {
            data: "data".into(),
            edge: "127.0.0.1:3000".into(),
            origin: "127.0.0.1:8080".into(),
            demo: true,
            release: false,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let (name, given) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            let mut value = || {
                given.clone().or_else(|| arguments.next()).with_context(|| format!("{name} needs a value"))
            };
            match name.as_str() {
                "--data" => options.data = value()?.into(),
                "--edge" => options.edge = value()?,
                "--origin" => options.origin = value()?,
                "--no-demo" => options.demo = false,
                "--release" => options.release = true,
                other => bail!("`cargo xtask up` has no flag {other:?}; see `cargo xtask help`"),
            }
        }
        Ok(options)
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if std::env::var_os(BUILT).is_none() {
        packages::openssl()?;
        components::build()?;
        build_programs(options.release)?;
    }
    let data = std::path::absolute(&options.data)?;
    let logs = data.join("logs");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&logs)
        .with_context(|| logs.display().to_string())?;
    let secret = edge_secret(&data.join("edge-secret"))?;

    let mut house = House::new()?;
    if house.add(origin(options, &data, &secret), &logs)? == Waited::Stopped {
        return Ok(ExitCode::SUCCESS);
    }
    let origin_url = house.url("origin")?;
    if house.add(edge(options, &data, &origin_url, &secret), &logs)? == Waited::Stopped {
        return Ok(ExitCode::SUCCESS);
    }
    let edge_url = house.url("edge")?;
    println!("ready edge={edge_url} origin={origin_url}");
    print!("{}", invitation(&edge_url));
    if options.demo {
        println!();
        demo::play(&mut house, &program("rollcall-demo", options.release), &data)?;
    }
    if !house.is_stopping() {
        println!("\nEdge and origin go on until Ctrl-C. Logs: {}", logs.display());
        let (_never, nothing) = mpsc::channel::<()>();
        house.watch(&nothing)?;
    }
    eprintln!("stopping");
    Ok(ExitCode::SUCCESS)
}

/// The edge, the origin and the story's program, in the same selection of packages as the tests, so that what is compiled
/// for one serves the other.
fn build_programs(release: bool) -> anyhow::Result<()> {
    let mut build = cargo(&["build", "--workspace", "--bins"]);
    if release {
        build.arg("--release");
    }
    run_shown(&mut build)
}

fn origin(options: &Options, data: &Path, secret: &str) -> Spec {
    Spec {
        name: "origin",
        program: program("rollcall-origin", options.release),
        arguments: vec!["serve".into(), "--seed".into(), "--data".into(), data.join("origin").into()],
        environment: vec![
            ("ROLLCALL_ORIGIN_EDGE_SECRET", secret.to_owned()),
            ("ROLLCALL_ORIGIN_MAIL__FOLDER", data.join("mail").to_string_lossy().into_owned()),
        ],
        listen: options.origin.clone(),
    }
}

fn edge(options: &Options, data: &Path, origin_url: &str, secret: &str) -> Spec {
    Spec {
        name: "edge",
        program: program("rollcall-edge", options.release),
        arguments: vec![
            "up".into(),
            "--app".into(),
            root().join("spin.toml").into(),
            "--data".into(),
            data.join("edge").into(),
            "--origin".into(),
            origin_url.into(),
            "--edge-id".into(),
            EDGE_ID.into(),
        ],
        environment: vec![("ROLLCALL_EDGE_SECRET", secret.to_owned())],
        listen: options.edge.clone(),
    }
}

/// The secret between edge and origin, made at the first start.
fn edge_secret(file: &Path) -> anyhow::Result<String> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    match made {
        Ok(mut file) => {
            let mut bytes = [0; 32];
            std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
            let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            file.write_all(secret.as_bytes())?;
            Ok(secret)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let secret = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            // A start that was killed between making the file and writing it.
            if secret.is_empty() {
                std::fs::remove_file(file)?;
                return edge_secret(file);
            }
            Ok(secret)
        }
        Err(error) => Err(error).with_context(|| file.display().to_string()),
    }
}

/// Who can sign in, and what to try.
fn invitation(edge: &str) -> String {
    format!(
        r#"
Sign in as admin@, teacher@, student@ or guardian@northside.example, or the same at riverside.example.
The password of all of them is rollcall.

In another terminal:

  TOKEN=$(curl -s {edge}/api/auth/login -H 'content-type: application/json' \
    -d '{{"email":"teacher@northside.example","password":"rollcall"}}' \
    | sed 's/.*"access_token" *: *"\([^"]*\)".*/\1/')

  # A view; asked for again, the edge's cache answers (see cache-status).
  curl -si {edge}/api/teachers/dashboard -H "authorization: Bearer $TOKEN"

  # A command: done once, however often it is sent. With the origin stopped it is accepted all the same.
  curl -si {edge}/commands -H "authorization: Bearer $TOKEN" -H 'idempotency-key: hello-1' \
    -d '{{"command":"post-message","to":{{"batch":"maths-a"}},"text":"See you at nine"}}'

  # Offline editing with automerge-repo is a few lines of JavaScript: see README.md.
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> anyhow::Result<Options> {
        Options::read(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn flags_take_their_value_after_a_space_or_an_equals_sign() {
        let options = read("--data d --edge=127.0.0.1:0 --no-demo").unwrap();
        assert_eq!(options.data, PathBuf::from("d"));
        assert_eq!(options.edge, "127.0.0.1:0");
        assert_eq!(options.origin, "127.0.0.1:8080");
        assert!(!options.demo && !options.release);
        assert!(read("--data").unwrap_err().to_string().contains("--data needs a value"));
        assert!(read("--quick").unwrap_err().to_string().contains("--quick"));
    }
}
