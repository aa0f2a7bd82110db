//! Tensors of Hugging Face directories: safetensors, whole or sharded with an index.

use crate::Error;
use crate::model::Model;
use gguf::BlockType;
use half::bf16;
use memmap2::{Mmap, UncheckedAdvice};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
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

/// Bytes of the number that a safetensors file begins with: its header's length.
const LENGTH_BYTES: usize = 8;

impl TensorFiles {
    /// Opens `model.safetensors`, or the shards of `model.safetensors.index.json`.
    ///
    /// # Errors
    /// Where a file is missing, cut off or damaged.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let index_path = directory.join("model.safetensors.index.json");
        let names = if index_path.exists() {
            shard_names(&index_path)?
        } else {
            vec!["model.safetensors".to_owned()]
        };
        Self::open_all(directory, names.into_iter().map(|name| directory.join(name)))
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
            // SAFETY: the map is read only; a file changed by others while it is read can give
            // wrong numbers, which reading into memory would not prevent either.
            let map = unsafe { Mmap::map(&file) }.map_err(|source| Error::io(&path, source))?;
            let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|error| {
                Error::invalid(&path, format!("not a whole safetensors file ({error}); fetch it again"))
            })?;
            let start = LENGTH_BYTES + header;
            for (name, info) in metadata.tensors() {
                let range = start + info.data_offsets.0..start + info.data_offsets.1;
                let (file, kind, shape) = (opened.files.len(), info.dtype, info.shape.clone());
                opened.places.insert(name, Place { file, kind, shape, range });
            }
            opened.files.push((path, map));
        }
        Ok(opened)
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

fn shard_names(index_path: &Path) -> Result<Vec<String>, Error> {
    let text = fs::read_to_string(index_path).map_err(|source| Error::io(index_path, source))?;
    let index: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| Error::invalid(index_path, format!("not JSON: {error}")))?;
    let map = index
        .get("weight_map")
        .and_then(|map| map.as_object())
        .ok_or_else(|| Error::invalid(index_path, "weight_map: expected an object from tensor to file"))?;
    let mut names: Vec<String> = map.values().filter_map(|v| v.as_str()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    // A model that somebody else made must not name files elsewhere.
    let is_inside = |name: &String| {
        !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
    };
    match names.iter().find(|name| !is_inside(name)) {
        Some(name) => {
            let message = format!("weight_map: expected files of this directory, found '{name}'");
            Err(Error::invalid(index_path, message))
        }
        None => Ok(names),
    }
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
            shard_names(&path)
        };
        assert_eq!(names("sub/a.safetensors").expect("a file"), ["sub/a.safetensors"]);
        for outside in ["/a.safetensors", "../a.safetensors", "sub/../../a.safetensors", ""] {
            let message = names(outside).expect_err("refused").to_string();
            assert!(message.contains("index.json: weight_map") && message.contains(outside), "{message}");
        }
    }
}
