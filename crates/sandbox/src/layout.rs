//! Which files a process sees, and how a root directory that holds nothing else is laid out.

use crate::{Error, Policy, Profile};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

/// What any dynamically linked program needs, where it exists.
const SYSTEM_PATHS: [&str; 8] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/dev/null",
];
/// What commands read besides, without a permission of their own.
const DEVICES: [&str; 3] = ["/dev/zero", "/dev/random", "/dev/urandom"];
/// Where dynamic loaders are; in the first two also one directory deeper, by processor.
const LOADERS: [&str; 4] = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"];
/// As many symbolic links as the kernel follows.
const MOST_LINKS: usize = 40;

/// The paths that every confined process may read: shared libraries, time zones, `/dev/null`; those
/// that exist on this machine.
pub fn system_paths() -> Vec<PathBuf> {
    existing(&SYSTEM_PATHS)
}

fn existing(paths: &[&str]) -> Vec<PathBuf> {
    paths.iter().map(PathBuf::from).filter(|path| path.exists()).collect()
}

pub(crate) fn with_system_paths(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().cloned().chain(system_paths()).collect()
}

/// All that a policy lets a process read.
pub(crate) fn readable(policy: &Policy) -> Vec<PathBuf> {
    let mut paths = with_system_paths(&policy.readable);
    if policy.profile == Profile::Command {
        paths.extend(existing(&DEVICES));
    }
    paths
}

/// All that a policy lets a process execute: what it names, its program, dynamic loaders.
pub(crate) fn executable(policy: &Policy, program: &Path) -> Vec<PathBuf> {
    let mut paths = policy.executable.clone();
    paths.push(program.to_owned());
    paths.extend(loader_of(program));
    for (index, directory) in LOADERS.iter().enumerate() {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        for entry in entries.flatten() {
            let is_directory = index < 2 && entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory && entry.file_name().to_string_lossy().contains("-linux-") {
                let deeper = fs::read_dir(entry.path()).into_iter().flatten().flatten();
                paths.extend(deeper.map(|entry| entry.path()).filter(|path| is_loader(path)));
            } else if is_loader(&entry.path()) {
                paths.push(entry.path());
            }
        }
    }
    paths
}

fn is_loader(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (name.starts_with("ld-") || name.starts_with("ld64")) && name.contains(".so") && path.is_file()
}

/// The loader that a 64-bit ELF program names in its header.
fn loader_of(program: &Path) -> Option<PathBuf> {
    const PT_INTERP: u32 = 3;
    let bytes = read_start(program)?;
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = bytes.get(at..at.checked_add(size)?)?;
        usize::try_from(bytes.iter().rev().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte))).ok()
    };
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..count {
        let entry = table.checked_add(index * size)?;
        if number(entry, 4)? == PT_INTERP as usize {
            let start = number(entry.checked_add(8)?, 8)?;
            let end = start.checked_add(number(entry.checked_add(32)?, 8)?)?.checked_sub(1)?;
            let text = String::from_utf8(bytes.get(start..end)?.to_vec()).ok()?;
            return Some(PathBuf::from(text)).filter(|path| path.is_file());
        }
    }
    None
}

fn read_start(path: &Path) -> Option<Vec<u8>> {
    use io::Read;
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(1 << 16).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A path that is mounted in the new root.
pub(crate) struct Bind {
    /// Where it is, outside and inside, without symbolic links.
    pub(crate) path: PathBuf,
    /// Whether it is a directory.
    pub(crate) directory: bool,
    /// Whether it is a device, which a mount may not forbid.
    pub(crate) device: bool,
}

/// A root directory: its paths are absolute.
#[derive(Default)]
pub(crate) struct Layout {
    pub(crate) binds: Vec<Bind>,
    /// Directories to make, parents first.
    pub(crate) directories: BTreeSet<PathBuf>,
    /// Symbolic links to make, and what they say.
    pub(crate) links: BTreeMap<PathBuf, PathBuf>,
}

impl Layout {
    /// Holds these paths, and the working directory.
    pub(crate) fn of(paths: &[PathBuf], working_directory: &Path) -> Result<Self, Error> {
        let mut layout = Layout::default();
        let mut real = BTreeSet::new();
        for path in paths {
            let place = follow(path, &mut layout.links);
            let place = place.map_err(|cause| Error::Path { path: path.clone(), cause })?;
            if place == Path::new("/") {
                let cause =
                    io::Error::new(io::ErrorKind::InvalidInput, "the whole root directory cannot be named");
                return Err(Error::Path { path: path.clone(), cause });
            }
            real.insert(place);
        }
        // Sorted by components, so what lies below another follows it.
        for path in real {
            if !layout.holds(&path) {
                let kind = fs::metadata(&path).map_err(|cause| Error::Path { path: path.clone(), cause })?;
                let device = kind.file_type().is_char_device() || kind.file_type().is_block_device();
                layout.binds.push(Bind { path, directory: kind.is_dir(), device });
            }
        }
        let at =
            follow(working_directory, &mut layout.links).unwrap_or_else(|_| working_directory.to_owned());
        if !layout.holds(&at) {
            layout.make(&at);
        }
        for index in 0..layout.binds.len() {
            let bind = &layout.binds[index];
            let path =
                if bind.directory { Some(bind.path.clone()) } else { bind.path.parent().map(Path::to_owned) };
            layout.make(&path.unwrap_or_default());
        }
        let mut links = std::mem::take(&mut layout.links);
        links.retain(|link, _| !layout.holds(link));
        for parent in links.keys().filter_map(|link| link.parent()) {
            layout.make(parent);
        }
        layout.links = links;
        Ok(layout)
    }

    /// Whether it lies below a mounted directory, or is one.
    fn holds(&self, path: &Path) -> bool {
        self.binds.iter().any(|bind| path.starts_with(&bind.path))
    }

    /// Notes a directory and those above it.
    pub(crate) fn make(&mut self, path: &Path) {
        let above = path.ancestors().filter(|path| path.parent().is_some());
        self.directories.extend(above.map(Path::to_owned));
    }
}

/// Where a path leads; the symbolic links on its way are noted.
fn follow(path: &Path, links: &mut BTreeMap<PathBuf, PathBuf>) -> io::Result<PathBuf> {
    let mut left: VecDeque<OsString> = names(path);
    let mut real = PathBuf::from("/");
    let mut followed = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            real.pop();
            continue;
        }
        let next = real.join(&name);
        if !fs::symlink_metadata(&next)?.is_symlink() {
            real = next;
            continue;
        }
        followed += 1;
        if followed > MOST_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            real = PathBuf::from("/");
        }
        let mut names = names(&target);
        names.append(&mut left);
        left = names;
        links.insert(next, target);
    }
    Ok(real)
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_and_kept() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        fs::create_dir_all(home.join("usr/lib/python")).unwrap();
        symlink("usr/lib", home.join("lib")).unwrap();
        symlink(home.join("lib/python"), home.join("venv")).unwrap();
        let layout = Layout::of(&[home.join("venv"), home.join("usr/lib")], Path::new("/")).unwrap();
        assert_eq!(layout.binds.len(), 1, "the one holds the other");
        assert_eq!(layout.binds[0].path, home.join("usr/lib"));
        assert_eq!(layout.links.get(&home.join("lib")), Some(&PathBuf::from("usr/lib")));
        assert!(layout.links.contains_key(&home.join("venv")));
    }

    #[test]
    fn circles_and_the_root_are_refused() {
        let home = tempfile::tempdir().unwrap();
        symlink(home.path().join("b"), home.path().join("a")).unwrap();
        symlink(home.path().join("a"), home.path().join("b")).unwrap();
        for path in [home.path().join("a"), home.path().join("missing"), PathBuf::from("/")] {
            assert!(matches!(Layout::of(&[path], Path::new("/")), Err(Error::Path { .. })));
        }
    }

    #[test]
    fn loaders_are_found() {
        assert!(loader_of(Path::new("/bin/sh")).is_none_or(|path| is_loader(&path)));
        assert_eq!(loader_of(Path::new("/etc/passwd")), None);
    }
}
