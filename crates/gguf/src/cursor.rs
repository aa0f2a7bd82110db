//! A bounds-checked reader over a file's bytes.

use crate::Problem;

/// Reads little-endian numbers and strings.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, position: 0 }
    }

    /// The number of bytes read so far.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: u64) -> Result<&'a [u8], Problem> {
        let rest = &self.bytes[self.position..];
        let taken = usize::try_from(count).ok().and_then(|count| rest.get(..count));
        let taken = taken.ok_or_else(|| self.truncated(count))?;
        self.position += taken.len();
        Ok(taken)
    }

    /// The next `N` bytes, usually of one number.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let rest = &self.bytes[self.position..];
        let taken = *rest.first_chunk().ok_or_else(|| self.truncated(N as u64))?;
        self.position += N;
        Ok(taken)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Problem> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Problem> {
        self.array().map(u64::from_le_bytes)
    }

    /// A string: its length in bytes, then UTF-8.
    pub(crate) fn text(&mut self) -> Result<&'a str, Problem> {
        let length = self.u64()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Problem::NotUtf8)
    }

    /// Checks a count that the file declares: the rest of the file must have at least `smallest` bytes
    /// for each item.
    pub(crate) fn count(&self, count: u64, smallest: u64) -> Result<usize, Problem> {
        let needed = count.saturating_mul(smallest);
        let rest = (self.bytes.len() - self.position) as u64;
        let fits = usize::try_from(count).ok().filter(|_| needed <= rest);
        fits.ok_or_else(|| self.truncated(needed))
    }

    fn truncated(&self, count: u64) -> Problem {
        let needed = (self.position as u64).saturating_add(count);
        Problem::Truncated { length: self.bytes.len() as u64, needed }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_beyond_the_end() {
        let mut cursor = Cursor::new(&[1, 0, 0, 0, 9]);
        assert_eq!(cursor.u32().unwrap(), 1);
        assert!(matches!(cursor.u32(), Err(Problem::Truncated { length: 5, needed: 8 })));
        assert!(matches!(cursor.take(u64::MAX), Err(Problem::Truncated { length: 5, needed: u64::MAX })));
        assert!(cursor.count(2, 1).is_err() && cursor.count(u64::MAX, 8).is_err());
        assert_eq!((cursor.count(1, 1).unwrap(), cursor.take(1).unwrap()), (1, &[9][..]));
    }

    #[test]
    fn strings_are_utf8() {
        let mut cursor = Cursor::new(&[1, 0, 0, 0, 0, 0, 0, 0, 0xff]);
        assert!(matches!(cursor.text(), Err(Problem::NotUtf8)));
    }
}
