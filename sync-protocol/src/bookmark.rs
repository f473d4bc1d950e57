//! Bookmarks: what a reader has seen, so that no later read goes back behind it.
//!
//! The origin proves what it gives out and takes nothing else back, so that nobody can invent a revision that no server
//! has reached. Whoever stands between, a device or an edge, compares epoch and revision and passes the text on whole.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The header that carries a bookmark, in requests and answers.
pub const BOOKMARK_HEADER: &str = "rollcall-bookmark";

/// Half of a SHA-256: 128 bits.
pub const SIGNATURE_BYTES: usize = 16;

/// A point in one institute's history, written `EPOCH.REVISION.POSITION.SIGNATURE`, the last two in lower-case hex, or
/// `EPOCH.REVISION` without a proof. Two are equal when they are the same point.
#[derive(Debug, Clone, Copy)]
pub struct Bookmark {
    /// Generation of the origin's store; rises when a store is restored or promoted.
    pub epoch: u64,
    /// The institute's gapless count of commits within the epoch.
    pub revision: u64,
    pub proof: Option<Proof>,
}

/// What the origin knows a bookmark of its own by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// A place in the database's log that is not before the commit: a replica that has replayed it has the revision. 0 when
    /// it is not known.
    pub position: u64,
    /// By the origin's own key, over the institute, the point and the position.
    pub signature: [u8; SIGNATURE_BYTES],
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bookmark is not EPOCH.REVISION.POSITION.SIGNATURE")]
pub struct BookmarkError;

impl Bookmark {
    pub fn new(epoch: u64, revision: u64) -> Self {
        Self { epoch, revision, proof: None }
    }

    fn point(&self) -> (u64, u64) {
        (self.epoch, self.revision)
    }
}

impl PartialEq for Bookmark {
    fn eq(&self, other: &Self) -> bool {
        self.point() == other.point()
    }
}

impl Eq for Bookmark {}

impl PartialOrd for Bookmark {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Bookmark {
    fn cmp(&self, other: &Self) -> Ordering {
        self.point().cmp(&other.point())
    }
}

impl FromStr for Bookmark {
    type Err = BookmarkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.splitn(5, '.').collect();
        let (epoch, revision, proof) = match parts[..] {
            [epoch, revision] => (epoch, revision, None),
            [epoch, revision, position, signature] => {
                let position = number(position, 16)?;
                (epoch, revision, Some(Proof { position, signature: signature_of(signature)? }))
            }
            _ => return Err(BookmarkError),
        };
        Ok(Self { epoch: number(epoch, 10)?, revision: number(revision, 10)?, proof })
    }
}

/// `from_str_radix` takes a sign and both cases: here a number has one text.
fn number(text: &str, radix: u32) -> Result<u64, BookmarkError> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || (radix == 16 && b.is_ascii_lowercase()));
    u64::from_str_radix(text, radix).ok().filter(|_| plain).ok_or(BookmarkError)
}

fn signature_of(text: &str) -> Result<[u8; SIGNATURE_BYTES], BookmarkError> {
    let mut signature = [0; SIGNATURE_BYTES];
    if text.len() != 2 * SIGNATURE_BYTES {
        return Err(BookmarkError);
    }
    for (at, byte) in signature.iter_mut().enumerate() {
        let pair = text.get(2 * at..2 * at + 2).ok_or(BookmarkError)?;
        *byte = u8::try_from(number(pair, 16)?).map_err(|_| BookmarkError)?;
    }
    Ok(signature)
}

impl fmt::Display for Bookmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.revision)?;
        let Some(proof) = &self.proof else { return Ok(()) };
        write!(f, ".{:x}.", proof.position)?;
        proof.signature.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bookmarks_survive_their_text_and_order_by_epoch_first() {
        let early = Bookmark::new(1, 900);
        let late = Bookmark::new(2, 3);
        assert!(early < late);
        assert_eq!(early.to_string().parse(), Ok(early));
        let proof = Some(Proof { position: 0x0300_00b8, signature: [0xab; SIGNATURE_BYTES] });
        let proven = Bookmark { proof, ..early };
        assert_eq!(proven.to_string(), format!("1.900.30000b8.{}", "ab".repeat(16)));
        assert_eq!(proven.to_string().parse::<Bookmark>().unwrap().proof, proof);
        assert_eq!(proven, early, "the same point, however it is proven");
    }

    #[test]
    fn what_is_no_bookmark_is_an_error() {
        let signature = "ab".repeat(16);
        for text in [
            "",
            "17",
            "1.x",
            "1.",
            "1.2.0",
            "+1.2",
            &format!("1.2.0.{signature}0"),
            &format!("1.2.0.{signature}.0"),
            &format!("1.2.-0.{signature}"),
            &format!("1.2.0.{}", "AB".repeat(16)),
            &format!("1.2.0.{}", "xy".repeat(16)),
            &format!("1.2.0.{}é", "a".repeat(30)),
            &format!("1.18446744073709551616.0.{signature}"),
        ] {
            assert_eq!(text.parse::<Bookmark>(), Err(BookmarkError), "{text}");
        }
    }
}
