//! The transformer on NVIDIA GPUs.
//!
//! Nothing of CUDA is needed to build this: the driver, cuBLASLt and NVRTC are found at run time, and
//! the [kernels](kernels) are compiled from source for the GPU at hand at first use, then kept in the
//! user's cache. Weights and activations are bf16, sums are f32; training keeps f32 masters.
//!
//! - [`Gpu::open`] finds a GPU, or says why there is none.
//! - [`network`] is a model on the GPU; its passes are those of `transformer::pass`.
//! - [`decode`] samples many sequences at once over a KV cache in pages; samples of one prompt share
//!   the prompt's pages.
//! - [`reader`] predicts; [`learner`] trains: gradients, AdamW, recomputed activations.
//! - [`Communicator`] joins several GPUs that train one model together.
//!
//! ```no_run
//! use transformer::{Checkpoint, device::Device};
//!
//! let cuda = cuda::Cuda::open(0)?;
//! println!("{}", cuda.describe());
//! let mut reader = cuda.open(&Checkpoint::open("models/basics".as_ref())?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adapters;
mod adjusting;
mod collective;
pub mod decode;
mod device;
mod gpu;
pub mod kernels;
pub mod learner;
mod libraries;
mod linear;
mod masters;
mod matmul;
mod memory;
pub mod network;
mod operations;
mod ops;
mod pages;
pub mod reader;
mod sampler;
mod tiles;
mod weights;

pub use collective::{Communicator, Meeting};
pub use device::Cuda;
pub use gpu::Gpu;

/// Why a GPU cannot be used, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine has no NVIDIA driver.
    #[error("no NVIDIA driver: libcuda.so.1 is not found; install the driver, or use --device cpu")]
    NoDriver,
    /// The driver finds no such GPU.
    #[error("no GPU number {ordinal}: the driver finds {count}; choose one below that, or use --device cpu")]
    NoDevice {
        /// The number asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// The driver is older than what the bindings need.
    #[error("the NVIDIA driver supports CUDA {found}, at least {needed} is needed: install a newer driver")]
    OldDriver {
        /// What the driver supports.
        found: String,
        /// What is needed.
        needed: &'static str,
    },
    /// The GPU cannot multiply bf16 matrices.
    #[error(
        "{name} has compute capability {major}.{minor}; bf16 needs 8.0 (Ampere) or later: use --device cpu"
    )]
    OldDevice {
        /// The GPU.
        name: String,
        /// Of its compute capability.
        major: i32,
        /// Of its compute capability.
        minor: i32,
    },
    /// A library of the toolkit is missing.
    #[error(
        "{library} ({file}) is not found; install the CUDA toolkit, or `pip install {package}` and set \
         NCOMP_CUDA_LIBRARIES to its folder"
    )]
    MissingLibrary {
        /// Its name.
        library: &'static str,
        /// The Python package that brings it.
        package: &'static str,
        /// The file that is looked for.
        file: &'static str,
    },
    /// The kernels do not compile: a defect of this crate, or of the compiler.
    #[error("the kernels do not compile for {architecture}:\n{log}")]
    Compile {
        /// What they were compiled for.
        architecture: String,
        /// What the compiler says.
        log: String,
    },
    /// The model's shape is not one that the kernels can run.
    #[error("the model cannot run on the GPU: {0}; use --device cpu")]
    Shape(String),
    /// A batch holds a token that the model does not have.
    #[error(
        "token {token} is not below the vocabulary's size, {vocabulary}; is the tokenizer another model's?"
    )]
    Token {
        /// The token.
        token: u32,
        /// How many there are.
        vocabulary: usize,
    },
    /// The GPU's memory does not suffice.
    #[error(
        "out of GPU memory: {what} needs {:.1} GiB, {:.1} GiB are free; {advice}",
        *wanted as f64 / GIB, *free as f64 / GIB
    )]
    OutOfMemory {
        /// What was to be stored.
        what: String,
        /// Its bytes.
        wanted: usize,
        /// Bytes that are free.
        free: usize,
        /// What may help.
        advice: String,
    },
    /// A library reports an error; after most of these the GPU's state is lost.
    #[error("the GPU failed while {doing}: {message}; what was saved last is intact, go on from it")]
    Failed {
        /// What was under way.
        doing: &'static str,
        /// The library's word.
        message: String,
    },
}

const GIB: f64 = (1u64 << 30) as f64;

impl Error {
    fn failed(doing: &'static str) -> impl Fn(cudarc::driver::DriverError) -> Error {
        move |error| Error::Failed { doing, message: describe(&error) }
    }
}

fn describe(error: &cudarc::driver::DriverError) -> String {
    let text = |found: Result<&std::ffi::CStr, _>| found.ok().map(|text| text.to_string_lossy().into_owned());
    match (text(error.error_name()), text(error.error_string())) {
        (Some(name), Some(meaning)) => format!("{name} ({meaning})"),
        _ => format!("{error:?}"),
    }
}

impl From<Error> for transformer::Error {
    fn from(error: Error) -> Self {
        transformer::Error::Device { message: error.to_string() }
    }
}
