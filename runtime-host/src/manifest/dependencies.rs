//! `[component.X.dependencies]`: the components that satisfy imports of another one. Only their files are taken: nothing is fetched
//! from the network.

use super::ManifestError;
use super::document::Dependency as DependencyText;
use super::reader::Reader;
use super::text_or::TextOr;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use toml::Spanned;

/// A component that satisfies imports of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    pub name: DependencyName,
    pub path: PathBuf,
    /// What of it satisfies the import; none: what is called as the import is.
    pub export: Option<String>,
    /// Whether it may what the component may that depends on it.
    pub inherits: bool,
}

/// Which imports a dependency satisfies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DependencyName {
    /// The import of just this name.
    Plain(String),
    /// `NAMESPACE:PACKAGE[/INTERFACE][@VERSION]`; what is left out is any.
    Package { package: String, interface: Option<String>, version: Option<String> },
}

impl DependencyName {
    fn parse(text: &str) -> Option<Self> {
        let fits = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-:.+".contains(&b))
        };
        if !text.contains([':', '/', '@']) {
            return fits(text).then(|| Self::Plain(text.to_owned()));
        }
        let (rest, version) = split(text, '@');
        let (package, interface) = split(rest, '/');
        let all = [Some(package), interface, version].into_iter().flatten().all(fits);
        let named = package.split_once(':').is_some_and(|(space, name)| fits(space) && fits(name));
        let (package, interface) = (package.to_owned(), interface.map(str::to_owned));
        (all && named).then(|| Self::Package { package, interface, version: version.map(str::to_owned) })
    }

    /// Whether an import is among those that are meant.
    pub fn matches(&self, import: &str) -> bool {
        match self {
            Self::Plain(name) => name == import,
            Self::Package { package, interface, version } => {
                let (rest, import_version) = split(import, '@');
                let (import_package, import_interface) = split(rest, '/');
                let agree = |wanted: &Option<String>, found| wanted.is_none() || wanted.as_deref() == found;
                package == import_package
                    && import_interface.is_some()
                    && agree(interface, import_interface)
                    && agree(version, import_version)
            }
        }
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(before, behind)| (before, Some(behind)))
}

impl fmt::Display for DependencyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(name) => f.write_str(name),
            Self::Package { package, interface, version } => {
                f.write_str(package)?;
                interface.iter().try_for_each(|interface| write!(f, "/{interface}"))?;
                version.iter().try_for_each(|version| write!(f, "@{version}"))
            }
        }
    }
}

impl Reader<'_> {
    /// `inherit` is what the component says of all its dependencies.
    pub(super) fn dependencies(
        &self,
        dependencies: BTreeMap<String, Spanned<TextOr<DependencyText>>>,
        inherit: Option<bool>,
    ) -> Result<Vec<Dependency>, ManifestError> {
        let read = |(name, text): (String, Spanned<TextOr<DependencyText>>)| {
            let span = text.span();
            self.dependency(&name, text.into_inner(), inherit)
                .map_err(|fault| self.error(span, format!("dependency `{name}`: {fault}")))
        };
        dependencies.into_iter().map(read).collect()
    }

    fn dependency(
        &self,
        name: &str,
        text: TextOr<DependencyText>,
        inherit: Option<bool>,
    ) -> Result<Dependency, String> {
        const HINT: &str = "give the `path` of a file that was fetched and checked before";
        let name = DependencyName::parse(name)
            .ok_or("the name is neither that of an import nor NAMESPACE:PACKAGE[/INTERFACE][@VERSION]")?;
        let table = match text {
            TextOr::Text(version) => {
                return Err(format!(
                    "version `{version}` is in a registry, from which nothing is fetched; {HINT}"
                ));
            }
            TextOr::Table(table) => table,
        };
        if table.version.is_some() || table.registry.is_some() || table.package.is_some() {
            return Err(format!("it is in a registry, from which nothing is fetched; {HINT}"));
        }
        if table.url.is_some() || table.digest.is_some() {
            return Err(format!("nothing is fetched from the network; {HINT}"));
        }
        if let Some(component) = table.component {
            return Err(format!(
                "components of the application are not composed with each other; give the `path` of `{component}`'s file"
            ));
        }
        let path = table.path.filter(|path| !path.is_empty()).ok_or("it has no `path`")?;
        if table.export.is_some() && matches!(name, DependencyName::Package { interface: None, .. }) {
            return Err("`export` is for one import; name the interface too".to_owned());
        }
        let inherits = inherits(table.inherit_configuration, inherit)?;
        Ok(Dependency { name, path: self.folder().join(path), export: table.export, inherits })
    }
}

fn inherits(own: Option<toml::Value>, of_all: Option<bool>) -> Result<bool, String> {
    match (own, of_all) {
        (None, of_all) => Ok(of_all.unwrap_or(false)),
        (Some(_), Some(_)) => Err(
            "`inherit_configuration` stands here and `dependencies_inherit_configuration` at the component; leave one out"
                .to_owned(),
        ),
        (Some(toml::Value::Boolean(inherits)), None) => Ok(inherits),
        (Some(toml::Value::Array(some)), None) if some.is_empty() => Ok(false),
        (Some(_), None) => {
            Err("`inherit_configuration` is true or false here; parts of the configuration are not inherited".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_what_it_names_and_any_of_what_it_leaves_out() {
        for (name, meant, others) in [
            (
                "a:b/c@1.0.0",
                &["a:b/c@1.0.0"][..],
                &["a:b/c", "a:b/c@1.0.1", "a:b/d@1.0.0", "x:b/c@1.0.0"][..],
            ),
            ("a:b/c", &["a:b/c", "a:b/c@2.0.0"], &["a:b/cc", "a:b"]),
            ("a:b@1.0.0", &["a:b/c@1.0.0", "a:b/d@1.0.0"], &["a:b/c", "a:bb/c@1.0.0"]),
            ("a:b", &["a:b/c", "a:b/d@1.0.0"], &["a:bb/c", "a", "b"]),
            ("plain-name", &["plain-name"], &["plain", "a:b/plain-name"]),
        ] {
            let parsed = DependencyName::parse(name).unwrap();
            assert_eq!(parsed.to_string(), name);
            assert!(meant.iter().all(|import| parsed.matches(import)), "{name}");
            assert!(!others.iter().any(|import| parsed.matches(import)), "{name}");
        }
    }

    #[test]
    fn what_names_no_import_is_refused() {
        for name in ["", ":", "a:", ":b", "a/b", "a:b/", "a:b@", "a:b/c@", "a b", "a:b/c/d", "@1.0.0"] {
            assert_eq!(DependencyName::parse(name), None, "{name}");
        }
    }
}
