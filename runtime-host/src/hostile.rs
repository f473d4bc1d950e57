//! Files that are not what they should be, from a cut-off download to one made to hurt: each is refused with a message that says
//! which component it is, and costs little time and memory. (A test that runs for a minute is ended by the test runner.)

use crate::guest::LoadError;
use crate::limits;
use crate::manifest::{Manifest, VariableSources};
use crate::test_host::{TestHost, handler};
use std::fmt::Write as _;
use std::path::Path;

/// Peak memory of this process, which runs one test alone.
fn peak_mebibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

/// Sections of a component, without its preamble.
fn component(sections: &[u8]) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0", sections].concat()
}

/// A core module in a component.
fn module(sections: &[u8]) -> Vec<u8> {
    let module = [b"\0asm\x01\0\0\0", sections].concat();
    let mut section = vec![1];
    leb128(module.len() as u32, &mut section);
    component(&[section, module].concat())
}

fn leb128(mut value: u32, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

fn nested_components(depth: usize) -> Vec<u8> {
    const COMPONENT_SECTION: u8 = 4;
    // From the inside out: how a component that holds one of so many bytes begins.
    let (mut starts, mut bytes) = (vec![component(&[])], component(&[]).len());
    for _ in 1..depth {
        let mut start = component(&[COMPONENT_SECTION]);
        leb128(bytes as u32, &mut start);
        bytes += start.len();
        starts.push(start);
    }
    starts.reverse();
    starts.concat()
}

/// Each type is twice the one before: thirty of them are a thousand million values.
fn doubling_types(count: usize) -> Vec<u8> {
    let mut text = String::from("(component (type $t0 (tuple u8 u8))");
    for n in 1..count {
        write!(text, "(type $t{n} (tuple $t{} $t{}))", n - 1, n - 1).unwrap();
    }
    text.push_str(&format!("(import \"f\" (func (param \"x\" $t{}))))", count - 1));
    wat::parse_str(text).unwrap()
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let whole = handler("");
    let mut flipped = whole.clone();
    for byte in flipped.iter_mut().skip(8).step_by(7) {
        *byte ^= 0x55;
    }
    vec![
        ("nothing", Vec::new()),
        ("noise", noise(64 * 1024)),
        ("a preamble cut off", b"\0asm".to_vec()),
        ("noise after a preamble", component(&noise(64 * 1024))),
        ("a component with flipped bits", flipped),
        ("a core module", wat("(module)")),
        ("text", b"(component)".repeat(1000)),
        ("a component of an old draft", b"\0asm\x0a\0\x01\0".to_vec()),
        ("a section that says it has 4 GiB", component(b"\x01\xff\xff\xff\xff\x0f")),
        ("a vector that says it has 4 thousand million types", component(b"\x07\x05\xff\xff\xff\xff\x0f")),
        ("a length that never ends", component(b"\x01\xff\xff\xff\xff\xff\xff\xff")),
        ("a type that contains itself", component(b"\x07\x03\x01\x70\x00")),
        ("types that double", doubling_types(40)),
        ("a memory of 4 GiB", module(b"\x05\x05\x01\x00\x80\x80\x04")),
        ("a table of 4 thousand million elements", module(b"\x04\x08\x01\x70\x00\xff\xff\xff\xff\x0f")),
        (
            "4 thousand million locals",
            module(b"\x01\x04\x01\x60\0\0\x03\x02\x01\0\x0a\x0a\x01\x08\x01\xff\xff\xff\xff\x0f\x7f\x0b"),
        ),
    ]
}

fn refused(host: &TestHost, wasm: &[u8]) -> LoadError {
    match host.load(Some(wasm), "") {
        Ok(_) => panic!("loaded"),
        Err(error) => error,
    }
}

#[test]
fn files_that_are_no_components_are_refused_by_name_and_cost_little() {
    let host = TestHost::new();
    let before = peak_mebibytes();
    for (what, wasm) in files() {
        let Err(error) = host.load(Some(&wasm), "") else { panic!("{what} was loaded") };
        assert!(matches!(error, LoadError::NotAComponent { .. }), "{what}: {error}");
        let message = error.to_string();
        assert!(
            message.starts_with("component `test`: ") && message.contains("test.wasm"),
            "{what}: {message}"
        );
        assert!(message.len() < 2_000, "{what}: {} bytes of message", message.len());
    }
    let grown = peak_mebibytes() - before;
    assert!(grown < 512, "the files took {grown} MiB");
}

#[test]
fn components_within_components_load_up_to_a_depth_and_are_refused_at_once_beyond() {
    let host = TestHost::new();
    host.load(Some(&nested_components(limits::MAX_COMPONENT_DEPTH)), "").unwrap();
    for depth in [limits::MAX_COMPONENT_DEPTH + 1, 1_000_000] {
        let message = refused(&host, &nested_components(depth)).to_string();
        assert!(message.ends_with("components stand more than 32 deep within each other"), "{message}");
    }
    // One after the other they are not deep.
    let inner = component(&[]);
    let beside: Vec<u8> = [&[4, inner.len() as u8], &inner[..]].concat().repeat(100);
    host.load(Some(&component(&beside)), "").unwrap();
}

#[test]
fn a_component_that_is_cut_off_anywhere_is_refused() {
    let host = TestHost::new();
    let whole = handler("");
    host.load(Some(&whole), "").unwrap();
    for end in (0..whole.len()).step_by(whole.len() / 40) {
        // Between two sections a cut-off file is a component, if one that lacks its export.
        match host.load(Some(&whole[..end]), "") {
            Ok(guest) => assert!(guest.require_handler().is_err(), "cut at {end}"),
            Err(error) => assert!(matches!(error, LoadError::NotAComponent { .. }), "cut at {end}: {error}"),
        }
    }
}

#[test]
fn an_import_that_is_not_offered_is_named_with_component_interface_and_version() {
    let host = TestHost::new();
    for import in ["fermyon:spin/llm@2.0.0", "spin:mysql/mysql@3.0.0", "wasi:blobstore/blobstore@0.2.0"] {
        let wasm = wat(&format!(r#"(component (import "{import}" (instance (export "f" (func)))))"#));
        let message = refused(&host, &wasm).to_string();
        assert_eq!(message, format!("component `test` imports `{import}`, which this host does not offer"));
    }
}

#[test]
fn an_import_of_another_shape_than_what_is_offered_is_refused() {
    let host = TestHost::new();
    let wasm = wat(
        r#"(component (import "fermyon:spin/variables@2.0.0" (instance (export "get" (func (param "name" u64))))))"#,
    );
    let error = refused(&host, &wasm);
    assert!(error.to_string().contains("fermyon:spin/variables@2.0.0"), "{error}");
}

#[test]
fn a_source_that_is_no_file_or_endless_is_refused() {
    let host = TestHost::new();
    let path = host.folder.path().join("test.wasm");
    std::fs::create_dir(&path).unwrap();
    let message = |host: &TestHost| match host.load(None, "") {
        Ok(_) => panic!("loaded"),
        Err(error) => error.to_string(),
    };
    assert!(message(&host).ends_with("test.wasm: it is not a file"), "{}", message(&host));
    std::fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(message(&host).ends_with("test.wasm: it is not a file"), "{}", message(&host));
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap().set_len(300 * 1024 * 1024).unwrap();
    assert!(message(&host).ends_with("the limit is 268435456"), "{}", message(&host));
}

const START: &str = "spin_manifest_version = 2\napplication.name = \"hostile\"\n";

fn manifest_fault(path: &Path, text: &str) -> String {
    match Manifest::parse(path, text, &VariableSources::default()) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn manifests_made_to_exhaust_the_reader_are_refused() {
    let path = Path::new("spin.toml");
    let deep = format!("{START}component = {}{}", "[".repeat(200_000), "]".repeat(200_000));
    let dotted = format!("{START}{} = 1", vec!["a"; 100_000].join("."));
    let tables = format!("{START}component = {}1{}", "{ a = ".repeat(100_000), " }".repeat(100_000));
    let key = format!("{START}{} = 1", "k".repeat(900_000));
    for (what, text) in [("lists", deep), ("dots", dotted), ("tables", tables), ("a long key", key)] {
        let message = manifest_fault(path, &text);
        assert!(message.starts_with("spin.toml:"), "{what}: {}", &message[..200.min(message.len())]);
    }
    let open = "{{".repeat(300_000);
    let text = format!("{START}[component.a]\nsource = \"a\"\nvariables = {{ a = \"{open}\" }}");
    assert!(manifest_fault(path, &text).starts_with("spin.toml:5:"));
    assert!(peak_mebibytes() < 512);
}

/// An application in a folder beside which lies what is none of its business.
fn application(files: &str) -> (tempfile::TempDir, std::path::PathBuf, String) {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app");
    std::fs::create_dir_all(app.join("assets")).unwrap();
    std::fs::write(app.join("assets/a.txt"), "a").unwrap();
    std::fs::write(folder.path().join("secret.txt"), "secret").unwrap();
    let text = format!("{START}[component.a]\nsource = \"a.wasm\"\nfiles = {files}\n");
    (folder, app, text)
}

#[test]
fn files_outside_the_application_are_not_reached_by_dots_or_links() {
    for files in [
        r#"["../secret.txt"]"#,
        r#"["assets/../../secret.txt"]"#,
        r#"["../*.txt"]"#,
        r#"["link.txt"]"#,
        r#"["assets/*"]"#,
        r#"["assets/**/*"]"#,
        r#"["outside/*.txt"]"#,
        r#"[{ source = "link.txt", destination = "/x.txt" }]"#,
        r#"[{ source = "outside", destination = "/" }]"#,
        r#"[{ source = "assets", destination = "/x" }]"#,
        r#"[{ source = "..", destination = "/" }]"#,
    ] {
        let (folder, app, text) = application(files);
        std::os::unix::fs::symlink("../secret.txt", app.join("link.txt")).unwrap();
        std::os::unix::fs::symlink("../../secret.txt", app.join("assets/link.txt")).unwrap();
        std::os::unix::fs::symlink(folder.path(), app.join("outside")).unwrap();
        let message = manifest_fault(&app.join("spin.toml"), &text);
        let reason = ["lies outside the application's folder", "has a `..`"];
        assert!(reason.iter().any(|reason| message.contains(reason)), "{files}: {message}");
    }
}

#[test]
fn links_that_lead_in_circles_and_patterns_that_match_too_much_end() {
    let (_folder, app, text) = application(r#"["loops/**/*"]"#);
    let loops = app.join("loops");
    std::fs::create_dir(&loops).unwrap();
    for name in ["x", "y", "z"] {
        std::os::unix::fs::symlink(".", loops.join(name)).unwrap();
    }
    let outcome = Manifest::parse(&app.join("spin.toml"), &text, &VariableSources::default());
    if let Err(error) = outcome {
        assert!(error.to_string().contains("which is the limit"), "{error}");
    }
    let (_folder, app, text) = application(r#"["many/*"]"#);
    std::fs::create_dir(app.join("many")).unwrap();
    for n in 0..20_001 {
        std::fs::File::create(app.join(format!("many/{n}"))).unwrap();
    }
    let message = manifest_fault(&app.join("spin.toml"), &text);
    assert!(message.contains("over 20000 files and folders match"), "{message}");
}

#[test]
fn a_manifest_that_is_no_file_is_not_read() {
    for path in ["/dev/zero", "/"] {
        let error = Manifest::load(Path::new(path), &VariableSources::default()).unwrap_err().to_string();
        assert_eq!(error, format!("{path}: it is not a file"));
    }
}
