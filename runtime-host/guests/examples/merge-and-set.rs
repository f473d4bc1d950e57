//! WASI 0.3: merges an edit into a small Automerge document and sets one key of the key-value store to the result. The answer
//! means that it is as durable as the host makes it.

// What a component exports links for wasm alone; `cargo test` builds examples for the machine that it runs on.
#![cfg(target_family = "wasm")]

use automerge::transaction::Transactable as _;
use automerge::{AutoCommit, AutomergeError, ROOT};
use spin_sdk::http::Request;
use spin_sdk::http_service;
use spin_sdk::key_value::Store;
use std::cell::{Cell, RefCell};

/// Students on the attendance sheet that is merged.
const MARKS: usize = 30;
/// Keys that are written in turn.
const KEYS: u32 = 64;

thread_local! {
    static SHEET: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
    static NEXT: Cell<u32> = const { Cell::new(0) };
}

#[http_service]
async fn handle(_: Request) -> String {
    let number = NEXT.get();
    NEXT.set(number.wrapping_add(1));
    match merged(number) {
        Ok(merged) => set(number % KEYS, merged).await,
        Err(error) => format!("merge: {error}"),
    }
}

async fn set(key: u32, value: Vec<u8>) -> String {
    let bytes = value.len();
    let stored = async { Store::open_default().await?.set(format!("sheet/{key}"), value).await };
    match stored.await {
        Ok(()) => format!("{bytes} bytes"),
        Err(error) => format!("key-value store: {error}"),
    }
}

/// What an edge does with a device's edit: load the sheet, merge, save.
fn merged(number: u32) -> Result<Vec<u8>, AutomergeError> {
    let sheet = sheet()?;
    let mut kept = AutoCommit::load(&sheet)?;
    let mut edited = kept.fork();
    edited.put(ROOT, format!("student-{}", number as usize % MARKS), "present")?;
    kept.merge(&mut edited)?;
    Ok(kept.save())
}

fn sheet() -> Result<Vec<u8>, AutomergeError> {
    if let Some(sheet) = SHEET.with_borrow(Clone::clone) {
        return Ok(sheet);
    }
    let mut document = AutoCommit::new();
    for student in 0..MARKS {
        document.put(ROOT, format!("student-{student}"), "absent")?;
    }
    let saved = document.save();
    SHEET.set(Some(saved.clone()));
    Ok(saved)
}
