//! Compiled code on disk, so that a start does not compile again what an earlier one has.
//!
//! A file is named after everything that decides its content: the component's bytes, the compiler's version and the engine's
//! settings. It ends with a checksum of the rest, because machine code that the disk has garbled must not run: wasmtime checks
//! that code was made by it, and not that it is whole. The code itself is mapped from the file: what no request needs is never in memory,
//! and what is there belongs to the system's cache of files.

use sha2::{Digest as _, Sha256};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{Hash as _, Hasher};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Code that no start has used for so long is removed.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);
const SUFFIX: &str = "cwasm";
/// What is written and not yet whole: a process that is killed leaves it.
const NEW: &str = "new-";
/// CRC-32, as file systems have it. It is to find what a disk has garbled; whoever can write into the folder could write any sum.
/// A cryptographic digest took half of the time of a start.
const SUM_BYTES: usize = 4;
/// How a file is made up, so that one of another make is not taken for a damaged one.
const LAYOUT: &[u8] = b"code, crc-32";

pub struct CodeCache {
    folder: PathBuf,
}

/// Where a component's code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Cache,
    Compiled,
}

/// Lets [`std::hash::Hash`] feed a digest that is the same in every process.
struct Digesting(Sha256);

impl Hasher for Digesting {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the digest is taken whole")
    }
}

impl CodeCache {
    /// Makes the folder when it is not there, and removes from it what is not used any more.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        for entry in fs::read_dir(folder)?.flatten() {
            let path = entry.path();
            let suffix = path.extension().and_then(OsStr::to_str).unwrap_or("");
            let old = |modified: SystemTime| modified.elapsed().is_ok_and(|age| age > UNUSED);
            let unused = suffix == SUFFIX && entry.metadata().and_then(|file| file.modified()).is_ok_and(old);
            // Nobody else writes here: the data folder is ours.
            let half_written = suffix.starts_with(NEW);
            if unused || half_written {
                // Where it cannot be removed, it takes room and does no other harm.
                let _ = fs::remove_file(path);
            }
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The component's code from the cache, or compiled and then kept.
    pub fn component(&self, engine: &Engine, wasm: &[u8]) -> wasmtime::Result<(Component, Source)> {
        let path = path(&self.folder, engine, wasm);
        if let Some(component) = load(engine, &path) {
            return Ok((component, Source::Cache));
        }
        let component = Component::new(engine, wasm)?;
        if let Err(error) =
            component.serialize().map_err(io::Error::other).and_then(|code| store(&path, &code))
        {
            tracing::warn!(path = %path.display(), %error, "compiled code is not kept");
        }
        Ok((component, Source::Compiled))
    }
}

/// Whether `folder` holds the component's code, be it damaged.
pub fn holds(folder: &Path, engine: &Engine, wasm: &[u8]) -> bool {
    path(folder, engine, wasm).is_file()
}

fn path(folder: &Path, engine: &Engine, wasm: &[u8]) -> PathBuf {
    let mut digest = Digesting(Sha256::new());
    digest.write(LAYOUT);
    engine.precompile_compatibility_hash().hash(&mut digest);
    digest.write(wasm);
    let name: String = digest.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    folder.join(name).with_extension(SUFFIX)
}

fn load(engine: &Engine, path: &Path) -> Option<Component> {
    let mut file = File::open(path).ok()?;
    match is_whole(&mut file) {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!(path = %path.display(), "compiled code is damaged; compiling again");
            return None;
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "compiled code cannot be read");
            return None;
        }
    }
    // So that it does not count as unused. Where it cannot be written, it is compiled again once in a while.
    let _ = file.set_modified(SystemTime::now());
    // SAFETY: the file is in the edge's own data folder, is whole, and its name says that a compiler of this version with these
    // settings made it from this component. Nobody of ours writes into it while it is mapped: it is replaced by renaming, and
    // removed. Whoever else can write there can replace the edge's databases and keys as well.
    match unsafe { Component::deserialize_file(engine, path) } {
        Ok(component) => Some(component),
        Err(error) => {
            tracing::warn!(path = %path.display(), error = format!("{error:#}"), "compiled code is not used");
            None
        }
    }
}

/// Whether the file's end is the sum of what stands before it. Read in pieces, for the code is mapped and not held.
fn is_whole(file: &mut File) -> io::Result<bool> {
    const PIECE_BYTES: usize = 64 * 1024;
    let Some(mut left) = file.metadata()?.len().checked_sub(SUM_BYTES as u64) else { return Ok(false) };
    let (mut sum, mut piece) = (crc32fast::Hasher::new(), vec![0; PIECE_BYTES]);
    while left > 0 {
        let wanted = left.min(PIECE_BYTES as u64) as usize;
        file.read_exact(&mut piece[..wanted])?;
        sum.update(&piece[..wanted]);
        left -= wanted as u64;
    }
    let mut expected = [0; SUM_BYTES];
    file.read_exact(&mut expected)?;
    Ok(expected == sum.finalize().to_le_bytes())
}

/// Whole or not at all, also when two processes store the same.
fn store(path: &Path, code: &[u8]) -> io::Result<()> {
    let new = path.with_extension(format!("{NEW}{}", std::process::id()));
    let mut file = File::create(&new)?;
    file.write_all(code)?;
    file.write_all(&crc32fast::hash(code).to_le_bytes())?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::Config;

    fn engine(epochs: bool) -> Engine {
        let mut config = Config::new();
        config.epoch_interruption(epochs);
        Engine::new(&config).unwrap()
    }

    fn wasm() -> Vec<u8> {
        wat::parse_str("(component (core module (func (export \"f\") (result i32) i32.const 7)))").unwrap()
    }

    fn source(cache: &CodeCache, engine: &Engine) -> Source {
        cache.component(engine, &wasm()).unwrap().1
    }

    #[test]
    fn code_is_compiled_once_for_each_content_and_setting() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(folder.path()).unwrap();
        assert!(!holds(folder.path(), &engine(true), &wasm()));
        assert_eq!(source(&cache, &engine(true)), Source::Compiled);
        assert_eq!(source(&cache, &engine(true)), Source::Cache);
        assert!(holds(folder.path(), &engine(true), &wasm()));
        assert_eq!(source(&cache, &engine(false)), Source::Compiled, "other settings make other code");
        let other = wat::parse_str("(component)").unwrap();
        assert_eq!(cache.component(&engine(true), &other).unwrap().1, Source::Compiled);
    }

    #[test]
    fn damaged_code_is_compiled_again_wherever_the_damage_is() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(folder.path()).unwrap();
        let engine = engine(true);
        source(&cache, &engine);
        let path = path(&cache.folder, &engine, &wasm());
        let whole = fs::read(&path).unwrap();
        for damage in
            [0, whole.len() / 2, whole.len() - SUM_BYTES - 1, whole.len() - SUM_BYTES, whole.len() - 1]
        {
            let mut garbled = whole.clone();
            garbled[damage] ^= 0x10;
            fs::write(&path, garbled).unwrap();
            assert_eq!(source(&cache, &engine), Source::Compiled, "byte {damage}");
            assert_eq!(source(&cache, &engine), Source::Cache, "what was compiled replaces it");
        }
        for length in [0, 7, SUM_BYTES, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(source(&cache, &engine), Source::Compiled, "cut at {length}");
        }
    }

    #[test]
    fn what_a_killed_process_had_not_written_whole_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(folder.path()).unwrap();
        source(&cache, &engine(true));
        let whole = path(&cache.folder, &engine(true), &wasm());
        let half = whole.with_extension("new-4711");
        fs::write(&half, b"half of it").unwrap();
        fs::write(folder.path().join("of somebody else"), b"").unwrap();
        CodeCache::open(folder.path()).unwrap();
        assert!(!half.exists());
        assert!(whole.exists() && folder.path().join("of somebody else").exists());
    }

    #[test]
    fn what_was_long_unused_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(folder.path()).unwrap();
        source(&cache, &engine(true));
        let path = path(&cache.folder, &engine(true), &wasm());
        CodeCache::open(folder.path()).unwrap();
        assert!(path.exists());
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(SystemTime::now() - 2 * UNUSED)
            .unwrap();
        CodeCache::open(folder.path()).unwrap();
        assert!(!path.exists());
    }
}
