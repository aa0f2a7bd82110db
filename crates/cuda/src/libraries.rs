//! Finds NVIDIA's libraries at run time.
//!
//! The driver's library is where the system looks anyway; cuBLASLt and NVRTC may lie in a toolkit's
//! folder or in the packages that Python's frameworks bring along, where the system's loader does
//! not look. They are opened by their full path first; whoever asks for them by name afterwards
//! gets the same. `NCOMP_CUDA_LIBRARIES` names further folders, separated by colons.

use crate::Error;
use libloading::Library;
use std::path::{Path, PathBuf};

/// Folders that may hold NVIDIA's libraries, besides those that the loader knows.
fn folders() -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> =
        ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(std::env::var_os).map(PathBuf::from).collect();
    roots.push("/usr/local/cuda".into());
    roots.extend(matching("/usr/local".as_ref(), "cuda-"));
    let named = std::env::var_os("NCOMP_CUDA_LIBRARIES");
    let mut folders: Vec<PathBuf> = named.iter().flat_map(std::env::split_paths).collect();
    for root in roots {
        folders.push(root.join("lib64"));
        folders.extend(children(&root.join("targets")).into_iter().map(|target| target.join("lib")));
    }
    folders.push("/usr/local/nvidia/lib64".into());
    folders.push("/usr/lib/wsl/lib".into());
    // The packages of Python: <environment>/lib/python3.x/site-packages/nvidia/<package>/lib.
    for environment in
        std::env::var_os("VIRTUAL_ENV").map(PathBuf::from).into_iter().chain(["/usr/local".into()])
    {
        for python in matching(&environment.join("lib"), "python3") {
            for packages in ["site-packages", "dist-packages"] {
                let packages = children(&python.join(packages).join("nvidia"));
                folders.extend(packages.into_iter().map(|package| package.join("lib")));
            }
        }
    }
    folders
}

/// What lies in a folder, the last in the alphabet first, so that the newest version comes first.
fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths.reverse();
    paths
}

fn matching(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let named =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    children(folder).into_iter().filter(named).collect()
}

/// Opens a library by the first of its names that is found, and keeps it for the process's lifetime.
fn open(names: &[&str]) -> Option<&'static Library> {
    let paths = folders().into_iter().flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    let candidates = names.iter().map(PathBuf::from).chain(paths.filter(|path| path.exists()));
    for candidate in candidates {
        // SAFETY: NVIDIA's libraries do nothing at load time that depends on our state.
        if let Ok(library) = unsafe { Library::new(&candidate) } {
            return Some(Box::leak(Box::new(library)));
        }
    }
    None
}

const DRIVER: &[&str] = &["libcuda.so.1", "libcuda.so"];
const NVRTC: &[&str] = &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];
const CUBLAS_LT: &[&str] = &["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"];
const NCCL: &[&str] = &["libnccl.so.2", "libnccl.so"];

/// Makes sure that the driver is there.
pub fn require_driver() -> Result<(), Error> {
    open(DRIVER).map(|_| ()).ok_or(Error::NoDriver)
}

/// Makes sure that the libraries are there that compile kernels and multiply matrices.
pub fn require_toolkit() -> Result<(), Error> {
    require_compiler()?;
    require("cuBLASLt", "nvidia-cublas", CUBLAS_LT).map(|_| ())
}

/// Makes sure that NVRTC is there; it compiles without a GPU too.
pub fn require_compiler() -> Result<(), Error> {
    require("NVRTC", "nvidia-cuda-nvrtc", NVRTC).map(|_| ())
}

/// NCCL, for several GPUs.
pub fn nccl() -> Result<&'static Library, Error> {
    require("NCCL", "nvidia-nccl-cu13", NCCL)
}

fn require(
    library: &'static str,
    package: &'static str,
    names: &'static [&str],
) -> Result<&'static Library, Error> {
    open(names).ok_or(Error::MissingLibrary { library, package, file: names[0] })
}
