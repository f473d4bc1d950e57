//! What honest clients write passes: the stored changes are those of `@automerge/automerge` 3.5.0, with one of everything it can
//! write (texts and their marks, blocks, counters, conflicts, dates, bytes, large numbers, an empty change, a long text).

use automerge::{Automerge, ReadDoc as _};
use sync_protocol::gate::{self, Counters};

const CHANGES: &[u8] = include_bytes!("javascript-changes.bin");
const DOCUMENT: &[u8] = include_bytes!("javascript-document.bin");

#[test]
fn changes_and_documents_of_javascript_clients_pass_the_gate() {
    let changes = gate::changes_in(CHANGES).unwrap();
    assert_eq!(changes.len(), 18);
    let (mut doc, mut counters) = (Automerge::new(), Counters::default());
    for change in changes {
        assert_eq!(counters.check(&doc, &change), Ok(()));
        counters.admit(&change);
        doc.apply_changes([change]).unwrap();
    }
    let whole = gate::changes_in(DOCUMENT).unwrap();
    assert_eq!(whole.len() as u64, doc.stats().num_changes);
    assert_eq!(Automerge::load(DOCUMENT).unwrap().get_heads(), doc.get_heads());
    assert_eq!(Automerge::load(&doc.save()).unwrap().get_heads(), doc.get_heads());
}
