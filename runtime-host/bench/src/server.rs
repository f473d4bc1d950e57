//! The servers that are compared, each a process of its own.

use anyhow::{Context as _, bail};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server must answer by then; compiling takes most of it.
const START: Duration = Duration::from_secs(60);
/// Components of the application whose idle memory is reported.
pub(crate) const IDLE_COMPONENTS: usize = 1000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Edge,
    PlainHyper,
    WasmtimeServe,
    Spin,
}

/// Where things are.
pub(crate) struct Place {
    pub(crate) guests: PathBuf,
    pub(crate) edge: PathBuf,
    pub(crate) application: PathBuf,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) url: String,
    child: Child,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Edge => "rollcall-edge",
            Kind::PlainHyper => "plain hyper, one thread",
            Kind::WasmtimeServe => "wasmtime serve",
            Kind::Spin => "spin up",
        }
    }

    /// The peers are measured where they are installed.
    pub(crate) fn is_there(self) -> bool {
        let version =
            |program| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
        match self {
            Kind::Edge | Kind::PlainHyper => true,
            Kind::WasmtimeServe => version("wasmtime"),
            Kind::Spin => version("spin"),
        }
    }

    fn command(self, guest: &str, address: &str, place: &Place) -> anyhow::Result<Command> {
        let mut command = match self {
            Kind::Edge => {
                let app = manifest(place, guest, [guest.to_owned()])?;
                edge(place, &app, address)
            }
            Kind::PlainHyper => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["plain-hyper", "--listen", address]);
                if guest == "merge" {
                    command.arg("--merge");
                }
                command
            }
            Kind::WasmtimeServe => {
                let mut command = Command::new("wasmtime");
                command.args(["serve", "-Scli", "-Sp3", "--addr", address]);
                command.arg(place.guests.join(format!("{guest}.wasm")));
                command
            }
            Kind::Spin => {
                let mut command = Command::new("spin");
                command.args(["up", "--quiet", "--listen", address, "--from"]);
                command.arg(manifest(place, guest, [guest.to_owned()])?);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }
}

impl Server {
    /// Starts a server and waits until it answers.
    pub(crate) fn start(kind: Kind, guest: &str, place: &Place) -> anyhow::Result<Self> {
        let address = free_address()?;
        Self::run(kind, kind.command(guest, &address, place)?, &address, "/")
    }

    /// Waits until `path` is answered.
    fn run(kind: Kind, mut command: Command, address: &str, path: &str) -> anyhow::Result<Self> {
        let child = command.spawn().with_context(|| format!("{} does not start", kind.name()))?;
        let mut server = Self { kind, url: format!("http://{address}/"), child };
        let started = Instant::now();
        while !answers(address, path) {
            if let Some(status) = server.child.try_wait()? {
                bail!("{} ended with {status}", kind.name());
            }
            if started.elapsed() > START {
                bail!("{} does not answer at {address}", kind.name());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(server)
    }

    /// VmRSS.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        value
            .and_then(|value| value.split_whitespace().next()?.parse().ok())
            .with_context(|| format!("{path}: no VmRSS"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already, or unkillable: nothing is left to do about either.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Times from the start of a process until it has answered a request, with its code compiled before; in turn in each round.
pub(crate) fn starts(place: &Place, rounds: usize) -> anyhow::Result<Vec<(String, Vec<Duration>)>> {
    let kinds = [Kind::Edge, Kind::PlainHyper, Kind::WasmtimeServe, Kind::Spin];
    type Start<'a> = Box<dyn Fn() -> anyhow::Result<Server> + 'a>;
    let mut starts: Vec<(String, Start)> = Vec::new();
    for kind in kinds.into_iter().filter(|kind| kind.is_there()) {
        let start = move || Server::start(kind, "hello", place);
        starts.push((format!("{}, hello", kind.name()), Box::new(start)));
    }
    let application = || {
        let address = free_address()?;
        // Answered once everything is loaded.
        Server::run(Kind::Edge, edge(place, &place.application, &address), &address, "/health")
    };
    starts.push((format!("{}, the application", Kind::Edge.name()), Box::new(application)));
    let mut times: Vec<(String, Vec<Duration>)> = Vec::new();
    for (name, start) in &starts {
        drop(start()?);
        times.push((name.clone(), Vec::new()));
    }
    for _ in 0..rounds {
        for ((_, start), (_, taken)) in starts.iter().zip(&mut times) {
            let started = Instant::now();
            let server = start()?;
            taken.push(started.elapsed());
            drop(server);
        }
    }
    Ok(times)
}

/// What the edge holds with one component and with [`IDLE_COMPONENTS`], none of which had a request but one.
pub(crate) fn idle_components(place: &Place) -> anyhow::Result<[u64; 2]> {
    let resident = |name: &str, count: usize| {
        let app = manifest(place, name, (0..count).map(|_| "hello".to_owned()))?;
        let address = free_address()?;
        let server = Server::run(Kind::Edge, edge(place, &app, &address), &address, "/")?;
        // Again: what compiling took is not what they take.
        drop(server);
        Server::run(Kind::Edge, edge(place, &app, &address), &address, "/")?.resident_kib()
    };
    Ok([resident("one", 1)?, resident("many", IDLE_COMPONENTS)?])
}

fn edge(place: &Place, app: &Path, address: &str) -> Command {
    let mut command = Command::new(&place.edge);
    command.args(["up", "--listen", address, "--app"]).arg(app);
    command.arg("--data").arg(place.folder.path().join("data"));
    // The peers write no access log either.
    command.env("RUST_LOG", "warn");
    command
}

/// An application whose first component answers at `/`, and each other one at `/` and its number.
fn manifest(place: &Place, name: &str, guests: impl IntoIterator<Item = String>) -> anyhow::Result<PathBuf> {
    let mut text = "spin_manifest_version = 2\n\n[application]\nname = \"benchmark\"\n".to_owned();
    for (number, guest) in guests.into_iter().enumerate() {
        let source = place.guests.join(format!("{guest}.wasm"));
        let route = if number == 0 { "/...".to_owned() } else { format!("/{number}") };
        write!(
            text,
            "\n[[trigger.http]]\nroute = \"{route}\"\ncomponent = \"c{number}\"\n\n[component.c{number}]\n\
             source = \"{}\"\nkey_value_stores = [\"default\"]\n",
            source.display()
        )?;
    }
    let path = place.folder.path().join(format!("{name}.toml"));
    std::fs::write(&path, text)?;
    Ok(path)
}

/// An address at which nobody listens now.
fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn answers(address: &str, path: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        let asked = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(asked.as_bytes())?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(answer == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
