//! Models split into several files: `NAME-00001-of-00003.gguf` and so on.
//!
//! Each part is a whole GGUF file with tensors of its own; the first has all metadata. Keys say which
//! part it is. Source: llama.cpp's `gguf-split`.

use crate::error::Fault;
use crate::{Error, Metadata, Problem};
use std::path::{Path, PathBuf};

/// Which part of a split model a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartNumber {
    /// Counted from 0.
    pub(crate) number: u32,
    /// How many parts there are.
    pub(crate) count: u32,
}

impl PartNumber {
    /// What the metadata says; a file that is not split is the only part.
    pub(crate) fn of(metadata: &Metadata) -> Result<Self, Error> {
        match metadata.optional("split.count")? {
            Some(count) if count > 1 => Ok(PartNumber { number: metadata.u32("split.no")?, count }),
            _ => Ok(PartNumber { number: 0, count: 1 }),
        }
    }

    /// How the name of a part ends; its number in names is counted from 1.
    fn suffix(self) -> String {
        format!("-{:05}-of-{:05}.gguf", u64::from(self.number) + 1, self.count)
    }

    /// The path of another part beside this one.
    pub(crate) fn sibling(self, path: &Path, number: u32) -> Result<PathBuf, Error> {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(stem) = name.and_then(|name| name.strip_suffix(&self.suffix())) else {
            let PartNumber { number, count } = self;
            return Err(Fault::from(Problem::PartName { number, count }).of(path));
        };
        Ok(path.with_file_name(format!("{stem}{}", PartNumber { number, ..self }.suffix())))
    }

    /// Errs unless the metadata of a part says that it is this one.
    pub(crate) fn check(self, metadata: &Metadata, path: &Path) -> Result<(), Error> {
        let found = PartNumber::of(metadata)?;
        if found == self {
            return Ok(());
        }
        let PartNumber { number, count } = self;
        let (found_number, found_count) = (found.number, found.count);
        let problem = Problem::PartMismatch { number, count, found_number, found_count };
        Err(Fault::from(problem).of(path))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_by_number() {
        let part = PartNumber { number: 1, count: 3 };
        let path = Path::new("/models/m-00002-of-00003.gguf");
        assert_eq!(part.sibling(path, 2).unwrap(), Path::new("/models/m-00003-of-00003.gguf"));
        let error = part.sibling(Path::new("m.gguf"), 2).unwrap_err().to_string();
        assert!(error.contains("m.gguf: part 2 of 3") && error.contains("-00002-of-00003.gguf"), "{error}");
    }
}
