//! Tables in CSV: a header of names, then one line per row.
//!
//! Column K of a matrix is called `KEY_K`, counted from 0: `observations_0`, `observations_1`, `actions_0`; a vector has its
//! key's name: `rewards`, `terminals`. Numbers are as Rust and Python write them (`nan` and an empty field are no
//! number), flags 0 and 1 or true and false. Numbers are read as the nearest f32, so what was written from f32 comes back
//! to the bit.

use super::names::Names;
use super::{Backend, Dtype, Info};
use crate::d4rl::KNOWN;
use crate::error::{Error, Result, one_line};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// A table that has been read.
pub struct CsvFile {
    label: String,
    rows: usize,
    keys: BTreeMap<String, Key>,
    names: Names,
}

/// The columns of a key.
struct Key {
    /// Whether they are numbered.
    matrix: bool,
    columns: Vec<Column>,
}

#[derive(Default)]
struct Column {
    values: Vec<f32>,
    /// fields that say `true` or `false`
    words: usize,
    /// first field that is no number, with its line
    text: Option<(u64, String)>,
}

impl Column {
    fn push(&mut self, field: &str, line: u64) {
        let field = field.trim();
        let value = match field.parse::<f32>() {
            Ok(value) => value,
            Err(_) if field.is_empty() => f32::NAN,
            Err(_) if field.eq_ignore_ascii_case("true") || field.eq_ignore_ascii_case("false") => {
                self.words += 1;
                f32::from(u8::from(field.eq_ignore_ascii_case("true")))
            }
            Err(_) => {
                self.text.get_or_insert_with(|| (line, one_line(field)));
                f32::NAN
            }
        };
        self.values.push(value);
    }
}

/// `observations_12` as `observations` and 12; a name that is not numbered is a vector's.
fn numbered(name: &str) -> Option<(&str, usize)> {
    let (key, number) = name.rsplit_once('_')?;
    let plain = number == "0" || !number.starts_with(['0', '+']);
    Some((key, number.parse().ok().filter(|_| plain && !key.is_empty())?))
}

impl CsvFile {
    fn new(label: &str, input: impl Read) -> Result<Self> {
        let fail = |e: csv::Error| unreadable(label, &e);
        let mut table = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
        let header: Vec<String> = table.headers().map_err(fail)?.iter().map(str::to_string).collect();
        if let [only] = &header[..]
            && let Some(other) = only.chars().find(|c| [';', '\t', '|'].contains(c))
        {
            return Err(bad_header(
                label,
                "names with commas between them".into(),
                format!("{other:?} instead"),
            ));
        }
        let mut columns: Vec<Column> = header.iter().map(|_| Column::default()).collect();
        let (mut record, mut rows) = (csv::StringRecord::new(), 0);
        while table.read_record(&mut record).map_err(fail)? {
            let line = record.position().map_or(0, csv::Position::line);
            for (column, field) in columns.iter_mut().zip(&record) {
                column.push(field, line);
            }
            rows += 1;
        }
        let mut found: BTreeMap<String, BTreeMap<Option<usize>, Column>> = BTreeMap::new();
        for (name, column) in header.iter().zip(columns) {
            let (key, number) = numbered(name).map_or((name.as_str(), None), |(key, k)| (key, Some(k)));
            if found.entry(key.into()).or_default().insert(number, column).is_some() {
                return Err(bad_header(
                    label,
                    "every name once".into(),
                    format!("`{}` twice", one_line(name)),
                ));
            }
        }
        let mut keys = BTreeMap::new();
        for (key, parts) in found {
            let matrix = !parts.contains_key(&None);
            let lacks = parts.keys().zip(0..).find(|(number, k)| matrix && **number != Some(*k));
            let odd = lacks.is_some() || (!matrix && parts.len() > 1);
            // Names that nobody reads may be counted as they like.
            if odd && !KNOWN.contains(&key.split('/').next().unwrap_or_default()) {
                for (number, column) in parts {
                    let name = number.map_or(key.clone(), |k| format!("{key}_{k}"));
                    keys.insert(name, Key { matrix: false, columns: vec![column] });
                }
                continue;
            }
            if odd {
                let key = one_line(&key);
                let expected = match lacks {
                    Some((_, k)) => format!("`{key}_{k}`, as columns of a matrix are counted from 0"),
                    None => format!("either `{key}` or `{key}_0` and so on"),
                };
                return Err(bad_header(label, expected, format!("{} columns of `{key}`", parts.len())));
            }
            keys.insert(key, Key { matrix, columns: parts.into_values().collect() });
        }
        let names = Names::new(label, keys.keys().cloned());
        Ok(CsvFile { label: label.into(), rows, keys, names })
    }

    fn key(&self, key: &str) -> Result<&Key> {
        self.keys.get(key).ok_or_else(|| self.names.missing(key, "a column"))
    }

    /// The columns of a key. Error: a field that is no number.
    fn columns(&self, key: &str) -> Result<&[Column]> {
        let columns = &self.key(key)?.columns;
        match columns.iter().filter_map(|c| c.text.as_ref()).min() {
            None => Ok(columns),
            Some((line, text)) => Err(Error::Line {
                file: self.label.clone(),
                line: *line,
                expected: format!("numbers in column `{}`", one_line(key)),
                got: format!("`{text}`"),
                advice: "repair the field",
            }),
        }
    }
}

fn bad_header(label: &str, expected: String, got: String) -> Error {
    let advice = "name the columns observations_0, ..., actions_0, ..., rewards, terminals";
    Error::Line { file: label.into(), line: 1, expected, got, advice }
}

fn unreadable(label: &str, e: &csv::Error) -> Error {
    let line = e.position().map_or(1, csv::Position::line);
    let (expected, got) = match e.kind() {
        csv::ErrorKind::Io(e) => return Error::io(Path::new(label), "cannot read", e),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            (format!("{expected_len} fields as in the header"), format!("{len}"))
        }
        csv::ErrorKind::Utf8 { .. } => ("text in UTF-8".into(), "other bytes".into()),
        _ => ("a line of CSV".into(), one_line(&e.to_string())),
    };
    let advice = "the file is no CSV, or cut short; write it again";
    Error::Line { file: label.into(), line, expected, got, advice }
}

impl Backend for CsvFile {
    const NAME: &'static str = "csv";

    fn open(path: &Path) -> Result<Self> {
        let file = crate::files::open(path).map_err(|e| Error::io(path, "cannot open", &e))?;
        Self::new(&path.display().to_string(), file)
    }

    fn from_bytes(label: &str, bytes: &[u8]) -> Result<Self> {
        Self::new(label, bytes)
    }

    fn children(&self, group: &str) -> Result<Vec<String>> {
        self.names.children(group)
    }

    fn info(&self, key: &str) -> Result<Option<Info>> {
        let Some(found) = self.keys.get(key) else {
            return self.names.absent(key).map(|()| None);
        };
        let (rows, width) = (self.rows as u64, found.columns.len() as u64);
        let words = found.columns.iter().any(|c| c.words > 0);
        let all_words = found.columns.iter().all(|c| c.words == self.rows);
        let dtype = match (words, all_words) {
            (false, _) => Dtype::F32,
            (true, true) => Dtype::Bool,
            (true, false) => Dtype::Other("words and numbers".into()),
        };
        let shape = if found.matrix { vec![rows, width] } else { vec![rows] };
        Ok(Some(Info { shape, dtype }))
    }

    fn read_f32(&self, key: &str) -> Result<Vec<f32>> {
        let columns = self.columns(key)?;
        Ok((0..self.rows).flat_map(|row| columns.iter().map(move |c| c.values[row])).collect())
    }

    fn read_f64(&self, key: &str) -> Result<Vec<f64>> {
        Ok(self.read_f32(key)?.into_iter().map(f64::from).collect())
    }

    fn read_flags(&self, key: &str) -> Result<Vec<bool>> {
        super::flags_of(&self.label, key, &self.read_f32(key)?)
    }

    fn read_string(&self, key: &str) -> Result<String> {
        let text = self.key(key)?.columns.iter().any(|c| c.text.is_some());
        let dtype = if text { Dtype::Text } else { Dtype::F32 };
        Err(super::string_dtype(&self.label, key, &dtype, self.rows))
    }
}
