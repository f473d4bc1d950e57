//! Recorded typing: of two people in one text, who typed what on which state of it, and of one person alone.

use serde::Deserialize;
use std::path::Path;

/// Positions count Unicode characters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Patch(pub usize, pub usize, pub String);

/// What one person typed in a row on one state of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceEdit {
    pub agent: usize,
    /// Earlier edits whose merged state this one was typed on; none: the empty text.
    pub parents: Vec<usize>,
    pub patches: Vec<Patch>,
}

impl TraceEdit {
    /// Letters typed one after the other are one insertion, letters taken back one after the other one deletion.
    fn add(&mut self, patch: Patch) {
        let Some(last) = self.patches.last_mut() else { return self.patches.push(patch) };
        let typed_on = patch.1 == 0 && patch.0 == last.0 + last.2.chars().count();
        let taken_back = last.2.is_empty() && patch.2.is_empty() && patch.0 + patch.1 == last.0;
        if typed_on && !last.2.is_empty() {
            last.2.push_str(&patch.2);
        } else if taken_back {
            *last = Patch(patch.0, patch.1 + last.1, String::new());
        } else {
            self.patches.push(patch);
        }
    }
}

#[derive(Debug, Clone)]
pub struct EditingTrace {
    pub edits: Vec<TraceEdit>,
    pub end: String,
}

#[derive(Deserialize)]
struct File {
    txns: Vec<Keystroke>,
    #[serde(rename = "endContent")]
    end: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keystroke {
    parents: Vec<usize>,
    num_children: usize,
    agent: usize,
    patches: Vec<Patch>,
}

/// What one person typed alone, keystroke by keystroke.
#[derive(Debug, Clone, Deserialize)]
pub struct Writing {
    #[serde(rename = "txns")]
    pub keystrokes: Vec<Typed>,
    #[serde(rename = "endContent")]
    pub end: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Typed {
    pub patches: Vec<Patch>,
}

impl Writing {
    /// Reads a trace of one person (`.json.gz`).
    pub fn read(file: &Path) -> Self {
        read_json(file)
    }

    /// A text of so many letters, each typed behind the one before.
    pub fn of_letters(count: usize) -> Self {
        let letter = |at: usize| char::from(b'a' + (at % 26) as u8).to_string();
        let keystrokes =
            (0..count).map(|at| Typed { patches: vec![Patch(at, 0, letter(at))] }).collect::<Vec<_>>();
        Self { keystrokes, end: (0..count).map(letter).collect() }
    }
}

fn read_json<T: serde::de::DeserializeOwned>(file: &Path) -> T {
    let compressed = std::fs::File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let reader = std::io::BufReader::new(flate2::read::GzDecoder::new(compressed));
    serde_json::from_reader(reader).expect("an editing trace is JSON of a known shape")
}

impl EditingTrace {
    /// Reads a concurrent trace (`.json.gz`).
    pub fn read(file: &Path) -> Self {
        let file: File = read_json(file);
        Self::from_keystrokes(file.txns, file.end)
    }

    /// Two people write one line each, `rounds` times ten characters at once, and see each other's after every ten.
    pub fn of_two_lines(rounds: usize) -> Self {
        let (one, two) = ("First:", "Second:");
        let opening = Keystroke {
            parents: vec![],
            num_children: 2,
            agent: 0,
            patches: vec![Patch(0, 0, format!("{one}\n{two}\n"))],
        };
        let mut strokes = vec![opening];
        let mut known = vec![0];
        for round in 0..rounds {
            let mut last = Vec::new();
            for (agent, start) in [(0, one.len() + round * 10), (1, one.len() + two.len() + 1 + round * 20)] {
                for at in 0..10 {
                    let parents = if at == 0 { known.clone() } else { vec![strokes.len() - 1] };
                    let num_children = if at == 9 { 2 } else { 1 };
                    let letter =
                        char::from(b'a' + u8::try_from(at).expect("ten letters are few")).to_string();
                    strokes.push(Keystroke {
                        parents,
                        num_children,
                        agent,
                        patches: vec![Patch(start + at, 0, letter)],
                    });
                }
                last.push(strokes.len() - 1);
            }
            known = last;
        }
        let typed = "abcdefghij".repeat(rounds);
        Self::from_keystrokes(strokes, format!("{one}{typed}\n{two}{typed}\n"))
    }

    /// Joins keystrokes that one person typed in a row while nobody else saw those in between.
    fn from_keystrokes(strokes: Vec<Keystroke>, end: String) -> Self {
        let mut edits: Vec<TraceEdit> = Vec::new();
        let mut edit_of: Vec<usize> = Vec::with_capacity(strokes.len());
        let mut children: Vec<usize> = Vec::with_capacity(strokes.len());
        for stroke in strokes {
            children.push(stroke.num_children);
            let goes_on = match stroke.parents[..] {
                [parent] if children[parent] == 1 && edits[edit_of[parent]].agent == stroke.agent => {
                    Some(edit_of[parent])
                }
                _ => None,
            };
            if let Some(edit) = goes_on {
                stroke.patches.into_iter().for_each(|patch| edits[edit].add(patch));
                edit_of.push(edit);
                continue;
            }
            let parents = stroke.parents.iter().map(|parent| edit_of[*parent]).collect();
            edit_of.push(edits.len());
            let mut edit = TraceEdit { agent: stroke.agent, parents, patches: Vec::new() };
            stroke.patches.into_iter().for_each(|patch| edit.add(patch));
            edits.push(edit);
        }
        Self { edits, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keystrokes_in_a_row_become_one_edit() {
        let trace = EditingTrace::of_two_lines(2);
        assert_eq!(trace.edits.len(), 5);
        assert_eq!(trace.edits[3].parents, [1, 2]);
        assert_eq!(trace.edits[4].patches, [Patch(34, 0, "abcdefghij".into())]);
        let mut back = trace.edits[4].clone();
        for at in [44, 43, 42] {
            back.add(Patch(at, 1, String::new()));
        }
        assert_eq!(back.patches[1], Patch(42, 3, String::new()));
        assert_eq!(trace.end, "First:abcdefghijabcdefghij\nSecond:abcdefghijabcdefghij\n");
    }
}
