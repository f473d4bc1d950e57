//! What a manifest may say, and what each fault in one is answered with.

use super::*;

const SMALL: &str = r#"
spin_manifest_version = 2

[application]
name = "small"

[variables]
origin = { default = "http://127.0.0.1:1" }

[[trigger.http]]
route = "/..."
component = "hello"

[component.hello]
source = "hello.wasm"
allowed_outbound_hosts = ["{{ origin }}"]
variables = { origin = "{{ origin }}/x" }
"#;

fn parsed(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(Path::new("app/spin.toml"), text, &VariableSources::default())
}

/// The line of the fault and its message.
fn fault(text: &str) -> (usize, String) {
    match parsed(text).unwrap_err() {
        ManifestError::Invalid { line, message, .. } => (line, message),
        other => panic!("{other}"),
    }
}

/// The component that answers `path`.
fn answerer<'a>(manifest: &'a Manifest, path: &str) -> &'a str {
    match manifest.routes.find(path).unwrap().target {
        Responder::Component(id) => id,
        Responder::Static(_) => panic!("a static response"),
    }
}

#[test]
fn templates_are_filled_and_paths_start_from_the_manifest() {
    let manifest = parsed(SMALL).unwrap();
    let hello = &manifest.components["hello"];
    assert_eq!(hello.source, Path::new("app/hello.wasm"));
    assert_eq!(hello.variables["origin"], "http://127.0.0.1:1/x");
    assert!(hello.allowed_hosts.reach("http", "127.0.0.1", 1).is_some());
    assert_eq!(hello.sqlite, SqliteScope::PerApplication);
    assert!(manifest.rollcall.is_none());
    assert_eq!(answerer(&manifest, "/anything"), "hello");
}

#[test]
fn the_rollcall_application_is_accepted() {
    let text = include_str!("../../../spin.toml");
    let manifest = Manifest::parse(Path::new("spin.toml"), text, &VariableSources::default()).unwrap();
    let rollcall = manifest.rollcall.clone().unwrap();
    assert_eq!(rollcall.sync.unwrap().path, "/sync");
    assert_eq!(rollcall.cache_store.unwrap(), "default");
    assert_eq!(manifest.variables["identity"], "host");
    assert_eq!(manifest.components["sync"].sqlite, SqliteScope::PerInstitute);
    assert_eq!(manifest.components["sync"].memory_bytes, 512 * limits::MIB);
    assert!(manifest.components["commands"].anonymous.find("/api/auth/login").is_some());
    assert_eq!(answerer(&manifest, "/commands/k1"), "commands");
    assert_eq!(answerer(&manifest, "/api/students/dashboard"), "dashboards");
    assert!(manifest.routes.find("/internal/outbox/deliver").is_none());
}

#[test]
fn settings_win_over_the_environment_that_over_the_file_and_that_over_the_manifest() {
    let of = |value: &str| BTreeMap::from([("origin".to_owned(), value.to_owned())]);
    let resolve = |sources| {
        let manifest = Manifest::parse(Path::new("spin.toml"), SMALL, &sources).unwrap();
        manifest.variables["origin"].clone()
    };
    let environment = of("http://environment");
    assert_eq!(resolve(VariableSources { environment, ..VariableSources::default() }), "http://environment");
    let file = of("http://file");
    assert_eq!(resolve(VariableSources { file: file.clone(), ..VariableSources::default() }), "http://file");
    let environment = of("http://environment");
    let sources = VariableSources {
        environment: environment.clone(),
        file: file.clone(),
        ..VariableSources::default()
    };
    assert_eq!(resolve(sources), "http://environment");
    let sources = VariableSources { settings: of("http://settings"), environment, file };
    assert_eq!(resolve(sources), "http://settings");
}

#[test]
fn a_required_variable_that_nobody_sets_is_named_with_its_environment_variable() {
    let text = SMALL.replace("{ default = \"http://127.0.0.1:1\" }", "{ required = true }");
    let error = parsed(&text).unwrap_err().to_string();
    assert_eq!(error, "variable `origin` is required: set SPIN_VARIABLE_ORIGIN");
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let text = SMALL.replace("source = \"hello.wasm\"", "source = \"hello.wasm\"\nsauce = 1");
    let (line, message) = fault(&text);
    assert_eq!(line, 16);
    assert_eq!(message, "unknown key `sauce`; did you mean `source`?");
    let (line, message) = fault(&SMALL.replace("route = ", "rout = "));
    assert_eq!((line, message.as_str()), (11, "unknown key `rout`; did you mean `route`?"));
}

#[test]
fn other_tools_are_ignored_and_our_own_table_is_checked() {
    let with = |table: &str| SMALL.replace("[variables]", &format!("{table}\n[variables]"));
    parsed(&with("[application.tool.other]\nanything = 1\n")).unwrap();
    let (line, message) = fault(&with("[application.tool.rollcall]\nsinc = 1\n"));
    assert_eq!(line, 8);
    assert_eq!(message, "unknown key `sinc`; did you mean `sync`?");
    let (_, message) =
        fault(&with("[application.tool.rollcall]\nsync = { path = \"/s\", component = \"x\" }\n"));
    assert_eq!(message, "component `x` is not defined; there are: hello");
    let (_, message) =
        fault(&with("[application.tool.rollcall]\ncache = { component = \"hello\", store = \"default\" }\n"));
    assert!(message.contains("no `default` in its key_value_stores"), "{message}");
}

#[test]
fn broken_toml_a_wrong_version_and_a_missing_key_have_their_lines() {
    assert_eq!(fault("spin_manifest_version = 2\n[application\n").0, 2);
    let (line, message) = fault(&SMALL.replace("version = 2", "version = 1"));
    assert_eq!((line, message.as_str()), (2, "spin_manifest_version is 1, this host reads 2"));
    let (_, message) = fault(&SMALL.replace("name = \"small\"", ""));
    assert!(message.contains("missing field `name`"), "{message}");
}

#[test]
fn a_trigger_of_another_type_and_an_unknown_component_are_refused() {
    let (_, message) = fault(&SMALL.replace("trigger.http", "trigger.redis"));
    assert_eq!(message, "triggers of type `redis` are not offered; this host answers `http`");
    let (line, message) = fault(&SMALL.replace("component = \"hello\"", "component = \"hullo\""));
    assert_eq!((line, message.as_str()), (12, "component `hullo` is not defined; did you mean `hello`?"));
}

#[test]
fn colliding_routes_and_bad_hosts_are_refused_where_they_stand() {
    let second = "\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \"hello\"\n";
    let (line, message) = fault(&format!("{SMALL}{second}"));
    assert_eq!((line, message.as_str()), (20, "route `/...` matches the same paths as `/...`"));
    let (line, message) = fault(&SMALL.replace("\"{{ origin }}\"]", "\"{{ origin }}/path\"]"));
    assert_eq!(line, 16);
    assert!(message.contains("has a path"), "{message}");
    let (_, message) = fault(&SMALL.replace("\"{{ origin }}\"]", "\"{{ nothing }}\"]"));
    assert_eq!(message, "variable `nothing` is not defined under [variables]; there are: origin");
}

#[test]
fn private_triggers_have_no_route() {
    let text = SMALL.replace("route = \"/...\"", "route = { private = true }");
    assert_eq!(parsed(&text).unwrap().routes.iter().count(), 0);
}

#[test]
fn variables_come_from_the_file_env_beside_the_manifest_as_spin_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spin.toml");
    let read = || VariableSources::new(BTreeMap::new(), &path).map(|sources| sources.file);
    assert_eq!(read().unwrap(), BTreeMap::new());
    let text = "# comment\nSPIN_VARIABLE_ORIGIN=\"http://file\"\nOTHER=1\n";
    std::fs::write(folder.path().join(".env"), text).unwrap();
    assert_eq!(read().unwrap(), BTreeMap::from([("origin".to_owned(), "http://file".to_owned())]));
    std::fs::write(folder.path().join(".env"), "SPIN_VARIABLE_SECRET hunter2\n").unwrap();
    let message = read().unwrap_err().to_string();
    assert!(message.ends_with("a line is not NAME=VALUE") && !message.contains("hunter2"), "{message}");
}

#[test]
fn a_manifest_over_the_limit_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spin.toml");
    std::fs::File::create(&path).unwrap().set_len(limits::MAX_MANIFEST_BYTES + 1).unwrap();
    let error = Manifest::load(&path, &VariableSources::default()).unwrap_err().to_string();
    assert!(error.ends_with("is 1048577 bytes, the limit is 1048576"), "{error}");
}
