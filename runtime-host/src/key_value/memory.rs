//! A store that the process holds and that ends with it, as Spin's `type = "spin"` without a path.

use super::{KeyValueError, added, check};
use crate::limits;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    by_key: BTreeMap<String, Vec<u8>>,
    /// Of keys and values.
    bytes: usize,
}

impl Entries {
    fn set(&mut self, key: String, value: Vec<u8>) {
        self.delete(&key);
        self.bytes += key.len() + value.len();
        self.by_key.insert(key, value);
    }

    fn delete(&mut self, key: &str) {
        if let Some(value) = self.by_key.remove(key) {
            self.bytes -= key.len() + value.len();
        }
    }

    /// Refuses what would not fit even without what it replaces: the limit is there to bound memory, not to be filled exactly.
    fn make_room(&self, bytes: usize) -> Result<(), KeyValueError> {
        match self.bytes + bytes > limits::MEMORY_STORE_BYTES {
            true => Err(KeyValueError::Full(limits::MEMORY_STORE_BYTES as u64)),
            false => Ok(()),
        }
    }
}

impl MemoryStore {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.entries().by_key.get(key).cloned()
    }

    pub fn keys(&self) -> Result<Vec<String>, KeyValueError> {
        let entries = self.entries();
        let bytes: usize = entries.by_key.keys().map(String::len).sum();
        match entries.by_key.len() > limits::LISTED_KEYS || bytes > limits::LISTED_KEY_BYTES {
            true => Err(KeyValueError::TooManyKeys),
            false => Ok(entries.by_key.keys().cloned().collect()),
        }
    }

    /// All of them or, when one is refused, none.
    pub fn set_many(&self, pairs: Vec<(String, Vec<u8>)>) -> Result<(), KeyValueError> {
        pairs.iter().try_for_each(|(key, value)| check(key, value))?;
        let mut entries = self.entries();
        entries.make_room(pairs.iter().map(|(key, value)| key.len() + value.len()).sum())?;
        pairs.into_iter().for_each(|(key, value)| entries.set(key, value));
        Ok(())
    }

    pub fn delete_many(&self, keys: &[String]) {
        let mut entries = self.entries();
        keys.iter().for_each(|key| entries.delete(key));
    }

    pub fn increment(&self, key: String, delta: i64) -> Result<i64, KeyValueError> {
        check(&key, &[])?;
        let mut entries = self.entries();
        let sum = added(&key, entries.by_key.get(&key).map(Vec::as_slice), delta)?;
        let value = sum.to_string().into_bytes();
        entries.make_room(key.len() + value.len())?;
        entries.set(key, value);
        Ok(sum)
    }

    pub fn swap(
        &self,
        key: String,
        seen: Option<&[u8]>,
        value: Vec<u8>,
    ) -> Result<Option<Option<Vec<u8>>>, KeyValueError> {
        check(&key, &value)?;
        let mut entries = self.entries();
        let found = entries.by_key.get(&key);
        if found.map(Vec::as_slice) != seen {
            return Ok(Some(found.cloned()));
        }
        entries.make_room(key.len() + value.len())?;
        entries.set(key, value);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_in_memory_is_bounded_and_what_is_replaced_or_deleted_makes_room() {
        let store = MemoryStore::default();
        let most = limits::MEMORY_STORE_BYTES / limits::MAX_VALUE_BYTES;
        let set = |key: &str| store.set_many(vec![(key.to_owned(), vec![0; limits::MAX_VALUE_BYTES])]);
        for n in 0..most - 2 {
            set(&n.to_string()).unwrap();
        }
        for _ in 0..3 {
            set("0").unwrap();
        }
        set("large").unwrap();
        store.set_many(vec![("small".into(), vec![0; limits::MAX_VALUE_BYTES / 2])]).unwrap();
        assert!(matches!(set("more"), Err(KeyValueError::Full(_))));
        assert_eq!(store.get("more"), None);
        store.delete_many(&["small".into(), "large".into(), "never".into()]);
        set("more").unwrap();
    }
}
