//! A Postgres server: primary or streaming replica, killed, paused and promoted at will.
//!
//! It listens on a socket in its own folder alone, so that no port can be taken. `fsync` is off: kill -9 leaves the
//! page cache as it is, and a power cut is not what these tests try.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The oldest Postgres that Rollcall runs on.
const VERSION_MIN: u32 = 15;
/// Sockets are told apart by their folders, so that all servers may have one number.
const PORT: u16 = 5432;
/// Longest wait for a server to do what it was told, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who runs the server when the tests run as root: Postgres refuses to.
const SERVER_USER: &str = "postgres";

/// Ends the server when the test process is gone, however it ended: then its end of the pipe closes.
const KEEPER: &str = r#"
"$1/postgres" -D "$2" >>"$2/server.log" 2>&1 </dev/null & server=$!
cat >/dev/null
kill -CONT $(pgrep -P $server) $server 2>/dev/null
kill -QUIT $server 2>/dev/null
wait $server
"#;

const SETTINGS: &str = "
listen_addresses = ''
fsync = off
full_page_writes = off
shared_buffers = 32MB
max_connections = 120
wal_level = replica
max_wal_senders = 8
wal_keep_size = 512MB
hot_standby = on
wal_receiver_status_interval = 1s
wal_retrieve_retry_interval = 200ms
log_min_messages = warning
timezone = 'UTC'
";

pub struct Postgres {
    folder: TempDir,
    keeper: Option<Child>,
    /// Names the socket too.
    port: u16,
}

impl Postgres {
    /// Starts an empty server, a primary.
    pub fn start() -> Self {
        let folder = scratch_folder();
        let data = folder.path().join("data");
        as_server_user("cp", [OsStr::new("-r"), template().as_os_str(), data.as_os_str()]);
        let mut server = Self { folder, keeper: None, port: PORT };
        server.append_settings(&format!("unix_socket_directories = '{}'\n", server.socket()));
        server.start_again();
        server
    }

    /// Starts a streaming replica of `primary` that calls itself `name`.
    pub fn replica_of(primary: &Postgres, name: &str) -> Self {
        let folder = scratch_folder();
        let data = folder.path().join("data");
        let program = binaries().join("pg_basebackup");
        let from = [
            OsStr::new("-h"),
            primary.folder.path().as_os_str(),
            OsStr::new("-U"),
            OsStr::new("postgres"),
            OsStr::new("-D"),
            data.as_os_str(),
        ];
        let how = ["-X", "stream", "-R", "--checkpoint=fast", "--no-sync"].map(OsStr::new);
        as_server_user(program, from.into_iter().chain(how));
        let mut server = Self { folder, keeper: None, port: PORT };
        server.append_settings(&format!("unix_socket_directories = '{}'\n", server.socket()));
        server.write_source(primary, name);
        server.start_again();
        server
    }

    /// Starts a server that is reached by TLS on a port of its own too, and shows a certificate for `localhost` that it
    /// has signed itself. The address of a database there is [`Postgres::tls_url`].
    pub fn start_with_tls() -> Self {
        let mut server = Self::start();
        let (certificate, key) = (server.certificate(), server.folder.path().join("server.key"));
        let names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"].map(OsStr::new);
        let files = [OsStr::new("-keyout"), key.as_os_str(), OsStr::new("-out"), certificate.as_os_str()];
        let how = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"].map(OsStr::new);
        as_server_user("openssl", how.into_iter().chain(names).chain(files));
        server.kill9();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        server.port = port.expect("a port is free").port();
        server.append_settings(&format!(
            "listen_addresses = 'localhost'\nport = {}\nssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\n",
            server.port,
            certificate.display(),
            key.display()
        ));
        server.start_again();
        server
    }

    /// The server's certificate, which is its own authority.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("server.crt")
    }

    /// The address of a database by way of `host`, a name of this machine.
    pub fn tls_url(&self, host: &str, database: &str) -> String {
        format!("postgres://postgres@{host}:{}/{database}?sslmode=require", self.port)
    }

    /// Starts after a kill.
    pub fn start_again(&mut self) {
        self.keeper = None;
        let mut command = command_as_server_user("sh");
        command.args(["-c", KEEPER, "keeper"]).arg(binaries()).arg(self.data());
        let keeper = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.keeper = Some(keeper.expect("a shell can be started"));
        self.wait_for("SELECT true");
    }

    /// Makes a database; its address.
    pub fn create_database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(name)
    }

    /// The address of a database on this server.
    pub fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    /// The same for another user.
    pub fn url_as(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@{}/{database}", self.host())
    }

    /// The address of a database on whichever of the servers takes writes.
    pub fn url_of_any(servers: &[&Postgres], database: &str) -> String {
        let hosts: Vec<String> = servers.iter().map(|server| server.host()).collect();
        format!("postgres://postgres@{}/{database}", hosts.join(","))
    }

    fn host(&self) -> String {
        self.socket().replace('/', "%2F")
    }

    /// Runs SQL and gives its rows as text, `|` between columns.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|fault| panic!("{sql}: {fault}\n{}", self.log()))
    }

    /// A client program of Postgres, such as `pgbench`, told how to reach a database on this server.
    pub fn command(&self, program: &str, database: &str) -> Command {
        let mut command = Command::new(binaries().join(program));
        command.env("PGHOST", self.folder.path()).env("PGPORT", self.port.to_string());
        command.env("PGUSER", "postgres").env("PGDATABASE", database);
        command
    }

    fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = self.command("psql", database);
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        let output = command.output().expect("psql can be started");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Waits until a query gives `t`.
    pub fn wait_for(&self, condition: &str) {
        let until = Instant::now() + PATIENCE;
        while self.try_sql("postgres", condition).as_deref() != Ok("t") {
            assert!(Instant::now() < until, "waited {PATIENCE:?} for {condition}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets commits wait until one of the named replicas has them; none for no waiting.
    pub fn set_synchronous(&self, names: &[&str]) {
        self.sql("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{}'", names.join(",")));
        self.sql("postgres", "SELECT pg_reload_conf()");
        if !names.is_empty() {
            self.wait_for(
                "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')",
            );
        }
    }

    /// SIGKILL to the server and all its processes: no last word, no flush.
    pub fn kill9(&mut self) {
        self.signal("KILL");
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            keeper.wait().expect("a child can be waited for");
        }
    }

    /// SIGSTOP: connections stay open, and nothing answers.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Makes a replica a primary.
    pub fn promote(&self) {
        self.sql("postgres", "SELECT pg_promote()");
        self.wait_for("SELECT NOT pg_is_in_recovery()");
    }

    /// Makes a replica follow another primary.
    pub fn follow(&self, primary: &Postgres, name: &str) {
        self.sql("postgres", &format!("ALTER SYSTEM SET primary_conninfo = '{}'", source(primary, name)));
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// Stops a replica from replaying what it receives.
    pub fn pause_replay(&self) {
        self.sql("postgres", "SELECT pg_wal_replay_pause()");
        self.wait_for("SELECT pg_get_wal_replay_pause_state() = 'paused'");
    }

    pub fn resume_replay(&self) {
        self.sql("postgres", "SELECT pg_wal_replay_resume()");
    }

    /// The end of what the server has logged.
    pub fn log(&self) -> String {
        let log = self.whole_log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// All that the server has logged.
    pub fn whole_log(&self) -> String {
        fs::read_to_string(self.data().join("server.log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn socket(&self) -> String {
        self.folder.path().display().to_string()
    }

    fn append_settings(&self, settings: &str) {
        let path = self.data().join("postgresql.conf");
        let mut text = fs::read_to_string(&path).expect("the server's settings can be read");
        text.push_str(settings);
        fs::write(&path, text).expect("the server's settings can be written");
    }

    fn write_source(&self, primary: &Postgres, name: &str) {
        let path = self.data().join("postgresql.auto.conf");
        let mut text = fs::read_to_string(&path).expect("the server's settings can be read");
        text.push_str(&format!("primary_conninfo = '{}'\n", source(primary, name)));
        fs::write(&path, text).expect("the server's settings can be written");
    }

    /// To the server and the processes that it has started.
    fn signal(&self, signal: &str) {
        let mut pid = String::new();
        let file = File::open(self.data().join("postmaster.pid")).expect("the server runs");
        { file }.read_to_string(&mut pid).expect("the server's id can be read");
        let pid = pid.lines().next().expect("the file begins with the id");
        let children = Command::new("pgrep").args(["-P", pid]).output().expect("pgrep can be started");
        let children = String::from_utf8_lossy(&children.stdout).into_owned();
        let mut kill = Command::new("kill");
        // The server first: it must not start a child again.
        kill.arg(format!("-{signal}")).arg(pid).args(children.split_whitespace());
        // A child may end meanwhile, which is a failure to kill and no failure here.
        let output = kill.output().expect("kill can be started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() || said.contains("No such process"), "{said}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

fn source(primary: &Postgres, name: &str) -> String {
    format!("host={} user=postgres application_name={name}", primary.socket())
}

/// The programs of the newest installed server.
pub(crate) fn binaries() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = installed
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| *version >= VERSION_MIN)
        .max();
    let version = newest.expect("the tests need Postgres 15 or later: `cargo xtask test` installs it");
    PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"))
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("every process is in /proc").uid() == 0
}

fn command_as_server_user(program: impl AsRef<OsStr>) -> Command {
    let mut command;
    if is_root() {
        command = Command::new("runuser");
        command.args(["-u", SERVER_USER, "--"]).arg(program);
    } else {
        command = Command::new(program);
    }
    command.current_dir("/");
    command
}

fn as_server_user<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = A>) {
    let mut command = command_as_server_user(program);
    let output = command.args(arguments).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}:\n{said}", output.status);
}

/// A folder of the server's user, with a path that is short enough for a socket's.
fn scratch_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("rollcall-pg-").tempdir_in("/tmp");
    let folder = folder.expect("a temporary folder can be made");
    give_away(folder.path());
    folder
}

fn give_away(folder: &Path) {
    if !is_root() {
        return;
    }
    let id = |flag| {
        let output = Command::new("id").args([flag, SERVER_USER]).output().expect("id can be started");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim().parse::<u32>().expect("the package makes the user")
    };
    chown(folder, Some(id("-u")), Some(id("-g"))).expect("root may give a folder away");
}

/// The data of a new server. Made once on a machine and copied by each test: `initdb` takes seconds.
fn template() -> PathBuf {
    let version = binaries();
    let version =
        version.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let user = if is_root() {
        "root".to_owned()
    } else {
        fs::metadata("/proc/self").map_or(0, |m| m.uid()).to_string()
    };
    let folder = PathBuf::from(format!("/tmp/rollcall-pg-template-{user}"));
    fs::create_dir_all(&folder).expect("/tmp can be written");
    give_away(&folder);
    let lock = File::create(folder.join("lock")).expect("a file can be made");
    lock.lock().expect("a file can be locked");
    let mut settings_hash = DefaultHasher::new();
    SETTINGS.hash(&mut settings_hash);
    let version = format!("{version}-{:016x}", settings_hash.finish());
    let ready = folder.join(&version);
    if ready.exists() {
        return ready;
    }
    let new = folder.join(format!("{version}-new"));
    if new.exists() {
        // Left by a test that was killed.
        fs::remove_dir_all(&new).expect("an own folder can be removed");
    }
    let flags = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"];
    as_server_user(binaries().join("initdb"), flags.map(OsStr::new).into_iter().chain([new.as_os_str()]));
    let settings = new.join("postgresql.conf");
    let text = fs::read_to_string(&settings).expect("the server's settings can be read") + SETTINGS;
    fs::write(&settings, text).expect("the server's settings can be written");
    fs::rename(&new, &ready).expect("a folder can be renamed in its parent");
    ready
}
