//! Data sets of the Hugging Face Hub.

use hub::{Error, Hub, Kind};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Map, Value};
use std::fs::File;
use std::path::PathBuf;

/// A row with the file and number it came from.
pub type Row = (PathBuf, usize, Map<String, Value>);

/// All rows of some splits of a data set's configuration; the Hub keeps them as parquet.
///
/// # Errors
/// Where a file cannot be had or is not parquet.
pub fn dataset(hub: &Hub, repository: &str, configuration: &str, splits: &[&str]) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for split in splits {
        let file = format!("{configuration}/{split}-00000-of-00001.parquet");
        let path = hub.fetch(repository, Kind::Dataset, &file)?;
        rows.extend(read_parquet(path)?);
    }
    Ok(rows)
}

fn read_parquet(path: PathBuf) -> Result<Vec<Row>, Error> {
    let malformed = |message: String| Error::Malformed { path: path.clone(), message };
    let file = File::open(&path).map_err(|error| malformed(error.to_string()))?;
    let reader =
        SerializedFileReader::new(file).map_err(|error| malformed(format!("not parquet: {error}")))?;
    let rows = reader.get_row_iter(None).map_err(|error| malformed(error.to_string()))?;
    let mut records = Vec::new();
    for (index, row) in rows.enumerate() {
        let row = row.map_err(|error| malformed(format!("row {}: {error}", index + 1)))?;
        let fields = row.get_column_iter().map(|(name, field)| (name.clone(), json(field)));
        records.push((path.clone(), index + 1, fields.collect()));
    }
    Ok(records)
}

fn json(field: &Field) -> Value {
    match field {
        Field::Str(text) => Value::from(text.as_str()),
        Field::Bool(value) => Value::from(*value),
        Field::Int(value) => Value::from(*value),
        Field::Long(value) => Value::from(*value),
        Field::Double(value) => Value::from(*value),
        Field::ListInternal(list) => Value::from(list.elements().iter().map(json).collect::<Vec<_>>()),
        _ => Value::Null,
    }
}
