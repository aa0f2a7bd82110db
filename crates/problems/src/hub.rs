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

/// What llama.cpp takes where nothing is said.
const USUAL_QUANTIZATION: &str = "Q4_K_M";

/// The place in the cache that holds a model: a directory, or, of `owner/name:Q4_K_M` and
/// `owner/name:FILE.gguf`, a GGUF file (the first part of a split one). A repository of GGUF files alone
/// gives its `Q4_K_M`, as in llama.cpp.
///
/// # Errors
/// Where a file that the model needs cannot be had, or the repository has no such GGUF file.
pub fn model(name: &str) -> Result<PathBuf, HubError> {
    if let Some((repository, wanted)) = name.split_once(':') {
        return gguf(repository, wanted);
    }
    let get = |file: &str| fetch(name, RepoType::Model, file);
    let config = match get("config.json") {
        Ok(config) => config,
        // Perhaps it has GGUF files alone; if not, what it lacks is the configuration.
        Err(error) => return gguf(name, USUAL_QUANTIZATION).map_err(|_| error),
    };
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

/// One of a repository's GGUF files, all parts of it.
fn gguf(repository: &str, wanted: &str) -> Result<PathBuf, HubError> {
    let files = files(repository)?;
    let parts = matching(&files, wanted);
    if parts.is_empty() {
        let known: Vec<&String> = files.iter().filter(|file| file.ends_with(".gguf")).collect();
        return Err(HubError::Fetch {
            repository: repository.to_owned(),
            file: wanted.to_owned(),
            message: format!("it has no such GGUF file; it has {known:?}"),
        });
    }
    let fetched: Vec<PathBuf> =
        parts.iter().map(|file| fetch(repository, RepoType::Model, file)).collect::<Result<_, _>>()?;
    Ok(fetched[0].clone())
}

/// The files that a quantisation or a file's name stands for, sorted: several where it is split.
fn matching(files: &[String], wanted: &str) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let is_meant = |file: &&String| {
        let file = file.to_lowercase();
        let Some(stem) = file.strip_suffix(".gguf") else { return false };
        // Without "-00001-of-00002".
        let whole = match stem.rsplit_once("-of-").and_then(|(before, _)| before.rsplit_once('-')) {
            Some((whole, _)) => whole,
            None => stem,
        };
        file == wanted
            || whole
                .strip_suffix(wanted.as_str())
                .is_some_and(|before| before.ends_with(['-', '.', '_', '/']))
    };
    let mut parts: Vec<String> = files.iter().filter(is_meant).cloned().collect();
    parts.sort();
    // A name stands for one model: of several, the first.
    let parts_of_first =
        parts.first().map_or(0, |first| if first.contains("-00001-of-") { parts.len() } else { 1 });
    parts.truncate(parts_of_first);
    parts
}

/// The names of a repository's files: as the Hub says, or as the cache holds them.
fn files(repository: &str) -> Result<Vec<String>, HubError> {
    let fail = |message: String| HubError::Fetch {
        repository: repository.to_owned(),
        file: "its list of files".to_owned(),
        message,
    };
    let repo = Repo::new(repository.to_owned(), RepoType::Model);
    let listed = (!offline()).then(|| {
        let info = api().and_then(|api| api.repo(repo.clone()).info());
        info.map(|info| info.siblings.into_iter().map(|file| file.rfilename).collect::<Vec<_>>())
    });
    match listed {
        Some(Ok(files)) => Ok(files),
        other => match cached(&repo) {
            files if !files.is_empty() => Ok(files),
            _ => Err(fail(match other {
                Some(Err(error)) => format!("{error}; check the name and the network, or give a local path"),
                _ => "HF_HUB_OFFLINE is set and the cache has no file of it".to_owned(),
            })),
        },
    }
}

/// The files of a repository's newest version in the cache.
fn cached(repo: &Repo) -> Vec<String> {
    let directory = Cache::from_env().path().join(repo.folder_name());
    let commit = std::fs::read_to_string(directory.join("refs/main")).unwrap_or_default();
    let entries = std::fs::read_dir(directory.join("snapshots").join(commit.trim()));
    entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantisation_names_a_file_or_all_its_parts() {
        let files =
            ["a-q4_k_m.gguf", "a-q4_k_m-00001-of-00002.gguf", "A.Q8_0.gguf", "b-q5_0.gguf", "README.md"];
        let files = files.map(str::to_owned);
        let found = |wanted: &str| matching(&files, wanted);
        assert_eq!(found("Q8_0"), ["A.Q8_0.gguf"]);
        assert_eq!(found("b-q5_0.gguf"), ["b-q5_0.gguf"]);
        assert_eq!(found("Q5_K_M"), [""; 0]);
        let split =
            ["q4_k_m-00002-of-00002.gguf", "q4_k_m-00001-of-00002.gguf"].map(|part| format!("m-{part}"));
        assert_eq!(matching(&split, "Q4_K_M"), [split[1].clone(), split[0].clone()]);
    }
}
