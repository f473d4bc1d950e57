//! The query of a list: filters, order, and where the page begins.

use super::{AdminError, read_moment};
use crate::services::documents::read_words;
use crate::store::collections::{Cell, Collection, Column, Filter, Kind, Row, Selection, Sort, Test};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use uuid::Uuid;

/// Most rows of a page; some are read with a query of their own each, so more would hold a connection for long.
pub(super) const MAX_LIMIT: u32 = 200;
const DEFAULT_LIMIT: u32 = 50;
/// Longest value of a filter, in characters: the key of any record.
const MAX_VALUE_CHARS: usize = 200;
/// Longest cursor, in bytes: two names and an id, encoded.
const MAX_CURSOR_BYTES: usize = 2048;

/// A query that was checked against the collection that it is of.
pub(super) struct PageQuery {
    collection: &'static Collection,
    filters: Vec<(&'static Filter, String)>,
    sort: &'static Sort,
    descending: bool,
    after: Option<Vec<Cell>>,
    limit: u32,
}

impl PageQuery {
    pub(super) fn read(
        collection: &'static Collection,
        pairs: Vec<(String, String)>,
    ) -> Result<Self, AdminError> {
        let mut seen = Vec::new();
        let (mut filters, mut sort, mut cursor, mut limit) = (Vec::new(), None, None, DEFAULT_LIMIT);
        for (name, value) in pairs {
            if seen.contains(&name) {
                return Err(AdminError::field(&name, "is named twice"));
            }
            match name.as_str() {
                "limit" => limit = read_limit(&value)?,
                "sort" => sort = Some(value),
                "cursor" => cursor = Some(value),
                _ => filters.push((find_filter(collection, &name)?, check_value(&name, value)?)),
            }
            seen.push(name);
        }
        let (sort, descending) = read_sort(collection, sort.as_deref())?;
        let query = Self { collection, filters, sort, descending, after: None, limit };
        let after = cursor.map(|cursor| query.read_cursor(&cursor)).transpose()?;
        Ok(Self { after, ..query })
    }

    /// Rows of the page.
    pub(super) fn limit(&self) -> usize {
        self.limit as usize
    }

    /// What the store is asked.
    pub(super) fn selection(&self) -> Result<Selection, AdminError> {
        let filters = self.filters.iter().map(|(filter, value)| Ok((*filter, filter_cell(filter, value)?)));
        Ok(Selection {
            filters: filters.collect::<Result<_, AdminError>>()?,
            sort: self.sort,
            descending: self.descending,
            after: self.after.clone(),
            limit: self.limit,
        })
    }

    /// The cursor of the page that begins after `row`.
    pub(super) fn cursor(&self, row: &Row) -> String {
        let columns: Vec<&Column> = self.collection.columns.iter().filter(|column| !column.alone).collect();
        let at = |name: &str| columns.iter().position(|column| column.name == name);
        let values = self.sort.columns.iter().filter_map(|name| row.get(at(name)?)).map(|cell| match cell {
            Cell::Text(text) | Cell::Json(text) => Value::from(text.as_str()),
            Cell::Integer(number) | Cell::Time(number) => Value::from(*number),
            Cell::Real(number) => Value::from(*number),
            Cell::Flag(flag) => Value::from(*flag),
            Cell::Null => Value::Null,
        });
        let order = std::iter::once(Value::from(self.order()));
        URL_SAFE_NO_PAD.encode(Value::Array(order.chain(values).collect()).to_string())
    }

    fn order(&self) -> String {
        format!("{}{}", if self.descending { "-" } else { "" }, self.sort.name)
    }

    fn read_cursor(&self, cursor: &str) -> Result<Vec<Cell>, AdminError> {
        let wrong = || AdminError::field("cursor", "is not the `next` of a page with this order");
        if cursor.len() > MAX_CURSOR_BYTES {
            return Err(wrong());
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| wrong())?;
        let values: Vec<Value> = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        let (order, values) = values.split_first().ok_or_else(wrong)?;
        if order.as_str() != Some(&self.order()) || values.len() != self.sort.columns.len() {
            return Err(wrong());
        }
        let cells = self.sort.columns.iter().zip(values).map(|(name, value)| {
            let kind = self.collection.column(name).map(|column| column.kind);
            match (kind, value) {
                (Some(Kind::Text), Value::String(text)) if !text.contains('\0') => {
                    Some(Cell::Text(text.clone()))
                }
                (Some(Kind::Integer), Value::Number(number)) => number.as_i64().map(Cell::Integer),
                (Some(Kind::Time), Value::Number(number)) => sound_time(number.as_i64()?).map(Cell::Time),
                (_, _) => None,
            }
        });
        cells.collect::<Option<_>>().ok_or_else(wrong)
    }
}

/// A time that both engines' calendars have.
fn sound_time(at: i64) -> Option<i64> {
    (0..=jiff::Timestamp::MAX.as_millisecond()).contains(&at).then_some(at)
}

fn read_limit(value: &str) -> Result<u32, AdminError> {
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    let limit = value.parse().ok().filter(|limit| digits && (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| AdminError::field("limit", format!("is not a number from 1 to {MAX_LIMIT}")))
}

fn read_sort(
    collection: &'static Collection,
    sort: Option<&str>,
) -> Result<(&'static Sort, bool), AdminError> {
    let Some(text) = sort else { return Ok((&collection.sorts[0], false)) };
    let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
    let found = collection.sorts.iter().find(|sort| sort.name == name);
    let names: Vec<&str> = collection.sorts.iter().map(|sort| sort.name).collect();
    let wrong =
        || AdminError::field("sort", format!("is not one of {}, with - before it or not", names.join(", ")));
    Ok((found.ok_or_else(wrong)?, descending))
}

fn find_filter(collection: &'static Collection, name: &str) -> Result<&'static Filter, AdminError> {
    let names: Vec<&str> = collection.filters.iter().map(|filter| filter.name).collect();
    let unknown = || {
        let name: String = name.chars().take(MAX_VALUE_CHARS).collect();
        AdminError::field(&name, format!("is not one of limit, sort, cursor, {}", names.join(", ")))
    };
    collection.filters.iter().find(|filter| filter.name == name).ok_or_else(unknown)
}

fn check_value(name: &str, value: String) -> Result<String, AdminError> {
    if value.is_empty() || value.chars().count() > MAX_VALUE_CHARS || value.chars().any(char::is_control) {
        return Err(AdminError::field(
            name,
            format!("has not 1 to {MAX_VALUE_CHARS} characters on one line"),
        ));
    }
    Ok(value)
}

fn filter_cell(filter: &Filter, value: &str) -> Result<Cell, AdminError> {
    let moment = || read_moment(filter.name, value);
    // The first UUID of version 7 of a moment.
    let entry = || {
        let at = moment()?.unsigned_abs();
        Ok::<_, AdminError>(Uuid::from_u128(u128::from(at) << 80 | 0x7000 << 64 | 1 << 63).to_string())
    };
    Ok(match &filter.test {
        Test::Equal => Cell::Text(value.to_owned()),
        Test::OneOf(names) if names.contains(&value) => Cell::Text(value.to_owned()),
        Test::OneOf(names) => {
            return Err(AdminError::field(filter.name, format!("is not one of {}", names.join(", "))));
        }
        Test::Words { .. } => {
            let words = read_words(value).map_err(|problem| AdminError::field(filter.name, problem))?;
            Cell::Text(words.text())
        }
        Test::From | Test::Until => Cell::Time(moment()?),
        Test::EntryFrom | Test::EntryUntil => Cell::Text(entry()?),
        Test::Flag { .. } => match value {
            "true" => Cell::Flag(true),
            "false" => Cell::Flag(false),
            _ => return Err(AdminError::field(filter.name, "is not true or false")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::collections::{AUDIT, CLASSES, USERS};

    fn read(collection: &'static Collection, query: &str) -> Result<PageQuery, AdminError> {
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
        PageQuery::read(collection, pairs.map(|(name, value)| (name.into(), value.into())).collect())
    }

    fn fault(collection: &'static Collection, query: &str) -> String {
        match read(collection, query) {
            Err(AdminError::Field { field, .. }) => field,
            Err(error) => panic!("{error}"),
            Ok(query) => {
                let Err(AdminError::Field { field, .. }) = query.selection() else { panic!("no fault") };
                field
            }
        }
    }

    #[test]
    fn each_fault_names_its_parameter() {
        for (query, field) in [
            ("limit=0", "limit"),
            ("limit=201", "limit"),
            ("limit=+1", "limit"),
            ("sort=age", "sort"),
            ("cursor=x", "cursor"),
            ("cursor=W10", "cursor"),
            ("colour=red", "colour"),
            ("role=", "role"),
            ("role=a\0", "role"),
            ("active=yes", "active"),
            ("role=janitor", "role"),
            ("role=student&role=teacher", "role"),
        ] {
            assert_eq!(fault(&USERS, query), field, "{query}");
        }
        assert_eq!(fault(&CLASSES, "from=yesterday"), "from");
        assert_eq!(fault(&USERS, &format!("role={}", "x".repeat(201))), "role");
    }

    #[test]
    fn a_cursor_is_of_one_order_and_its_values_are_checked() {
        let query = read(&USERS, "sort=-name").unwrap();
        let row = vec![
            Cell::Text("u1".into()),
            Cell::Text("a@b.example".into()),
            Cell::Text("Ann".into()),
            Cell::Text("student".into()),
        ];
        let cursor = query.cursor(&row);
        let next = read(&USERS, &format!("sort=-name&cursor={cursor}")).unwrap();
        assert_eq!(next.after, Some(vec![Cell::Text("Ann".into()), Cell::Text("u1".into())]));
        assert_eq!(fault(&USERS, &format!("sort=name&cursor={cursor}")), "cursor");
        for forged in [r#"["name",1,"u"]"#, r#"["name","a\u0000","u"]"#, r#"["name","a"]"#, "{}"] {
            assert_eq!(fault(&USERS, &format!("cursor={}", URL_SAFE_NO_PAD.encode(forged))), "cursor");
        }
    }

    #[test]
    fn a_time_of_the_audit_log_is_the_first_entry_of_its_millisecond() {
        let query = read(&AUDIT, "from=2026-11-25T00:00:00.123Z").unwrap();
        let selection = query.selection().unwrap();
        let Cell::Text(first) = &selection.filters[0].1 else { panic!() };
        let of = |ms: u64| uuid::Builder::from_unix_timestamp_millis(ms, &[255; 10]).into_uuid().to_string();
        let at = 1_795_564_800_123;
        assert!(of(at - 1) < *first && *first < of(at), "{first} {}", of(at));
    }
}
