//! Standard output, whose reader may go away or whose disk may be full.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::process::exit;

/// Writes to standard output. A reader that has had enough, as `head` has, is no failure: what was asked
/// for is done, and the program ends quietly. Anything else is said.
pub fn write(text: Arguments) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) {
        if error.kind() == ErrorKind::BrokenPipe {
            exit(0);
        }
        eprintln!("error: standard output: {error}");
        exit(1);
    }
}

/// As `print!`.
macro_rules! out {
    ($($text:tt)*) => { $crate::output::write(format_args!($($text)*)) };
}

/// As `println!`.
macro_rules! outln {
    ($($text:tt)*) => {
        $crate::output::write(format_args!("{}\n", format_args!($($text)*)))
    };
}
