//! `rollcall-edge inspect` and `check`: what an application is made of, and what is wrong with it.

use integration_tests::{PlainEdge, guest};
use serde_json::Value;
use std::path::Path;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

const MANIFEST: &str = r#"
spin_manifest_version = 2
application.name = "inspected"

[variables]
secret = { default = "hush-variable", secret = true }

[[trigger.http]]
route = "/hello/..."
component = "hello"

[[trigger.http]]
route = "/static"
static_response = { body = "static" }

[component.hello]
source = "hello.wasm"
key_value_stores = ["default", "shared"]
sqlite_databases = ["default"]
allowed_outbound_hosts = ["https://api.example.com"]
variables = { secret = "{{ secret }}" }
files = ["page.txt"]
[component.hello.tool.rollcall]
memory_mb = 64

[component.gone]
source = "gone.wasm"

[component.wants]
source = "wants.wasm"
"#;

const RUNTIME: &str =
    "[key_value_store.shared]\ntype = \"redis\"\nurl = \"redis://:hush-password@redis.example:6380\"\n";

const WANTS: &str = "package test:wants;
world wants {
    import spin:mysql/mysql@3.0.0;
    import wasi:io/poll@0.2.0;
    import other:pack/face@1.0.0;
}
package spin:mysql@3.0.0 { interface mysql { f: func(); } }
package wasi:io@0.2.0 { interface poll { f: func(); } }
package other:pack@1.0.0 { interface face { f: func(); } }
";

/// A component that imports three interfaces of which there is one.
fn wants() -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("wants.wit", WANTS).unwrap();
    let world = resolve.select_world(&[package], Some("wants")).unwrap();
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Standard32);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

fn application(folder: &Path) {
    let write = |name: &str, content: &[u8]| std::fs::write(folder.join(name), content).unwrap();
    write("spin.toml", MANIFEST.as_bytes());
    write("runtime-config.toml", RUNTIME.as_bytes());
    write("page.txt", b"page");
    write("hello.wasm", &std::fs::read(guest("hello")).unwrap());
    write("wants.wasm", &wants());
}

async fn inspect(folder: &Path, flags: &[&str]) -> String {
    let mut edge = std::process::Command::new(integration_tests::program("rollcall-edge"));
    edge.current_dir(folder).arg("inspect").args([
        "--runtime-config-file",
        "runtime-config.toml",
        "--data",
        "data",
    ]);
    let output = edge.args(flags).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspect_says_what_an_application_is_made_of_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    application(folder.path());
    let text = inspect(folder.path(), &[]).await;
    for line in [
        "application inspected (spin.toml)",
        "  /hello/... -> hello",
        "  /static -> (static response)",
        "component hello (./hello.wasm)",
        "  exports wasi:http/handler@0.3.0",
        "  key-value store shared: Redis at redis.example:6380",
        "  may reach https://api.example.com",
        "  variables secret",
        "  files: 1 copies",
        "component gone (./gone.wasm)",
        "  imports spin:mysql/mysql@3.0.0  NOT OFFERED by this host",
        "  imports wasi:io/poll@0.2.0",
        "  imports other:pack/face@1.0.0  NOT OFFERED by this host",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    assert!(text.contains("memory 67108864 bytes"), "{text}");
    assert!(text.contains("not compiled yet"), "{text}");
    assert!(text.contains("FAULT: No such file"), "{text}");
    let json: Value = serde_json::from_str(&inspect(folder.path(), &["--json"]).await).unwrap();
    let components = json["components"].as_array().unwrap();
    let hello = components.iter().find(|component| component["id"] == "hello").unwrap();
    assert_eq!(hello["compiled"], false);
    assert_eq!(hello["limits"]["memory_bytes"], 64 * 1024 * 1024);
    assert!(hello["imports"].as_array().unwrap().iter().all(|import| import["offered"] == true), "{hello}");
    assert!(!text.contains("hush-") && !json.to_string().contains("hush-"), "{text}");
    assert!(!folder.path().join("data").exists(), "inspect makes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inspect_runs_beside_an_edge_and_sees_its_compiled_code() {
    let manifest =
        "spin_manifest_version = 2\napplication.name = \"one\"\n[component.hello]\nsource = \"hello.wasm\"\n";
    let wasm = std::fs::read(guest("hello")).unwrap();
    let files = [("hello.wasm", wasm), ("spin.toml", manifest.into()), ("runtime-config.toml", vec![])];
    let edge = PlainEdge::start_with_files("", &files).await;
    let text = inspect(edge.folder(), &[]).await;
    assert!(text.contains("compiled code is in the cache"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_names_all_that_a_component_asks_for_in_vain() {
    let folder = tempfile::tempdir().unwrap();
    application(folder.path());
    let manifest =
        "spin_manifest_version = 2\napplication.name = \"one\"\n[component.wants]\nsource = \"wants.wasm\"\n";
    std::fs::write(folder.path().join("spin.toml"), manifest).unwrap();
    let mut check = PlainEdge::program(folder.path(), "check");
    check.start().await;
    assert!(!check.ends().await.success());
    let expected = "component `wants` imports `spin:mysql/mysql@3.0.0`, `other:pack/face@1.0.0`, which this host does not offer";
    assert!(check.log().contains(expected), "{}", check.log());
}
