//! `{{ name }}` templates, as Spin has them in component variables and allowed hosts.

use std::collections::BTreeMap;

/// Text with the names of application variables in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("`{{{{` in `{0}` has no `}}}}`")]
    Unclosed(String),
    #[error(
        "`{0}` is no variable name: lower case letters, digits and single `_`s, beginning with a letter and ending without `_`"
    )]
    BadName(String),
    #[error("variable `{0}` is not defined under [variables]")]
    Undefined(String),
}

/// Whether `name` may name a variable.
pub fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('_')
        && !name.contains("__")
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl Template {
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) =
                after.split_once("}}").ok_or_else(|| TemplateError::Unclosed(text.to_owned()))?;
            let name = name.trim();
            if !is_variable_name(name) {
                return Err(TemplateError::BadName(name.to_owned()));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Variable(name.to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    pub fn render(&self, variables: &BTreeMap<String, String>) -> Result<String, TemplateError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Variable(name) => {
                    text.push_str(variables.get(name).ok_or_else(|| TemplateError::Undefined(name.clone()))?);
                }
            }
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str) -> Result<String, TemplateError> {
        let variables = BTreeMap::from([("host".to_owned(), "example.com".to_owned())]);
        Template::parse(text)?.render(&variables)
    }

    #[test]
    fn variables_are_put_in_wherever_they_stand() {
        assert_eq!(rendered("https://{{ host }}/{{host}}"), Ok("https://example.com/example.com".into()));
        assert_eq!(rendered("plain { text }"), Ok("plain { text }".into()));
        assert_eq!(rendered(""), Ok(String::new()));
    }

    #[test]
    fn names_of_variables_are_those_of_spin() {
        for name in ["a", "abc", "a1b2c3", "a_1", "a_1_b_3"] {
            assert!(is_variable_name(name), "{name}");
        }
        for name in ["", "aX", "1bc", "_x", "x.y", "x_", "a__b", "x-y"] {
            assert!(!is_variable_name(name), "{name}");
        }
    }

    #[test]
    fn an_open_brace_a_bad_name_and_an_unknown_variable_are_told_apart() {
        assert_eq!(rendered("{{ host"), Err(TemplateError::Unclosed("{{ host".into())));
        assert_eq!(rendered("{{ Host }}"), Err(TemplateError::BadName("Host".into())));
        assert_eq!(rendered("{{ port }}"), Err(TemplateError::Undefined("port".into())));
    }
}
