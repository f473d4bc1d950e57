//! The plans of what admins ask: every list, filter and order of the collections themselves.

use super::query::PageQuery;
use super::*;
use crate::services::seed::{self, user_id_of};
use crate::store::DoubtQuery;
use crate::testing::{TestDatabase, plans, scans_of};
use collections::*;

/// Every collection that is listed.
static LISTED: [&Collection; 22] = [
    &USERS,
    &BATCHES,
    &ENROLMENTS,
    &TEACHINGS,
    &GUARDIANS,
    &CLASSES,
    &ATTENDANCE,
    &ASSIGNMENTS,
    &SUBMISSIONS,
    &INVOICES,
    &PAYMENTS,
    &REFUNDS,
    &PAYMENT_EVENTS,
    &MESSAGES,
    &DOCUMENTS,
    &DOUBTS,
    &QUARANTINE,
    &DEVICES,
    &SET_ASIDE,
    &SESSIONS,
    &AUDIT,
    &ACTIVITIES,
];

/// Reads each collection by every filter, in both directions, two pages of it; a record of it by its key; and searches.
fn ask(records: &dyn Records, value: impl Fn(&str) -> String) -> Result<usize, AdminError> {
    let mut asked = 0;
    for collection in LISTED {
        let mut filters: Vec<Vec<(String, String)>> = vec![Vec::new()];
        for filter in collection.filters {
            let values = match filter.test {
                Test::Equal => vec![value(filter.name)],
                Test::OneOf(names) => names.iter().map(|name| (*name).to_owned()).collect(),
                Test::From | Test::EntryFrom => vec!["2000-01-01T00:00:00Z".to_owned()],
                Test::Until | Test::EntryUntil => vec!["2100-01-01T00:00:00Z".to_owned()],
                Test::Words { .. } => vec![value(filter.name)],
                Test::Flag { .. } => vec!["true".to_owned(), "false".to_owned()],
            };
            filters.extend(values.into_iter().map(|value| vec![(filter.name.to_owned(), value)]));
        }
        for filter in filters {
            let orders = collection.sorts.iter().flat_map(|sort| ["", "-"].map(|sign| (sign, sort.name)));
            for (sign, sort) in orders {
                let mut pairs = filter.clone();
                pairs.push(("sort".to_owned(), format!("{sign}{sort}")));
                pairs.push(("limit".to_owned(), "20".to_owned()));
                let query = PageQuery::read(collection, pairs.clone())?;
                let rows = records.select(collection, &query.selection()?)?;
                asked += 1;
                if let Some(row) = rows.last() {
                    pairs.push(("cursor".to_owned(), query.cursor(row)));
                    records.select(collection, &PageQuery::read(collection, pairs)?.selection()?)?;
                }
            }
        }
        let key: Vec<&str> =
            collection.key.iter().map(|name| if *name == "revision" { "1" } else { "x" }).collect();
        records.read_record(collection, &key)?;
    }
    records.search_people(&["student".to_owned(), "7".to_owned()], "student-7", 20)?;
    records.search_titles("exercise 7", 20)?;
    records.addressee("message-7")?;
    records.retracted_of(&["message-7".to_owned(), "message-8".to_owned()])?;
    records.highest_score("assignment-3")?;
    look_for_doubts(records)?;
    records.series_exists("series-7")?;
    records.series_of("class-7")?;
    records.following_classes("class-7")?;
    records.read_record(&SERIES, &["series-7"])?;
    records.consumer_figures("notifications", 100)?;
    Ok(asked)
}

/// What those who may read them ask of doubts, and the projection of their documents.
fn look_for_doubts(records: &dyn Records) -> Result<(), AdminError> {
    let batches = vec!["batch-7".to_owned(), "batch-8".to_owned()];
    let words = crate::services::documents::read_words("topic7").ok();
    for words in [None, words] {
        for answered in [None, Some(true), Some(false)] {
            for before in [None, Some((1_795_348_800_123, "document-7".to_owned()))] {
                let (batches, words) = (batches.clone(), words.clone());
                records.doubts_of(&DoubtQuery { batches, words, answered, before, limit: 20 })?;
            }
        }
    }
    records.doubt("batch-7/thread-6")?;
    records.thread_times(sync_protocol::document_id::DocumentId::from_bytes([7; 16]), "origin")?;
    Ok(())
}

#[test]
fn no_list_scans_a_large_table_of_postgres() {
    let database = TestDatabase::create();
    let store = Store::connect(&database.config()).unwrap();
    seed::load(&store, unix_ms()).unwrap();
    database.sql(include_str!("../views/large_institute.sql"));
    database.sql(include_str!("large_tables.sql"));
    database.explain_statements();
    drop(store);
    let store = Store::connect(&database.config()).unwrap();
    let value = |filter: &str| match filter {
        "command" => "change-batch".to_owned(),
        "kind" => "doubt".to_owned(),
        "record" => "submission-77".to_owned(),
        "q" => "topic7 why".to_owned(),
        "asked_by" => "student-7".to_owned(),
        "user" | "teacher" | "guardian" | "author" => "teacher-3".to_owned(),
        other => format!("{other}-7"),
    };
    // The way of readers, whose statements are planned for any value.
    let read = store.read_after("large.example", None, move |records| ask(records, value));
    let asked = tokio::runtime::Runtime::new().unwrap().block_on(read).unwrap();
    assert!(asked > 80, "{asked}");
    let log = database.server.whole_log();
    let large = [
        "submissions",
        "users",
        "enrolments",
        "attendance",
        "invoices",
        "payments",
        "refunds",
        "outbox",
        "payment_events",
        "messages",
        "audit",
        "user_activities",
        "documents",
        "doubts",
        "changes",
        "quarantine",
        "refresh_tokens",
        "guardians",
    ];
    // A table of no rows costs nothing.
    let scans = scans_of(&log, &large, 1.0);
    assert!(plans(&log) > 160);
    assert!(scans.is_empty(), "{}", scans.join("\n"));
}

#[test]
fn no_list_reads_a_whole_table_of_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    seed::load(&store, unix_ms()).unwrap();
    let steps = crate::store::plans::of(|| {
        let value = |filter: &str| match filter {
            "user" => user_id_of("student@northside.example"),
            _ => "maths-a".to_owned(),
        };
        store.read_blocking("northside.example", |records| ask(records, value)).unwrap();
    });
    assert!(steps.len() > 60, "{steps:#?}");
    // An index of words is asked by a scan of its own kind, which reads what has the words.
    // What the classes of one series are together, a document with those that it continues, and what was counted.
    let counted = ["SCAN whole |", "SCAN part |", "SCAN CONSTANT ROW", "SCAN (subquery"];
    let whole: Vec<_> = steps
        .iter()
        .filter(|step| step.starts_with("SCAN") && !step.contains("VIRTUAL TABLE INDEX"))
        .filter(|step| !counted.iter().any(|counted| step.starts_with(counted)))
        .collect();
    assert!(whole.is_empty(), "{whole:#?}");
}
