//! Bookmarks: what a reader has seen, so that no later read goes back behind it.

use std::fmt;
use std::str::FromStr;

/// The header that carries a bookmark, in requests and answers.
pub const BOOKMARK_HEADER: &str = "rollcall-bookmark";

/// A point in one institute's history, written `EPOCH.REVISION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bookmark {
    /// Generation of the origin's store; rises when a store is restored or promoted.
    pub epoch: u64,
    /// The institute's gapless count of commits within the epoch.
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bookmark is not EPOCH.REVISION")]
pub struct BookmarkError;

impl FromStr for Bookmark {
    type Err = BookmarkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (epoch, revision) = text.split_once('.').ok_or(BookmarkError)?;
        Ok(Self {
            epoch: epoch.parse().map_err(|_| BookmarkError)?,
            revision: revision.parse().map_err(|_| BookmarkError)?,
        })
    }
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bookmarks_survive_their_text_and_order_by_epoch_first() {
        let early = Bookmark { epoch: 1, revision: 900 };
        let late = Bookmark { epoch: 2, revision: 3 };
        assert_eq!(early.to_string().parse(), Ok(early));
        assert!(early < late);
        assert_eq!("1.x".parse::<Bookmark>(), Err(BookmarkError));
        assert_eq!("17".parse::<Bookmark>(), Err(BookmarkError));
    }
}
