//! The components are the examples of this package. What is here is run by a component and, to compare, without one.

use automerge::transaction::Transactable as _;
use automerge::{AutoCommit, Automerge, AutomergeError, ObjType, ROOT, ReadDoc as _};

/// Keystrokes of the text before the merge, each a change of its own.
const TYPED: usize = 1_000;
/// Keystrokes that are merged.
const MERGED: usize = 100;

/// A text, and what somebody else has typed on it meanwhile.
#[derive(Debug)]
pub struct Merge {
    saved: Vec<u8>,
    typed: Vec<u8>,
}

impl Merge {
    pub fn new() -> Result<Self, AutomergeError> {
        let mut document = AutoCommit::new();
        let text = document.put_object(ROOT, "text", ObjType::Text)?;
        for at in 0..TYPED {
            document.splice_text(&text, at, 0, "a")?;
            document.commit();
        }
        let saved = document.save();
        for at in 0..MERGED {
            document.splice_text(&text, at * 7, 0, "b")?;
            document.commit();
        }
        Ok(Self { saved, typed: document.save_incremental() })
    }

    /// Loads the text, merges and says its length then.
    pub fn run(&self) -> Result<usize, AutomergeError> {
        let mut document = Automerge::load(&self.saved)?;
        document.load_incremental(&self.typed)?;
        let (_, text) = document.get(ROOT, "text")?.ok_or(AutomergeError::InvalidObjId("text".to_owned()))?;
        Ok(document.length(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_merged_is_there() {
        assert_eq!(Merge::new().unwrap().run().unwrap(), TYPED + MERGED);
    }
}
