//! Memory of the GPU: buffers, and places in them.

use cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DeviceRepr, DriverError, PinnedHostSlice, ValidAsZeroBits, result,
};
use std::marker::PhantomData;

/// Memory of the GPU that belongs to one value here.
pub struct Buffer<T> {
    slice: CudaSlice<T>,
    address: Address<T>,
}

/// A place in the GPU's memory.
pub struct Address<T> {
    pub(crate) raw: u64,
    of: PhantomData<T>,
}

impl<T> Clone for Address<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Address<T> {}

impl<T> Address<T> {
    /// So many numbers further.
    pub fn offset(self, count: usize) -> Self {
        Address { raw: self.raw + (count * size_of::<T>()) as u64, of: PhantomData }
    }

    /// Nowhere: a kernel's argument that is left out.
    pub fn null() -> Self {
        Address { raw: 0, of: PhantomData }
    }
}

impl<T> Buffer<T> {
    /// Of memory that a stream's work uses.
    pub(crate) fn of(slice: CudaSlice<T>, stream: &CudaStream) -> Self {
        let (raw, _) = slice.device_ptr(stream);
        Buffer { address: Address { raw, of: PhantomData }, slice }
    }

    /// Where it begins.
    pub fn start(&self) -> Address<T> {
        self.address
    }

    /// A place inside.
    pub fn at(&self, offset: usize) -> Address<T> {
        debug_assert!(offset <= self.len());
        self.address.offset(offset)
    }

    /// Copies its first numbers to the host in the background; an event recorded afterwards says when.
    pub(crate) fn copy_to(&self, host: &mut PinnedHostSlice<T>, count: usize) -> Result<(), DriverError>
    where
        T: DeviceRepr + ValidAsZeroBits,
    {
        let stream = self.slice.stream();
        stream.context().bind_to_thread()?;
        let target = host.as_mut_ptr()?;
        // SAFETY: both hold at least `count` numbers, and pinned memory outlives the copy: who owns it
        // waits for the stream before letting go.
        unsafe {
            let target = std::slice::from_raw_parts_mut(target, count);
            result::memcpy_dtoh_async(target, self.address.raw, stream.cu_stream())
        }
    }

    /// Numbers that it holds.
    pub fn len(&self) -> usize {
        self.slice.len()
    }
}

// SAFETY: one pointer, as kernels expect it.
unsafe impl<T> DeviceRepr for Address<T> {}
