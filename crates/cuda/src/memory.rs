//! Memory of the GPU: buffers, and views of them.

use cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DeviceRepr, DriverError, PinnedHostSlice, ValidAsZeroBits, result,
};
use std::marker::PhantomData;
use std::ops::Range;

/// Memory of the GPU that belongs to one value here.
pub struct Buffer<T> {
    slice: CudaSlice<T>,
    raw: u64,
}

/// Some neighbouring numbers of a buffer, which outlives them. Whoever has a view may have them written:
/// all work is done in one order, so that nobody sees a change that was asked for later.
pub struct View<'a, T> {
    raw: u64,
    len: usize,
    of: PhantomData<&'a T>,
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<T> View<'_, T> {
    /// Numbers that it covers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The GPU's address of the first, for calls of its libraries: as many numbers as this is long lie
    /// there.
    pub(crate) fn raw(&self) -> u64 {
        self.raw
    }

    /// Some of them.
    ///
    /// # Panics
    /// If it has not so many.
    pub fn part(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {} numbers", self.len);
        View { raw: self.raw + (range.start * size_of::<T>()) as u64, len: range.len(), of: PhantomData }
    }

    /// The first ones.
    ///
    /// # Panics
    /// If it has not so many.
    pub fn first(self, count: usize) -> Self {
        self.part(0..count)
    }

    /// All but the first ones.
    ///
    /// # Panics
    /// If it has not so many.
    pub fn after(self, count: usize) -> Self {
        self.part(count..self.len)
    }
}

impl<T> Buffer<T> {
    /// Of memory that a stream's work uses.
    pub(crate) fn of(slice: CudaSlice<T>, stream: &CudaStream) -> Self {
        let (raw, _) = slice.device_ptr(stream);
        Buffer { raw, slice }
    }

    /// All of it.
    pub fn view(&self) -> View<'_, T> {
        View { raw: self.raw, len: self.len(), of: PhantomData }
    }

    /// Some of it.
    ///
    /// # Panics
    /// If it has not so many numbers.
    pub fn part(&self, range: Range<usize>) -> View<'_, T> {
        self.view().part(range)
    }

    /// Copies its first numbers to the host in the background; an event recorded afterwards says when.
    pub(crate) fn copy_to(&self, host: &mut PinnedHostSlice<T>, count: usize) -> Result<(), DriverError>
    where
        T: DeviceRepr + ValidAsZeroBits,
    {
        assert!(count <= host.len(), "{count} numbers to a place for {}", host.len());
        let source = self.part(0..count);
        let stream = self.slice.stream();
        stream.context().bind_to_thread()?;
        let target = host.as_mut_ptr()?;
        // SAFETY: both hold `count` numbers, and pinned memory outlives the copy: who owns it waits for
        // the stream before letting go.
        unsafe {
            let target = std::slice::from_raw_parts_mut(target, count);
            result::memcpy_dtoh_async(target, source.raw, stream.cu_stream())
        }
    }

    /// Numbers that it holds.
    pub fn len(&self) -> usize {
        self.slice.len()
    }
}

/// What a kernel can be given.
pub trait Argument {
    /// As the kernel takes it.
    type Raw: DeviceRepr;

    /// As the kernel takes it.
    fn argument(&self) -> Self::Raw;
}

impl<T> Argument for View<'_, T> {
    type Raw = u64;

    fn argument(&self) -> u64 {
        self.raw
    }
}

/// None is the null pointer: an argument that is left out.
impl<T> Argument for Option<View<'_, T>> {
    type Raw = u64;

    fn argument(&self) -> u64 {
        self.map_or(0, |view| view.raw)
    }
}

macro_rules! plain_argument {
    ($($number:ty),+) => {
        $(impl Argument for $number {
            type Raw = $number;

            fn argument(&self) -> $number {
                *self
            }
        })+
    };
}

plain_argument!(i32, i64, u32, f32);
