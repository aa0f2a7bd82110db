//! Control groups (cgroup v2): memory and processes of a process and all its descendants together.
//!
//! They take a part of the hierarchy that is delegated to this user, with the controllers `memory`
//! and `pids`: [`find`] looks for one, and says why where there is none.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// How long a group whose processes are killed may take to empty.
const EMPTYING: Duration = Duration::from_secs(2);

/// A directory of the hierarchy below which groups with limits can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegated {
    directory: PathBuf,
}

/// Why no groups with limits can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No cgroup v2 hierarchy is mounted, or this process is in none.
    #[error("no cgroup v2 hierarchy is mounted")]
    NoHierarchy,
    /// The hierarchy lacks a controller.
    #[error("cgroup v2 at {}: no controller {controller}; it may be in use by cgroup v1", .directory.display())]
    NoController {
        /// The group that was looked at.
        directory: PathBuf,
        /// The controller that is missing.
        controller: &'static str,
    },
    /// The group is there, but not this user's to divide.
    #[error("cgroup v2 at {}: not delegated to this user ({cause}); run the program in a delegated one, for example by `systemd-run --user --scope -p Delegate=yes`", .directory.display())]
    NotDelegated {
        /// The group that was looked at.
        directory: PathBuf,
        /// What the kernel said.
        cause: String,
    },
}

/// A group could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}", path = .path.display())]
pub struct GroupError {
    /// The directory or file.
    pub path: PathBuf,
    /// Why.
    pub cause: io::Error,
}

/// Looks for a delegated part of the hierarchy: this process's own group where its controllers can be
/// turned on for groups below it, or the one above where they are.
///
/// # Errors
/// The reason, where there is none.
pub fn find() -> Result<Delegated, Unavailable> {
    let read = |path: &str| fs::read_to_string(path).map_err(|_| Unavailable::NoHierarchy);
    find_in(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)
}

fn find_in(mounts: &str, membership: &str) -> Result<Delegated, Unavailable> {
    let group =
        membership.lines().find_map(|line| line.strip_prefix("0::")).ok_or(Unavailable::NoHierarchy)?;
    let (root, place) = mounts.lines().find_map(unified_mount).ok_or(Unavailable::NoHierarchy)?;
    // A mount may show a part of the hierarchy only.
    let below = Path::new(group).strip_prefix(root).map_err(|_| Unavailable::NoHierarchy)?;
    let own = Path::new(place).join(below);
    let own = if below.as_os_str().is_empty() { PathBuf::from(place) } else { own };
    let refused = match divide(&own) {
        Ok(()) => return Ok(Delegated { directory: own }),
        Err(refused) => refused,
    };
    match own.parent().filter(|above| above.starts_with(place)) {
        Some(above) if divide(above).is_ok() => Ok(Delegated { directory: above.to_owned() }),
        _ => Err(refused),
    }
}

/// Of a line of mountinfo, where a cgroup v2 hierarchy's root and mount point are.
fn unified_mount(line: &str) -> Option<(&str, &str)> {
    let (mount, kind) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, place) = (fields.next()?, fields.next()?);
    (kind.split(' ').next() == Some("cgroup2")).then_some((root, place))
}

/// Has the controllers on for the groups below a directory, turned on if need be, and is one that
/// this user can make groups in.
fn divide(directory: &Path) -> Result<(), Unavailable> {
    let not_delegated = |cause: io::Error| Unavailable::NotDelegated {
        directory: directory.to_owned(),
        cause: cause.to_string(),
    };
    let read = |name: &str| fs::read_to_string(directory.join(name)).map_err(not_delegated);
    let available = read("cgroup.controllers")?;
    let control = directory.join("cgroup.subtree_control");
    let on = read("cgroup.subtree_control")?;
    for controller in CONTROLLERS {
        if !available.split_whitespace().any(|name| name == controller) {
            return Err(Unavailable::NoController { directory: directory.to_owned(), controller });
        }
        if !on.split_whitespace().any(|name| name == controller) {
            fs::write(&control, format!("+{controller}")).map_err(not_delegated)?;
        }
    }
    for path in [directory.to_owned(), directory.join("cgroup.procs")] {
        writable(&path).map_err(not_delegated)?;
    }
    Ok(())
}

fn writable(path: &Path) -> io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends with NUL.
    match unsafe { libc::access(path.as_ptr(), libc::W_OK) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Delegated {
    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes a group with these limits on all its processes together: memory in bytes (when it is
    /// used up, all are killed; none goes to swap) and the number of processes and threads.
    ///
    /// # Errors
    /// Where the kernel refuses it.
    pub fn group(&self, memory: Option<u64>, processes: Option<u64>) -> Result<Group, GroupError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.join(format!("sandbox-{}-{number}", std::process::id()));
        fs::create_dir(&directory).map_err(|cause| GroupError { path: directory.clone(), cause })?;
        let group = Group { directory };
        if let Some(memory) = memory {
            group.set("memory.max", memory)?;
            group.set("memory.oom.group", 1)?;
            // Not there where the kernel has no swap.
            let _ = group.set("memory.swap.max", 0);
        }
        if let Some(processes) = processes {
            group.set("pids.max", processes)?;
        }
        Ok(group)
    }
}

/// A group for one process and its descendants; removed, with all in it killed, when it is dropped.
#[derive(Debug)]
pub struct Group {
    directory: PathBuf,
}

impl Group {
    /// Where it is: `memory.events` and `memory.peak` there tell what was used.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn set(&self, name: &str, value: u64) -> Result<(), GroupError> {
        let path = self.directory.join(name);
        fs::write(&path, value.to_string()).map_err(|cause| GroupError { path, cause })
    }

    /// The file that a process writes to in order to join.
    pub(crate) fn processes(&self) -> Result<OwnedFd, crate::Error> {
        let path = self.directory.join("cgroup.procs");
        let file = fs::File::options().write(true).open(&path);
        file.map(OwnedFd::from).map_err(|cause| crate::Error::Path { path, cause })
    }

    /// Kills all its processes (Linux 5.14 and later; before, only those that are known otherwise).
    pub fn kill(&self) {
        let _ = fs::write(self.directory.join("cgroup.kill"), "1");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        let mut pause = Duration::from_micros(500);
        let mut waited = Duration::ZERO;
        // Refused while a killed process is on its way out.
        while fs::remove_dir(&self.directory).is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY))
            && waited < EMPTYING
        {
            thread::sleep(pause);
            waited += pause;
            pause *= 2;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A directory tree with a group's files, as plain files.
    fn tree(controllers: &str, on: &str) -> (TempDir, PathBuf, String) {
        let home = tempfile::tempdir().unwrap();
        let group = home.path().join("user.slice/own.scope");
        fs::create_dir_all(&group).unwrap();
        for directory in [group.as_path(), group.parent().unwrap()] {
            fs::write(directory.join("cgroup.controllers"), controllers).unwrap();
            fs::write(directory.join("cgroup.subtree_control"), on).unwrap();
            fs::write(directory.join("cgroup.procs"), "").unwrap();
        }
        let mounts = format!(
            "20 1 0:5 / /proc rw - proc proc rw\n30 1 0:26 / {} rw,relatime shared:4 - cgroup2 cgroup2 rw\n",
            home.path().display()
        );
        (home, group, mounts)
    }

    #[test]
    fn own_group_is_divided() {
        let (_home, group, mounts) = tree("cpu memory pids\n", "memory\n");
        let delegated = find_in(&mounts, "1:name=x:/\n0::/user.slice/own.scope\n").unwrap();
        assert_eq!(delegated.directory(), group);
        assert_eq!(fs::read_to_string(group.join("cgroup.subtree_control")).unwrap(), "+pids");
    }

    #[test]
    fn limits_are_written_and_the_group_removed() {
        let (_home, _, mounts) = tree("memory pids", "memory pids");
        let delegated = find_in(&mounts, "0::/user.slice/own.scope").unwrap();
        let group = delegated.group(Some(1 << 30), Some(64)).unwrap();
        let read = |name: &str| fs::read_to_string(group.directory().join(name)).unwrap();
        assert_eq!((read("memory.max"), read("pids.max")), ("1073741824".to_owned(), "64".to_owned()));
        assert_eq!(read("memory.oom.group"), "1");
        let directory = group.directory().to_owned();
        // Plain files, unlike a group's, have to be removed before their directory.
        for entry in fs::read_dir(&directory).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        drop(group);
        assert!(!directory.join("pids.max").exists());
    }

    #[test]
    fn reasons_are_told() {
        let (_home, group, mounts) = tree("hugetlb", "");
        let missing = Unavailable::NoController { directory: group, controller: "memory" };
        assert_eq!(find_in(&mounts, "0::/user.slice/own.scope"), Err(missing));
        assert_eq!(find_in(&mounts, "4:memory:/x"), Err(Unavailable::NoHierarchy));
        assert_eq!(find_in("", "0::/"), Err(Unavailable::NoHierarchy));
        let elsewhere = find_in(&mounts, "0::/gone");
        assert!(matches!(elsewhere, Err(Unavailable::NotDelegated { .. })), "{elsewhere:?}");
    }

    /// A real group, where the unified hierarchy can be written: this machine's may lack the
    /// controllers, so without limits.
    #[test]
    fn a_process_joins_and_the_group_goes() {
        let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return };
        let Some((_, place)) = mounts.lines().find_map(unified_mount) else {
            return println!("skipped: no cgroup v2 is mounted");
        };
        let delegated = Delegated { directory: PathBuf::from(place) };
        let Ok(group) = delegated.group(None, None) else {
            return println!("skipped: {place} is not writable");
        };
        let directory = group.directory().to_owned();
        let mut policy = crate::Policy::new(crate::Profile::Command, crate::Tier::D);
        policy.cgroup = Some(group);
        let process = crate::spawn(&["/bin/sleep".into(), "60".into()], policy).unwrap();
        let members = fs::read_to_string(directory.join("cgroup.procs")).unwrap();
        assert_eq!(members.trim(), process.pid().to_string());
        drop(process);
        assert!(!directory.exists());
    }
}
