//! Cache tags: what a view depends on. A commit names the tags that it touches; a cached view older than the last
//! commit that touched one of its tags is not served.

/// The header in which the origin names the tags of a view, separated by `, `.
pub const TAGS_HEADER: &str = "rollcall-tags";

/// Longest tag, in bytes: a prefix and a 64 byte id fit with room.
pub const MAX_TAG_BYTES: usize = 96;

/// Most tags on one view or one commit. A commit that touches more names [`INSTITUTE`] alone.
pub const MAX_TAGS: usize = 64;

/// Touched by every commit. A view that sums up the whole institute carries it; so does a commit that touches too much to list.
pub const INSTITUTE: &str = "institute";

/// Touched by commits whose tags did not fit in a list. Every view carries it.
pub const EVERYTHING: &str = "everything";

pub fn batch(batch: &str) -> String {
    format!("batch:{batch}")
}

pub fn user(user: &str) -> String {
    format!("user:{user}")
}

/// Touched by commits that change the user's entry in the directory, which the link sends then. A view carries that of its
/// reader, whose sessions may have ended.
pub fn member(user: &str) -> String {
    format!("{MEMBER}{user}")
}

const MEMBER: &str = "member:";

/// The user whose entry in the directory a commit with this tag changed.
pub fn member_of(tag: &str) -> Option<&str> {
    tag.strip_prefix(MEMBER)
}

/// Reads the value of [`TAGS_HEADER`]; empty and overlong entries are dropped.
pub fn parse_list(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|tag| !tag.is_empty() && tag.len() <= MAX_TAG_BYTES)
        .take(MAX_TAGS)
        .map(str::to_owned)
        .collect()
}
