//! Which edges are connected to this process, and which institutes they follow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Links by institute and edge. A link that comes again before the old one is seen to be gone counts twice.
#[derive(Clone, Default)]
pub(super) struct Presence(Arc<Mutex<BTreeMap<(String, String), usize>>>);

/// A link that follows an institute, for as long as it lives.
pub(super) struct Present {
    presence: Presence,
    key: (String, String),
}

impl Presence {
    pub(super) fn enter(&self, institute: &str, edge: &str) -> Present {
        let key = (institute.to_owned(), edge.to_owned());
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *links.entry(key.clone()).or_default() += 1;
        Present { presence: self.clone(), key }
    }

    /// Edges that follow the institute, in order of name.
    pub(super) fn edges_of(&self, institute: &str) -> Vec<String> {
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = (institute.to_owned(), String::new());
        let own = links.range(from..).take_while(|((of, _), _)| of == institute);
        own.map(|((_, edge), _)| edge.clone()).collect()
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut links = self.presence.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = links.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                links.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_is_there_while_one_of_its_links_lives() {
        let presence = Presence::default();
        let (first, second) = (presence.enter("a", "e1"), presence.enter("a", "e1"));
        let other = presence.enter("b", "e2");
        assert_eq!(presence.edges_of("a"), ["e1"]);
        drop(first);
        assert_eq!(presence.edges_of("a"), ["e1"]);
        drop(second);
        assert!(presence.edges_of("a").is_empty());
        assert_eq!(presence.edges_of("b"), ["e2"]);
        drop(other);
    }
}
