//! Tensors of Hugging Face directories: safetensors, whole or sharded with an index.

use super::header;
use crate::error::{Error, not_a_model, quoted};
use crate::model::Model;
use gguf::BlockType;
use half::bf16;
use memmap2::{Mmap, UncheckedAdvice};
use safetensors::{Dtype, tensor::TensorView};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

/// The numbers' form in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits: what was trained is what is written.
    #[default]
    F32,
    /// The upper 16 bits of it, rounded.
    Bf16,
}

impl Model {
    /// Writes `config.json` and `model.safetensors`, each as a whole.
    ///
    /// # Errors
    /// Where the directory cannot be written.
    pub fn save(&self, directory: &Path, precision: Precision) -> Result<(), Error> {
        let mut config = self.config.to_json();
        if precision == Precision::Bf16 {
            config["torch_dtype"] = "bfloat16".into();
        }
        // A JSON value made of plain fields always serialises.
        let text = serde_json::to_string_pretty(&config).unwrap_or_default() + "\n";
        write_whole(&directory.join("config.json"), text.as_bytes())?;
        let parts = self.weights.table().parts().map(|(tensor, part)| {
            let numbers = &self.weights.tensor(tensor)[part.range.clone()];
            (part.hugging_face.clone(), part.shape.clone(), numbers)
        });
        save_tensors(&directory.join("model.safetensors"), parts, precision)
    }
}

/// Fills a tensor by its name.
pub type ReadTensor<'a> = dyn FnMut(&str, &mut [f32]) -> Result<(), Error> + 'a;

/// Writes named tensors `(name, shape, numbers)` as one safetensors file, as a whole.
///
/// # Errors
/// Where the file cannot be written.
pub fn save_tensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, &'a [f32])>,
    precision: Precision,
) -> Result<(), Error> {
    let bytes = tensors.into_iter().map(|(name, shape, numbers)| {
        let bytes: Vec<u8> = match precision {
            Precision::F32 => numbers.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Precision::Bf16 => {
                numbers.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect()
            }
        };
        (name, shape, bytes)
    });
    let bytes: Vec<_> = bytes.collect();
    let dtype = match precision {
        Precision::F32 => Dtype::F32,
        Precision::Bf16 => Dtype::BF16,
    };
    let mut views = Vec::new();
    for (name, shape, bytes) in &bytes {
        let view = TensorView::new(dtype, shape.clone(), bytes);
        views.push((name, view.map_err(|error| Error::invalid(path, format!("{name}: {error}")))?));
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let file = safetensors::serialize(views, Some(metadata));
    write_whole(path, &file.map_err(|error| Error::invalid(path, error.to_string()))?)
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    files::write(path, bytes).map_err(|source| Error::io(path, source))
}

/// The safetensors files of a directory, by tensor.
pub struct TensorFiles {
    directory: PathBuf,
    files: Vec<(PathBuf, Mmap)>,
    places: BTreeMap<String, Place>,
}

/// Where a tensor is: a file's header is read once, when it is opened.
struct Place {
    file: usize,
    kind: Dtype,
    shape: Vec<usize>,
    /// Its bytes in the file.
    range: Range<usize>,
}

impl TensorFiles {
    /// Opens `model.safetensors`, or the shards of `model.safetensors.index.json`.
    ///
    /// # Errors
    /// Where a file is missing, cut off or damaged.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let index_path = directory.join("model.safetensors.index.json");
        if !index_path.exists() {
            return Self::open_all(directory, [directory.join("model.safetensors")]);
        }
        let index = read_index(&index_path)?;
        let mut names: Vec<&String> = index.values().collect();
        names.sort();
        names.dedup();
        let opened = Self::open_all(directory, names.into_iter().map(|name| directory.join(name)))?;
        opened.check_index(&index_path, &index)?;
        Ok(opened)
    }

    /// Opens one safetensors file.
    ///
    /// # Errors
    /// Where it is missing, cut off or damaged.
    pub fn open_file(path: &Path) -> Result<Self, Error> {
        Self::open_all(path, [path.to_owned()])
    }

    fn open_all(origin: &Path, paths: impl IntoIterator<Item = PathBuf>) -> Result<Self, Error> {
        let mut opened =
            TensorFiles { directory: origin.to_owned(), files: Vec::new(), places: BTreeMap::new() };
        for path in paths {
            let file = File::open(&path).map_err(|source| Error::io(&path, source))?;
            if !file.metadata().is_ok_and(|about| about.is_file()) {
                return Err(Error::invalid(
                    &path,
                    "expected a safetensors file, found a directory, pipe or device",
                ));
            }
            // SAFETY: the map is read only; a file changed by others while it is read can give
            // wrong numbers, which reading into memory would not prevent either.
            let map = unsafe { Mmap::map(&file) }.map_err(|source| Error::io(&path, source))?;
            let tensors = header::read(&map).map_err(|message| Error::invalid(&path, message))?;
            let file = opened.files.len();
            for header::Entry { name, kind, shape, range } in tensors {
                let place = Place { file, kind, shape, range };
                if let Some(other) = opened.places.insert(name.clone(), place) {
                    let other = opened.files[other.file].0.display();
                    let message =
                        format!("tensor {}: it is in {other} too; take the model again", quoted(&name));
                    return Err(Error::invalid(&path, message));
                }
            }
            opened.files.push((path, map));
        }
        Ok(opened)
    }

    /// An index names the tensors that are there, each in its own file, and no others.
    fn check_index(&self, path: &Path, index: &BTreeMap<String, String>) -> Result<(), Error> {
        let wrong =
            |message: String| Err(Error::invalid(path, format!("weight_map: {message}; fetch it again")));
        for (name, file) in index {
            let place = self.places.get(name);
            if place.is_none_or(|place| self.files[place.file].0 != self.directory.join(file)) {
                return wrong(format!(
                    "tensor {}: expected in {}, which lacks it",
                    quoted(name),
                    quoted(file)
                ));
            }
        }
        match self.places.keys().find(|name| !index.contains_key(*name)) {
            None => Ok(()),
            Some(name) => wrong(format!("tensor {}: it is in a file, but not in the index", quoted(name))),
        }
    }

    /// Lets go of the memory that tensors' data occupies since it was read; the next access reads it
    /// from disk again.
    pub(crate) fn release(&self) {
        for (_, map) in &self.files {
            // SAFETY: nothing was ever written to the map, so that what is read again is the same.
            let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// The shape of one tensor.
    ///
    /// # Errors
    /// Where it is missing.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>, Error> {
        Ok(self.place(name)?.shape.clone())
    }

    fn place(&self, name: &str) -> Result<&Place, Error> {
        self.places.get(name).ok_or_else(|| {
            let message = format!("tensor {name} is missing from the safetensors files");
            Error::invalid(&self.directory, message)
        })
    }

    /// All tensors' names.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }

    /// One tensor's numbers as they are stored, row by row, little-endian: f32, f16 or bf16.
    ///
    /// # Errors
    /// Where it is missing, or of another shape or type.
    pub fn stored(&self, name: &str, shape: &[usize]) -> Result<(BlockType, &[u8]), Error> {
        let place = self.place(name)?;
        let (path, map) = &self.files[place.file];
        let fail = |message: String| Error::invalid(path, format!("tensor {name}: {message}"));
        if place.shape != shape {
            let found = &place.shape;
            return Err(fail(format!("expected shape {shape:?} from config.json, found {found:?}")));
        }
        let kind = match place.kind {
            Dtype::F32 => BlockType::F32,
            Dtype::BF16 => BlockType::Bf16,
            Dtype::F16 => BlockType::F16,
            other => return Err(fail(format!("expected F32, F16 or BF16, found {other:?}"))),
        };
        Ok((kind, &map[place.range.clone()]))
    }

    /// Reads one tensor as f32.
    ///
    /// # Errors
    /// As [`stored`](Self::stored).
    pub fn read(&self, name: &str, shape: &[usize], target: &mut [f32]) -> Result<(), Error> {
        let (kind, bytes) = self.stored(name, shape)?;
        // The shape was checked, and rows of plain numbers have no blocks to break.
        gguf::dequantize_row(kind, bytes, target)
            .map_err(|error| Error::invalid(&self.directory, format!("tensor {name}: {error}")))
    }
}

/// Which file each tensor is in.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::io(path, source))?;
    if let Some(message) = not_a_model(text.as_bytes()) {
        return Err(Error::invalid(path, message));
    }
    let wrong = |message: String| Error::invalid(path, message);
    let index: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| wrong(format!("not JSON: {error}; fetch it again")))?;
    let map = index.get("weight_map").and_then(|map| map.as_object()).filter(|map| !map.is_empty());
    let map = map.ok_or_else(|| wrong("weight_map: expected an object from tensor to file".to_owned()))?;
    let mut files = BTreeMap::new();
    for (tensor, file) in map {
        let name = file.as_str().filter(|name| is_inside(name)).ok_or_else(|| {
            let (tensor, found) = (quoted(tensor), quoted(&file.to_string()));
            wrong(format!("weight_map: tensor {tensor}: expected a file of this directory, found {found}"))
        })?;
        files.insert(tensor.clone(), name.to_owned());
    }
    Ok(files)
}

/// A model that somebody else made must not name files elsewhere.
fn is_inside(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_files_of_its_directory_only() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("model.safetensors.index.json");
        let names = |file: &str| {
            fs::write(&path, format!("{{\"weight_map\": {{\"a\": \"{file}\"}}}}")).expect("written");
            read_index(&path).map(|index| index.into_values().collect::<Vec<_>>())
        };
        assert_eq!(names("sub/a.safetensors").expect("a file"), ["sub/a.safetensors"]);
        for outside in ["/a.safetensors", "../a.safetensors", "sub/../../a.safetensors", ""] {
            let message = names(outside).expect_err("refused").to_string();
            assert!(message.contains("index.json: weight_map") && message.contains(outside), "{message}");
        }
    }

    #[test]
    fn an_index_says_where_each_tensor_is_and_leaves_none_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let tensor = |name: &str| (name.to_owned(), vec![2], &[1.0f32, 2.0][..]);
        save_tensors(&path("a.safetensors"), [tensor("a"), tensor("b")], Precision::F32).expect("written");
        save_tensors(&path("c.safetensors"), [tensor("c")], Precision::F32).expect("written");
        let open = |map: serde_json::Value| {
            let text = serde_json::json!({ "weight_map": map }).to_string();
            fs::write(path("model.safetensors.index.json"), text).expect("written");
            TensorFiles::open(directory.path())
                .map(|files| files.names().len())
                .map_err(|error| error.to_string())
        };
        let (a, c) = ("a.safetensors", "c.safetensors");
        assert_eq!(open(serde_json::json!({"a": a, "b": a, "c": c})), Ok(3));
        for (map, expected) in [
            (serde_json::json!({"a": a, "c": c}), "tensor b: it is in a file, but not in the index"),
            (
                serde_json::json!({"a": a, "b": c, "c": c}),
                "tensor b: expected in c.safetensors, which lacks it",
            ),
            (serde_json::json!({"a": a, "b": a, "c": c, "d": c}), "tensor d: expected in c.safetensors"),
            (
                serde_json::json!({"a": a, "b": 5, "c": c}),
                "tensor b: expected a file of this directory, found 5",
            ),
            (serde_json::json!({}), "weight_map: expected an object"),
        ] {
            let message = open(map).expect_err(expected);
            assert!(message.contains("index.json: weight_map: ") && message.contains(expected), "{message}");
        }
    }

    #[test]
    fn what_is_no_safetensors_file_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("model.safetensors");
        for (bytes, expected) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 269060542\n"[..],
                "Git LFS pointer",
            ),
            (b"<!DOCTYPE html><html></html>", "a page of the web"),
            (b"abc", "the file ends"),
        ] {
            fs::write(&path, bytes).expect("written");
            let message = TensorFiles::open_file(&path).map(drop).expect_err(expected).to_string();
            assert!(message.contains("model.safetensors: ") && message.contains(expected), "{message}");
        }
        let message =
            TensorFiles::open_file(directory.path()).map(drop).expect_err("a directory").to_string();
        assert!(message.contains("found a directory"), "{message}");
    }
}
