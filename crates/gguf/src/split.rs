//! Models split into several files: `NAME-00001-of-00003.gguf` and so on.
//!
//! Each part is a complete GGUF file with its share of the tensors; the first has the model's
//! metadata. Source: llama.cpp's `gguf-split`.

use crate::error::Fault;
use crate::{Error, Metadata, Problem, Value};
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
    /// The part that a file's metadata declares; part 0 of 1 if the model is not split.
    pub(crate) fn of(metadata: &Metadata) -> Result<Self, Error> {
        let count = metadata.optional("split.count")?.unwrap_or(1);
        if count <= 1 {
            return Ok(PartNumber { number: 0, count: 1 });
        }
        let number = metadata.u32("split.no")?;
        if number >= count {
            let found = Value::U32(number).describe();
            return Err(metadata
                .error("split.no", Problem::UnexpectedValue { found, expected: "less than `split.count`" }));
        }
        Ok(PartNumber { number, count })
    }

    /// The end of the part's file name, where parts are counted from 1.
    fn suffix(self) -> String {
        format!("-{:05}-of-{:05}.gguf", u64::from(self.number) + 1, self.count)
    }

    /// The path of part `number`, given this part's path.
    pub(crate) fn sibling(self, path: &Path, number: u32) -> Result<PathBuf, Error> {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(stem) = name.and_then(|name| name.strip_suffix(&self.suffix())) else {
            let PartNumber { number, count } = self;
            return Err(Fault::from(Problem::PartName { number, count }).of(path));
        };
        Ok(path.with_file_name(format!("{stem}{}", PartNumber { number, ..self }.suffix())))
    }

    /// Checks that a file's metadata declares this part.
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
