//! Compiles the kernels for the GPU and the model's shape, and keeps what was compiled.
//!
//! The sources in `kernels/` are part of the binary. What NVRTC makes of them is kept in the user's
//! cache folder under a name made of everything that it depends on.

use crate::{Error, Gpu, libraries};
use cudarc::driver::sys::{
    CUfunction_attribute, CUlaunchAttribute, CUlaunchAttributeID, CUlaunchAttributeValue, CUlaunchConfig,
    cuLaunchKernelEx,
};
use cudarc::driver::{CudaFunction, DriverError};
use cudarc::nvrtc::{Ptx, result as nvrtc, sys};
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use transformer::Config;

/// Positions in a page of the KV cache.
pub const PAGE: usize = 32;
/// Widest head that the kernels hold in registers.
const WIDEST_HEAD: usize = 128;

const SOURCES: &[(&str, &str)] = &[
    ("common.cuh", include_str!("kernels/common.cuh")),
    ("elementwise.cu", include_str!("kernels/elementwise.cu")),
    ("norm.cu", include_str!("kernels/norm.cu")),
    ("optimizer.cu", include_str!("kernels/optimizer.cu")),
    ("loss.cu", include_str!("kernels/loss.cu")),
    ("attention.cu", include_str!("kernels/attention.cu")),
    ("cache.cu", include_str!("kernels/cache.cu")),
    ("sampling.cu", include_str!("kernels/sampling.cu")),
    ("skinny.cu", include_str!("kernels/skinny.cu")),
];

const NAMES: &[&str] = &[
    "embed",
    "embed_backward",
    "rotate",
    "swiglu",
    "swiglu_backward",
    "gather",
    "scatter_add",
    "widen",
    "narrow",
    "column_sums",
    "add_partials",
    "rms_norm",
    "rms_norm_backward",
    "head_norms",
    "head_norms_backward",
    "square_sums",
    "adamw",
    "fill_normal",
    "predict",
    "loss_gradient",
    "attention_forward",
    "attention_delta",
    "attention_backward_keys",
    "attention_backward_queries",
    "store_prompt",
    "attend_cache",
    "draw",
    "count_tokens",
    "gate_up_swiglu",
];

/// Those that take more shared memory than a block gets without asking.
const WITH_MUCH_SHARED_MEMORY: [&str; 4] =
    ["attention_forward", "attention_backward_keys", "attention_backward_queries", "gate_up_swiglu"];

/// Those that wait by themselves for what the kernels before them write (`take_over`).
const OVERLAPPING: [&str; 7] =
    ["embed", "rms_norm", "head_norms", "attend_cache", "swiglu", "gate_up_swiglu", "draw"];

/// What of a model's shape the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Width of a head.
    pub head_dim: usize,
    /// Query heads that share a key head.
    pub group: usize,
}

impl Shape {
    /// A model's, if the kernels can run it.
    ///
    /// # Errors
    /// Names the field of `config.json` that they cannot run.
    pub fn of(config: &Config) -> Result<Self, Error> {
        let group = config.num_attention_heads / config.num_key_value_heads;
        if config.head_dim > WIDEST_HEAD {
            return Err(Error::Shape(format!(
                "head_dim is {}, at most {WIDEST_HEAD} is possible",
                config.head_dim
            )));
        }
        if group > 16 {
            return Err(Error::Shape(format!("{group} query heads share a key head, at most 16 can")));
        }
        let widths = [
            ("head_dim", config.head_dim),
            ("hidden_size", config.hidden_size),
            ("intermediate_size", config.intermediate_size),
        ];
        for (name, width) in widths {
            if !width.is_multiple_of(8) {
                return Err(Error::Shape(format!("{name} is {width}, which is no multiple of 8")));
            }
        }
        if config.hidden_size > 8192 {
            return Err(Error::Shape(format!(
                "hidden_size is {}, at most 8192 is possible",
                config.hidden_size
            )));
        }
        Ok(Shape { head_dim: config.head_dim, group })
    }

    /// Width of a head in the KV cache.
    pub fn cache_dim(&self) -> usize {
        self.head_dim.next_multiple_of(32)
    }

    /// Width of a head on the matrix units.
    fn padded(&self) -> usize {
        self.head_dim.next_multiple_of(16)
    }

    /// Numbers from one row of a head to the next in shared memory.
    pub(crate) fn stride(&self) -> usize {
        self.padded() + 8
    }

    fn options(&self, architecture: &str) -> Vec<String> {
        vec![
            format!("--gpu-architecture={architecture}"),
            "--std=c++17".to_owned(),
            format!("-DHEAD_DIM={}", self.head_dim),
            format!("-DHEAD_PAD={}", self.padded()),
            format!("-DCACHE_DIM={}", self.cache_dim()),
            format!("-DGROUP={}", self.group),
            format!("-DPAGE={PAGE}"),
        ]
    }
}

/// Compiles all kernels for an architecture (as `sm_90`) and a shape. Needs NVRTC, no GPU.
///
/// # Errors
/// Where NVRTC is missing, or does not take the source.
pub fn compile(shape: Shape, architecture: &str) -> Result<Vec<u8>, Error> {
    libraries::require_compiler()?;
    let source: Vec<String> =
        SOURCES.iter().map(|(name, text)| format!("#line 1 \"{name}\"\n{text}\n")).collect();
    let failed = |log: String| Error::Compile { architecture: architecture.to_owned(), log };
    let code = |error: nvrtc::NvrtcError| failed(format!("{:?}", error.0));
    let source = CString::new(source.concat()).map_err(|error| failed(error.to_string()))?;
    let program = nvrtc::create_program(&source, None).map_err(code)?;
    // SAFETY: the program is alive until it is destroyed below; the buffer has the size that NVRTC asks for.
    unsafe {
        let compiled = nvrtc::compile_program(program, &shape.options(architecture));
        let found = compiled.map_err(|_| {
            let log = nvrtc::get_program_log(program).unwrap_or_default();
            failed(log.iter().map(|&byte| byte as u8 as char).filter(|&letter| letter != '\0').collect())
        });
        let binary = found.and_then(|()| {
            let mut size = 0;
            sys::nvrtcGetCUBINSize(program, &mut size).result().map_err(code)?;
            let mut binary = vec![0u8; size];
            sys::nvrtcGetCUBIN(program, binary.as_mut_ptr().cast()).result().map_err(code)?;
            Ok(binary)
        });
        // Nothing can be done about a program that does not go away.
        let _ = nvrtc::destroy_program(program);
        binary
    }
}

/// Compiled kernels, by name.
pub struct Kernels {
    functions: HashMap<&'static str, CudaFunction>,
    /// What they are compiled for.
    pub shape: Shape,
}

impl Kernels {
    pub(crate) fn load(gpu: &Gpu, config: &Config) -> Result<Self, Error> {
        let shape = Shape::of(config)?;
        let path = cached(shape, &gpu.architecture());
        let kept = path.as_ref().and_then(|path| std::fs::read(path).ok());
        let loaded = kept.and_then(|binary| gpu.context().load_module(Ptx::from_binary(binary)).ok());
        let module = match loaded {
            Some(module) => module,
            None => {
                let binary = compile(shape, &gpu.architecture())?;
                if let Some(path) = path {
                    keep(&path, &binary);
                }
                gpu.context()
                    .load_module(Ptx::from_binary(binary))
                    .map_err(Error::failed("loading kernels"))?
            }
        };
        let mut functions = HashMap::new();
        for &name in NAMES {
            let function = module.load_function(name).map_err(Error::failed("loading kernels"))?;
            functions.insert(name, function);
        }
        let kernels = Kernels { functions, shape };
        for name in WITH_MUCH_SHARED_MEMORY {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = kernels.shared_bytes(name) as i32;
            let set = kernels.functions[name].set_attribute(attribute, bytes);
            set.map_err(Error::failed("asking for shared memory"))?;
        }
        Ok(kernels)
    }

    /// Shared memory of kernels as their source lays it out: rows of queries, keys and values.
    fn shared_bytes(&self, name: &str) -> u32 {
        let (rows, floats) = match name {
            "attention_forward" => (64 + 4 * 64, 0),
            "attention_backward_keys" => (2 * 64 + 4 * 32, 4 * 32),
            "attention_backward_queries" => (2 * 64 + 4 * 32, 0),
            // Four stages of 128 rows of the matrix and 64 of x, 64 numbers each.
            "gate_up_swiglu" => return 4 * (128 + 64) * 64 * 2,
            _ => (0, 0),
        };
        (rows * self.shape.stride() * 2 + floats * 4) as u32
    }

    /// Puts a kernel behind all work of the GPU's stream.
    ///
    /// # Safety
    /// The arguments point to what the kernel of this name takes; addresses among them are of memory that
    /// is alive and as large as the kernel touches.
    pub(crate) unsafe fn launch(
        &self,
        gpu: &Gpu,
        name: &str,
        grid: (usize, usize),
        threads: usize,
        arguments: &mut [*mut c_void],
    ) -> Result<(), DriverError> {
        gpu.context().bind_to_thread()?;
        let overlap = CUlaunchAttribute {
            id: CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let mut attributes = [overlap];
        let overlaps = gpu.overlaps() && OVERLAPPING.contains(&name);
        let config = CUlaunchConfig {
            gridDimX: grid.0 as u32,
            gridDimY: grid.1 as u32,
            gridDimZ: 1,
            blockDimX: threads as u32,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: self.shared_bytes(name),
            hStream: gpu.stream().cu_stream(),
            attrs: attributes.as_mut_ptr(),
            numAttrs: u32::from(overlaps),
        };
        let function = self.functions[name].cu_function();
        // SAFETY: as promised by the caller; the configuration and its attribute live until the call returns.
        unsafe { cuLaunchKernelEx(&raw const config, function, arguments.as_mut_ptr(), null_mut()) }.result()
    }
}

/// Where compiled kernels are kept: named by a hash of the sources and of the options.
fn cached(shape: Shape, architecture: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let folder = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home)?;
    let options = shape.options(architecture).join(" ");
    let bytes = SOURCES.iter().flat_map(|(_, text)| text.bytes()).chain(options.bytes());
    // FNV-1a.
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    Some(folder.join("ncomp").join("kernels").join(format!("{architecture}-{hash:016x}.cubin")))
}

/// Keeps what was compiled, if that is possible; the next start compiles again otherwise.
fn keep(path: &Path, binary: &[u8]) {
    let _ = files::write(path, binary);
}
