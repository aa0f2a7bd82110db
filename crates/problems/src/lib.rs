//! Problem sets: readers, prompts, code extraction and the built-in set.
pub mod basics;
pub mod extract;
pub mod prompt;
