//! Series of classes, the same on each engine.

use super::conformance::{AT, read, school};
use super::*;

on_each_engine! {
    a_series_is_changed_and_cancelled_from_a_class_on,
}

const DAY: i64 = 24 * 60 * 60 * 1000;

fn times(n: i64, shift: i64) -> ClassTimes {
    let starts_at = AT + n * DAY + shift;
    ClassTimes { class: format!("s-{n}"), starts_at, ends_at: starts_at + 1 }
}

fn new_series(range: std::ops::Range<i64>) -> NewSeries {
    NewSeries {
        series: "s".into(),
        batch: "maths".into(),
        title: "Algebra".into(),
        room: "1".into(),
        teacher: "teacher".into(),
        classes: range.map(|n| times(n, 0)).collect(),
    }
}

fn a_series_is_changed_and_cancelled_from_a_class_on(TestStore { store, .. }: &TestStore) {
    school(store);
    write(store, |tx| {
        assert!(!tx.series_exists("s")?);
        assert!(tx.add_series(&new_series(0..5))?);
        assert!(tx.series_exists("s")?);
        let again = tx.attempt::<(), StoreError>(|tx| {
            assert!(!tx.add_series(&new_series(4..6))?, "one of them is there");
            Err(StoreError::Closed)
        });
        assert!(again.is_err());
        Ok(())
    })
    .unwrap();
    let following = |class: &str| {
        let classes = read(store, |records| records.following_classes(class));
        classes.into_iter().map(|class| (class.class, class.starts_at, class.room)).collect::<Vec<_>>()
    };
    assert_eq!(read(store, |records| records.series_of("s-3")).as_deref(), Some("s"));
    assert_eq!(
        read(store, |records| Ok((records.series_of("c1")?, records.series_of("none")?))),
        (None, None)
    );
    assert_eq!(following("c1"), []);
    assert_eq!(following("s-3").len(), 2);
    write(store, |tx| {
        let change = ClassChange { room: Some("2".into()), ..ClassChange::default() };
        tx.change_classes(&[times(3, 7), times(4, 7)], &change)?;
        assert!(tx.cancel_class("s-1", AT)?);
        Ok(())
    })
    .unwrap();
    let at = |n: i64, shift: i64, room: &str| (format!("s-{n}"), AT + n * DAY + shift, room.to_owned());
    assert_eq!(following("s-0"), [at(0, 0, "1"), at(2, 0, "1"), at(3, 7, "2"), at(4, 7, "2")]);
    let class = read(store, |records| records.class("s-4")).unwrap();
    assert_eq!((class.title.as_str(), class.ends_at), ("Algebra", AT + 4 * DAY + 8));
    write(store, |tx| tx.cancel_classes(&[times(3, 7), times(4, 7)], AT)).unwrap();
    assert_eq!(following("s-1"), [at(2, 0, "1")], "from one that was cancelled on");
    let elsewhere = store.read_blocking::<_, StoreError>("riverside.example", |records| {
        Ok((records.series_exists("s")?, records.following_classes("s-0")?.len()))
    });
    assert_eq!(elsewhere.unwrap(), (false, 0));
}
