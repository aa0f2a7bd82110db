//! Files of the Hugging Face Hub, in the cache that its own tools keep.
//!
//! Files land in `HF_HUB_CACHE` (`HF_HOME/hub`, `~/.cache/huggingface/hub` by default) in
//! `huggingface_hub`'s layout, where other tools find them too. `HF_TOKEN` opens what needs one,
//! `HF_ENDPOINT` names another server, and with `HF_HUB_OFFLINE=1` only what the cache holds is used.
//!
//! A model is of one commit: the Hub is asked for the newest one, and what the cache holds of it is not
//! fetched again. If the Hub does not answer, the commit that the cache has last is used. A cut download
//! resumes where it stopped, and a file enters the cache only whole: of its length, and, where the Hub
//! says it, of its SHA-256.

mod cache;
mod choice;
mod client;

use cache::Cache;
use client::{Client, Failure};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Hub has not got it, or does not give it.
    #[error("cannot get {file} of {repository} from the Hugging Face Hub: {message}")]
    Fetch {
        /// `owner/name`
        repository: String,
        /// Path in it.
        file: String,
        /// Why, and what to do.
        message: String,
    },
    /// A file was had, and is not what it should be.
    #[error("{}: {message}", path.display())]
    Malformed {
        /// In the cache.
        path: PathBuf,
        /// What was expected.
        message: String,
    },
    /// The name is none of the Hub's.
    #[error(
        "'{0}' is no name of a model on the Hugging Face Hub; expected owner/name, owner/name:Q4_K_M or owner/name/FILE.gguf"
    )]
    Name(String),
}

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

/// The Hub and its cache.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The server, such as `https://huggingface.co`.
    pub endpoint: String,
    /// The directory that holds `models--OWNER--NAME`.
    pub cache: PathBuf,
    /// Sent to the server, and to no other that it redirects to.
    pub token: Option<String>,
    /// Use the cache alone.
    pub is_offline: bool,
    /// Before the first repetition of what failed for now; doubled for each further one.
    pub pause: Duration,
}

/// The newest commit of a repository and its files.
struct Listing {
    commit: String,
    files: Vec<String>,
    /// Why it is the cache's.
    cached: Option<Failure>,
}

impl Hub {
    /// The Hub that the environment says.
    pub fn from_env() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = set("HF_HOME").map(PathBuf::from).unwrap_or_else(|| {
            let home = std::env::home_dir().unwrap_or_default();
            home.join(".cache").join("huggingface")
        });
        let saved = || std::fs::read_to_string(home.join("token")).ok();
        let token = std::env::var("HF_TOKEN").ok().or_else(saved).map(|token| token.trim().to_owned());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        Hub {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: set("HF_HUB_CACHE").map_or_else(|| home.join("hub"), PathBuf::from),
            token: token.filter(|token| !token.is_empty()),
            is_offline: set("HF_HUB_OFFLINE").is_some_and(|value| {
                !matches!(value.to_ascii_lowercase().as_str(), "0" | "false" | "no" | "off")
            }),
            pause: Duration::from_secs(1),
        }
    }

    /// The place in the cache that holds a model, which is downloaded if it is not there yet: a directory,
    /// or a GGUF file (the first part of a split one).
    ///
    /// `owner/name` is the repository's directory if it has safetensors, otherwise one of its GGUF files;
    /// `owner/name:Q4_K_M` is the GGUF file of that quantisation, chosen as llama.cpp does, and
    /// `owner/name:FILE.gguf` or `owner/name/FILE.gguf` the one of that name.
    ///
    /// # Errors
    /// Where the name is none, a file that the model needs cannot be had, or the repository has no such
    /// GGUF file.
    pub fn model(&self, name: &str) -> Result<PathBuf, Error> {
        let (repository, wanted) = choice::parse(name).ok_or_else(|| Error::Name(name.to_owned()))?;
        let cache = self.cache(&repository, Kind::Model);
        let listing = self.listing(&cache, &repository)?;
        let has = |file: &str| listing.files.iter().any(|found| found == file);
        let fetch = |file: &str| self.listed(&cache, &repository, &listing, file);
        let place = if wanted.is_none() && has("config.json") && choice::WEIGHTS.iter().any(|name| has(name))
        {
            for file in choice::BESIDE_WEIGHTS.iter().filter(|file| has(file)) {
                fetch(file)?;
            }
            match has("model.safetensors.index.json") {
                true => {
                    let index = fetch("model.safetensors.index.json")?;
                    shards(&index)?.iter().try_for_each(|shard| fetch(shard).map(drop))?;
                }
                false => drop(fetch("model.safetensors")?),
            }
            let config = fetch("config.json")?;
            config.parent().map(PathBuf::from).unwrap_or_default()
        } else {
            let wanted = wanted.as_deref();
            let parts = choice::gguf(&listing.files, wanted).map_err(|message| Error::Fetch {
                repository: repository.clone(),
                file: wanted.unwrap_or("a model").to_owned(),
                message: self.explained(&listing, message),
            })?;
            // The first part last: a model whose first part is there is whole.
            let mut first = PathBuf::new();
            for part in parts.iter().rev() {
                first = fetch(part)?;
            }
            first
        };
        // Not before: what the cache held so far stays usable until the new one is whole.
        if listing.cached.is_none() {
            cache.set_main(&listing.commit).map_err(|error| Error::Malformed {
                path: self.cache.clone(),
                message: format!("cannot be written: {error}"),
            })?;
        }
        Ok(place)
    }

    /// The path of a file in the cache; it is downloaded if it is not there yet.
    ///
    /// # Errors
    /// Where it is neither in the cache nor to be had.
    pub fn fetch(&self, repository: &str, kind: Kind, file: &str) -> Result<PathBuf, Error> {
        let cache = self.cache(repository, kind);
        if let Some(path) = cache.main().and_then(|commit| cache.held(&commit, file)) {
            return Ok(path);
        }
        let fail = |failure: Failure| self.error(repository, file, &failure);
        if self.is_offline {
            return Err(fail(Failure::Offline));
        }
        let (path, commit) = self.download(&cache, repository, kind, "main", file).map_err(fail)?;
        cache.set_main(&commit).map_err(|error| fail(Failure::Disk(error)))?;
        Ok(path)
    }

    fn cache(&self, repository: &str, kind: Kind) -> Cache {
        let prefix = match kind {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        };
        Cache::new(self.cache.join(format!("{prefix}--{}", repository.replace('/', "--"))))
    }

    /// What the Hub says a repository holds; where it does not answer, what the cache holds.
    fn listing(&self, cache: &Cache, repository: &str) -> Result<Listing, Error> {
        #[derive(Deserialize)]
        struct Info {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let url = format!("{}/api/models/{repository}/revision/main", self.endpoint);
        let asked = match self.is_offline {
            true => Err(Failure::Offline),
            false => Client::new(self).json::<Info>(&url),
        };
        match asked {
            Ok(info) if cache::is_name(&info.sha) => Ok(Listing {
                commit: info.sha,
                files: info.siblings.into_iter().map(|file| file.rfilename).collect(),
                cached: None,
            }),
            Ok(_) => Err(self.error(repository, "the list of files", &Failure::NoHub("a commit"))),
            Err(failure) => {
                let commit = cache.main().unwrap_or_default();
                match cache.files(&commit) {
                    files if files.is_empty() => Err(self.error(repository, "the list of files", &failure)),
                    files => Ok(Listing { commit, files, cached: Some(failure) }),
                }
            }
        }
    }

    /// A file of a listed commit.
    fn listed(
        &self,
        cache: &Cache,
        repository: &str,
        listing: &Listing,
        file: &str,
    ) -> Result<PathBuf, Error> {
        if let Some(path) = cache.held(&listing.commit, file) {
            return Ok(path);
        }
        if let Some(failure) = &listing.cached {
            return Err(self.error(repository, file, failure));
        }
        let got = self.download(cache, repository, Kind::Model, &listing.commit, file);
        got.map(|(path, _)| path).map_err(|failure| self.error(repository, file, &failure))
    }

    fn download(
        &self,
        cache: &Cache,
        repository: &str,
        kind: Kind,
        revision: &str,
        file: &str,
    ) -> Result<(PathBuf, String), Failure> {
        if !cache::is_inside(file) {
            return Err(Failure::NoHub("a path inside the repository"));
        }
        let prefix = if kind == Kind::Dataset { "datasets/" } else { "" };
        let url = format!("{}/{prefix}{repository}/resolve/{revision}/{}", self.endpoint, escaped(file));
        let (blob, commit) = Client::new(self).download(&url, cache)?;
        let commit = match revision {
            "main" => commit.filter(|commit| cache::is_name(commit)).ok_or(Failure::NoHub("a commit"))?,
            commit => commit.to_owned(),
        };
        let path = cache.link(&commit, file, &blob).map_err(Failure::Disk)?;
        Ok((path, commit))
    }

    /// What was found, and why no more could be.
    fn explained(&self, listing: &Listing, message: String) -> String {
        match &listing.cached {
            None => message,
            Some(failure) => format!("the cache holds nothing else: {message}; {}", failure.message(self)),
        }
    }

    fn error(&self, repository: &str, file: &str, failure: &Failure) -> Error {
        Error::Fetch {
            repository: repository.to_owned(),
            file: file.to_owned(),
            message: failure.message(self).replace("{repository}", repository),
        }
    }
}

/// The GGUF file of a local directory that `wanted` means, as [`Hub::model`] chooses one of a repository's:
/// a quantisation such as `Q4_K_M`, or a file's name; of a split model its first part.
///
/// # Errors
/// Where the directory cannot be read, has no such file, or has several.
pub fn file_of_directory(directory: &Path, wanted: &str) -> Result<PathBuf, Error> {
    let unusable = |message: String| Error::Malformed { path: directory.to_owned(), message };
    let entries = std::fs::read_dir(directory).map_err(|error| unusable(error.to_string()))?;
    let files: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let parts = choice::only(&files, wanted).map_err(unusable)?;
    parts.first().map(|part| directory.join(part)).ok_or_else(|| unusable("it has no GGUF file".to_owned()))
}

/// A path as a URL has it.
fn escaped(path: &str) -> String {
    let mut url = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                url.push(byte.into())
            }
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

fn shards(index: &Path) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let malformed = |message: String| Error::Malformed { path: index.to_owned(), message };
    let text = std::fs::read_to_string(index).map_err(|error| malformed(error.to_string()))?;
    let index: Index = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_directory_has_quantisations_too() {
        let directory = tempfile::tempdir().expect("a directory");
        for name in ["m-Q4_1.gguf", "m-Q8_0.gguf", "s-Q6_K-00001-of-00002.gguf", "s-Q6_K-00002-of-00002.gguf"]
        {
            std::fs::write(directory.path().join(name), "").expect("written");
        }
        let file = |wanted: &str| file_of_directory(directory.path(), wanted);
        for (wanted, name) in [
            ("Q4_1", "m-Q4_1.gguf"),
            ("q8_0", "m-Q8_0.gguf"),
            ("m-Q8_0.gguf", "m-Q8_0.gguf"),
            ("Q6_K", "s-Q6_K-00001-of-00002.gguf"),
        ] {
            assert_eq!(file(wanted).expect(wanted), directory.path().join(name));
        }
        std::fs::write(directory.path().join("other-q8_0.gguf"), "").expect("written");
        let message = file("Q8_0").expect_err("two").to_string();
        assert!(message.contains("Q8_0 may mean m-Q8_0.gguf or other-q8_0.gguf; name one"), "{message}");
        assert!(file("m-Q8_0.gguf").is_ok());
        let message = file("Q5_0").expect_err("none").to_string();
        assert!(
            message.contains("it has no such GGUF file; it has m-Q4_1.gguf, m-Q8_0.gguf, other-q8_0.gguf"),
            "{message}"
        );
    }
}
