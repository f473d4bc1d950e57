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

#[test]
fn templates_are_filled_and_paths_start_from_the_manifest() {
    let manifest = parsed(SMALL).unwrap();
    let hello = &manifest.components["hello"];
    assert_eq!(hello.source, Path::new("app/hello.wasm"));
    assert_eq!(hello.variables["origin"], "http://127.0.0.1:1/x");
    assert!(hello.allowed_hosts.allows("http", "127.0.0.1", 1));
    assert!(!hello.sqlite_per_institute);
    assert!(manifest.rollcall.is_none());
    assert_eq!(manifest.routes.find("/anything").unwrap().target, "hello");
}

#[test]
fn the_rollcall_application_is_accepted() {
    let text = include_str!("../../../spin.toml");
    let manifest = Manifest::parse(Path::new("spin.toml"), text, &VariableSources::default()).unwrap();
    let rollcall = manifest.rollcall.unwrap();
    assert_eq!(rollcall.sync.unwrap().path, "/sync");
    assert_eq!(rollcall.cache_store.unwrap(), "default");
    assert_eq!(manifest.variables["identity"], "host");
    assert!(manifest.components["sync"].sqlite_per_institute);
    assert_eq!(manifest.components["sync"].memory_bytes, 512 * limits::MIB);
    assert!(manifest.components["commands"].anonymous.find("/api/auth/login").is_some());
    assert_eq!(manifest.routes.find("/commands/k1").unwrap().target, "commands");
    assert_eq!(manifest.routes.find("/api/students/dashboard").unwrap().target, "dashboards");
    assert!(manifest.routes.find("/internal/outbox/deliver").is_none());
}

#[test]
fn settings_win_over_the_environment_and_that_over_the_manifest() {
    let of = |value: &str| BTreeMap::from([("origin".to_owned(), value.to_owned())]);
    let resolve = |sources| {
        let manifest = Manifest::parse(Path::new("spin.toml"), SMALL, &sources).unwrap();
        manifest.variables["origin"].clone()
    };
    let environment = of("http://environment");
    assert_eq!(resolve(VariableSources { environment, ..VariableSources::default() }), "http://environment");
    let sources = VariableSources { settings: of("http://settings"), environment: of("http://environment") };
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
    assert!(message.contains("unknown field `sauce`") && message.contains("key_value_stores"), "{message}");
    assert_eq!(fault(&SMALL.replace("route = ", "rout = ")).0, 11);
}

#[test]
fn other_tools_are_ignored_and_our_own_table_is_checked() {
    let with = |table: &str| SMALL.replace("[variables]", &format!("{table}\n[variables]"));
    parsed(&with("[application.tool.other]\nanything = 1\n")).unwrap();
    let (line, message) = fault(&with("[application.tool.rollcall]\nsink = 1\n"));
    assert_eq!(line, 8);
    assert!(message.contains("unknown field `sink`"), "{message}");
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
    assert!(message.contains("unknown field `redis`"), "{message}");
    let (line, message) = fault(&SMALL.replace("component = \"hello\"", "component = \"hullo\""));
    assert_eq!((line, message.as_str()), (12, "component `hullo` is not defined; there are: hello"));
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
    assert_eq!(message, "variable `nothing` is not defined under [variables]");
}

#[test]
fn private_triggers_have_no_route() {
    let text = SMALL.replace("route = \"/...\"", "route = { private = true }");
    assert_eq!(parsed(&text).unwrap().routes.iter().count(), 0);
}
