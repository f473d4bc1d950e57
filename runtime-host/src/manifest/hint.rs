//! What the writer of a manifest probably meant.

/// Longest word compared: the cost is quadratic, and no key is longer.
const MAX_WORD_BYTES: usize = 64;

/// serde's message about a key or word that it does not know, shortened to what helps.
pub(super) fn unknown_word(message: &str) -> Option<String> {
    let kind = ["unknown field", "unknown variant"].into_iter().find(|start| message.starts_with(start))?;
    let mut words = message.split('`').skip(1).step_by(2);
    let word = words.next()?;
    let known: Vec<&str> = words.collect();
    let kind = if kind == "unknown field" { "key" } else { "value" };
    Some(format!("unknown {kind} `{word}`{}", suggestion(word, known)))
}

/// ` did you mean …`, or all there are.
pub(super) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(word, &known) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if known.is_empty() => "; there are none".to_owned(),
        None => format!("; there are: {}", known.join(", ")),
    }
}

fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.len() > MAX_WORD_BYTES {
        return None;
    }
    let (distance, near) = known.iter().map(|candidate| (distance(word, candidate), *candidate)).min()?;
    // A third of the letters wrong is another word.
    (distance <= near.len().max(3) / 3).then_some(near)
}

/// Letters to insert, delete, replace or swap with their neighbour to get from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { least.min(rows[i - 2][j - 2] + 1) } else { least }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_met_with_the_key_that_it_resembles() {
        let message = "unknown field `rout`, expected one of `id`, `route`, `component`";
        assert_eq!(unknown_word(message).unwrap(), "unknown key `rout`; did you mean `route`?");
        assert_eq!(suggestion("enviroment", ["environment", "files"]), "; did you mean `environment`?");
        assert_eq!(suggestion("soruce", ["source"]), "; did you mean `source`?");
    }

    #[test]
    fn a_word_that_resembles_none_is_met_with_all() {
        let message = "unknown field `sauce_of_the_day`, expected `id` or `route`";
        assert_eq!(unknown_word(message).unwrap(), "unknown key `sauce_of_the_day`; there are: id, route");
        assert_eq!(suggestion("x", []), "; there are none");
        assert_eq!(unknown_word("missing field `name`"), None);
    }
}
