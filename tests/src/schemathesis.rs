//! schemathesis, in a folder of its own below the target folder.

use crate::artefacts::{target, workspace};
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

/// The program and its settings. Blocks: `cargo xtask test` installs it before the tests; when they run without that,
/// it is installed here, once.
pub fn schemathesis() -> (PathBuf, PathBuf) {
    let settings = workspace().join("tests/schemathesis");
    let (wanted, folder) = (settings.join("requirements.txt"), workspace().join("target/schemathesis"));
    let lock = File::create(target().join("schemathesis.lock")).expect("the target folder is writable");
    lock.lock().expect("a file can be locked");
    let (installed, list) = (folder.join("requirements.txt"), std::fs::read(&wanted).ok());
    if std::fs::read(&installed).ok() != list {
        let venv = Command::new("python3").args(["-m", "venv"]).arg(&folder).output();
        let venv = venv.expect("the test needs Python 3; `cargo xtask test` installs it");
        assert!(venv.status.success(), "python3 -m venv: {}", String::from_utf8_lossy(&venv.stderr));
        let pip = Command::new(folder.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
            .arg(&wanted)
            .output()
            .expect("the folder has pip");
        assert!(pip.status.success(), "pip install: {}", String::from_utf8_lossy(&pip.stderr));
        std::fs::copy(&wanted, &installed).expect("the folder is writable");
    }
    (folder.join("bin/schemathesis"), settings.join("schemathesis.toml"))
}
