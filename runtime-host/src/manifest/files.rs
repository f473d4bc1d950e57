//! `files` and `exclude_files`: what a component sees of the application's folder, read-only. Nothing outside that folder, be it
//! by `..` or by a symbolic link.

use super::ManifestError;
use super::document::FilePlacement;
use super::reader::Reader;
use super::text_or::TextOr;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use toml::Spanned;

/// Files of one component: a site of a few thousand pages fits, a pattern that catches a whole disk does not.
const MAX_FILES: usize = 20_000;

/// The files that a guest sees under `/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum GuestFiles {
    #[default]
    None,
    /// A whole folder: it is mounted where it stands.
    Folder(PathBuf),
    /// Single files: they are copied to one folder when the component is loaded, as Spin does.
    Copies(Vec<GuestFile>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFile {
    pub source: PathBuf,
    /// Below `/`, without a leading slash.
    pub destination: PathBuf,
}

/// The entries of one component, as far as they are read.
struct Collected<'a> {
    /// The application's folder, with symbolic links resolved.
    root: PathBuf,
    excluded: &'a [glob::Pattern],
    by_destination: BTreeMap<PathBuf, PathBuf>,
}

impl Reader<'_> {
    pub(super) fn files(
        &self,
        entries: Vec<Spanned<TextOr<FilePlacement>>>,
        exclude: &[Spanned<String>],
    ) -> Result<GuestFiles, ManifestError> {
        let mut excluded = Vec::new();
        for pattern in exclude {
            excluded.push(self.pattern(pattern.get_ref(), pattern.span())?);
        }
        if entries.is_empty() {
            return Ok(GuestFiles::None);
        }
        let at = |span: Range<usize>| move |message: String| self.error(span, message);
        let root = self.folder().canonicalize().map_err(|e| at(entries[0].span())(e.to_string()))?;
        if let ([entry], []) = (&entries[..], &excluded[..])
            && let TextOr::Table(placement) = entry.get_ref()
            && placement.destination == "/"
        {
            let source = inside(&root, &placement.source).map_err(at(entry.span()))?;
            if source.is_dir() {
                return Ok(GuestFiles::Folder(source));
            }
        }
        let mut collected = Collected { root, excluded: &excluded, by_destination: BTreeMap::new() };
        for entry in entries {
            let span = entry.span();
            match entry.into_inner() {
                TextOr::Text(pattern) => collected.pattern(&pattern),
                TextOr::Table(placement) => collected.placement(&placement),
            }
            .map_err(at(span))?;
        }
        let copies = collected.by_destination.into_iter();
        Ok(GuestFiles::Copies(
            copies.map(|(destination, source)| GuestFile { source, destination }).collect(),
        ))
    }

    fn pattern(&self, text: &str, span: Range<usize>) -> Result<glob::Pattern, ManifestError> {
        glob::Pattern::new(text).map_err(|e| self.error(span, format!("pattern `{text}`: {}", e.msg)))
    }
}

/// `path`, which the manifest names, with symbolic links resolved. It must exist within `root`.
fn inside(root: &Path, path: &str) -> Result<PathBuf, String> {
    let full = root.join(path).canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("`{path}` does not exist"),
        _ => format!("`{path}`: {error}"),
    })?;
    match full.starts_with(root) {
        true => Ok(full),
        false => Err(format!("`{path}` lies outside the application's folder")),
    }
}

/// A path of the guest, below `/`.
fn destination(text: &str) -> Result<PathBuf, String> {
    let mut path = PathBuf::new();
    for part in Path::new(text.trim_start_matches('/')).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(format!("destination `{text}` has a `..`"));
            }
        }
    }
    Ok(path)
}

impl Collected<'_> {
    /// `"assets/*.css"`, a file or a folder: the guest sees it under the same path.
    fn pattern(&mut self, text: &str) -> Result<(), String> {
        let relative = destination(text).map_err(|_| format!("pattern `{text}` has a `..`"))?;
        let path = self.root.join(&relative);
        if path.is_file() {
            return self.add(&path, relative);
        }
        if path.is_dir() {
            return self.folder(&path, &relative);
        }
        if !text.contains(['*', '?', '[']) {
            return Err(format!("`{text}` does not exist and is no pattern"));
        }
        let root = self.root.clone();
        self.matching(&relative, &root, Path::new(""))
    }

    /// `{ source = "assets", destination = "/static" }`
    fn placement(&mut self, placement: &FilePlacement) -> Result<(), String> {
        let source = inside(&self.root, &placement.source)?;
        let to = destination(&placement.destination)?;
        if source.is_dir() {
            return self.folder(&source, &to);
        }
        if to == Path::new("") || placement.destination.ends_with('/') {
            return Err(format!("destination `{}` is no name of a file", placement.destination));
        }
        self.add(&source, to)
    }

    fn folder(&mut self, folder: &Path, to: &Path) -> Result<(), String> {
        let below = folder.strip_prefix(&self.root).map_err(|e| e.to_string())?.to_owned();
        // What stands in the folder's own name is no pattern.
        let escaped = glob::Pattern::escape(&below.to_string_lossy());
        self.matching(&Path::new(&escaped).join("**/*"), folder, to)
    }

    /// Adds the files that match `pattern`, which starts at the application's folder; `base` becomes `to`.
    fn matching(&mut self, pattern: &Path, base: &Path, to: &Path) -> Result<(), String> {
        let root = glob::Pattern::escape(&self.root.to_string_lossy());
        let full = Path::new(&root).join(pattern);
        let full = full.to_str().ok_or("the path is not Unicode")?;
        let found = glob::glob(full).map_err(|e| format!("pattern `{}`: {}", pattern.display(), e.msg))?;
        for (visited, path) in found.enumerate() {
            // Folders count too: symbolic links can make endlessly many of them.
            if visited >= MAX_FILES {
                return Err(format!("over {MAX_FILES} files and folders match, which is the limit"));
            }
            let path = path.map_err(|e| e.to_string())?;
            let relative = path.strip_prefix(&self.root).map_err(|e| e.to_string())?;
            if !path.is_file() || self.excluded.iter().any(|pattern| pattern.matches_path(relative)) {
                continue;
            }
            let below = path.strip_prefix(base).map_err(|e| e.to_string())?.to_owned();
            self.add(&path, to.join(below))?;
        }
        Ok(())
    }

    fn add(&mut self, source: &Path, to: PathBuf) -> Result<(), String> {
        let name = source.strip_prefix(&self.root).unwrap_or(source).to_string_lossy().into_owned();
        let source = inside(&self.root, &name)?;
        if self.by_destination.len() >= MAX_FILES {
            return Err(format!("over {MAX_FILES} files, which is the limit"));
        }
        self.by_destination.insert(to, source);
        Ok(())
    }
}
