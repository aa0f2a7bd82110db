//! Problem sets: readers, prompts and the built-in set.
//!
//! - [`sets::load`] reads MBPP (either edition), HumanEval, or a file of our own records, from a
//!   path or by name through the Hugging Face Hub (crate `hub`).
//! - [`doctests`] makes problems of the documented functions of a Python package.
//! - [`prompt`] turns what a problem shows into what a generator continues.
//! - [`samples`] reads files of candidates.
//! - [`entry_point`] finds the function that tests are about.
//! - [`basics`] makes problems from a seed.
//!
//! ```
//! use problems::prompt::{PromptTests, comment_prompt};
//!
//! let tests = vec!["assert add(1, 2) == 3".to_owned()];
//! let problem = problems::sets::problem_of_tests("question", "Add two numbers.", tests);
//! assert_eq!(problem.shown.name, "add");
//! let prompt = comment_prompt(&problem.shown, PromptTests::Visible);
//! assert_eq!(prompt, "# Add two numbers.\n# assert add(1, 2) == 3\n");
//! ```

pub mod basics;
mod datasets;
mod doctest;
pub mod doctests;
pub mod entry_point;
mod evalplus;
mod fields;
pub mod kept_out;
mod own;
pub mod prompt;
pub mod samples;
pub mod sets;
