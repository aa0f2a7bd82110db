//! Data sets and models from the Hugging Face Hub, through the `hf-hub` crate.
//!
//! Files land in the Hub's own cache (`HF_HOME`, `~/.cache/huggingface` by default), where other
//! tools find them too. `HF_TOKEN` opens what needs one, `HF_ENDPOINT` names another server, and
//! with `HF_HUB_OFFLINE=1` only what the cache holds is used.

use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Map, Value};
use std::fs::File;
use std::path::PathBuf;

/// What can go wrong with the Hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The file cannot be had.
    #[error("cannot get {file} of {repository} from the Hugging Face Hub: {message}")]
    Fetch {
        /// `owner/name`
        repository: String,
        /// Path in it.
        file: String,
        /// Why, and what to do.
        message: String,
    },
    /// The file was had, and is not what it should be.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// In the cache.
        path: PathBuf,
        /// What was expected.
        message: String,
    },
}

/// A row with the file and number it came from.
pub type Row = (PathBuf, usize, Map<String, Value>);

/// All rows of some splits of a data set's configuration; the Hub keeps them as parquet.
///
/// # Errors
/// Where a file cannot be had or is not parquet.
pub fn dataset(repository: &str, configuration: &str, splits: &[&str]) -> Result<Vec<Row>, HubError> {
    let mut rows = Vec::new();
    for split in splits {
        let file = format!("{configuration}/{split}-00000-of-00001.parquet");
        let path = fetch(repository, RepoType::Dataset, &file)?;
        rows.extend(read_parquet(path)?);
    }
    Ok(rows)
}

/// The directory in the cache that holds a model's files.
///
/// # Errors
/// Where a file that every model needs cannot be had.
pub fn model(repository: &str) -> Result<PathBuf, HubError> {
    let get = |file: &str| fetch(repository, RepoType::Model, file);
    let config = get("config.json")?;
    get("tokenizer.json")?;
    for optional in ["generation_config.json", "tokenizer_config.json", "chat_template.jinja"] {
        let _ = get(optional);
    }
    match get("model.safetensors.index.json") {
        Ok(index) => {
            for shard in shards(&index)? {
                get(&shard)?;
            }
        }
        Err(_) => {
            get("model.safetensors")?;
        }
    }
    Ok(config.parent().map(PathBuf::from).unwrap_or_default())
}

fn shards(index: &PathBuf) -> Result<Vec<String>, HubError> {
    let malformed = |message: &str| HubError::Malformed { path: index.clone(), message: message.to_owned() };
    let text = std::fs::read_to_string(index).map_err(|error| malformed(&error.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| malformed(&error.to_string()))?;
    let map =
        value.get("weight_map").and_then(Value::as_object).ok_or_else(|| malformed("weight_map: missing"))?;
    let mut names: Vec<String> = map.values().filter_map(Value::as_str).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// The path of a file in the cache; it is downloaded if it is not there yet.
///
/// # Errors
/// Where it is neither in the cache nor to be had.
pub fn fetch(repository: &str, kind: RepoType, file: &str) -> Result<PathBuf, HubError> {
    let fail = |message: String| HubError::Fetch {
        repository: repository.to_owned(),
        file: file.to_owned(),
        message,
    };
    let repo = Repo::new(repository.to_owned(), kind);
    let cache = Cache::from_env();
    if let Some(path) = cache.repo(repo.clone()).get(file) {
        return Ok(path);
    }
    if offline() {
        let place = cache.path().display().to_string();
        return Err(fail(format!(
            "HF_HUB_OFFLINE is set and {place} does not hold it; unset it, or copy the file there"
        )));
    }
    let api = api().map_err(|error| fail(error.to_string()))?;
    api.repo(repo).get(file).map_err(|error| {
        fail(format!(
            "{error}; check the name and the network, set HF_TOKEN if it is private, or give a local path"
        ))
    })
}

fn offline() -> bool {
    std::env::var("HF_HUB_OFFLINE").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false" | "FALSE"))
}

fn api() -> Result<Api, hf_hub::api::sync::ApiError> {
    let mut builder = ApiBuilder::from_env().with_progress(false);
    if let Ok(token) = std::env::var("HF_TOKEN") {
        builder = builder.with_token(Some(token).filter(|token| !token.is_empty()));
    }
    builder.build()
}

fn read_parquet(path: PathBuf) -> Result<Vec<Row>, HubError> {
    let malformed = |message: String| HubError::Malformed { path: path.clone(), message };
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
