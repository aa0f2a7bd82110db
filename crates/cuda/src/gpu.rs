//! One GPU: its context, its stream of work, its memory.

use crate::kernels::Kernels;
use crate::matmul::Matmul;
use crate::memory::{Buffer, View};
use crate::{Error, libraries};
use cudarc::driver::sys::CUdevice_attribute as Attribute;
use cudarc::driver::{CudaContext, CudaStream, DeviceRepr, DriverError, result, sys};
use std::sync::{Arc, Mutex};
use transformer::Config;

/// The oldest driver that the bindings call nothing unknown of, as the driver counts: 1000 major + 10 minor.
const OLDEST_DRIVER: i32 = 12_000;

/// The oldest driver whose graphs take kernels that overlap.
const OVERLAPPING_DRIVER: i32 = 12_030;

/// A GPU that is ready for work. All work goes to one stream, in order.
pub struct Gpu {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    matmul: Mutex<Matmul>,
    name: String,
    ordinal: usize,
    capability: (i32, i32),
    overlaps: bool,
}

impl Gpu {
    /// The GPU of this number, counted from 0.
    ///
    /// # Errors
    /// Says what is missing: driver, GPU, library; or too old.
    pub fn open(ordinal: usize) -> Result<Arc<Self>, Error> {
        libraries::require_driver()?;
        let count = match result::init().and_then(|()| result::device::get_count()) {
            Ok(count) => count as usize,
            Err(DriverError(sys::cudaError_enum::CUDA_ERROR_NO_DEVICE)) => 0,
            Err(error) => return Err(Error::failed("starting the driver")(error)),
        };
        if ordinal >= count {
            return Err(Error::NoDevice { ordinal, count });
        }
        let driver = check_driver()?;
        let opening = Error::failed("opening the GPU");
        let context = CudaContext::new(ordinal).map_err(&opening)?;
        let name = context.name().map_err(&opening)?;
        let capability = context.compute_capability().map_err(&opening)?;
        if capability.0 < 8 {
            return Err(Error::OldDevice { name, major: capability.0, minor: capability.1 });
        }
        libraries::require_toolkit()?;
        // SAFETY: all work goes to one stream, in order, so there is nothing to track between streams.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(&opening)?;
        keep_pool(&context).map_err(&opening)?;
        let matmul = Mutex::new(Matmul::new(&stream, capability.0)?);
        let overlaps = capability.0 >= 9 && driver >= OVERLAPPING_DRIVER;
        Ok(Arc::new(Gpu { context, stream, matmul, name, ordinal, capability, overlaps }))
    }

    /// How many GPUs the driver finds; 0 where there is no driver.
    pub fn count() -> usize {
        let counted = libraries::require_driver().ok().and_then(|()| {
            let count = result::init().and_then(|()| result::device::get_count());
            count.ok()
        });
        counted.unwrap_or(0) as usize
    }

    /// Its name, as the driver says it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// Multiprocessors.
    pub(crate) fn multiprocessors(&self) -> usize {
        let found = self.context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
        found.map_or(1, |count| count.max(1) as usize)
    }

    /// Whether a kernel can start while the one before it ends, in graphs too.
    pub(crate) fn overlaps(&self) -> bool {
        self.overlaps
    }

    /// What kernels are compiled for, as `sm_90`.
    pub(crate) fn architecture(&self) -> String {
        format!("sm_{}{}", self.capability.0, self.capability.1)
    }

    /// Bytes of its memory: free, all.
    ///
    /// # Errors
    /// Where the driver fails.
    pub fn memory(&self) -> Result<(usize, usize), Error> {
        let failed = Error::failed("asking for its memory");
        // What was given back lies in the driver's pool until it is told to let go.
        self.synchronize()?;
        // SAFETY: the pool is the GPU's own, and nothing of it is in use that is not allocated.
        unsafe {
            let pool = result::device::get_default_mem_pool(self.context.cu_device()).map_err(&failed)?;
            sys::cuMemPoolTrimTo(pool, 0).result().map_err(&failed)?;
        }
        self.context.mem_get_info().map_err(&failed)
    }

    pub(crate) fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    pub(crate) fn matmul(&self) -> std::sync::MutexGuard<'_, Matmul> {
        self.matmul.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The kernels for a model's shape.
    pub(crate) fn kernels(&self, config: &Config) -> Result<Kernels, Error> {
        Kernels::load(self, config)
    }

    /// Memory whose content is undefined until it is written.
    pub(crate) fn allocate<T: DeviceRepr>(&self, count: usize, what: &str) -> Result<Buffer<T>, Error> {
        let count = count.max(1);
        // SAFETY: every user writes a buffer before it reads it; the tests fill them with what is not a number.
        let slice = unsafe { self.stream.alloc::<T>(count) }.map_err(|error| match error {
            DriverError(sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY) => Error::OutOfMemory {
                what: what.to_owned(),
                wanted: count * size_of::<T>(),
                free: self.memory().map_or(0, |(free, _)| free),
                advice: "take a smaller batch or model, or free the GPU of other work".to_owned(),
            },
            other => Error::failed("reserving memory")(other),
        })?;
        Ok(Buffer::of(slice, &self.stream))
    }

    /// Memory that is all zero bits.
    pub(crate) fn zeros<T: DeviceRepr>(&self, count: usize, what: &str) -> Result<Buffer<T>, Error> {
        let buffer = self.allocate(count, what)?;
        self.clear(buffer.view())?;
        Ok(buffer)
    }

    /// Makes room for at least so many numbers; what was there is lost where it must grow.
    pub(crate) fn grow<'a, T: DeviceRepr>(
        &self,
        buffer: &'a mut Option<Buffer<T>>,
        count: usize,
        what: &str,
    ) -> Result<&'a Buffer<T>, Error> {
        // One that is too small goes first: there may be no room for both.
        let grown = match buffer.take().filter(|buffer| buffer.len() >= count) {
            Some(large) => large,
            None => self.allocate(count, what)?,
        };
        Ok(buffer.insert(grown))
    }

    /// Zero bits everywhere.
    pub(crate) fn clear<T>(&self, view: View<T>) -> Result<(), Error> {
        self.context.bind_to_thread().map_err(Error::failed("clearing memory"))?;
        let bytes = view.len() * size_of::<T>();
        // SAFETY: a view's numbers lie in a buffer that is alive.
        let done = unsafe { result::memset_d8_async(view.raw(), 0, bytes, self.stream.cu_stream()) };
        done.map_err(Error::failed("clearing memory"))
    }

    /// Copies numbers within the GPU, between places that do not overlap.
    pub(crate) fn copy<T>(&self, from: View<T>, to: View<T>) -> Result<(), Error> {
        let to = to.first(from.len());
        self.context.bind_to_thread().map_err(Error::failed("copying within it"))?;
        let bytes = from.len() * size_of::<T>();
        // SAFETY: both places have as many numbers.
        let done = unsafe { result::memcpy_dtod_async(to.raw(), from.raw(), bytes, self.stream.cu_stream()) };
        done.map_err(Error::failed("copying within it"))
    }

    /// Copies numbers to the GPU, to the beginning of a view.
    pub(crate) fn write<T>(&self, to: View<T>, numbers: &[T]) -> Result<(), Error> {
        let to = to.first(numbers.len());
        if numbers.is_empty() {
            return Ok(());
        }
        self.context.bind_to_thread().map_err(Error::failed("copying to it"))?;
        // SAFETY: the target has room for the numbers; memory that is not pinned is staged before this returns.
        let done = unsafe { result::memcpy_htod_async(to.raw(), numbers, self.stream.cu_stream()) };
        done.map_err(Error::failed("copying to it"))
    }

    /// A buffer with these numbers.
    pub(crate) fn upload<T: DeviceRepr>(&self, numbers: &[T], what: &str) -> Result<Buffer<T>, Error> {
        let buffer = self.allocate(numbers.len(), what)?;
        self.write(buffer.view(), numbers)?;
        Ok(buffer)
    }

    /// Copies numbers from the GPU, once all work before is done.
    pub(crate) fn read<T: Default + Clone>(&self, from: View<T>) -> Result<Vec<T>, Error> {
        let mut numbers = vec![T::default(); from.len()];
        self.read_into(from, &mut numbers)?;
        Ok(numbers)
    }

    /// As [`read`](Self::read), the first ones, into a slice.
    pub(crate) fn read_into<T>(&self, from: View<T>, numbers: &mut [T]) -> Result<(), Error> {
        let from = from.first(numbers.len());
        if numbers.is_empty() {
            return Ok(());
        }
        self.context.bind_to_thread().map_err(Error::failed("copying from it"))?;
        // SAFETY: the source holds that many numbers, and the wait below comes before anybody reads them.
        let done = unsafe { result::memcpy_dtoh_async(numbers, from.raw(), self.stream.cu_stream()) };
        done.map_err(Error::failed("copying from it"))?;
        self.synchronize()
    }

    /// Waits until all work is done.
    pub(crate) fn synchronize(&self) -> Result<(), Error> {
        self.stream.synchronize().map_err(Error::failed("working"))
    }
}

/// The driver's version, if it is new enough.
fn check_driver() -> Result<i32, Error> {
    let mut version = 0;
    // SAFETY: writes one integer.
    let found = unsafe { sys::cuDriverGetVersion(&mut version) };
    if found != sys::cudaError_enum::CUDA_SUCCESS || version < OLDEST_DRIVER {
        let found = format!("{}.{}", version / 1000, version % 1000 / 10);
        return Err(Error::OldDriver { found, needed: "12.0" });
    }
    Ok(version)
}

/// Lets the driver keep memory that was given back, for the next who asks: giving it back to the system
/// at every wait would cost more than the work between.
fn keep_pool(context: &CudaContext) -> Result<(), DriverError> {
    let mut threshold = u64::MAX;
    // SAFETY: the pool is the GPU's own, and the attribute is one 64-bit number.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut threshold).cast()).result()
    }
}
