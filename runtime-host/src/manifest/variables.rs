//! Application variables: what they are worth here.

use super::ManifestError;
use super::document::Variable;
use super::hint;
use super::reader::Reader;
use crate::template::{Template, TemplateError, is_variable_name};
use std::collections::BTreeMap;
use std::path::Path;
use toml::Spanned;

/// Where variables come from besides the manifest; the first that has a name decides.
#[derive(Debug, Default)]
pub struct VariableSources {
    /// From the edge's own settings.
    pub settings: BTreeMap<String, String>,
    /// `SPIN_VARIABLE_…`, as Spin reads them.
    pub environment: BTreeMap<String, String>,
    /// The same names out of `.env` beside the manifest, which Spin reads too.
    pub file: BTreeMap<String, String>,
}

const PREFIX: &str = "SPIN_VARIABLE_";

/// The environment variable that sets an application variable, as in Spin.
pub fn environment_name(variable: &str) -> String {
    format!("{PREFIX}{}", variable.to_ascii_uppercase())
}

impl VariableSources {
    /// Reads the process's environment and the file `.env` beside the manifest.
    pub fn new(settings: BTreeMap<String, String>, manifest: &Path) -> Result<Self, ManifestError> {
        let file = match manifest.parent() {
            Some(folder) => read_file(&folder.join(".env"))?,
            None => BTreeMap::new(),
        };
        // An environment may hold texts that are not Unicode; variables do not.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(Self { settings, environment: with_prefix(environment), file })
    }

    fn get(&self, name: &str) -> Option<&String> {
        self.settings.get(name).or_else(|| self.environment.get(name)).or_else(|| self.file.get(name))
    }
}

fn with_prefix(pairs: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    pairs.filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_ascii_lowercase(), value))).collect()
}

fn read_file(path: &Path) -> Result<BTreeMap<String, String>, ManifestError> {
    let unreadable = |source| ManifestError::Unreadable { path: path.to_owned(), source };
    let lines = match dotenvy::from_path_iter(path) {
        Ok(lines) => lines,
        Err(error) if error.not_found() => return Ok(BTreeMap::new()),
        Err(error) => return Err(unreadable(std::io::Error::other(error.to_string()))),
    };
    let pairs: Result<Vec<_>, _> = lines.collect();
    // The message would quote the line, which may be a secret.
    let pairs = pairs.map_err(|_| unreadable(std::io::Error::other("a line is not NAME=VALUE")))?;
    Ok(with_prefix(pairs.into_iter()))
}

impl Reader<'_> {
    pub(super) fn variables(
        &self,
        declared: &BTreeMap<String, Spanned<Variable>>,
        overrides: Option<&BTreeMap<String, Spanned<String>>>,
        sources: &VariableSources,
    ) -> Result<BTreeMap<String, String>, ManifestError> {
        for (name, value) in overrides.into_iter().flatten() {
            if !declared.contains_key(name) {
                let message = format!("variable `{name}` is not defined under [variables]");
                return Err(self.error(value.span(), message));
            }
        }
        let mut variables = BTreeMap::new();
        for (name, variable) in declared {
            if !is_variable_name(name) {
                return Err(self.error(variable.span(), TemplateError::BadName(name.clone()).to_string()));
            }
            let declared = variable.get_ref();
            if declared.required == declared.default.is_some() {
                let message =
                    format!("variable `{name}` needs either `required = true` or a `default`, and not both");
                return Err(self.error(variable.span(), message));
            }
            let value = sources
                .get(name)
                .or_else(|| overrides.and_then(|o| o.get(name)).map(|value| value.get_ref()))
                .or(declared.default.as_ref())
                .ok_or_else(|| ManifestError::VariableMissing(name.clone()))?;
            tracing::debug!(
                name,
                value = if declared.secret { "(secret)" } else { value.as_str() },
                "variable"
            );
            variables.insert(name.clone(), value.clone());
        }
        Ok(variables)
    }

    /// Fills in what stands in `{{ … }}`.
    pub(super) fn render(
        &self,
        value: &Spanned<String>,
        variables: &BTreeMap<String, String>,
    ) -> Result<String, ManifestError> {
        Template::parse(value.get_ref()).and_then(|template| template.render(variables)).map_err(|error| {
            let hint = match &error {
                TemplateError::Undefined(name) => {
                    hint::suggestion(name, variables.keys().map(String::as_str))
                }
                TemplateError::Unclosed(_) | TemplateError::BadName(_) => String::new(),
            };
            self.error(value.span(), format!("{error}{hint}"))
        })
    }
}
