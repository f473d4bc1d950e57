//! Components that are small enough to read, composed and called.

use super::*;
use crate::test_host::TestHost;
use std::path::Path;
use wasmtime::component::{Component as Compiled, Linker};
use wasmtime::{Engine, Store};

/// Gives the sum of a number and itself, which it lets `test:math/add` compute.
const TWICE: &str = r#"(component
    (import "test:math/add@1.0.0" (instance $math (export "add" (func (param "a" u32) (param "b" u32) (result u32)))))
    (core func $add (canon lower (func $math "add")))
    (core module $module
        (import "math" "add" (func $add (param i32 i32) (result i32)))
        (func (export "twice") (param i32) (result i32) (call $add (local.get 0) (local.get 0))))
    (core instance $instance (instantiate $module (with "math" (instance (export "add" (func $add))))))
    (func $twice (param "a" u32) (result u32) (canon lift (core func $instance "twice")))
    (export "twice" (func $twice)))"#;

/// Adds, and imports (IMPORTS) besides. It exports the same under two names.
const MATH: &str = r#"(component
    (IMPORTS)
    (core module $module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
    (core instance $instance (instantiate $module))
    (func $add (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $instance "add")))
    (instance $math (export "add" (func $add)))
    (export "test:math/add@1.0.0" (instance $math))
    (export "test:other/sum@2.0.0" (instance $math)))"#;

const ENVIRONMENTS: &str = r#"
    (import "wasi:cli/environment@0.2.6" (instance
        (export "get-environment" (func (result (list (tuple string string)))))
        (export "initial-cwd" (func (result (option string))))))
    (import "wasi:cli/environment@0.3.0" (instance (export "get-initial-cwd" (func (result (option string))))))"#;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, file: &str, wat: &str) -> PathBuf {
        let path = self.0.path().join(file);
        std::fs::write(&path, wat::parse_str(wat).unwrap()).unwrap();
        path
    }

    /// A dependency on [`MATH`] with these imports.
    fn math(&self, name: &str, imports: &str) -> Dependency {
        let path = self.write(&format!("math-{}.wasm", name.len()), &MATH.replace("(IMPORTS)", imports));
        dependency(name, &path)
    }
}

fn dependency(name: &str, path: &Path) -> Dependency {
    let settings = format!("dependencies = {{ \"{name}\" = {{ path = '{}' }} }}", path.display());
    let text = format!(
        "spin_manifest_version = 2\napplication.name = \"test\"\n[component.test]\nsource = \"test.wasm\"\n{settings}"
    );
    let manifest =
        crate::manifest::Manifest::parse(Path::new("/spin.toml"), &text, &Default::default()).unwrap();
    manifest.components["test"].dependencies[0].clone()
}

fn twice() -> Vec<u8> {
    wat::parse_str(TWICE).unwrap()
}

/// Calls it where no import is offered.
fn call(wasm: &[u8]) -> u32 {
    let engine = Engine::default();
    let component = Compiled::new(&engine, wasm).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Linker::new(&engine).instantiate(&mut store, &component).unwrap();
    let twice = instance.get_typed_func::<(u32,), (u32,)>(&mut store, "twice").unwrap();
    twice.call(&mut store, (21,)).unwrap().0
}

fn refusal(dependencies: &[Dependency]) -> String {
    compose(twice(), dependencies).unwrap_err().to_string()
}

#[test]
fn a_component_calls_what_it_depends_on() {
    let folder = Folder::new();
    for name in ["test:math/add@1.0.0", "test:math/add", "test:math"] {
        assert_eq!(call(&compose(twice(), &[folder.math(name, "")]).unwrap()), 42, "{name}");
    }
    let other =
        Dependency { export: Some("test:other/sum@2.0.0".into()), ..folder.math("test:math/add", "") };
    assert_eq!(call(&compose(twice(), &[other]).unwrap()), 42);
    assert_eq!(compose(twice(), &[]).unwrap(), twice(), "without dependencies nothing is touched");
}

#[test]
fn a_dependency_sees_no_environment_and_no_more_unless_it_inherits() {
    let folder = Folder::new();
    // Where nothing is offered it can be called: its environment is a part of it.
    assert_eq!(call(&compose(twice(), &[folder.math("test:math", ENVIRONMENTS)]).unwrap()), 42);
    for import in
        ["spin:key-value/key-value@3.0.0", "wasi:filesystem/preopens@0.2.6", "wasi:http/client@0.3.0"]
    {
        let dependency = folder.math("test:math", &format!("(import \"{import}\" (instance))"));
        let message = refusal(std::slice::from_ref(&dependency));
        assert!(message.contains(&format!("imports `{import}`, which it may not use")), "{message}");
        assert!(message.contains("inherit_configuration"), "{message}");
        let inherits = Dependency { inherits: true, ..dependency };
        let composed = compose(twice(), &[inherits]).unwrap();
        let engine = Engine::default();
        let ty = Compiled::new(&engine, &composed).unwrap().component_type();
        assert_eq!(ty.imports(&engine).map(|(name, _)| name.to_owned()).collect::<Vec<_>>(), [import]);
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let folder = Folder::new();
    let math = folder.math("test:math", "");
    let message = refusal(&[folder.math("test:maths", "")]);
    assert_eq!(message, "dependency `test:maths` satisfies no import; there are: test:math/add@1.0.0");
    let twice_over = refusal(&[math.clone(), folder.math("test:math/add", "")]);
    assert_eq!(
        twice_over,
        "import `test:math/add@1.0.0` is satisfied by two dependencies, `test:math` and `test:math/add`"
    );
    let missing = Dependency { export: Some("test:math/sub".into()), ..folder.math("test:math/add", "") };
    let message = refusal(&[missing]);
    assert!(
        message.contains("does not export `test:math/sub`; it exports: test:math/add@1.0.0, "),
        "{message}"
    );
    let message = refusal(&[dependency("test:math", &folder.0.path().join("gone.wasm"))]);
    assert!(message.contains("gone.wasm") && message.contains("No such file"), "{message}");
    let module = folder.write("module.wasm", "(module)");
    let message = refusal(&[dependency("test:math", &module)]);
    assert!(message.contains("dependency `test:math` is no component"), "{message}");
    let wrong = MATH.replace("(IMPORTS)", "").replace("u32", "s32");
    let message = refusal(&[dependency("test:math", &folder.write("wrong.wasm", &wrong))]);
    assert!(message.starts_with("dependency `test:math` does not fit"), "{message}");
}

#[test]
fn the_host_loads_a_component_with_its_dependencies() {
    let host = TestHost::new();
    let math = wat::parse_str(MATH.replace("(IMPORTS)", ENVIRONMENTS)).unwrap();
    std::fs::write(host.folder.path().join("math.wasm"), math).unwrap();
    let settings = |path: &str| format!("dependencies = {{ \"test:math/add\" = {{ path = \"{path}\" }} }}");
    host.load(Some(&twice()), &settings("math.wasm")).map(drop).unwrap();
    let error = host.load(None, "").err().unwrap().to_string();
    assert!(error.contains("`test:math/add@1.0.0`"), "{error}");
    let error = host.load(None, &settings("gone.wasm")).err().unwrap().to_string();
    assert!(error.starts_with("component `test`: dependency `test:math/add`:"), "{error}");
}
