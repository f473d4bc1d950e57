//! Changes that are too many for one message.

use automerge::Change;

/// How many of these changes, in their order, go into a message that has room for `most` bytes of them without compression: one at
/// least, if there is one. In causal order each comes behind those that it depends on, so that the first part stands for itself.
pub fn first_part(changes: &[Change], most: usize) -> usize {
    let mut bytes = 0;
    let fits = |change: &&Change| {
        bytes += change.raw_bytes().len();
        bytes <= most
    };
    changes.iter().take_while(fits).count().max(1).min(changes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::transaction::Transactable as _;
    use automerge::{Automerge, ROOT};

    #[test]
    fn what_fits_goes_and_one_goes_always() {
        let mut doc = Automerge::new();
        for n in 0..3 {
            let mut tx = doc.transaction();
            tx.put(ROOT, "n", n).unwrap();
            tx.commit();
        }
        let changes = doc.get_changes(&[]);
        let [one, two, three] =
            [1, 2, 3].map(|n| changes[..n].iter().map(|c| c.raw_bytes().len()).sum::<usize>());
        let parts = [0, one - 1, one, two - 1, two, three, usize::MAX].map(|most| first_part(&changes, most));
        assert_eq!(parts, [1, 1, 1, 1, 2, 3, 3]);
        assert_eq!(first_part(&[], 10), 0);
    }
}
