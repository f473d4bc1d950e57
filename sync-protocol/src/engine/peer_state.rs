//! What a peer's sync message says of the peer, apart from its changes.
//!
//! The same as `receive_sync_message` of Automerge 0.12 makes of a message without changes, at another price: the library walks
//! over all ancestors of the peer's heads in order to forget which changes it has sent (`ChangeGraph::remove_ancestors`), so that
//! each message costs the document's whole history. Here it costs the changes that the peer has not.

use automerge::sync::{Capability, Have, Message, MessageFlags, State};
use automerge::{Automerge, ChangeHash};
use std::collections::{BTreeSet, HashSet};

/// Takes in what a message says besides its changes, which the document has, or has refused, by now.
///
/// A message without changes whose heads equal ours is news that needs no answer to the library; not so here. The peer waits
/// for one, the acknowledgement, whether this message brought the changes or one just before it.
pub(super) fn note_message(doc: &Automerge, state: &mut State, message: Message) {
    state.in_flight = false;
    if let Some(flags) = message.flags {
        note_flags(state, flags);
    }
    let knows = |head: &&ChangeHash| doc.get_change_meta_by_hash(head).is_some();
    let known: Vec<ChangeHash> = match message.heads == doc.get_heads() {
        // An acknowledgement, which is what most messages are: nothing has to be looked up.
        true => message.heads.clone(),
        false => message.heads.iter().filter(knows).copied().collect(),
    };
    forget_sent(doc, &mut state.sent_hashes, &known);
    if known.len() == message.heads.len() {
        state.shared_heads.clone_from(&message.heads);
        if message.heads.is_empty() {
            // The peer has lost everything.
            state.last_sent_heads.clear();
            state.sent_hashes.clear();
        }
    } else {
        let shared: BTreeSet<ChangeHash> = state.shared_heads.drain(..).chain(known).collect();
        state.shared_heads = shared.into_iter().collect();
    }
    state.their_have = Some(message.have);
    forget_unknown_sync(doc, state);
    state.their_heads = Some(message.heads);
    state.their_need = Some(message.need);
}

/// A peer may count on changes that the document does not have any more, because the origin has refused them. The library then
/// answers with a message that says so and carries nothing, and a peer that has sent all that it has answers the same again, for
/// ever. To be taken for somebody who has nothing costs it the whole document, once.
fn forget_unknown_sync(doc: &Automerge, state: &mut State) {
    let knows = |hash: &ChangeHash| doc.get_change_meta_by_hash(hash).is_some();
    let first = state.their_have.as_ref().and_then(|have| have.first());
    if first.is_some_and(|have| !have.last_sync.iter().all(knows)) {
        state.their_have = Some(vec![Have::default()]);
    }
}

fn note_flags(state: &mut State, flags: MessageFlags) {
    // Flags came into the protocol together with the second version of messages.
    let mut capabilities = vec![Capability::MessageV2];
    if flags.contains(MessageFlags::SUPPORTS_SYNC_RESET) {
        capabilities.push(Capability::SyncReset);
    }
    state.their_capabilities = Some(capabilities);
    if flags.contains(MessageFlags::SYNC_RESET) {
        state.sent_hashes.clear();
    }
    state.peer_read_only = flags.contains(MessageFlags::READ_ONLY);
}

/// Keeps of the changes that were sent those which a peer with these heads has not.
fn forget_sent(doc: &Automerge, sent: &mut BTreeSet<ChangeHash>, heads: &[ChangeHash]) {
    if sent.is_empty() || heads.is_empty() {
        return;
    }
    if doc.get_heads() == heads {
        return sent.clear();
    }
    let beyond = doc.get_changes_meta(heads);
    let beyond: HashSet<ChangeHash> = beyond.into_iter().map(|change| change.hash).collect();
    sent.retain(|hash| beyond.contains(hash));
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::sync::SyncDoc as _;
    use automerge::transaction::Transactable as _;
    use automerge::{ActorId, ROOT};

    /// Numbers that follow from a seed (SplitMix64).
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (z ^ (z >> 27)) % n
        }
    }

    /// What the library makes of it, but for the acknowledgement and what the peer counts on in vain.
    fn by_the_library(doc: &Automerge, state: &State, message: Message) -> State {
        let (mut doc, mut state) = (doc.clone(), state.clone());
        let said = state.last_sent_heads.clone();
        let lost_everything = message.heads.is_empty();
        doc.receive_sync_message(&mut state, message).unwrap();
        forget_unknown_sync(&doc, &mut state);
        if !lost_everything {
            state.last_sent_heads = said;
        }
        state
    }

    /// One step of a talk that loses messages and sync states, and in which either side edits, becomes a reader or a writer.
    fn step(numbers: &mut Numbers, docs: &mut [Automerge; 2], states: &mut [State; 2]) {
        let from = numbers.below(2) as usize;
        let to = 1 - from;
        match numbers.below(20) {
            0..6 => {
                let mut tx = docs[from].transaction();
                tx.put(ROOT, "n", numbers.below(1_000)).unwrap();
                tx.commit();
            }
            6 => states[from] = State::new(),
            7 => {
                let read_only = states[from].read_only;
                states[from].set_read_only(!read_only);
            }
            8 => {
                docs[from] = Automerge::new().with_actor(ActorId::from(numbers.below(1 << 60).to_be_bytes()));
                states[from] = State::new();
            }
            _ => {
                let Some(mut message) = docs[from].generate_sync_message(&mut states[from]) else { return };
                let taken: Vec<u8> = message.changes.iter().flatten().copied().collect();
                // Some are refused.
                if numbers.below(4) > 0 {
                    docs[to].load_incremental(&taken).unwrap();
                }
                message.changes = automerge::sync::ChunkList::empty();
                let expected = by_the_library(&docs[to], &states[to], message.clone());
                note_message(&docs[to], &mut states[to], message);
                assert_eq!(states[to], expected);
            }
        }
    }

    #[test]
    fn a_message_leaves_the_state_that_the_library_leaves() {
        for seed in 0..200 {
            let mut numbers = Numbers(seed);
            let mut docs = [1_u8, 2].map(|actor| Automerge::new().with_actor(ActorId::from([actor])));
            let mut states = [State::new(), State::new()];
            for _ in 0..60 {
                step(&mut numbers, &mut docs, &mut states);
            }
        }
    }
}
