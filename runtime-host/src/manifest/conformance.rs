//! `tests/conformance`: small manifests and what becomes of each, accepted in a normal form or refused with a message.
//!
//! A line `# set NAME = VALUE` in a manifest sets `SPIN_VARIABLE_NAME` for it. After a change that is meant,
//! `UPDATE_EXPECTED=1 cargo test -p runtime-host conformance` writes the outcomes anew; read them before you commit.

use super::*;
use std::fmt::Write as _;
use std::fs;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").canonicalize().unwrap()
}

fn outcome(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let set = text.lines().filter_map(|line| line.strip_prefix("# set ")?.split_once(" = "));
    let environment = set.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let sources = VariableSources { environment, ..VariableSources::default() };
    let outcome = match Manifest::parse(path, &text, &sources) {
        Ok(manifest) => normal_form(&manifest).unwrap(),
        Err(ManifestError::Invalid { line, column, message, .. }) => {
            format!("refused {line}:{column}: {message}\n")
        }
        Err(error) => format!("refused: {error}\n"),
    };
    outcome.replace(&format!("{}/", folder().display()), "")
}

fn normal_form(manifest: &Manifest) -> Result<String, std::fmt::Error> {
    let mut text = format!("application {}\n", manifest.name);
    for (name, value) in &manifest.variables {
        writeln!(text, "variable {name} = {value}")?;
    }
    for (route, responder) in manifest.routes.iter() {
        match responder {
            Responder::Component(id) => writeln!(text, "route {} -> {id}", route.normal_form())?,
            Responder::Static(response) => {
                let (status, headers) = (response.status.as_u16(), &response.headers);
                writeln!(text, "route {} -> {status} {headers:?} {:?}", route.normal_form(), response.body)?;
            }
        }
    }
    for component in manifest.components.values() {
        component_form(component, &mut text)?;
    }
    Ok(text)
}

fn component_form(component: &Component, text: &mut String) -> std::fmt::Result {
    writeln!(text, "component {}", component.id)?;
    writeln!(text, "  source {}", component.source.display())?;
    for Dependency { name, path, export, inherits } in &component.dependencies {
        let export = export.as_ref().map(|export| format!(" export {export}")).unwrap_or_default();
        let inherits = if *inherits { ", inherits" } else { "" };
        writeln!(text, "  dependency {name} by {}{export}{inherits}", path.display())?;
    }
    if let Some(command) = &component.build_command {
        writeln!(text, "  build {command}")?;
    }
    for (name, value) in &component.variables {
        writeln!(text, "  variable {name} = {value}")?;
    }
    for (name, value) in &component.environment {
        writeln!(text, "  environment {name} = {value}")?;
    }
    match &component.files {
        GuestFiles::None => {}
        GuestFiles::Folder(source) => writeln!(text, "  folder {}", source.display())?,
        GuestFiles::Copies(files) => {
            for file in files {
                writeln!(text, "  file {} as /{}", file.source.display(), file.destination.display())?;
            }
        }
    }
    for store in &component.key_value_stores {
        writeln!(text, "  key-value store {store}")?;
    }
    for database in &component.sqlite_databases {
        writeln!(text, "  database {database}")?;
    }
    for host in component.allowed_hosts.iter() {
        writeln!(text, "  outbound {host}")?;
    }
    Ok(())
}

#[test]
fn each_manifest_of_the_conformance_folder_has_its_expected_outcome() {
    let update = std::env::var_os("UPDATE_EXPECTED").is_some();
    let mut manifests: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    manifests.sort();
    assert!(manifests.len() >= 50, "{} manifests", manifests.len());
    let mut wrong = String::new();
    for path in manifests {
        let expected_path = path.with_extension("expected");
        let outcome = outcome(&path);
        if update {
            fs::write(&expected_path, &outcome).unwrap();
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if outcome != expected {
            let name = path.file_name().unwrap().to_string_lossy();
            writeln!(wrong, "--- {name}\nexpected:\n{expected}outcome:\n{outcome}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
