//! What can go wrong, a variant for each thing.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// A process could not be confined or started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The argument list is empty.
    #[error("no program is named: the argument list is empty")]
    NoProgram,
    /// The program is not there.
    #[error("program {} not found; name its path, or a directory that has it in PATH", .0.display())]
    MissingProgram(OsString),
    /// A path that the policy names is missing or cannot be reached.
    #[error("{path}: {cause}; name paths that exist and that this user can reach", path = .path.display())]
    Path {
        /// Which one.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A path is relative.
    #[error("{}: expected an absolute path", .0.display())]
    RelativePath(PathBuf),
    /// An argument, a path or a variable contains a NUL byte.
    #[error("{}: contains a NUL byte, which no argument, path or variable can", .0.display())]
    NulByte(OsString),
    /// A number for a descriptor is negative, is a standard stream's, or is given twice.
    #[error("descriptor number {0}: expected a number from 3 up, each once")]
    DescriptorNumber(i32),
    /// A pipe or `/dev/null` for a standard stream, or a descriptor, cannot be had.
    #[error("cannot prepare the process's descriptors: {0}")]
    Descriptors(io::Error),
    /// The kernel has no Landlock, or refuses a rule.
    #[error("Landlock is unavailable: {0}")]
    Landlock(String),
    /// No seccomp filter for this processor.
    #[error("seccomp is unavailable: {0}")]
    Seccomp(String),
    /// No process can be made; at tier A, usually since user namespaces are forbidden.
    #[error("cannot start a process{}: {cause}", if *.namespaces { " in namespaces of its own" } else { "" })]
    Clone {
        /// Whether it was to have namespaces of its own.
        namespaces: bool,
        /// Why.
        cause: io::Error,
    },
    /// A step between the start of the process and its program failed.
    #[error("cannot {step}{}: {cause}", .subject.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default())]
    Confine {
        /// Which step.
        step: Step,
        /// What it was about, where it is about one path.
        subject: Option<PathBuf>,
        /// Why.
        cause: io::Error,
    },
    /// The thread that starts processes is gone or cannot be started.
    #[error("cannot start the thread that starts processes: {0}")]
    Spawner(io::Error),
}

impl Error {
    /// Whether the tier itself is unavailable on this machine, so that a weaker one may work.
    pub fn denies_tier(&self) -> bool {
        match self {
            Error::Landlock(_) | Error::Seccomp(_) => true,
            // Where there are too many processes (EAGAIN), a weaker tier does not help.
            Error::Clone { namespaces, cause } => *namespaces && cause.kind() != io::ErrorKind::WouldBlock,
            Error::Confine { step, .. } => step.belongs_to_a_tier(),
            _ => false,
        }
    }
}

macro_rules! steps {
    ($($(#[$documentation:meta])* $name:ident = $text:literal, $of_tier:literal;)*) => {
        /// What a new process does before its program, in this order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(i32)]
        pub enum Step {
            $($(#[$documentation])* $name,)*
        }

        impl Step {
            const ALL: &[Step] = &[$(Step::$name,)*];

            pub(crate) fn from_number(number: i32) -> Option<Step> {
                Step::ALL.iter().copied().find(|step| *step as i32 == number)
            }

            fn belongs_to_a_tier(self) -> bool {
                match self {
                    $(Step::$name => $of_tier,)*
                }
            }
        }

        impl fmt::Display for Step {
            fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str(match self {
                    $(Step::$name => $text,)*
                })
            }
        }
    };
}

steps! {
    /// Ask to be killed when this program ends.
    ParentDeath = "tie the process to its parent", false;
    /// Take default signal handlers, a session of its own.
    Session = "start a session", false;
    /// Join the control group.
    Cgroup = "join the control group", false;
    /// Become nobody in the user namespace.
    UserMap = "map the user in a user namespace", true;
    /// Keep mounts from propagating to the outside.
    PrivateMounts = "make mounts private", true;
    /// Take a copy of the mount of a named path.
    TakePath = "take the mount of", true;
    /// Make that copy read-only.
    ReadOnly = "make read-only", true;
    /// Mount a file system in memory as the new root.
    Root = "mount a root directory in memory at", true;
    /// Mount the writable `/tmp`.
    Scratch = "mount /tmp in memory", true;
    /// Make a directory in the new root.
    Directory = "make the directory", true;
    /// Make a file to mount on in the new root.
    File = "make the file", true;
    /// Make a symbolic link in the new root.
    Link = "make the link", true;
    /// Mount a named path in the new root.
    Mount = "mount", true;
    /// Make the new root the root, and let go of the old one.
    Pivot = "change the root directory", true;
    /// Make the new root read-only.
    RootReadOnly = "make the root directory read-only", true;
    /// Change to the working directory.
    WorkingDirectory = "change to the working directory", false;
    /// Put descriptors in their places.
    Descriptors = "place descriptors", false;
    /// Have all other descriptors closed.
    CloseDescriptors = "close inherited descriptors", false;
    /// Set resource limits.
    Limits = "set resource limits", false;
    /// Give up capabilities.
    Capabilities = "drop capabilities", false;
    /// Give up gaining privileges by `execve`.
    NoNewPrivileges = "give up new privileges", false;
    /// Enforce the Landlock ruleset.
    Landlock = "enforce Landlock", true;
    /// Install the seccomp filters.
    Seccomp = "install seccomp filters", true;
    /// Execute the program.
    Execute = "execute", false;
}
