//! Which device the models run on: chosen once, by `--device`.

use anyhow::{Result, anyhow};
use cuda::Cuda;
use std::str::FromStr;
use std::sync::OnceLock;
use transformer::device::Device;
use transformer::{Cpu, Format};

/// What `--device` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// A GPU if there is one that can be used, the processor otherwise.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The GPU of this number; of several processes each takes that of its own local rank.
    Cuda(Option<usize>),
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("cuda:").map(str::parse)) {
            ("auto", _) => Ok(Choice::Auto),
            ("cpu", _) => Ok(Choice::Cpu),
            ("cuda", _) => Ok(Choice::Cuda(None)),
            (_, Some(Ok(ordinal))) => Ok(Choice::Cuda(Some(ordinal))),
            _ => Err("expected auto, cpu, cuda or cuda:N".to_owned()),
        }
    }
}

/// What `--weights` says.
///
/// # Errors
/// Names what there is.
pub fn format_named(text: &str) -> Result<Format, String> {
    let found = Format::NAMES.into_iter().find(|(name, _)| *name == text);
    found
        .map(|(_, format)| format)
        .ok_or_else(|| format!("expected {}", Format::NAMES.map(|(name, _)| name).join(", ")))
}

static CHOICE: OnceLock<(Choice, Format)> = OnceLock::new();
static DEVICE: OnceLock<Result<Box<dyn Device>, String>> = OnceLock::new();

/// Says which device is wanted, and how the processor keeps weights; the first call counts.
pub fn choose(choice: Choice, format: Format) {
    let _ = CHOICE.set((choice, format));
}

/// The device, opened at the first call.
///
/// # Errors
/// Where the one that was asked for by name cannot be used.
pub fn device() -> Result<&'static dyn Device> {
    let opened = DEVICE.get_or_init(|| {
        let (choice, format) = CHOICE.get().copied().unwrap_or_default();
        open(choice, Cpu { format })
    });
    opened.as_deref().map_err(|message| anyhow!("{message}"))
}

fn open(choice: Choice, processor: Cpu) -> Result<Box<dyn Device>, String> {
    let meeting = cuda::Meeting::of_environment().map_err(|error| error.to_string())?;
    let cuda = |ordinal: Option<usize>| match &meeting {
        Some(meeting) => Cuda::join(ordinal, meeting),
        None => Cuda::open(ordinal.unwrap_or(0)),
    };
    match choice {
        Choice::Cpu | Choice::Auto if meeting.is_some() => {
            let joined = cuda(None).map_err(|error| format!("several processes need a GPU each: {error}"))?;
            Ok(Box::new(joined))
        }
        Choice::Cpu => Ok(Box::new(processor)),
        Choice::Cuda(ordinal) => Ok(Box::new(cuda(ordinal).map_err(|error| error.to_string())?)),
        Choice::Auto => match cuda(None) {
            Ok(cuda) => {
                errln!("device: {}", cuda.describe());
                Ok(Box::new(cuda))
            }
            // A machine without a GPU is the usual case; one whose GPU cannot be used is worth a word.
            Err(cuda::Error::NoDriver | cuda::Error::NoDevice { .. }) => Ok(Box::new(processor)),
            Err(error) => {
                errln!("the GPU is not used: {error}");
                Ok(Box::new(processor))
            }
        },
    }
}

/// Whether it is memory for a model's weights that is lacking, and another form of them would take less.
pub fn lacks_memory(error: &anyhow::Error) -> bool {
    let shortage = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref() {
        Some(transformer::Error::Memory(shortage)) => Some(!shortage.forms.is_empty()),
        _ => None,
    };
    let found = error.chain().find_map(|cause| match cause.downcast_ref() {
        // Passed on as it is, so that it is no cause of its own.
        Some(pipeline::Error::Model(model)) => shortage(model),
        _ => shortage(cause),
    });
    found.unwrap_or(false)
}

/// What `doctor` says of devices: those that were found, or why there is none.
pub fn found() -> Vec<String> {
    let of = |ordinal: usize| match Cuda::open(ordinal) {
        Ok(cuda) => {
            let memory = cuda.gpu().memory().map(|(free, all)| {
                let gib = |bytes: usize| bytes as f64 / (1u64 << 30) as f64;
                format!(", {:.1} GiB, {:.1} free", gib(all), gib(free))
            });
            format!("{}{}", cuda.describe(), memory.unwrap_or_else(|error| format!(", {error}")))
        }
        Err(error) => error.to_string(),
    };
    (0..cuda::Gpu::count().max(1)).map(of).collect()
}

/// Which of several processes this is; 0 if it is the only one.
pub fn rank() -> usize {
    std::env::var("RANK").ok().and_then(|rank| rank.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read() {
        assert_eq!("auto".parse(), Ok(Choice::Auto));
        assert_eq!("cuda".parse(), Ok(Choice::Cuda(None)));
        assert_eq!("cuda:3".parse(), Ok(Choice::Cuda(Some(3))));
        for wrong in ["gpu", "cuda:", "cuda:x", ""] {
            assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
        }
    }
}
