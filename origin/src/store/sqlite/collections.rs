//! Collections of records: pages, single records, search.

use super::transaction::Transaction;
use crate::store::collections::{
    Cell, Collection, Column, Dialect, Kind, ReadCollections, Row, Selection, Statement, escape_like,
};
use crate::store::error::StoreError;
use rusqlite::ToSql;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Cell::Null => ToSqlOutput::Owned(Value::Null),
            Cell::Text(text) | Cell::Json(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cell::Integer(number) | Cell::Time(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Cell::Real(number) => ToSqlOutput::Owned(Value::Real(*number)),
            Cell::Flag(flag) => ToSqlOutput::Owned(Value::Integer(i64::from(*flag))),
        })
    }
}

fn read_cell(row: &rusqlite::Row<'_>, at: usize, column: &Column) -> rusqlite::Result<Cell> {
    if matches!(row.get_ref(at)?, ValueRef::Null) {
        return Ok(Cell::Null);
    }
    Ok(match column.kind {
        Kind::Text | Kind::Date => Cell::Text(row.get(at)?),
        Kind::Integer => Cell::Integer(row.get(at)?),
        Kind::Real => Cell::Real(row.get(at)?),
        Kind::Time => Cell::Time(row.get(at)?),
        Kind::Flag => Cell::Flag(row.get(at)?),
        Kind::Json | Kind::List => Cell::Json(row.get(at)?),
    })
}

impl Transaction<'_> {
    fn rows(&self, statement: &Statement) -> Result<Vec<Row>, StoreError> {
        let institute = Cell::Text(self.institute.to_owned());
        let values = std::iter::once(&institute).chain(&statement.values);
        self.all(&statement.sql, rusqlite::params_from_iter(values), |row| {
            statement.columns.iter().enumerate().map(|(at, column)| read_cell(row, at, column)).collect()
        })
    }
}

fn quadruple(row: &rusqlite::Row<'_>) -> rusqlite::Result<[String; 4]> {
    Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?])
}

impl ReadCollections for Transaction<'_> {
    fn select(&self, from: &'static Collection, selection: &Selection) -> Result<Vec<Row>, StoreError> {
        self.rows(&Statement::of_page(from, selection, Dialect::Sqlite))
    }

    fn read_record(&self, from: &'static Collection, key: &[&str]) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(&Statement::of_record(from, key, Dialect::Sqlite))?.pop())
    }

    fn search_people(
        &self,
        words: &[String],
        start: &str,
        limit: u32,
    ) -> Result<Vec<[String; 4]>, StoreError> {
        // An embedded institute is small: its people are read in the order of their names until enough are found.
        let mut sql = String::from(
            "SELECT user, name, email, role FROM users INDEXED BY users_by_name WHERE institute = ?1
                 AND (email LIKE ?2 || '%' ESCAPE '!' OR user = ?3",
        );
        let mut values = vec![
            Cell::Text(self.institute.to_owned()),
            Cell::Text(escape_like(start)),
            Cell::Text(start.to_owned()),
        ];
        for (n, word) in words.iter().enumerate() {
            values.push(Cell::Text(escape_like(word)));
            let join = if n == 0 { " OR (" } else { " AND " };
            sql.push_str(join);
            sql.push_str(&format!("' ' || name LIKE '% ' || ?{} || '%' ESCAPE '!'", values.len()));
        }
        sql.push_str(if words.is_empty() { ")" } else { "))" });
        values.push(Cell::Integer(i64::from(limit)));
        sql.push_str(&format!(" ORDER BY name, user LIMIT ?{}", values.len()));
        self.all(&sql, rusqlite::params_from_iter(values), quadruple)
    }

    fn search_titles(&self, text: &str, limit: u32) -> Result<Vec<[String; 4]>, StoreError> {
        let sql = "SELECT 'batch', batch, title, batch FROM batches WHERE institute = ?1
                 AND (title LIKE '%' || ?2 || '%' ESCAPE '!' OR batch LIKE ?2 || '%' ESCAPE '!')
             UNION ALL
             SELECT 'assignment', assignment, title, batch FROM assignments WHERE institute = ?1
                 AND (title LIKE '%' || ?2 || '%' ESCAPE '!' OR assignment LIKE ?2 || '%' ESCAPE '!')
             LIMIT ?3";
        self.all(sql, (self.institute, escape_like(text), limit), quadruple)
    }
}
