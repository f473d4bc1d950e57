//! Where the programs, the components and the data of the tests are.

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package stands in a folder of the workspace")
        .into()
}

/// The folder of the profile that the tests were built with, for example `target/debug`.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("the path of a running program is known");
    // target/debug/deps/all-0123456789abcdef
    test.parent().and_then(Path::parent).expect("a test program stands in target/PROFILE/deps").into()
}

/// The target folder.
pub(crate) fn target() -> PathBuf {
    profile_folder().parent().expect("a profile's folder stands in the target folder").into()
}

/// One of the workspace's programs.
pub fn program(name: &str) -> PathBuf {
    let program = profile_folder().join(name);
    assert!(
        program.exists(),
        "{} is missing: run the tests with `cargo xtask test`, which builds it",
        program.display()
    );
    program
}

/// A built component.
pub fn wasm(name: &str) -> PathBuf {
    component(&format!("{name}.wasm"))
}

/// One of the small components that are made for tests and benchmarks of the edge host.
pub fn guest(name: &str) -> PathBuf {
    component(&format!("examples/{name}.wasm"))
}

fn component(path: &str) -> PathBuf {
    let component = workspace().join("target/wasm32-wasip2/component").join(path);
    assert!(
        component.exists(),
        "{} is missing: run the tests with `cargo xtask test`, which builds it",
        component.display()
    );
    component
}

/// A file or folder of the data that does not come with the repository; None where it is not there.
pub fn shared_data(path: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os("ROLLCALL_SHARED_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => workspace().join("../shared/data"),
    };
    Some(folder.join(path)).filter(|path| path.exists())
}
