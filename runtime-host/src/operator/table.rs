//! Rows of JSON in columns.

use serde_json::Value;
use std::io::{self, Write};

/// A column's title, and the place of its value in a row (RFC 6901).
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    pointer: &'static str,
}

impl Column {
    pub(super) const fn new(title: &'static str, pointer: &'static str) -> Self {
        Self { title, pointer }
    }

    pub(super) fn title(&self) -> &'static str {
        self.title
    }

    /// Empty where the row has no value.
    pub(super) fn of(&self, row: &Value) -> String {
        row.pointer(self.pointer).map(text).unwrap_or_default()
    }
}

/// A value for people.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        // What devices name themselves must not move the cursor of an operator's terminal.
        Value::String(text) => text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(" "),
        Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// Prints rows as they come, some at a time; what is wider than all before widens its column from there on.
pub(super) struct Table<'a> {
    columns: &'a [Column],
    widths: Vec<usize>,
    begun: bool,
}

impl<'a> Table<'a> {
    pub(super) fn new(columns: &'a [Column]) -> Self {
        let widths = columns.iter().map(|column| column.title.len()).collect();
        Self { columns, widths, begun: false }
    }

    pub(super) fn print(&mut self, rows: &[Value], out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| self.columns.iter().map(|column| column.of(row)).collect()).collect();
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        if !std::mem::replace(&mut self.begun, true) {
            let titles: Vec<String> = self.columns.iter().map(|column| column.title.to_owned()).collect();
            self.line(&titles, out)?;
        }
        rows.iter().try_for_each(|row| self.line(row, out))
    }

    fn line(&self, cells: &[String], out: &mut dyn Write) -> io::Result<()> {
        let padded = cells.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_stand_below_their_titles_and_what_is_not_there_is_left_out() {
        let columns =
            [Column::new("NAME", "/name"), Column::new("BEHIND", "/a/behind"), Column::new("N", "/n")];
        let mut table = Table::new(&columns);
        let mut out = Vec::new();
        table.print(&[json!({"name": "chemistry", "a": {"behind": true}, "n": 7})], &mut out).unwrap();
        table.print(&[json!({"name": null, "n": [1, 2]})], &mut out).unwrap();
        let expected = "NAME       BEHIND  N\nchemistry  yes     7\n                   1 2\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_name_cannot_write_into_the_terminal() {
        assert_eq!(text(&json!("a\u{1b}[2J\nb")), "a\u{fffd}[2J\u{fffd}b");
    }
}
