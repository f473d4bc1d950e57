//! Making one document say what another says, with as few operations as it takes: what is the same stays as it is, so that
//! concurrent edits of it merge.
//!
//! Values alone are mirrored: of a conflict the value that is shown. A worklist instead of recursion: documents may be deep.

use automerge::iter::{ListRangeItem, MapRangeItem, Span};
use automerge::marks::UpdateSpansConfig;
use automerge::transaction::{Transactable, Transaction};
use automerge::{Automerge, AutomergeError, ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue, Value};
use std::collections::BTreeMap;
use sync_protocol::document_id::DocumentId;
use sync_protocol::kind::SUCCESSOR;
use sync_protocol::kind::versions::{VERSION, is_own_actor};

/// Objects of the source and of the target that are to say the same.
type Pairs = Vec<(ObjId, ObjId)>;

/// What each document says of itself alone.
const OWN_FIELDS: [&str; 2] = [SUCCESSOR, VERSION];

/// Makes the root of the target, which is `document`, say what the source's does, but for [`OWN_FIELDS`], and for the containers
/// that the target's kind itself has made, which an older version has not.
pub(super) fn mirror(
    source: &Automerge,
    target: &mut Transaction<'_>,
    document: DocumentId,
) -> Result<(), AutomergeError> {
    let mut pairs: Pairs = vec![(ROOT, ROOT)];
    while let Some((from, to)) = pairs.pop() {
        match source.object_type(&from)? {
            ObjType::Map | ObjType::Table => mirror_map(source, &from, target, &to, document, &mut pairs)?,
            ObjType::List => mirror_list(source, &from, target, &to, &mut pairs)?,
            ObjType::Text => mirror_text(source, &from, target, &to)?,
        }
    }
    Ok(())
}

fn entries(doc: &impl ReadDoc, map: &ObjId) -> BTreeMap<String, (Value<'static>, ObjId)> {
    let entry = |item: MapRangeItem<'_>| {
        let id = item.id();
        (item.key.into_owned(), (item.value.into_value(), id))
    };
    doc.map_range(map, ..).map(entry).collect()
}

fn items(doc: &impl ReadDoc, list: &ObjId) -> Vec<(Value<'static>, ObjId)> {
    let item = |item: ListRangeItem<'_>| {
        let id = item.id();
        (item.value.into_value(), id)
    };
    doc.list_range(list, ..).map(item).collect()
}

fn mirror_map(
    source: &Automerge,
    from: &ObjId,
    target: &mut Transaction<'_>,
    to: &ObjId,
    document: DocumentId,
    pairs: &mut Pairs,
) -> Result<(), AutomergeError> {
    let (mut said, mut says) = (entries(source, from), entries(target, to));
    if *from == ROOT {
        said.retain(|key, _| !OWN_FIELDS.contains(&key.as_str()));
        says.retain(|key, (value, id)| {
            let kinds_own =
                value.is_object() && matches!(id, ObjId::Id(_, actor, _) if is_own_actor(document, actor));
            !OWN_FIELDS.contains(&key.as_str()) && (said.contains_key(key) || !kinds_own)
        });
    }
    for key in says.keys().filter(|key| !said.contains_key(*key)) {
        target.delete(to, key.as_str())?;
    }
    for (key, (value, id)) in said {
        let before = says.remove(&key);
        set(target, to, Prop::Map(key), before, (value, id), pairs)?;
    }
    Ok(())
}

/// What is alike at both ends stays; between, item for item.
fn mirror_list(
    source: &Automerge,
    from: &ObjId,
    target: &mut Transaction<'_>,
    to: &ObjId,
    pairs: &mut Pairs,
) -> Result<(), AutomergeError> {
    let (said, says) = (items(source, from), items(target, to));
    let alike = |(a, b): &(&(Value<'static>, ObjId), &(Value<'static>, ObjId))| {
        same(source, a, &*target, b).unwrap_or(false)
    };
    let head = said.iter().zip(&says).take_while(alike).count();
    let tail = said[head..].iter().rev().zip(says[head..].iter().rev()).take_while(alike).count();
    let (said, says) = (&said[head..said.len() - tail], &says[head..says.len() - tail]);
    let common = said.len().min(says.len());
    for at in (common..says.len()).rev() {
        target.delete(to, head + at)?;
    }
    for (at, (new, old)) in said.iter().zip(says).enumerate() {
        set(target, to, Prop::Seq(head + at), Some(old.clone()), new.clone(), pairs)?;
    }
    for (at, (value, id)) in said.iter().enumerate().skip(common) {
        match value {
            Value::Object(kind) => pairs.push((id.clone(), target.insert_object(to, head + at, *kind)?)),
            Value::Scalar(scalar) => target.insert(to, head + at, fresh(scalar))?,
        }
    }
    Ok(())
}

/// Sets one value; what an object holds is left to the worklist.
fn set(
    target: &mut Transaction<'_>,
    to: &ObjId,
    prop: Prop,
    before: Option<(Value<'static>, ObjId)>,
    (value, id): (Value<'static>, ObjId),
    pairs: &mut Pairs,
) -> Result<(), AutomergeError> {
    match (before, value) {
        (Some((Value::Object(old), own)), Value::Object(new)) if old == new => pairs.push((id, own)),
        (_, Value::Object(kind)) => pairs.push((id, target.put_object(to, prop, kind)?)),
        (Some((Value::Scalar(old), _)), Value::Scalar(new)) if old == new => {}
        (Some((Value::Scalar(old), _)), Value::Scalar(new)) => match (old.as_ref(), new.as_ref()) {
            // What others count meanwhile adds up.
            (ScalarValue::Counter(old), ScalarValue::Counter(new)) => {
                target.increment(to, prop, i64::from(new) - i64::from(old))?;
            }
            (_, new) => target.put(to, prop, fresh(new))?,
        },
        (Some((Value::Object(_), _)) | None, Value::Scalar(new)) => target.put(to, prop, fresh(&new))?,
    }
    Ok(())
}

/// A value to be written anew: a counter begins where it stands.
fn fresh(scalar: &ScalarValue) -> ScalarValue {
    match scalar {
        ScalarValue::Counter(counter) => ScalarValue::counter(i64::from(counter)),
        other => other.clone(),
    }
}

fn mirror_text(
    source: &Automerge,
    from: &ObjId,
    target: &mut Transaction<'_>,
    to: &ObjId,
) -> Result<(), AutomergeError> {
    let said: Vec<Span> = source.spans(from)?.collect();
    let says: Vec<Span> = target.spans(to)?.collect();
    if said == says {
        return Ok(());
    }
    match said.iter().chain(&says).all(is_plain) {
        true => target.update_text(to, source.text(from)?),
        false => target.update_spans(to, UpdateSpansConfig::default(), said),
    }
}

/// Letters, and nothing that is said of them.
fn is_plain(span: &Span) -> bool {
    matches!(span, Span::Text { marks, .. } if marks.as_ref().is_none_or(|marks| marks.is_empty()))
}

/// Whether two items say the same, all that is in them included.
fn same(
    source: &Automerge,
    (a, a_id): &(Value<'static>, ObjId),
    target: &Transaction<'_>,
    (b, b_id): &(Value<'static>, ObjId),
) -> Result<bool, AutomergeError> {
    let mut left = vec![((a.clone(), a_id.clone()), (b.clone(), b_id.clone()))];
    while let Some(((a, a_id), (b, b_id))) = left.pop() {
        match (a, b) {
            (Value::Scalar(a), Value::Scalar(b)) if a == b => {}
            (Value::Object(ObjType::Text), Value::Object(ObjType::Text)) => {
                if !source.spans(&a_id)?.eq(target.spans(&b_id)?) {
                    return Ok(false);
                }
            }
            (Value::Object(ObjType::List), Value::Object(ObjType::List)) => {
                let (a, b) = (items(source, &a_id), items(target, &b_id));
                if a.len() != b.len() {
                    return Ok(false);
                }
                left.extend(a.into_iter().zip(b));
            }
            (Value::Object(a), Value::Object(b)) if a == b => {
                let (a, b) = (entries(source, &a_id), entries(target, &b_id));
                if !a.keys().eq(b.keys()) {
                    return Ok(false);
                }
                left.extend(a.into_values().zip(b.into_values()));
            }
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// What a document says, for comparison.
#[cfg(test)]
pub(super) fn said(doc: &Automerge) -> automerge::hydrate::Value {
    use automerge::hydrate;
    let hydrate::Value::Map(mut root) = doc.hydrate(None) else { unreachable!("a root is a map") };
    root.remove(SUCCESSOR);
    hydrate::Value::Map(root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::marks::{ExpandMark, Mark};

    fn mirrored(source: &Automerge, target: &mut Automerge) -> usize {
        let mut tx = target.transaction();
        mirror(source, &mut tx, DocumentId::from_bytes([1; 16])).unwrap();
        let operations = tx.pending_ops();
        tx.commit();
        assert_eq!(said(source), said(target));
        operations
    }

    fn text_of(doc: &Automerge) -> ObjId {
        doc.get(ROOT, "text").unwrap().unwrap().1
    }

    #[test]
    fn what_is_the_same_costs_nothing_and_the_mark_of_a_cut_is_neither_made_nor_removed() {
        let mut source = Automerge::new();
        let mut tx = source.transaction();
        let list = tx.put_object(ROOT, "list", ObjType::List).unwrap();
        let map = tx.insert_object(&list, 0, ObjType::Map).unwrap();
        tx.put(&map, "count", ScalarValue::counter(3)).unwrap();
        let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
        tx.splice_text(&text, 0, 0, "words").unwrap();
        tx.put(ROOT, SUCCESSOR, "here").unwrap();
        tx.commit();
        let mut target = Automerge::new();
        let mut tx = target.transaction();
        tx.put(ROOT, SUCCESSOR, "there").unwrap();
        tx.commit();
        assert!(mirrored(&source, &mut target) > 0);
        assert_eq!(mirrored(&source, &mut target), 0);
        let kept = target.get(ROOT, SUCCESSOR).unwrap().unwrap().0;
        assert_eq!(kept.as_str(), Some("there"));
    }

    /// What others count, type and add meanwhile is not lost: only what is different is touched.
    #[test]
    fn a_mirrored_change_merges_with_what_others_do() {
        let mut source = Automerge::new();
        let mut tx = source.transaction();
        tx.put(ROOT, "count", ScalarValue::counter(3)).unwrap();
        let list = tx.put_object(ROOT, "list", ObjType::List).unwrap();
        for n in 0..5 {
            tx.insert(&list, n, n as i64).unwrap();
        }
        let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
        tx.splice_text(&text, 0, 0, "one three").unwrap();
        tx.commit();
        let mut target = Automerge::new();
        mirrored(&source, &mut target);
        let mut other = target.fork();

        let mut tx = source.transaction();
        tx.increment(ROOT, "count", 2).unwrap();
        tx.delete(&list, 1).unwrap();
        tx.insert(&list, 3, 9).unwrap();
        tx.splice_text(&text, 4, 0, "two ").unwrap();
        tx.commit();
        mirrored(&source, &mut target);
        let mut tx = other.transaction();
        tx.increment(ROOT, "count", 10).unwrap();
        let list = tx.get(ROOT, "list").unwrap().unwrap().1;
        tx.insert(&list, 5, 5).unwrap();
        let text = tx.get(ROOT, "text").unwrap().unwrap().1;
        tx.splice_text(&text, 9, 0, " four").unwrap();
        tx.commit();
        target.merge(&mut other).unwrap();
        assert_eq!(target.text(text_of(&target)).unwrap(), "one two three four");
        assert_eq!(target.get(ROOT, "count").unwrap().unwrap().0.as_i64(), Some(15));
        let values: Vec<i64> =
            target.list_range(&list, ..).filter_map(|item| item.value.into_value().as_i64()).collect();
        assert_eq!(values, [0, 2, 3, 9, 4, 5]);
    }

    #[test]
    fn what_is_said_of_letters_is_mirrored_too() {
        let mut source = Automerge::new();
        let mut tx = source.transaction();
        let text = tx.put_object(ROOT, "text", ObjType::Text).unwrap();
        tx.splice_text(&text, 0, 0, "bold and plain").unwrap();
        tx.commit();
        let mut target = Automerge::new();
        mirrored(&source, &mut target);
        for marked in [true, false] {
            let mut tx = source.transaction();
            tx.mark(&text, Mark::new("bold".into(), marked, 0, 4), ExpandMark::After).unwrap();
            tx.split_block(&text, 5).unwrap();
            tx.commit();
            mirrored(&source, &mut target);
            let spans: Vec<Span> = source.spans(&text).unwrap().collect();
            assert_eq!(target.spans(text_of(&target)).unwrap().collect::<Vec<_>>(), spans);
        }
    }
}
