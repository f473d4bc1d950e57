//! Collections of records: pages, single records, search.

use super::transaction::{Millis, Params, Transaction, some_millis};
use crate::store::collections::{
    Cell, Collection, Column, Dialect, Kind, ReadCollections, Row, Selection, Statement, escape_like,
};
use crate::store::error::StoreError;
use tokio_postgres::types::ToSql;

type Owned = Box<dyn ToSql + Sync>;

fn value(cell: &Cell) -> Owned {
    match cell {
        Cell::Null => Box::new(None::<String>),
        Cell::Text(text) | Cell::Json(text) => Box::new(text.clone()),
        Cell::Integer(number) => Box::new(*number),
        Cell::Real(number) => Box::new(*number),
        Cell::Time(at) => Box::new(Millis(*at)),
        Cell::Flag(flag) => Box::new(*flag),
    }
}

fn read_cell(row: &tokio_postgres::Row, at: usize, column: &Column) -> Result<Cell, tokio_postgres::Error> {
    let cell = match column.kind {
        Kind::Text | Kind::Date => row.try_get::<_, Option<String>>(at)?.map(Cell::Text),
        Kind::Integer => row.try_get::<_, Option<i64>>(at)?.map(Cell::Integer),
        Kind::Real => row.try_get::<_, Option<f64>>(at)?.map(Cell::Real),
        Kind::Time => some_millis(row, at)?.map(Cell::Time),
        Kind::Flag => row.try_get::<_, Option<bool>>(at)?.map(Cell::Flag),
        Kind::Json | Kind::List => row.try_get::<_, Option<String>>(at)?.map(Cell::Json),
    };
    Ok(cell.unwrap_or(Cell::Null))
}

impl Transaction<'_> {
    fn rows(&self, statement: &Statement) -> Result<Vec<Row>, StoreError> {
        let values: Vec<Owned> = statement.values.iter().map(value).collect();
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&self.institute];
        params.extend(values.iter().map(|value| &**value));
        self.all(&statement.sql, &params, |row| {
            statement.columns.iter().enumerate().map(|(at, column)| read_cell(row, at, column)).collect()
        })
    }

    fn quadruples(&self, sql: &str, params: Params<'_>) -> Result<Vec<[String; 4]>, StoreError> {
        self.all(sql, params, |row| Ok([row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?]))
    }
}

impl ReadCollections for Transaction<'_> {
    fn select(&self, from: &'static Collection, selection: &Selection) -> Result<Vec<Row>, StoreError> {
        self.rows(&Statement::of_page(from, selection, Dialect::Postgres))
    }

    fn read_record(&self, from: &'static Collection, key: &[&str]) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(&Statement::of_record(from, key, Dialect::Postgres))?.pop())
    }

    fn search_people(
        &self,
        words: &[String],
        start: &str,
        limit: u32,
    ) -> Result<Vec<[String; 4]>, StoreError> {
        // Words are letters and digits: nothing in them means anything to `to_tsquery`.
        let words: Vec<String> = words.iter().map(|word| format!("'{word}':*")).collect();
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let sql = r#"SELECT "user", name, email, role FROM search_people($1, $2, $3)"#;
        self.quadruples(sql, &[&words.join(" & "), &start, &limit])
    }

    fn search_titles(&self, text: &str, limit: u32) -> Result<Vec<[String; 4]>, StoreError> {
        let sql = "SELECT 'batch', batch, title, batch FROM batches WHERE institute = $1
                 AND (title ILIKE '%' || $2 || '%' ESCAPE '!' OR batch ILIKE $2 || '%' ESCAPE '!')
             UNION ALL
             SELECT 'assignment', assignment, title, batch FROM assignments WHERE institute = $1
                 AND (title ILIKE '%' || $2 || '%' ESCAPE '!' OR assignment ILIKE $2 || '%' ESCAPE '!')
             LIMIT $3";
        self.quadruples(sql, &[&self.institute, &escape_like(text), &i64::from(limit)])
    }
}
