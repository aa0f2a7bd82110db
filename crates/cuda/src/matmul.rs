//! Matrix products by cuBLASLt: bf16 factors, f32 sums.
//!
//! Everything here is row-major like the rest of the project; cuBLAS is column-major, so it is asked
//! for the transposed product, whose factors lie in memory exactly as ours.

use crate::Error;
use crate::memory::View;
use cudarc::cublaslt::{result, result::CublasError, sys};
use cudarc::driver::{CudaStream, DevicePtr};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::Arc;

/// Where a product goes.
#[derive(Clone, Copy)]
pub enum Output<'a> {
    /// bf16 numbers, replaced.
    Bf16(View<'a, u16>),
    /// f32 numbers, replaced.
    F32(View<'a, f32>),
    /// f32 numbers, added to.
    AddF32(View<'a, f32>),
}

/// A product to compute: `out [rows, columns] = left [rows, depth] right [depth, columns]`, plus what is
/// named besides.
pub struct Product<'a> {
    /// Rows of the result.
    pub rows: usize,
    /// Columns of the result.
    pub columns: usize,
    /// What is summed over.
    pub depth: usize,
    /// Left factor, and whether it lies transposed (`[depth, rows]`) in memory.
    pub left: (View<'a, u16>, bool),
    /// Numbers from one row of the left factor in memory to the next.
    pub left_stride: usize,
    /// Right factor, and whether it lies transposed (`[columns, depth]`) in memory.
    pub right: (View<'a, u16>, bool),
    /// Numbers from one row of the right factor in memory to the next.
    pub right_stride: usize,
    /// Added to every row: `[columns]`.
    pub bias: Option<View<'a, u16>>,
    /// Added to a bf16 result: `[rows, columns]`.
    pub residual: Option<View<'a, u16>>,
    /// What the product of the factors is multiplied with.
    pub scale: f32,
    /// Where it goes.
    pub out: Output<'a>,
    /// Numbers from one row of the result to the next.
    pub out_stride: usize,
}

impl Product<'_> {
    /// Every factor and the result have as many numbers as the sizes say.
    ///
    /// # Panics
    /// If not.
    fn check(&self) {
        let (rows, columns, depth) = (self.rows, self.columns, self.depth);
        let check = |what: &str, len: usize, (lines, width): (usize, usize), stride: usize| {
            assert!(width <= stride, "{what}: rows of {width} numbers, {stride} apart");
            let needed = if lines == 0 { 0 } else { (lines - 1) * stride + width };
            assert!(needed <= len, "{what}: {lines} rows, {stride} apart, in {len} numbers");
        };
        let lines =
            |transposed: bool, rows, columns| if transposed { (columns, rows) } else { (rows, columns) };
        check("left factor", self.left.0.len(), lines(self.left.1, rows, depth), self.left_stride);
        check("right factor", self.right.0.len(), lines(self.right.1, depth, columns), self.right_stride);
        let out = match self.out {
            Output::Bf16(out) => out.len(),
            Output::F32(out) | Output::AddF32(out) => out.len(),
        };
        check("result", out, (rows, columns), self.out_stride);
        if let Some(bias) = self.bias {
            check("bias", bias.len(), (1, columns), columns);
        }
        if let Some(residual) = self.residual {
            check("residual", residual.len(), (rows, columns), self.out_stride);
        }
    }
}

/// What a prepared product depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    sizes: [usize; 6],
    transposed: (bool, bool),
    single: bool,
    bias: bool,
    adds: bool,
}

struct Prepared {
    description: sys::cublasLtMatmulDesc_t,
    left: sys::cublasLtMatrixLayout_t,
    right: sys::cublasLtMatrixLayout_t,
    out: sys::cublasLtMatrixLayout_t,
    algorithm: sys::cublasLtMatmulAlgo_t,
}

/// The library's handle, its workspace, and every product prepared so far.
pub struct Matmul {
    handle: sys::cublasLtHandle_t,
    stream: Arc<CudaStream>,
    workspace: cudarc::driver::CudaSlice<u8>,
    prepared: HashMap<Key, Prepared>,
}

// SAFETY: the handle and the descriptions are plain memory of the library, used by one thread at a time.
unsafe impl Send for Matmul {}

impl Matmul {
    /// For one stream; `major` is the GPU's generation.
    pub fn new(stream: &Arc<CudaStream>, major: i32) -> Result<Self, Error> {
        let handle = result::create_handle().map_err(|error| failed(&error))?;
        // NVIDIA's advice: 32 MiB from Hopper on, 4 MiB before.
        let bytes = if major >= 9 { 32 << 20 } else { 4 << 20 };
        // SAFETY: scratch memory of the library, which writes it before it reads it.
        let workspace = unsafe { stream.alloc::<u8>(bytes) }.map_err(Error::failed("reserving memory"))?;
        Ok(Matmul { handle, stream: stream.clone(), workspace, prepared: HashMap::new() })
    }

    /// Computes a product.
    ///
    /// # Panics
    /// If a factor or the result has fewer numbers than the sizes say.
    pub fn run(&mut self, product: &Product) -> Result<(), Error> {
        product.check();
        self.stream.context().bind_to_thread().map_err(Error::failed("multiplying matrices"))?;
        let key = Key::of(product);
        if !self.prepared.contains_key(&key) {
            let prepared = self.prepare(&key).map_err(|error| failed(&error))?;
            self.prepared.insert(key, prepared);
        }
        let prepared = &self.prepared[&key];
        let (out, adds) = match product.out {
            Output::Bf16(out) => (out.raw(), product.residual.is_some()),
            Output::F32(out) => (out.raw(), false),
            Output::AddF32(out) => (out.raw(), true),
        };
        let added = product.residual.map_or(out, |residual| residual.raw());
        let (alpha, beta) = (product.scale, if adds { 1.0f32 } else { 0.0 });
        let (workspace, _) = self.workspace.device_ptr(&self.stream);
        // SAFETY: the views have the sizes that the layouts say, as checked above, and lie in buffers that
        // are alive; alpha, beta and the bias's address are read before the calls return.
        let done = unsafe {
            if let Some(bias) = product.bias {
                set(
                    prepared.description,
                    sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                    &bias.raw(),
                )
                .map_err(|error| failed(&error))?;
            }
            result::matmul(
                self.handle,
                prepared.description,
                (&raw const alpha).cast(),
                (&raw const beta).cast(),
                product.right.0.raw() as *const c_void,
                prepared.left,
                product.left.0.raw() as *const c_void,
                prepared.right,
                added as *const c_void,
                prepared.out,
                out as *mut c_void,
                prepared.out,
                &raw const prepared.algorithm,
                workspace as *mut c_void,
                self.workspace.len(),
                self.stream.cu_stream().cast(),
            )
        };
        done.map_err(|error| failed(&error))
    }

    /// Describes a product to the library and asks it for its fastest way.
    fn prepare(&self, key: &Key) -> Result<Prepared, CublasError> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let [rows, columns, depth, left_stride, right_stride, out_stride] = key.sizes;
        let half = sys::cudaDataType_t::CUDA_R_16BF;
        let single = sys::cudaDataType_t::CUDA_R_32F;
        let description = result::create_matmul_desc(sys::cublasComputeType_t::CUBLAS_COMPUTE_32F, single)?;
        // In the library's eyes our rows are columns: its first factor is our right one, transposed
        // exactly where ours is, in its own terms.
        let layout = |transposed: bool, rows: usize, columns: usize, stride: usize| {
            let (height, width) = if transposed { (columns, rows) } else { (rows, columns) };
            result::create_matrix_layout(half, width as u64, height as u64, stride as i64)
        };
        let first = layout(key.transposed.1, depth, columns, right_stride)?;
        let second = layout(key.transposed.0, rows, depth, left_stride)?;
        let out_type = if key.single { single } else { half };
        let out = result::create_matrix_layout(out_type, columns as u64, rows as u64, out_stride as i64)?;
        // SAFETY: the objects were made above, and every attribute has the type that the library expects.
        unsafe {
            set(description, Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &i32::from(key.transposed.1))?;
            set(description, Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &i32::from(key.transposed.0))?;
            if key.bias {
                let epilogue = sys::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS;
                set(description, Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue)?;
            }
            let preference = result::create_matmul_pref()?;
            let bytes = self.workspace.len();
            result::set_matmul_pref_attribute(
                preference,
                sys::cublasLtMatmulPreferenceAttributes_t::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const bytes).cast(),
                size_of::<usize>(),
            )?;
            let found = result::get_matmul_algo_heuristic(
                self.handle,
                description,
                first,
                second,
                out,
                out,
                preference,
            );
            result::destroy_matmul_pref(preference)?;
            Ok(Prepared { description, left: first, right: second, out, algorithm: found?.algo })
        }
    }
}

/// # Safety
/// The value must be of the type that the attribute has.
unsafe fn set<T>(
    description: sys::cublasLtMatmulDesc_t,
    attribute: sys::cublasLtMatmulDescAttributes_t,
    value: &T,
) -> Result<(), CublasError> {
    // SAFETY: as promised by the caller.
    unsafe {
        result::set_matmul_desc_attribute(description, attribute, (&raw const *value).cast(), size_of::<T>())
    }
}

fn failed(error: &CublasError) -> Error {
    Error::Failed { doing: "multiplying matrices", message: format!("{:?}", error.0) }
}

impl Key {
    fn of(product: &Product) -> Self {
        Key {
            sizes: [
                product.rows,
                product.columns,
                product.depth,
                product.left_stride,
                product.right_stride,
                product.out_stride,
            ],
            transposed: (product.left.1, product.right.1),
            single: !matches!(product.out, Output::Bf16(_)),
            bias: product.bias.is_some(),
            adds: product.residual.is_some() || matches!(product.out, Output::AddF32(_)),
        }
    }
}
