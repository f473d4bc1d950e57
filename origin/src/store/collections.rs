//! Collections: the records of an institute as admins list and read them, one description for both engines.
//!
//! A description names columns, filters and orders; an engine makes its statement of them. Tests walk every filter and
//! every order of each collection and look at the plans, so a new one without an index is found.

mod described;

pub(crate) use described::*;

use super::doubts::Words;
use super::error::StoreError;
use std::fmt::Write as _;

/// Text that `LIKE … ESCAPE '!'` takes as it is.
pub(super) fn escape_like(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Real,
    /// Milliseconds since the Unix epoch.
    Time,
    /// `YYYY-MM-DD`.
    Date,
    Flag,
    Json,
    /// A list of texts: an array in Postgres, JSON in SQLite.
    List,
}

/// One value of a row, or one to compare with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Text(String),
    Integer(i64),
    Real(f64),
    Time(i64),
    Flag(bool),
    Json(String),
}

#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(super) sql: &'static str,
    pub(crate) kind: Kind,
    /// Too large or too costly for a list: only in a record that is read alone.
    pub(crate) alone: bool,
    /// What people write to each other: the audit log, which every admin lists and which is kept for good, has it not.
    pub(crate) unlogged: bool,
}

/// How a filter compares.
#[derive(Debug)]
pub(crate) enum Test {
    Equal,
    /// As [`Test::Equal`], to one of these.
    OneOf(&'static [&'static str]),
    /// At or after a moment.
    From,
    /// Before a moment.
    Until,
    /// As [`Test::From`] and [`Test::Until`], of UUIDs of version 7, whose order is the order of time.
    EntryFrom,
    EntryUntil,
    /// Conditions for yes and for no.
    Flag {
        yes: &'static str,
        no: &'static str,
    },
    /// Only what has a word that begins with each of the given ones, by the engine's index of words: conditions with `{}` where
    /// the query of words stands.
    Words {
        postgres: &'static str,
        sqlite: &'static str,
    },
}

#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) name: &'static str,
    pub(super) sql: &'static str,
    pub(crate) test: Test,
}

/// An order: columns by name. The last of them tells rows apart.
#[derive(Debug)]
pub(crate) struct Sort {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [&'static str],
}

#[derive(Debug)]
pub(crate) struct Collection {
    /// The kind of its records, as the audit log names it.
    pub(crate) record: &'static str,
    pub(super) from: &'static str,
    /// The column that names the institute.
    pub(super) institute: &'static str,
    pub(crate) columns: &'static [Column],
    /// What identifies a record: columns by name.
    pub(crate) key: &'static [&'static str],
    pub(crate) filters: &'static [Filter],
    /// The first is the one that holds when none is named.
    pub(crate) sorts: &'static [Sort],
}

/// One page of a collection.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) filters: Vec<(&'static Filter, Cell)>,
    pub(crate) sort: &'static Sort,
    pub(crate) descending: bool,
    /// The values of the order's columns in the last row of the page before.
    pub(crate) after: Option<Vec<Cell>>,
    pub(crate) limit: u32,
}

/// A row: values in the order of the collection's columns, those of lists alone or all.
pub(crate) type Row = Vec<Cell>;

pub(crate) trait ReadCollections {
    /// One page of a collection, in order.
    fn select(&self, from: &'static Collection, selection: &Selection) -> Result<Vec<Row>, StoreError>;

    /// One record with all its columns.
    fn read_record(&self, from: &'static Collection, key: &[&str]) -> Result<Option<Row>, StoreError>;

    /// People whose name has words that begin with each of `words`, or whose address or id begins with `start` or is
    /// it: id, name, address, role. Words are letters and digits alone.
    fn search_people(
        &self,
        words: &[String],
        start: &str,
        limit: u32,
    ) -> Result<Vec<[String; 4]>, StoreError>;

    /// Batches and assignments whose title contains `text`, or whose id begins with it: kind, id, title, batch.
    fn search_titles(&self, text: &str, limit: u32) -> Result<Vec<[String; 4]>, StoreError>;
}

impl Collection {
    pub(crate) fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Where the two engines' SQL differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// A statement with the values of its places after the first, which is the institute.
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) values: Vec<Cell>,
    pub(super) columns: Vec<&'static Column>,
}

impl Dialect {
    fn place(self, at: usize) -> String {
        match self {
            Dialect::Sqlite => format!("?{at}"),
            Dialect::Postgres => format!("${at}"),
        }
    }

    fn column(self, column: &Column) -> String {
        match (self, column.kind) {
            (Dialect::Postgres, Kind::Date | Kind::Json) => format!("({})::text", column.sql),
            (Dialect::Postgres, Kind::List) => format!("array_to_json({})::text", column.sql),
            (Dialect::Sqlite, _)
            | (Dialect::Postgres, Kind::Text | Kind::Integer | Kind::Real | Kind::Time | Kind::Flag) => {
                column.sql.to_owned()
            }
        }
    }
}

impl Statement {
    fn begin(from: &'static Collection, dialect: Dialect, alone: bool) -> Self {
        let columns: Vec<_> = from.columns.iter().filter(|column| alone || !column.alone).collect();
        let names: Vec<String> = columns.iter().map(|column| dialect.column(column)).collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {} = {}",
            names.join(", "),
            from.from,
            from.institute,
            dialect.place(1)
        );
        Self { sql, values: Vec::new(), columns }
    }

    fn add(&mut self, dialect: Dialect, value: Cell) -> String {
        self.values.push(value);
        dialect.place(self.values.len() + 1)
    }

    /// The statement that reads one record.
    pub(super) fn of_record(from: &'static Collection, key: &[&str], dialect: Dialect) -> Self {
        let mut statement = Self::begin(from, dialect, true);
        for (name, value) in from.key.iter().zip(key) {
            let Some(column) = from.column(name) else { continue };
            let value = match (column.kind, value.parse()) {
                (Kind::Integer, Ok(number)) => Cell::Integer(number),
                (_, _) => Cell::Text((*value).to_owned()),
            };
            let place = statement.add(dialect, value);
            // Writing to a text cannot fail, here and below.
            let _ = write!(statement.sql, " AND {} = {place}", column.sql);
        }
        statement
    }

    /// The statement that reads a page.
    pub(super) fn of_page(from: &'static Collection, selection: &Selection, dialect: Dialect) -> Self {
        let mut statement = Self::begin(from, dialect, false);
        for (filter, value) in &selection.filters {
            let sign = match (&filter.test, value) {
                (Test::Equal | Test::OneOf(_), _) => "=",
                (Test::From | Test::EntryFrom, _) => ">=",
                (Test::Until | Test::EntryUntil, _) => "<",
                (Test::Flag { yes, no }, value) => {
                    let condition = if *value == Cell::Flag(true) { yes } else { no };
                    let _ = write!(statement.sql, " AND {condition}");
                    continue;
                }
                (Test::Words { postgres, sqlite }, value) => {
                    let Cell::Text(text) = value else { continue };
                    let words = Words::of([text.as_str()]);
                    let (condition, query) = match dialect {
                        Dialect::Postgres => (postgres, words.tsquery()),
                        Dialect::Sqlite => (sqlite, words.fts5()),
                    };
                    let place = statement.add(dialect, Cell::Text(query));
                    let _ = write!(statement.sql, " AND {}", condition.replace("{}", &place));
                    continue;
                }
            };
            let place = statement.add(dialect, value.clone());
            let _ = write!(statement.sql, " AND {} {sign} {place}", filter.sql);
        }
        let columns: Vec<&str> =
            selection.sort.columns.iter().filter_map(|name| Some(from.column(name)?.sql)).collect();
        if let Some(after) = &selection.after {
            let places: Vec<String> =
                after.iter().map(|value| statement.add(dialect, value.clone())).collect();
            let sign = if selection.descending { "<" } else { ">" };
            let _ = write!(statement.sql, " AND ({}) {sign} ({})", columns.join(", "), places.join(", "));
        }
        let direction = if selection.descending { " DESC" } else { "" };
        let order: Vec<String> = columns.iter().map(|column| format!("{column}{direction}")).collect();
        let limit = statement.add(dialect, Cell::Integer(i64::from(selection.limit)));
        let _ = write!(statement.sql, " ORDER BY {} LIMIT {limit}", order.join(", "));
        statement
    }
}
