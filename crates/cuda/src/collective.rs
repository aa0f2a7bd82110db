//! Several processes, one GPU each, that train one model together: sums through NCCL.
//!
//! Processes find each other as PyTorch's do: `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR` and
//! `MASTER_PORT` say who is who; the first hands NCCL's identifier to the others over TCP. Where
//! torchrun's own store listens on that port, the next one is used.

use crate::gpu::Gpu;
use crate::memory::View;
use crate::{Error, libraries};
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use transformer::device::Rank;

/// Bytes of NCCL's identifier.
const IDENTIFIER: usize = 128;
/// How long processes wait for each other to start.
const PATIENCE: Duration = Duration::from_secs(120);

type Status = c_int;

/// Numbers of NCCL's interface, which has kept them since its version 2.
const SUM: c_int = 0;
const FLOAT32: c_int = 7;
const FLOAT64: c_int = 8;

#[repr(C)]
#[derive(Clone, Copy)]
struct Identifier([c_char; IDENTIFIER]);

/// Where the processes of one training find each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// Which process this is.
    pub rank: Rank,
    /// Which of its host's processes: the number of its GPU.
    pub local: usize,
    address: String,
}

impl Meeting {
    /// What the environment says; none where there is one process only.
    ///
    /// # Errors
    /// Names the variable that is missing or no number.
    pub fn of_environment() -> Result<Option<Self>, Error> {
        Self::of(&|name| std::env::var(name).ok())
    }

    fn of(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let number = |name: &str| -> Result<usize, Error> {
            let text =
                variable(name).ok_or_else(|| wrong(format!("{name} is not set, but WORLD_SIZE is")))?;
            text.parse().map_err(|_| wrong(format!("{name}: expected a number, found '{text}'")))
        };
        if variable("WORLD_SIZE").is_none_or(|count| count == "1") {
            return Ok(None);
        }
        let rank = Rank { index: number("RANK")?, of: number("WORLD_SIZE")? };
        if rank.index >= rank.of {
            return Err(wrong(format!("RANK is {}, but WORLD_SIZE is {}", rank.index, rank.of)));
        }
        let host = variable("MASTER_ADDR")
            .ok_or_else(|| wrong("MASTER_ADDR is not set, but WORLD_SIZE is".into()))?;
        let taken = variable("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|value| value == "True");
        let port = number("MASTER_PORT")? + usize::from(taken);
        Ok(Some(Meeting { rank, local: number("LOCAL_RANK")?, address: format!("{host}:{port}") }))
    }

    /// The first process's identifier, at all of them.
    fn exchange(&self, own: Identifier) -> Result<Identifier, Error> {
        let failed =
            |error: std::io::Error| wrong(format!("processes cannot meet at {}: {error}", self.address));
        if self.rank.index == 0 {
            let port = self.address.rsplit(':').next().unwrap_or("0");
            let listener = TcpListener::bind(format!("0.0.0.0:{port}")).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            let (started, mut served) = (Instant::now(), 0);
            while served + 1 < self.rank.of {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        let bytes = own.0.map(|letter| letter as u8);
                        stream
                            .set_nonblocking(false)
                            .and_then(|()| stream.write_all(&bytes))
                            .map_err(failed)?;
                        served += 1;
                    }
                    Err(_) if started.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(20)),
                    Err(error) => return Err(failed(error)),
                }
            }
            return Ok(own);
        }
        let started = Instant::now();
        loop {
            let mut bytes = [0u8; IDENTIFIER];
            let met = TcpStream::connect(&self.address).and_then(|mut stream| stream.read_exact(&mut bytes));
            match met {
                Ok(()) => return Ok(Identifier(bytes.map(|byte| byte as c_char))),
                Err(_) if started.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(50)),
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

fn wrong(message: String) -> Error {
    Error::Failed { doing: "joining the other processes", message }
}

/// This process's part in a group of GPUs.
pub struct Communicator {
    gpu: Arc<Gpu>,
    library: &'static Library,
    handle: *mut c_void,
    rank: Rank,
}

// SAFETY: the handle is used by one thread at a time, which the learner that owns it sees to.
unsafe impl Send for Communicator {}
// SAFETY: as above; sharing gives no access but through `&self` methods that lock nothing.
unsafe impl Sync for Communicator {}

type GetIdentifier = unsafe extern "C" fn(*mut Identifier) -> Status;
type Join = unsafe extern "C" fn(*mut *mut c_void, c_int, Identifier, c_int) -> Status;
type AllReduce =
    unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, *mut c_void, *mut c_void) -> Status;
type Leave = unsafe extern "C" fn(*mut c_void) -> Status;
type Explain = unsafe extern "C" fn(Status) -> *const c_char;

impl Communicator {
    /// Waits for the others.
    ///
    /// # Errors
    /// Where NCCL is missing, or the others do not come.
    pub fn join(gpu: &Arc<Gpu>, meeting: &Meeting) -> Result<Arc<Self>, Error> {
        let library = libraries::nccl()?;
        let mut own = Identifier([0; IDENTIFIER]);
        let mut handle = std::ptr::null_mut();
        gpu.context().bind_to_thread().map_err(Error::failed("joining the other processes"))?;
        // SAFETY: the functions have the types that NCCL documents, and the arguments live through the calls.
        unsafe {
            if meeting.rank.index == 0 {
                let get: GetIdentifier = symbol(library, b"ncclGetUniqueId\0")?;
                check(library, get(&mut own))?;
            }
            let shared = meeting.exchange(own)?;
            let join: Join = symbol(library, b"ncclCommInitRank\0")?;
            let (count, index) = (meeting.rank.of as c_int, meeting.rank.index as c_int);
            check(library, join(&mut handle, count, shared, index))?;
        }
        Ok(Arc::new(Communicator { gpu: gpu.clone(), library, handle, rank: meeting.rank }))
    }

    /// Which process this is.
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// Each number becomes its sum over all processes.
    pub(crate) fn sum_floats(&self, numbers: View<f32>) -> Result<(), Error> {
        self.all_reduce(numbers, FLOAT32)
    }

    /// As [`sum_floats`](Self::sum_floats), for numbers of the host.
    pub(crate) fn sum(&self, numbers: &mut [f64]) -> Result<(), Error> {
        let there = self.gpu.upload(numbers, "sums")?;
        self.all_reduce(there.view().first(numbers.len()), FLOAT64)?;
        self.gpu.read_into(there.view(), numbers)
    }

    /// `kind` is how NCCL calls the numbers.
    fn all_reduce<T>(&self, view: View<T>, kind: c_int) -> Result<(), Error> {
        self.gpu.context().bind_to_thread().map_err(Error::failed("summing over processes"))?;
        // SAFETY: a view's numbers lie in a buffer, which outlives the stream's work on it.
        unsafe {
            let reduce: AllReduce = symbol(self.library, b"ncclAllReduce\0")?;
            let stream = self.gpu.stream().cu_stream().cast();
            let numbers = view.raw() as *mut c_void;
            check(self.library, reduce(numbers, numbers, view.len(), kind, SUM, self.handle, stream))
        }
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        // SAFETY: the handle is not used afterwards; nothing can be done if it does not go.
        unsafe {
            if let Ok(leave) = symbol::<Leave>(self.library, b"ncclCommDestroy\0") {
                let _ = leave(self.handle);
            }
        }
    }
}

/// # Safety
/// `T` must be the type of the function of that name.
unsafe fn symbol<T: Copy>(library: &'static Library, name: &[u8]) -> Result<T, Error> {
    // SAFETY: as promised by the caller.
    let found = unsafe { library.get::<T>(name) };
    found.map(|symbol| *symbol).map_err(|error| wrong(format!("NCCL: {error}")))
}

fn check(library: &'static Library, status: Status) -> Result<(), Error> {
    if status == 0 {
        return Ok(());
    }
    // SAFETY: the function takes a status and returns a text that is never freed.
    let text = unsafe {
        symbol::<Explain>(library, b"ncclGetErrorString\0")
            .map(|explain| CStr::from_ptr(explain(status)).to_string_lossy().into_owned())
    };
    Err(wrong(format!("NCCL: {}", text.unwrap_or_else(|_| format!("status {status}")))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meeting(variables: &[(&str, &str)]) -> Result<Option<Meeting>, Error> {
        let find = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        Meeting::of(&find)
    }

    #[test]
    fn the_environment_is_read_as_torchrun_sets_it() {
        assert_eq!(meeting(&[]).expect("alone"), None);
        assert_eq!(meeting(&[("WORLD_SIZE", "1")]).expect("alone"), None);
        let all = [
            ("WORLD_SIZE", "4"),
            ("RANK", "3"),
            ("LOCAL_RANK", "1"),
            ("MASTER_ADDR", "10.0.0.1"),
            ("MASTER_PORT", "29500"),
        ];
        let found = meeting(&all).expect("a meeting").expect("several");
        assert_eq!((found.rank, found.local), (Rank { index: 3, of: 4 }, 1));
        assert_eq!(found.address, "10.0.0.1:29500");
        let message = meeting(&all[..2]).expect_err("incomplete").to_string();
        assert!(message.contains("MASTER_ADDR is not set"), "{message}");
        let message = meeting(&[("WORLD_SIZE", "4"), ("RANK", "x")]).expect_err("no number").to_string();
        assert!(message.contains("RANK: expected a number"), "{message}");
    }

    #[test]
    fn everybody_gets_the_firsts_identifier() {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let of = move |index| Meeting {
            rank: Rank { index, of: 3 },
            local: index,
            address: format!("127.0.0.1:{port}"),
        };
        let others: Vec<_> = (1..3)
            .map(|index| {
                std::thread::spawn(move || of(index).exchange(Identifier([0; IDENTIFIER])).expect("met").0)
            })
            .collect();
        let own = Identifier(std::array::from_fn(|at| at as c_char));
        assert_eq!(of(0).exchange(own).expect("met").0, own.0);
        for other in others {
            assert_eq!(other.join().expect("no panic"), own.0);
        }
    }
}
