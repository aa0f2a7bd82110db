//! Literals: what is read, how it is written back, and what is refused.

use crate::reference::{nearly_a_literal, python, samples};
use proptest::prelude::*;
use pydata::{BigInt, Value, parse_assert, parse_call, parse_literal};

/// Literals of every kind, many of them awkward.
const LITERALS: &[&str] = &[
    "None",
    "True",
    "False",
    "0",
    "00_0",
    "-17",
    "+17",
    "-(-2)",
    "1_000",
    "0xff",
    "0X_fF",
    "0b101",
    "0o17",
    "1.0",
    "1.",
    ".5",
    "1e5",
    "1.e1_0",
    "09.5",
    "1e400",
    "1e16",
    "1e-5",
    "123456789.125",
    "-0.0",
    "1e300",
    "3j",
    "09j",
    "1+2j",
    "-1-2.5j",
    "-0.0+2j",
    "-0.0-0j",
    "1-0j",
    "{-3j}",
    "{0-3j}",
    "'a'",
    "\"it's\"",
    "'say \"hi\" it\\'s'",
    "'\\n\\t\\x41\\u00e9\\101\\7\\U0001f600'",
    "'\\d\\é'",
    "r'\\d+\\''",
    "R'a' u'b' U'c'",
    "b'\\x00a\\'\\377\\u00e9'",
    "Rb'\\x' bR'\\n' B'\\''",
    "'a' 'b'",
    "('a'\n  'b')",
    "'''x\ny''q\\\nz'''",
    "'''x\r\ny\rz'''",
    "'''a' ''b'''",
    "''''a'''",
    "[]",
    "[1, [2, (3,)], {}]",
    "()",
    "(1)",
    "(1,)",
    "(\n1,\r\n# note\n)",
    "{1, 2}",
    "{1, True, 1.0}",
    "{1, 2,}",
    "set()",
    "{'a': 1, 'b': [2]}",
    "{1: 'a', True: 'b'}",
    "{1: 'a', 2: 'b', 1.0: 'c', 3: 'd', 2: 'e'}",
    "123456789012345678901234567890",
    "frozenset([1])",
    "frozenset({1, 1.0})",
    "{frozenset(), (frozenset([1]),)}",
    "float('nan')",
    "float('-inf')",
    "-float(' inf ')",
    "[1, # note\n 2]",
    "[1, \\\n2]",
    "'é😀'",
];

#[test]
fn repr_is_pythons() {
    let script = "import sys,json\nfor s in json.load(sys.stdin): print(ascii(repr(eval(s))))";
    let expected = python(script, LITERALS);
    assert_eq!(expected.lines().count(), LITERALS.len());
    for (literal, expected) in LITERALS.iter().zip(expected.lines()) {
        let ours = parse_literal(literal).unwrap_or_else(|e| panic!("{literal}: {e}")).to_string();
        let theirs = parse_literal(expected).expect("a string").to_string();
        assert_eq!(Value::from(ours).to_string(), theirs, "{literal}");
    }
}

#[test]
fn equality_is_pythons() {
    let script = "import sys,json\nt=json.load(sys.stdin)\nfor a in [eval(s) for s in t]: print(''.join('01'[bool(a==b)] for b in [eval(s) for s in t]))";
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
    let table = python(script, &literals);
    let values: Vec<_> = literals.iter().map(|s| parse_literal(s).expect(s)).collect();
    assert_eq!(table.lines().count(), values.len());
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
    let refused = [
        "",
        "x",
        "f(1)",
        "[1",
        "1 2",
        "'a",
        "{1: }",
        "{1: 2, 3}",
        "{1, 2: 3}",
        "{1, 2: 3, 4: 5}",
        "{,}",
        "{1:: 2}",
        "{1: 2: 3}",
        "01",
        "[x for x in y]",
        "1 if a else 2",
        "\\",
        "1;",
        "1_",
        "1__0",
        "_1",
        "0x",
        "0x__1",
        "0b2",
        "1_.5",
        "1._5",
        "1e_5",
        ".",
        "..",
        "1..2",
        "--1",
        "+'a'",
        "-True",
        "+None",
        "~1",
        "1+2",
        "2j+1",
        "'a'+2j",
        "1+",
        "1+-2j",
        "-\n1",
        "1\n+2j",
        "'a'\n'b'",
        "1 \\\n",
        "'\\N{BULLET}'",
        "'\\x+f'",
        "'\\x4'",
        "'\\ud800'",
        "'\\U00110000'",
        "b'é'",
        "br'\\é'",
        "b'\\400'",
        "'a' b'b'",
        "f'a'",
        "ur'a'",
        "b 'a'",
        "'a\nb'",
        "'\0'",
        "{[1]}",
        "{[1]: 2}",
        "{({1},)}",
        "{{}: 1}",
        "frozenset([[]])",
        "set('ab')",
        "set([1], [2])",
        "frozenset(1)",
        "list([1])",
        "float(1)",
        "float('x')",
        "float('1', '2')",
        "float()",
        "dict()",
        "set",
        "None()",
        "...",
        "{**{}}",
        "[*[]]",
        "{*()}",
        "[,]",
        "(,)",
        "1,",
        "[1]\\[0]",
        "[[1][0]]",
        "'a'[0]",
        "[1]\u{a0}",
        "１",
    ];
    for text in refused {
        assert!(parse_literal(text).is_err(), "{text}");
    }
    // The longest integer that Python reads.
    assert!(parse_literal(&"9".repeat(4_300)).is_ok());
    assert!(parse_literal(&"9".repeat(4_301)).is_err());
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
        " is ",
        "not ",
        "1",
        "-",
        "2.5e3",
        "0x1f",
        "1j",
        "+",
        "'a'",
        "b'\\x00'",
        "\"\"\"t",
        "None",
        "True",
        "set()",
        "frozenset(",
        "\\",
        "\n",
        "\r",
        "#",
        ";",
        "_",
        "é",
        "\u{1f600}",
        "*",
        "=",
        "..",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40).prop_map(|parts| parts.concat())
}

#[test]
fn what_is_accepted_means_the_same_in_python() {
    let literals = samples(nearly_a_literal(), 60_000);
    let literals: Vec<_> =
        literals.iter().filter_map(|text| Some((text, parse_literal(text).ok()?))).collect();
    assert!(literals.len() > 2_000, "{}", literals.len());
    let texts: Vec<&String> = literals.iter().map(|(text, _)| *text).collect();
    let script = r"
import sys, json
for s in json.load(sys.stdin):
    try: print(ascii(repr(eval(s.strip(' \t\x0c\r\n')))))
    except Exception as error: print('refused', ascii(s))
";
    let printed = python(script, &texts);
    assert_eq!(printed.lines().count(), texts.len());
    for ((text, value), theirs) in literals.iter().zip(printed.lines()) {
        let theirs = parse_literal(theirs).unwrap_or_else(|_| panic!("{text:?} gives {value}: {theirs}"));
        let ours = Value::from(value.to_string());
        assert!(ours.python_eq(&theirs), "{text:?} gives {ours}, in Python {theirs}");
    }
}

// More cases: PROPTEST_CASES=10000000 cargo test --release -p pydata
proptest! {
    /// Whatever a test's source is, taking it apart ends without a panic, and what is taken for a
    /// literal means the same when it is written back.
    #[test]
    fn any_source_can_be_taken_apart(source in prop_oneof![nearly_an_assert(), nearly_a_literal(), any::<String>()]) {
        let values = [parse_assert(&source).ok().map(|assert| assert.expected), parse_literal(&source).ok()];
        for value in values.into_iter().flatten() {
            let text = value.to_string();
            let again = parse_literal(&text);
            let is_special = text.contains("nan") || text.contains("inf");
            prop_assert!(again.is_ok_and(|again| again.python_eq(&value)) || is_special);
        }
        let _ = parse_call(&source);
    }
}

#[test]
fn deep_nesting_is_refused() {
    for open in ["[", "(", "{1:", "-", "+(", "frozenset([", "f("] {
        assert!(parse_literal(&open.repeat(1_000_000)).is_err(), "{open}");
    }
}
