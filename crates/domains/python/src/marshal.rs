//! Jobs in Python's own serialization, which an interpreter reads without running any Python: a child
//! reads its job before all else, and each object that it touches first is a page for the kernel to
//! copy. For the same reason a call of literals comes as its values, which spares a compilation.
//!
//! The format is that of the module `marshal`, of which the types here have not changed since Python
//! 3.4. Only the judge writes it; what comes back from a process is [`wire`](crate::wire)'s.

use pydata::{BigInt, Call, Value, parse_call};
use serde_json::Value as Json;
use std::collections::HashMap;

/// Marks an object that a later one refers to by its number.
const REFERRED_TO: u8 = 0x80;

/// A dictionary, field by field.
#[derive(Debug)]
pub struct Fields(Vec<u8>);

impl Fields {
    /// None so far.
    pub fn new() -> Self {
        Fields(vec![b'{'])
    }

    /// Adds a field; arrays become tuples.
    pub fn with(mut self, name: &str, value: &Json) -> Self {
        write_text(name, &mut self.0);
        write(value, &mut self.0);
        self
    }

    /// Adds text.
    pub fn with_text(mut self, name: &str, text: &str) -> Self {
        write_text(name, &mut self.0);
        write_text(text, &mut self.0);
        self
    }

    /// Adds calls.
    pub fn with_calls(mut self, name: &str, calls: &Calls) -> Self {
        write_text(name, &mut self.0);
        self.0.extend(&calls.bytes);
        self
    }

    /// The whole dictionary.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.push(b'0');
        self.0
    }
}

/// A JSON object as `marshal.loads` reads it; arrays become tuples.
pub fn encode(value: &Json) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(value, &mut bytes);
    bytes
}

/// Calls, as a tuple: of each the function's name, its arguments and its keyword arguments, or its
/// source where its arguments are not all simple.
#[derive(Clone, Debug)]
pub struct Calls {
    bytes: Vec<u8>,
}

impl Calls {
    /// From their sources, any text.
    pub fn of<Source: AsRef<str>>(sources: impl IntoIterator<Item = Source>) -> Self {
        let mut encoder = Encoder::default();
        let mut count = 0;
        for source in sources {
            count += 1;
            let source = source.as_ref();
            match parse_call(source) {
                Ok(call) if is_simple(&call) => encoder.call(&call),
                _ => write_text(source, &mut encoder.bytes),
            }
        }
        let mut bytes = vec![b'('];
        write_length(count, &mut bytes);
        bytes.extend(encoder.bytes);
        Calls { bytes }
    }
}

fn is_simple(call: &Call) -> bool {
    let keywords = call.keywords.iter().map(|(_, value)| value);
    call.args.iter().chain(keywords).all(is_plain)
}

/// Not sets: in what order they yield their members depends on how Python built them. Nor floats that
/// no literal writes: `float` is a name like others, and two NaNs are two objects.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Float(float) => float.is_finite(),
        Value::None | Value::Bool(_) | Value::Int(_) | Value::Complex(..) => true,
        Value::Str(_) | Value::Bytes(_) => true,
        Value::List(items) | Value::Tuple(items) => items.iter().all(is_plain),
        Value::Dict(pairs) => pairs.iter().all(|(key, value)| is_plain(key) && is_plain(value)),
        _ => false,
    }
}

/// Writes calls. Within a call equal constants are one object, as they are where Python compiles it: a
/// program may compare with `is`.
#[derive(Default)]
struct Encoder {
    bytes: Vec<u8>,
    /// Constants of the call at hand, by their bytes.
    known: HashMap<Vec<u8>, u32>,
    /// Objects that could be referred to so far, in all calls.
    numbered: u32,
}

impl Encoder {
    fn call(&mut self, call: &Call) {
        self.known.clear();
        self.start(b'(', 3);
        write_text(&call.function, &mut self.bytes);
        self.start(b'(', call.args.len());
        call.args.iter().for_each(|value| self.value(value));
        self.bytes.push(b'{');
        for (name, value) in &call.keywords {
            write_text(name, &mut self.bytes);
            self.value(value);
        }
        self.bytes.push(b'0');
    }

    fn start(&mut self, tag: u8, count: usize) {
        self.bytes.push(tag);
        write_length(count, &mut self.bytes);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(true) => self.bytes.push(b'T'),
            Value::Bool(false) => self.bytes.push(b'F'),
            Value::Int(integer) => self.constant(|bytes| write_integer(integer, bytes)),
            Value::Float(float) => self.constant(|bytes| write_floats(b'g', &[*float], bytes)),
            Value::Complex(real, imaginary) => {
                self.constant(|bytes| write_floats(b'y', &[*real, *imaginary], bytes));
            }
            Value::Str(text) => self.constant(|bytes| write_constant_text(text, bytes)),
            Value::Bytes(data) => self.constant(|bytes| write_sized(b's', data, bytes)),
            Value::List(items) => {
                self.start(b'[', items.len());
                items.iter().for_each(|item| self.value(item));
            }
            Value::Tuple(items) => {
                self.start(b'(', items.len());
                items.iter().for_each(|item| self.value(item));
            }
            Value::Dict(pairs) => {
                self.bytes.push(b'{');
                for (key, value) in pairs {
                    self.value(key);
                    self.value(value);
                }
                self.bytes.push(b'0');
            }
            // No other is plain.
            _ => self.bytes.push(b'N'),
        }
    }

    fn constant(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut constant = Vec::new();
        write(&mut constant);
        if let Some(number) = self.known.get(&constant) {
            self.bytes.push(b'r');
            self.bytes.extend(number.to_le_bytes());
            return;
        }
        self.bytes.push(constant[0] | REFERRED_TO);
        self.bytes.extend(&constant[1..]);
        self.known.insert(constant, self.numbered);
        self.numbered += 1;
    }
}

fn write(value: &Json, bytes: &mut Vec<u8>) {
    match value {
        Json::Null => bytes.push(b'N'),
        Json::Bool(true) => bytes.push(b'T'),
        Json::Bool(false) => bytes.push(b'F'),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => write_integer(&BigInt::from(integer), bytes),
            None => write_floats(b'g', &[number.as_f64().unwrap_or(f64::MAX)], bytes),
        },
        Json::String(text) => write_text(text, bytes),
        Json::Array(items) => {
            bytes.push(b'(');
            write_length(items.len(), bytes);
            items.iter().for_each(|item| write(item, bytes));
        }
        Json::Object(fields) => {
            bytes.push(b'{');
            for (name, field) in fields {
                write_text(name, bytes);
                write(field, bytes);
            }
            bytes.push(b'0');
        }
    }
}

/// As four bytes where they do, which also gives the one object that Python has for each small integer;
/// else in digits of 15 bits, least significant first, the sign being that of their number.
fn write_integer(integer: &BigInt, bytes: &mut Vec<u8>) {
    if let Ok(small) = i32::try_from(integer) {
        bytes.push(b'i');
        bytes.extend(small.to_le_bytes());
        return;
    }
    let (mut held, mut bits) = (0u32, 0);
    let mut digits: Vec<u16> = Vec::new();
    for byte in integer.magnitude().to_bytes_le() {
        held |= u32::from(byte) << bits;
        bits += 8;
        if bits >= 15 {
            digits.push((held & 0x7fff) as u16);
            held >>= 15;
            bits -= 15;
        }
    }
    digits.push(held as u16);
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let count = digits.len() as i32;
    bytes.push(b'l');
    bytes.extend((if integer < &BigInt::ZERO { -count } else { count }).to_le_bytes());
    bytes.extend(digits.into_iter().flat_map(u16::to_le_bytes));
}

fn write_floats(tag: u8, floats: &[f64], bytes: &mut Vec<u8>) {
    bytes.push(tag);
    bytes.extend(floats.iter().flat_map(|float| float.to_le_bytes()));
}

fn write_text(text: &str, bytes: &mut Vec<u8>) {
    write_sized(b'u', text.as_bytes(), bytes);
}

/// Constants that look like names are interned where Python compiles them.
fn write_constant_text(text: &str, bytes: &mut Vec<u8>) {
    let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    write_sized(if is_name { b't' } else { b'u' }, text.as_bytes(), bytes);
}

fn write_sized(tag: u8, data: &[u8], bytes: &mut Vec<u8>) {
    bytes.push(tag);
    write_length(data.len(), bytes);
    bytes.extend(data);
}

/// Jobs are bounded by the size of a problem, far below what four bytes count.
fn write_length(length: usize, bytes: &mut Vec<u8>) {
    bytes.extend((length as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// What a program prints that finds `job`, as it reads it.
    fn printed(job: &[u8], program: &str) -> String {
        let program =
            format!("import json, marshal, sys\njob = marshal.loads(sys.stdin.buffer.read())\n{program}");
        let mut python = Command::new("python3")
            .args(["-c", &program])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        python.stdin.take().expect("a pipe").write_all(job).expect("a job");
        String::from_utf8(python.wait_with_output().expect("an answer").stdout).expect("text")
    }

    #[test]
    fn python_reads_what_is_written() {
        let numbers = [0, 1, -1, 32_767, 32_768, -32_769, i64::from(u32::MAX), i64::MAX, i64::MIN];
        let value = json!({
            "numbers": numbers, "half": 0.5, "text": "naïve \u{0} 😀\n", "none": null,
            "both": [true, false], "nested": {"empty": [], "deep": [[{}]]},
        });
        let output = printed(&encode(&value), "print(json.dumps(job))");
        assert_eq!(serde_json::from_str::<Json>(&output).expect("JSON"), value);
        let fields =
            Fields::new().with("a", &json!([1])).with_text("b", "x").with_calls("c", &Calls::of(["f(1)"]));
        assert!(fields.finish().starts_with(b"{"));
    }

    const CALLS: [&str; 12] = [
        "f()",
        "f(1, -2.5, 'a b', None)",
        "f([1, [2, (3, ())]], {'k': [True], 2: b'\\x00'}, key=1j)",
        "f(123456789012345678901234567890, -32768, 0, 2**3)",
        "f({3, 1, 2})",
        "f('é', \"it's\", 'a' 'b', '')",
        "f(float('inf'))",
        "f(1e999, -0.0)",
        "f({'a': 1, 'a': 2})",
        "g.h(1)",
        "f(x for x in y",
        "f([0] * 3)",
    ];

    #[test]
    fn calls_arrive_as_python_reads_their_source() {
        let job = Fields::new().with_calls("calls", &Calls::of(CALLS)).with("source", &json!(CALLS)).finish();
        let program = "
def f(*arguments, **keywords): return repr((arguments, keywords))
assert len(job['calls']) == len(job['source'])
for call, source in zip(job['calls'], job['source']):
    if type(call) is str: print('source', call == source)
    else: print('values', f(*call[1], **call[2]) == eval(source))";
        let output = printed(&job, program);
        let values = output.lines().filter(|line| line.starts_with("values")).count();
        assert!(!output.contains("False") && output.lines().count() == CALLS.len(), "{output}");
        assert!(values >= 5, "{output}");
    }

    #[test]
    fn equal_constants_of_a_call_are_one_object_as_where_python_compiles_it() {
        let calls = [
            "f(1000, 1000, 'a b', 'a b', 2.5, 2.5, 'name', 7)",
            "f(1000, 1001, 'a b', 'a b', 0.0, -0.0, 'name', 7)",
        ];
        let job = Fields::new().with_calls("calls", &Calls::of(calls)).with("source", &json!(calls)).finish();
        let program = "
def f(a, b, c, d, e, g, h, i): return a is b, c is d, e is g, h is 'name' and i is 3 + len('four')
for (_, arguments, _), source in zip(job['calls'], job['source']):
    print(f(*arguments), f(*arguments) == eval(source))";
        assert_eq!(
            printed(&job, program),
            "(True, True, True, True) True\n(False, True, False, True) True\n"
        );
    }
}
