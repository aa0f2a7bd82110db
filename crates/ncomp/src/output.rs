//! Standard output and standard error, whose reader may go away or whose disk may be full.

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
        tell(format_args!("error: standard output: {error}\n"));
        exit(1);
    }
}

/// Writes to standard error. Where nobody reads it any more, as after `2>&1 | head`, there is nobody to
/// tell, and what the program does goes on: stopping on Ctrl-C too.
pub fn tell(text: Arguments) {
    let _ = std::io::stderr().lock().write_fmt(text);
}

/// Longest error in characters: what a file says can be any length.
const LONGEST_ERROR: usize = 4000;

/// A text that may quote somebody else's file, as a terminal can show it: control characters, which move
/// the cursor or change colours, are escaped, and what is too long is cut in the middle.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(4 * LONGEST_ERROR));
    let count = text.chars().count();
    let cut = LONGEST_ERROR / 2..count.saturating_sub(LONGEST_ERROR / 2);
    for (at, character) in text.chars().enumerate() {
        if count > LONGEST_ERROR && cut.contains(&at) {
            if at == cut.start {
                shown.push_str(" … ");
            }
        } else if is_harmful(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether a character moves the cursor, changes colours, or turns the order of others.
fn is_harmful(character: char) -> bool {
    let turns =
        matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || character.is_control() && character != '\n' && character != '\t'
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

/// As `eprint!`, which panics where nobody reads.
macro_rules! err {
    ($($text:tt)*) => { $crate::output::tell(format_args!($($text)*)) };
}

/// As `eprintln!`.
macro_rules! errln {
    ($($text:tt)*) => {
        $crate::output::tell(format_args!("{}\n", format_args!($($text)*)))
    };
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn what_is_shown_cannot_move_the_cursor_and_is_not_endless() {
        assert_eq!(
            harmless("a\u{1b}[31mb\r\u{9b}\u{202e}c\nü\t1"),
            "a\\u{1b}[31mb\\r\\u{9b}\\u{202e}c\nü\t1"
        );
        let long = harmless(&("a".repeat(3_000_000) + "b"));
        assert!(
            long.chars().count() < 4100 && long.starts_with("aa") && long.ends_with("ab"),
            "{}",
            long.len()
        );
    }
}
