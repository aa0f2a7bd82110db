//! The one thread that starts processes. The kernel ties a process to the thread that started it: if
//! that were a thread of a pool, the process would end with the thread.

use crate::plan::Plan;
use crate::{Error, child};
use std::ffi::c_int;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;

/// Room for what the new process does before its program.
const STACK_BYTES: usize = 256 << 10;
const NAMESPACES: c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

struct Order {
    plan: Box<Plan>,
    answer: Sender<(Box<Plan>, Result<i32, Error>)>,
}

/// Starts a process; returns its number and the plan once it executes its program, or, where it
/// attacks, has ended. A process that fails on its way there is an error and leaves nothing.
pub(crate) fn start(plan: Box<Plan>) -> Result<(Box<Plan>, i32), Error> {
    static ORDERS: OnceLock<Mutex<Option<Sender<Order>>>> = OnceLock::new();
    let (answer, answers) = channel();
    let gone = || Error::Spawner(io::Error::other("it has ended"));
    {
        let orders = ORDERS.get_or_init(Mutex::default);
        let mut orders = orders.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let orders = match &mut *orders {
            Some(orders) => orders,
            none => none.insert(launch().map_err(Error::Spawner)?),
        };
        orders.send(Order { plan, answer }).map_err(|_| gone())?;
    }
    let (plan, started) = answers.recv().map_err(|_| gone())?;
    Ok((plan, started?))
}

fn launch() -> io::Result<Sender<Order>> {
    let (orders, received) = channel();
    thread::Builder::new().name("sandbox".to_owned()).spawn(move || serve(&received))?;
    Ok(orders)
}

fn serve(orders: &Receiver<Order>) {
    block_signals();
    let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()];
    for Order { plan, answer } in orders {
        let started = clone(&plan, &mut stack);
        // Whoever asked may be gone; then the process would be nobody's.
        if let Err(unheard) = answer.send((plan, started))
            && let (_, Ok(pid)) = unheard.0
        {
            end(pid);
        }
    }
}

/// A handler of this program must never run in the new process, which shares its memory: signals
/// wait until the process has set their default effect.
fn block_signals() {
    // SAFETY: the set is filled before it is read; only this thread's mask changes.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, std::ptr::null_mut());
    }
}

/// One process. It borrows this program's memory instead of copying its page tables, which take long
/// where models are mapped; at tier A it is the first one of its namespaces, so none lies between.
fn clone(plan: &Plan, stack: &mut [u128]) -> Result<i32, Error> {
    let namespaces = plan.root.is_some();
    let pid = child::clone(plan, stack, if namespaces { NAMESPACES } else { 0 });
    if pid < 0 {
        return Err(Error::Clone { namespaces, cause: io::Error::last_os_error() });
    }
    match plan.failure() {
        None => Ok(pid),
        Some(error) => {
            end(pid);
            Err(error)
        }
    }
}

/// Kills a process that nobody waits for, and takes its end.
pub(crate) fn end(pid: i32) {
    // SAFETY: the process is a child that has not been waited for: its number is its own.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
}
