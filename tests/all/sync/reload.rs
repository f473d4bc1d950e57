//! A new version of the sync component takes over while devices edit.

use device::Kind;
use integration_tests::{House, SOON, in_step, until, workspace};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;

const TEACHER: &str = "teacher@northside.example";
const ASSISTANT: &str = "assistant@northside.example";
const REPLACEMENTS: usize = 3;

/// The application with a sync component of its own, which can be replaced. The manifest's path.
fn application(folder: &Path) -> PathBuf {
    let text = std::fs::read_to_string(workspace().join("spin.toml")).unwrap();
    let mut manifest: toml::Table = text.parse().unwrap();
    for (id, component) in manifest["component"].as_table_mut().unwrap().iter_mut() {
        let source = workspace().join(component["source"].as_str().unwrap());
        let own = folder.join(format!("{id}.wasm"));
        std::fs::copy(source, &own).unwrap();
        component["source"] = own.to_str().unwrap().into();
    }
    let path = folder.join("spin.toml");
    std::fs::write(&path, manifest.to_string()).unwrap();
    path
}

/// Makes other code of a component by a section that nobody reads.
fn replace(component: &Path, number: usize) {
    let mut wasm = std::fs::read(component).unwrap();
    let name = format!("version-{number:02}");
    wasm.extend([0, name.len() as u8 + 1, name.len() as u8]);
    wasm.extend(name.as_bytes());
    let new = component.with_extension("new");
    std::fs::write(&new, wasm).unwrap();
    std::fs::rename(&new, component).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_sync_component_takes_over_under_load_and_no_edit_is_lost() {
    let mut house = House::start().await;
    let folder = tempfile::tempdir().unwrap();
    let app = application(folder.path());
    house.edge.stop().await;
    house.edge.program.set_flag("--app", app.to_str().unwrap());
    house.edge.start_again().await;
    house.edge_knows_the_origin().await;
    let class = house.class().await;
    let (teacher, assistant) = (house.device(TEACHER, "phone"), house.device(ASSISTANT, "tablet"));
    let notes = teacher.register(Kind::Notes, &class.id).await.unwrap();
    assert_eq!(assistant.register(Kind::Notes, &class.id).await.unwrap(), notes);
    in_step(&[&teacher, &assistant], notes).await;
    let taken_over = || house.edge.program.log().matches("components=[\"sync\"]").count();
    let started = || house.edge.program.log().matches("sync engine started").count();
    let (mut edits, first_started) = (0, started());
    for number in 1..=REPLACEMENTS {
        replace(&folder.path().join("sync.wasm"), number);
        house.edge.program.send(Signal::HUP);
        until("the new version to take over", SOON, async || {
            for device in [&teacher, &assistant] {
                device.splice_text(notes, "text", 0, 0, "x").unwrap();
                edits += 1;
            }
            // Devices type; they do not send as fast as they can.
            tokio::time::sleep(Duration::from_millis(10)).await;
            (taken_over() >= number && started() >= first_started + number).then_some(())
        })
        .await;
        teacher.wait_until_connected(SOON).await.unwrap();
    }
    in_step(&[&teacher, &assistant], notes).await;
    assert_eq!(teacher.text(notes, "text").unwrap().len(), edits);
    let late = house.device(ASSISTANT, "laptop");
    late.find(notes, SOON).await.unwrap();
    in_step(&[&teacher, &late], notes).await;
    assert_eq!(late.text(notes, "text").unwrap().len(), edits);
}
