//! Problem sets: readers, prompts, code extraction and the built-in set.
//!
//! - [`sets::load`] reads MBPP (either edition), HumanEval, or a file of our own records, from a
//!   path or by name through the Hugging Face Hub ([`hub`]).
//! - [`prompt`] turns a problem into what a generator continues.
//! - [`extract`] finds the program in a completion.
//! - [`basics`] makes problems from a seed.
//!
//! ```
//! let code = problems::extract::extract_code("Sure!\n```python\ndef f(x):\n    return x\n```\nDone.", "f");
//! assert_eq!(code, "def f(x):\n    return x\n");
//! ```

pub mod basics;
pub mod extract;
pub mod hub;
pub mod prompt;
pub mod sets;
