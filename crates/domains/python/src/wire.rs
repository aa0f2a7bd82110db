//! What comes back from a candidate's process: framed messages of tagged plain data.
//!
//! The bytes are the candidate's: every length and depth is checked, and nothing is believed.
//! `interpreter/values.py` is the writer.

use pydata::{BigInt, Budget, Value};

/// Nesting deeper than this is refused.
const MAX_DEPTH: usize = 240;

/// One framed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it says; see `candidate.py` and `tester.py`.
    pub tag: u8,
    /// The rest.
    pub payload: Vec<u8>,
}

impl Message {
    /// The payload as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// A message says that it is longer than it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message over the limit")]
pub struct TooLong;

/// Takes the first whole message from a buffer, if there is one.
///
/// # Errors
/// Where its length is over the limit.
pub fn take_message(buffer: &mut Vec<u8>, limit: usize) -> Result<Option<Message>, TooLong> {
    let Some(header) = buffer.first_chunk::<5>() else { return Ok(None) };
    let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if length > limit {
        return Err(TooLong);
    }
    if buffer.len() < 5 + length {
        return Ok(None);
    }
    let tag = header[0];
    let payload = buffer[5..5 + length].to_vec();
    buffer.drain(..5 + length);
    Ok(Some(Message { tag, payload }))
}

/// Decodes one value; none if the bytes are anything else.
pub fn decode(bytes: &[u8]) -> Option<Value> {
    let mut reader = Reader { bytes, objects: 0, budget: Budget::default() };
    let value = reader.value(0)?;
    reader.bytes.is_empty().then_some(value)
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// Objects that are no data, met so far: each is equal to itself alone.
    objects: u64,
    /// Seeing that keys differ takes work.
    budget: Budget,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(count)?;
        self.bytes = tail;
        Some(head)
    }

    fn length(&mut self) -> Option<usize> {
        let bytes = self.take(4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes) as usize)
    }

    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.sized()?.to_vec()).ok()
    }

    fn float(&mut self) -> Option<f64> {
        Some(f64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn items(&mut self, depth: usize) -> Option<Vec<Value>> {
        // Every item takes at least a byte: a false length ends at the end of the bytes.
        (0..self.length()?).map(|_| self.value(depth + 1)).collect()
    }

    fn integer(&mut self, depth: usize) -> Option<BigInt> {
        match self.value(depth)? {
            Value::Int(value) => Some(value),
            _ => None,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        Some(match self.take(1)?[0] {
            b'n' => Value::None,
            b't' => Value::Bool(true),
            b'f' => Value::Bool(false),
            b'i' => Value::Int(BigInt::parse_bytes(self.sized()?, 16)?),
            b'd' => Value::Float(self.float()?),
            b'c' => Value::Complex(self.float()?, self.float()?),
            b's' => Value::Str(self.text()?),
            b'b' => Value::Bytes(self.sized()?.to_vec()),
            b'l' => Value::List(self.items(depth)?),
            b'u' => Value::Tuple(self.items(depth)?),
            b'e' => Value::Set(self.items(depth)?),
            b'z' => Value::FrozenSet(self.items(depth)?),
            b'q' => Value::Deque(self.items(depth)?),
            b'K' => Value::KeysView(self.items(depth)?),
            b'R' => self.range(depth)?,
            b'm' => {
                let pairs = 0..self.length()?;
                let pairs = pairs.map(|_| Some((self.value(depth + 1)?, self.value(depth + 1)?)));
                let pairs: Vec<(Value, Value)> = pairs.collect::<Option<_>>()?;
                Value::dict_within(pairs, &mut self.budget).ok()??
            }
            b'D' => Value::decimal(self.text()?)?,
            b'F' => Value::fraction(self.integer(depth + 1)?, self.integer(depth + 1)?)?,
            b'O' => {
                self.objects += 1;
                Value::Opaque { sort: self.text()?, number: self.objects }
            }
            _ => return None,
        })
    }

    fn range(&mut self, depth: usize) -> Option<Value> {
        if self.length()? != 3 {
            return None;
        }
        let (start, stop) = (self.integer(depth + 1)?, self.integer(depth + 1)?);
        Value::range(start, stop, self.integer(depth + 1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As a fraction this would be equal to every number.
    const ZERO_BY_ZERO: &[u8] = b"Fi\x01\0\0\x000i\x01\0\0\x000";

    /// Two pairs with the same key: one key of an expected dictionary of two would not be asked for.
    const REPEATED_KEY: &[u8] = b"m\x02\0\0\0tntn";

    #[test]
    fn hostile_bytes_are_refused() {
        for bytes in [
            &b""[..],
            b"l",
            b"l\xff\xff\xff\xff",
            b"s\x04\0\0\0ab",
            b"i\x01\0\0\0g",
            b"nn",
            b"Fnn",
            b"D\0\0\0\0",
            b"R\x03\0\0\0i\x01\0\0\x000i\x01\0\0\x000i\x01\0\0\x000",
            ZERO_BY_ZERO,
            REPEATED_KEY,
        ] {
            assert!(decode(bytes).is_none(), "{bytes:?}");
        }
        assert!(decode(&b"l\x01\0\0\0".repeat(100_000)).is_none());
        let mut buffer = b"V\xff\xff\xff\xff".to_vec();
        assert_eq!(take_message(&mut buffer, 1000), Err(TooLong));
    }

    #[test]
    fn messages_arrive_in_pieces() {
        let mut buffer = b"V\x01\0\0".to_vec();
        assert_eq!(take_message(&mut buffer, 10), Ok(None));
        buffer.extend(b"\0nL");
        let message = Message { tag: b'V', payload: b"n".to_vec() };
        assert_eq!(take_message(&mut buffer, 10), Ok(Some(message)));
        assert_eq!(buffer, b"L");
    }

    /// Bytes that look like values: tags, small lengths, and noise.
    fn nearly_a_value() -> impl Strategy<Value = Vec<u8>> {
        let tag = prop::sample::select(b"ntfidcsbluezqmDFKROLVP".to_vec()).prop_map(|tag| vec![tag]);
        let length = (0u32..6).prop_map(|length| length.to_le_bytes().to_vec());
        let noise = prop::collection::vec(any::<u8>(), 0..5);
        prop::collection::vec(prop_oneof![tag, length, noise], 0..60).prop_map(|parts| parts.concat())
    }

    // More cases: PROPTEST_CASES=10000000 cargo test --release -p python wire
    proptest! {
        /// Whatever a candidate sends, reading it ends, without a panic, and what is read is
        /// equal to itself unless it holds what is not a number or an object.
        #[test]
        fn any_bytes_can_be_read(bytes in prop_oneof![nearly_a_value(), prop::collection::vec(any::<u8>(), 0..200)]) {
            if let Some(value) = decode(&bytes) {
                let text = value.to_string();
                let odd = text.contains("nan") || text.contains('<');
                prop_assert!(value.python_eq(&value) || odd, "{}", text);
            }
            let mut buffer = bytes.clone();
            while let Ok(Some(message)) = take_message(&mut buffer, 100) {
                prop_assert!(message.payload.len() <= 100);
            }
        }
    }
}
