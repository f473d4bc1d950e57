//! One CSV file, plain or gzipped: rows with their place, fields by name.

use super::{Faults, ImportError};
use csv::StringRecord;
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// Longest field, in bytes: names and ids are far shorter.
const MAX_FIELD_BYTES: usize = 256;

/// An open table whose header has the wanted columns.
pub(super) struct Table {
    reader: csv::Reader<Box<dyn Read>>,
    /// File name, for places.
    name: String,
    columns: Vec<(&'static str, usize)>,
    width: usize,
    rows_max: Option<u64>,
}

/// One row.
pub(super) struct Row<'t> {
    record: &'t StringRecord,
    columns: &'t [(&'static str, usize)],
    /// `FILE:LINE`.
    pub(super) place: String,
}

impl Row<'_> {
    /// The trimmed field of a column that the table was opened with.
    pub(super) fn field(&self, name: &str) -> &str {
        let column = self.columns.iter().find(|(column, _)| *column == name);
        column.and_then(|(_, index)| self.record.get(*index)).unwrap_or_default().trim()
    }

    /// The field as a number within the limits. A fault otherwise.
    pub(super) fn number(
        &self,
        name: &str,
        limits: std::ops::RangeInclusive<f64>,
        faults: &mut Faults,
    ) -> Option<f64> {
        let text = self.field(name);
        let number = text.parse::<f64>().ok().filter(|number| limits.contains(number));
        if number.is_none() {
            let (least, most) = (limits.start(), limits.end());
            faults.add(&self.place, name, format!("is {text:?}, not a number from {least} to {most}"));
        }
        number
    }

    /// The field as a record id. A fault otherwise.
    pub(super) fn id(&self, name: &str, faults: &mut Faults) -> Option<String> {
        let text = self.field(name);
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
            let problem = format!("is {text:?}, not 1 to 64 characters out of A-Z a-z 0-9 . _ -");
            faults.add(&self.place, name, problem);
            return None;
        }
        Some(text.to_owned())
    }

    /// The field as an e-mail address in lower case. A fault otherwise.
    pub(super) fn email(&self, name: &str, faults: &mut Faults) -> Option<String> {
        let text = self.field(name).to_lowercase();
        let parts = text.split_once('@');
        let sound = parts.is_some_and(|(local, domain)| {
            !local.is_empty() && domain.contains('.') && !domain.contains('@')
        });
        if !sound || text.len() > 254 || text.chars().any(char::is_whitespace) {
            faults.add(&self.place, name, format!("is {text:?}, not an e-mail address"));
            return None;
        }
        Some(text)
    }
}

impl Table {
    /// Opens `path`; a header without one of the columns is a fault, told once, and gives no table.
    pub(super) fn open(
        path: &Path,
        columns: &[&'static str],
        faults: &mut Faults,
    ) -> Result<Option<Self>, ImportError> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let fault = |source| ImportError::File { file: path.display().to_string(), source };
        let file = BufReader::new(File::open(path).map_err(fault)?);
        let gzipped = path.extension().is_some_and(|extension| extension == "gz");
        let bytes: Box<dyn Read> = if gzipped { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
        Ok(Self::read(name, bytes, columns, faults))
    }

    /// As [`Table::open`], from what `bytes` gives.
    pub(super) fn read(
        name: String,
        bytes: Box<dyn Read>,
        columns: &[&'static str],
        faults: &mut Faults,
    ) -> Option<Self> {
        // Rows of a wrong length are told with their line, not by an error that ends the reading.
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
        let header = match reader.headers() {
            Ok(header) => header.clone(),
            Err(error) => {
                faults.add(&format!("{name}:1"), "header", error.to_string());
                return None;
            }
        };
        let mut found = Vec::new();
        for column in columns {
            // A byte order mark, which spreadsheets write, stands before the first name.
            match header.iter().position(|title| title.trim_start_matches('\u{feff}').trim() == *column) {
                Some(index) => found.push((*column, index)),
                None => faults.add(&format!("{name}:1"), column, "the column is missing"),
            }
        }
        let complete = found.len() == columns.len();
        complete.then(|| Self { reader, name, columns: found, width: header.len(), rows_max: None })
    }

    /// The same table, of at most so many rows.
    pub(super) fn at_most(self, rows: u64) -> Self {
        Self { rows_max: Some(rows), ..self }
    }

    /// The same table, with a column that it need not have: its fields are empty then.
    pub(super) fn with_optional(mut self, column: &'static str) -> Self {
        let header = self.reader.headers().ok();
        let found = header.and_then(|header| header.iter().position(|title| title.trim() == column));
        self.columns.extend(found.map(|index| (column, index)));
        self
    }

    /// Opens `NAME.csv` or `NAME.csv.gz` in a folder.
    pub(super) fn open_in(
        folder: &Path,
        name: &str,
        columns: &[&'static str],
        faults: &mut Faults,
    ) -> Result<Option<Self>, ImportError> {
        let plain: PathBuf = folder.join(format!("{name}.csv"));
        let path = if plain.exists() { plain } else { folder.join(format!("{name}.csv.gz")) };
        Self::open(&path, columns, faults)
    }

    /// Calls `read` for each sound row, until the faults are full.
    pub(super) fn each(
        mut self,
        faults: &mut Faults,
        mut read: impl FnMut(&Row<'_>, &mut Faults),
    ) -> Result<(), ImportError> {
        let mut record = StringRecord::new();
        let mut rows = 0;
        while !faults.full() {
            let place = format!("{}:{}", self.name, self.reader.position().line());
            match self.reader.read_record(&mut record) {
                Ok(false) => break,
                Ok(true) => {}
                Err(error) => match error.kind() {
                    csv::ErrorKind::Io(io) => {
                        faults.add(&place, "file", format!("cannot be read on: {io}"));
                        break;
                    }
                    _ => {
                        faults.add(&place, "row", error.to_string());
                        continue;
                    }
                },
            }
            rows += 1;
            if let Some(most) = self.rows_max.filter(|most| rows > *most) {
                faults.add(&place, "row", format!("is one more than the limit of {most}"));
                break;
            }
            // The reader's own position before a row may stand on blank lines.
            let line = record.position().map_or(0, csv::Position::line);
            let row = Row { record: &record, columns: &self.columns, place: format!("{}:{line}", self.name) };
            if record.len() != self.width {
                let problem = format!("has {} fields, the header has {}", record.len(), self.width);
                faults.add(&row.place, "row", problem);
                continue;
            }
            if let Some(long) = record.iter().find(|field| field.len() > MAX_FIELD_BYTES) {
                let problem = format!("a field has {} bytes, the limit is {MAX_FIELD_BYTES}", long.len());
                faults.add(&row.place, "row", problem);
                continue;
            }
            read(&row, faults);
        }
        Ok(())
    }
}
