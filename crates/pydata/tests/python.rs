//! Literals, repr and equality, each against what CPython says.

use proptest::prelude::*;
use pydata::{BigInt, Value, parse_assert, parse_literal};
use std::process::Command;

/// Literals of every kind, many of them awkward.
const LITERALS: &[&str] = &[
    "None",
    "True",
    "False",
    "0",
    "-17",
    "1_000",
    "0xff",
    "0b101",
    "0o17",
    "1.0",
    "1.",
    ".5",
    "1e5",
    "1e16",
    "1e-5",
    "123456789.125",
    "-0.0",
    "1e300",
    "3j",
    "1+2j",
    "-1-2.5j",
    "{-3j}",
    "{0-3j}",
    "'a'",
    "\"it's\"",
    "'say \"hi\" it\\'s'",
    "'\\n\\t\\x41\\u00e9\\101'",
    "r'\\d+'",
    "b'\\x00a\\''",
    "'a' 'b'",
    "'''x\ny'''",
    "[]",
    "[1, [2, (3,)], {}]",
    "()",
    "(1)",
    "(1,)",
    "{1, 2}",
    "set()",
    "{'a': 1, 'b': [2]}",
    "{1: 'a', True: 'b'}",
    "123456789012345678901234567890",
    "frozenset([1])",
    "float('nan')",
    "float('-inf')",
    "[1, # note\n 2]",
    "'é😀'",
];

fn python(script: &str, input: &str) -> String {
    let output = Command::new("python3").args(["-c", script, input]).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn repr_is_pythons() {
    let script = "import sys,json\nfor s in json.loads(sys.argv[1]): print(ascii(repr(eval(s))))";
    let input = format!("[{}]", LITERALS.iter().map(|s| json_string(s)).collect::<Vec<_>>().join(","));
    let expected = python(script, &input);
    for (literal, expected) in LITERALS.iter().zip(expected.lines()) {
        let ours = parse_literal(literal).unwrap_or_else(|e| panic!("{literal}: {e}")).to_string();
        let theirs = parse_literal(expected).expect("a string").to_string();
        let ours_quoted = pydata::Value::from(ours).to_string();
        assert_eq!(ours_quoted, theirs, "{literal}");
    }
}

#[test]
fn equality_is_pythons() {
    let script = "import sys,json\nv=[eval(s) for s in json.loads(sys.argv[1])]\nfor a in v: print(''.join('01'[bool(a==b)] for b in [eval(s) for s in json.loads(sys.argv[1])]))";
    let mut literals = LITERALS.to_vec();
    literals.extend([
        "1",
        "[True]",
        "[1.0]",
        "{2, 1.0}",
        "frozenset([True])",
        "{'b': [2.0], 'a': 1}",
        "1e22",
        "10000000000000000000000",
    ]);
    let input = format!("[{}]", literals.iter().map(|s| json_string(s)).collect::<Vec<_>>().join(","));
    let table = python(script, &input);
    let values: Vec<_> = literals.iter().map(|s| parse_literal(s).expect(s)).collect();
    for (i, row) in table.lines().enumerate() {
        for (j, equal) in row.bytes().enumerate() {
            assert_eq!(values[i].python_eq(&values[j]), equal == b'1', "{} == {}", literals[i], literals[j]);
        }
    }
}

/// As CPython answers; decimals have no literals.
#[test]
fn decimals_equal_numbers_of_the_same_value() {
    let decimal = |text: &str| Value::Decimal(text.to_owned());
    let fraction = |n: i64, d: i64| Value::Fraction(BigInt::from(n), BigInt::from(d));
    let equal = [
        (decimal("1.50"), decimal("1.5")),
        (decimal("1.5"), Value::Float(1.5)),
        (decimal("1E+2"), Value::from(100)),
        (decimal("-0"), Value::from(false)),
        (decimal("0.1"), fraction(1, 10)),
        (decimal("1E+999999"), decimal("10E+999998")),
        (decimal("-Infinity"), Value::Float(f64::NEG_INFINITY)),
    ];
    for (a, b) in equal {
        assert!(a.python_eq(&b) && b.python_eq(&a), "{a} == {b}");
        let (one, other) = (Value::Set(vec![a]), Value::Set(vec![b]));
        assert!(one.python_eq(&other), "{one} == {other}");
    }
    let different = [
        (decimal("0.1"), Value::Float(0.1)),
        (decimal("NaN"), decimal("NaN")),
        (decimal("3"), Value::from("3")),
        (decimal("1E+999999"), Value::Float(f64::INFINITY)),
        (decimal("2"), fraction(1, 2)),
    ];
    for (a, b) in different {
        assert!(!a.python_eq(&b) && !b.python_eq(&a), "{a} == {b}");
    }
}

#[test]
fn what_is_not_a_literal_is_refused() {
    for text in ["", "x", "f(1)", "[1", "1 2", "'a", "{1: }", "01", "[x for x in y]", "1 if a else 2", "\\"] {
        assert!(parse_literal(text).is_err(), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(parse_literal(&deep).is_err());
}

#[test]
fn asserts_are_taken_apart() {
    let plain = parse_assert("assert f(1, b='x') == [2]").expect("plain");
    assert_eq!((plain.call.function.as_str(), plain.call.args.len(), plain.call.keywords.len()), ("f", 1, 1));
    assert_eq!(plain.call.source, "f(1, b='x')");
    assert!(parse_assert("assert (f(1) == 2)").is_ok());
    assert!(parse_assert("assert f(1) is True, 'message'").is_ok());
    for other in [
        "assert f(x) == 1",
        "assert f(1) == 1 + 1",
        "assert f(1)",
        "assert not f(1)",
        "assert f(1) == g(2)",
        "assert abs(f(1) - 2) < 1e-6",
        "assert f(1) is 5",
    ] {
        assert!(parse_assert(other).is_err(), "{other}");
    }
}

fn json_string(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            c if (c as u32) < 0x20 => format!("\\u{:04x}", c as u32),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

/// Pieces of Python that asserts are made of.
fn nearly_an_assert() -> impl Strategy<Value = String> {
    let pieces = [
        "assert ",
        "f(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "(",
        ", ",
        ": ",
        " == ",
        "1",
        "-",
        "2.5e3",
        "0x1f",
        "1j",
        "'a'",
        "b'\\x00'",
        "\"\"\"t",
        "None",
        "True",
        "set()",
        "\\",
        "\n",
        "#",
        "é",
        "\u{1f600}",
        "*",
        "=",
        "..",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40).prop_map(|parts| parts.concat())
}

// More cases: PROPTEST_CASES=10000000 cargo test --release -p pydata
proptest! {
    /// Whatever a test's source is, taking it apart ends without a panic, and what is taken for a
    /// literal means the same when it is written back.
    #[test]
    fn any_source_can_be_taken_apart(source in prop_oneof![nearly_an_assert(), any::<String>()]) {
        if let Ok(assert) = parse_assert(&source) {
            let text = assert.expected.to_string();
            let again = parse_literal(&text);
            prop_assert!(again.is_ok_and(|again| again.python_eq(&assert.expected) || text.contains("nan")));
        }
        let _ = parse_literal(&source);
    }
}

#[test]
fn deep_nesting_is_refused() {
    for open in ["[", "(", "{1:", "-", "("] {
        assert!(parse_literal(&open.repeat(1_000_000)).is_err(), "{open}");
    }
}
