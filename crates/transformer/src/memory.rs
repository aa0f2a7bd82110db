//! How much memory this process may still take: the least of what the machine has, what a limit on the
//! process leaves (`ulimit -v`, `ulimit -d`), and what the control groups that it is in leave (containers,
//! systemd).

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that can be taken, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    /// Bytes.
    pub bytes: u64,
    /// What sets this bound, in words.
    pub by: &'static str,
}

/// What this process may still take; none where the system does not say.
pub fn available() -> Option<Available> {
    available_in(Path::new("/"))
}

/// What a limit on address space (`ulimit -v`) leaves, if there is one: it counts mapped files too.
pub fn address_space() -> Option<Available> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    address_space_in(&status, &limits)
}

fn address_space_in(status: &str, limits: &str) -> Option<Available> {
    let bytes = soft_limit(limits, "Max address space")?.saturating_sub(kib(status, "VmSize:").unwrap_or(0));
    Some(Available { bytes, by: "the limit on address space (ulimit -v) leaves" })
}

/// As [`available`], of a machine whose files are below `root`.
fn available_in(root: &Path) -> Option<Available> {
    let read = |path: &str| fs::read_to_string(root.join(path.trim_start_matches('/'))).ok();
    let machine = read("proc/meminfo").and_then(|text| kib(&text, "MemAvailable:"));
    let status = read("proc/self/status").unwrap_or_default();
    let limits = read("proc/self/limits").unwrap_or_default();
    let left = |limit: &str, used: &str| {
        Some(soft_limit(&limits, limit)?.saturating_sub(kib(&status, used).unwrap_or(0)))
    };
    let groups = groups(
        &read("proc/self/mountinfo").unwrap_or_default(),
        &read("proc/self/cgroup").unwrap_or_default(),
    );
    let group = groups.iter().filter_map(|group| group.left(root)).min();
    let bounds = [
        (machine, "the machine has free"),
        (left("Max data size", "VmData:"), "the limit on data (ulimit -d) leaves"),
        (group, "the control group leaves"),
    ];
    let bounds = bounds.into_iter().filter_map(|(bytes, by)| Some(Available { bytes: bytes?, by }));
    let bounds = bounds.chain(address_space_in(&status, &limits));
    bounds.min_by_key(|bound| bound.bytes)
}

/// The number after a name in the kernel's tables, which count in KiB.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The first number after a limit's name; none where it is `unlimited`.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// A directory of the control groups that this process is in, and how their files are called.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    /// The process's own group; all up to `mount` bound it too.
    directory: PathBuf,
    mount: PathBuf,
    names: &'static Names,
}

/// Files of one version of control groups.
#[derive(Debug, PartialEq, Eq)]
struct Names {
    limit: &'static str,
    used: &'static str,
    /// Lines of `memory.stat` that say what of it are files' pages, which the kernel takes back.
    pages: [&'static str; 2],
}

const VERSION_2: Names =
    Names { limit: "memory.max", used: "memory.current", pages: ["active_file ", "inactive_file "] };
const VERSION_1: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    pages: ["total_active_file ", "total_inactive_file "],
};

impl Group {
    /// The least that a group leaves, from the process's own up to the root.
    fn left(&self, root: &Path) -> Option<u64> {
        let above = self.directory.ancestors().take_while(|directory| directory.starts_with(&self.mount));
        let one = |directory: &Path| {
            let directory = root.join(directory.strip_prefix("/").unwrap_or(directory));
            let read = |name: &str| fs::read_to_string(directory.join(name)).ok();
            let limit = read(self.names.limit)?.trim().parse::<u64>().ok()?;
            let used = read(self.names.used)?.trim().parse::<u64>().ok()?;
            let stat = read("memory.stat").unwrap_or_default();
            let pages = |name: &&str| {
                let line = stat.lines().find_map(|line| line.strip_prefix(*name));
                line.and_then(|bytes| bytes.trim().parse::<u64>().ok()).unwrap_or(0)
            };
            let pages: u64 = self.names.pages.iter().map(pages).sum();
            Some(limit.saturating_sub(used.saturating_sub(pages)))
        };
        above.filter_map(one).min()
    }
}

/// The control groups that bound this process's memory, of either version.
fn groups(mounts: &str, own: &str) -> Vec<Group> {
    let mounted = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (within, mount) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.next_back()?);
        let names = match kind {
            "cgroup2" => &VERSION_2,
            "cgroup" if options.split(',').any(|option| option == "memory") => &VERSION_1,
            _ => return None,
        };
        Some((within, mount, names))
    });
    let of_mount = |(within, mount, names): (&str, &str, &'static Names)| {
        let path = own.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let is_it = match names.limit == VERSION_2.limit {
                true => controllers.is_empty(),
                false => controllers.split(',').any(|controller| controller == "memory"),
            };
            is_it.then_some(path)
        })?;
        // A container sees its own group as the root of what is mounted.
        let below = Path::new(path).strip_prefix(within).unwrap_or(Path::new(""));
        let below = below.strip_prefix("/").unwrap_or(below);
        let directory = match below.components().any(|part| part.as_os_str() == "..") {
            true => PathBuf::from(mount),
            false => Path::new(mount).join(below),
        };
        Some(Group { directory, mount: PathBuf::from(mount), names })
    };
    mounted.filter_map(of_mount).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A machine with 8 GiB free, a process of 300 MiB, and more files.
    fn machine(files: &[(&str, &str)]) -> Option<Available> {
        let root = tempfile::tempdir().expect("a directory");
        let known = [
            ("proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n"),
            ("proc/self/status", "Name:\tx\nVmSize:\t  307200 kB\nVmData:\t  102400 kB\n"),
            (
                "proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units\n\
                 Max data size             unlimited            unlimited            bytes\n\
                 Max address space         unlimited            unlimited            bytes\n",
            ),
        ];
        for (path, text) in known.iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(path, text).expect("written");
        }
        available_in(root.path())
    }

    #[test]
    fn the_machine_says_where_nothing_else_does() {
        let found = machine(&[]).expect("known");
        assert_eq!((found.bytes, found.by), (8192 * MIB, "the machine has free"));
        assert!(available().is_some_and(|found| found.bytes > 0));
    }

    #[test]
    fn limits_of_the_process_are_seen() {
        let limits = "Max data size             unlimited   unlimited  bytes\n\
                      Max address space         1073741824  unlimited  bytes\n";
        let found = machine(&[("proc/self/limits", limits)]).expect("known");
        assert_eq!(found.bytes, (1024 - 300) * MIB);
        assert!(found.by.contains("ulimit -v"));
        let limits = "Max data size             209715200   unlimited  bytes\n\
                      Max address space         1073741824  unlimited  bytes\n";
        let found = machine(&[("proc/self/limits", limits)]).expect("known");
        assert_eq!((found.bytes, found.by.contains("ulimit -d")), (100 * MIB, true));
    }

    #[test]
    fn every_control_group_above_is_seen() {
        let mounts = "35 28 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let files = [
            ("proc/self/mountinfo", mounts),
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
            ("sys/fs/cgroup/outer/inner/memory.current", "1000\n"),
            ("sys/fs/cgroup/outer/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/outer/memory.current", "943718400\n"),
            ("sys/fs/cgroup/outer/memory.stat", "anon 5\nactive_file 104857600\ninactive_file 209715200\n"),
        ];
        let found = machine(&files).expect("known");
        assert_eq!((found.bytes, found.by), ((1024 - 900 + 300) * MIB, "the control group leaves"));
    }

    #[test]
    fn control_groups_of_the_first_version_are_seen_from_within_a_container() {
        let mounts = "40 28 0:31 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      41 28 0:32 /docker/x /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let files = [
            ("proc/self/mountinfo", mounts),
            ("proc/self/cgroup", "5:cpu:/docker/x\n4:memory:/docker/x\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "104857600\n"),
        ];
        assert_eq!(machine(&files).expect("known").bytes, 412 * MIB);
    }
}
