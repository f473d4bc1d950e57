//! What Spin allows as a name: words of the component model, separated by `-` or `_`.

/// Longest id of a component: it becomes the name of a file.
const MAX_ID_BYTES: usize = 64;

/// Why `id` cannot be the id of a component.
pub(super) fn component_id_fault(id: &str) -> Option<String> {
    if id.len() > MAX_ID_BYTES {
        return Some(format!("is {} bytes, the limit is {MAX_ID_BYTES}", id.len()));
    }
    words_fault(id, '-')
}

/// Why `label` cannot be the label of a store or a database: kebab-case and snake_case are both allowed.
pub(super) fn label_fault(label: &str) -> Option<String> {
    let separator = if label.contains('_') { '_' } else { '-' };
    words_fault(label, separator)
}

fn words_fault(name: &str, separator: char) -> Option<String> {
    if name.is_empty() {
        return Some("is empty".to_owned());
    }
    let wrong = if separator == '-' { '_' } else { '-' };
    if name.contains(wrong) {
        return Some(format!("separates words with `{wrong}`; use `{separator}`"));
    }
    for (i, word) in name.split(separator).enumerate() {
        let Some(first) = word.chars().next() else {
            return Some(format!("has an empty word between `{separator}`s"));
        };
        if let Some(bad) = word.chars().find(|c| !c.is_ascii_alphanumeric()) {
            return Some(format!("contains {bad:?}; letters, digits and `{separator}` are allowed"));
        }
        if i == 0 && !first.is_ascii_alphabetic() {
            return Some("does not begin with a letter".to_owned());
        }
        let (upper, lower) = (|c: char| c.is_ascii_uppercase(), |c: char| c.is_ascii_lowercase());
        if word.chars().any(upper) && word.chars().any(lower) {
            return Some(format!("mixes upper and lower case in `{word}`"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_one_case_are_names() {
        for id in ["a", "hello", "hello-world", "HTTP-handler", "v2-api", "a-1"] {
            assert_eq!(component_id_fault(id), None, "{id}");
        }
        for label in ["default", "user_data", "user-data"] {
            assert_eq!(label_fault(label), None, "{label}");
        }
    }

    #[test]
    fn other_names_are_refused_with_the_reason() {
        for (id, reason) in [
            ("", "is empty"),
            ("hello_world", "separates words with `_`; use `-`"),
            ("1st", "does not begin with a letter"),
            ("a--b", "has an empty word between `-`s"),
            ("helloWorld", "mixes upper and lower case in `helloWorld`"),
            ("a/b", "contains '/'; letters, digits and `-` are allowed"),
            ("..", "contains '.'; letters, digits and `-` are allowed"),
        ] {
            assert_eq!(component_id_fault(id).as_deref(), Some(reason), "{id}");
        }
        assert_eq!(component_id_fault(&"a".repeat(65)).unwrap(), "is 65 bytes, the limit is 64");
        assert_eq!(label_fault("a_b-c").unwrap(), "separates words with `-`; use `_`");
    }
}
