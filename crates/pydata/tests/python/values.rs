//! Equality, hash and class of random values, against what CPython says.

use crate::reference::{python, samples};
use proptest::prelude::*;
use pydata::{BigInt, Budget, Value, parse_literal};

/// Reads what `Display` writes: each NaN is an object of its own, as in candidates' values.
const PRELUDE: &str = r"
import json, sys
from collections import deque
from decimal import Decimal, InvalidOperation
from fractions import Fraction
class Names(dict):
    def __missing__(self, key):
        if key == 'nan': return float('nan')
        if key == 'nanj': return complex(0, float('nan'))
        raise KeyError(key)
names = Names(Decimal=Decimal, Fraction=Fraction, deque=deque, inf=float('inf'))
names['infj'] = complex(0, names['inf'])
names['dict_keys'] = lambda items: dict.fromkeys(items).keys()
def value(text): return eval(text, {}, names)
texts = json.load(sys.stdin)
";

fn ten_to_the(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

/// Numbers of few values and all types.
fn numbers() -> Vec<Value> {
    let ints = [0, 1, -1, 2, 5, 100, i64::MAX, i64::MIN, (1 << 61) - 1, 1 << 61, 2 - (1 << 61)];
    let mut numbers: Vec<Value> = ints.iter().map(|&value| Value::from(value)).collect();
    let power = |base: i64, exponent: u32| BigInt::from(base).pow(exponent);
    let large = [power(2, 63), power(2, 64), -power(2, 63), power(2, 1000), power(5, 900) * power(2, 1001)];
    let tens = [22, 23, 999, 1000, 1001, 1200].map(ten_to_the);
    numbers.extend(large.into_iter().chain(tens).map(Value::Int));
    numbers.extend([true, false].map(Value::Bool));
    let two_63 = 9_223_372_036_854_775_808.0;
    let floats = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        2.0,
        5.0,
        0.5,
        0.1,
        0.2,
        1.5,
        -0.375,
        100.0,
        1e22,
        1e23,
        two_63,
        -two_63,
        2f64.powi(61),
        2f64.powi(1000),
        5e-324,
        f64::MAX,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    numbers.extend(floats.map(Value::Float));
    numbers.extend(floats.map(|value| Value::Complex(value, 0.0)));
    numbers.extend(
        [(0.0, 1.0), (1.0, -2.5), (-0.0, 1.0), (f64::NAN, 1.0), (1.0, f64::INFINITY)]
            .map(|(a, b)| Value::Complex(a, b)),
    );
    let decimals = [
        "0",
        "-0",
        "0E+5",
        "1",
        "1.0",
        "1.000",
        "-1",
        "2",
        "5.00",
        "0.5",
        "0.50",
        "0.1",
        "0.2",
        "1.5",
        "-0.375",
        "100",
        "1E+2",
        "1.0E+2",
        "1E+22",
        "1E+23",
        "1E+999",
        "1E+1000",
        "1.0E+1000",
        "1E+1001",
        "1E-400",
        "2E-400",
        "5E-400",
        "1E+999999",
        "NaN",
        "-NaN",
        "NaN12",
        "Infinity",
        "-Infinity",
        "2305843009213693951",
        "0.12500",
        "9223372036854775808",
        "1E+1200",
        "4E-7",
        "0.25",
        "1E-999999999999",
    ];
    numbers.extend(decimals.map(|text| Value::decimal(text.to_owned()).expect(text)));
    let fractions =
        [(1, 2), (1, 10), (1, 5), (3, 2), (-3, 8), (1, 3), (100, 1), (1, 8), (0, 1), (1, 2_500_000)];
    numbers.extend(fractions.map(|(a, b)| Value::Fraction(a.into(), b.into())));
    numbers.push(Value::Fraction(BigInt::from(1), ten_to_the(400)));
    numbers.push(Value::Fraction(BigInt::from(1), ten_to_the(400) * 3));
    numbers.push(Value::Fraction(ten_to_the(1000), BigInt::from(1)));
    numbers.push(Value::Fraction(BigInt::from(5), BigInt::from((1i64 << 61) - 1)));
    numbers
}

fn scalar() -> impl Strategy<Value = Value> {
    let texts = ["", "a", "b", "é"];
    let mut few: Vec<Value> = texts.map(Value::from).to_vec();
    few.extend(texts.map(|text| Value::Bytes(text.as_bytes().to_vec())));
    few.push(Value::None);
    for (start, stop, step) in
        [(0, 0, 1), (3, 1, 1), (0, 1, 1), (0, 1, 2), (0, 3, 2), (0, 4, 2), (1, 3, 1), (3, 1, -1)]
    {
        few.push(Value::range(BigInt::from(start), BigInt::from(stop), BigInt::from(step)).expect("a range"));
    }
    // Mostly those that are often equal to others.
    let simple = parse_literal("[0, 1, True, 1.0, 2, 0.5, -1]").expect("a literal");
    let Value::List(mut simple) = simple else { unreachable!("a list was written") };
    simple.extend([
        Value::Fraction(1.into(), 2.into()),
        Value::Decimal("0.5".into()),
        Value::Decimal("1.0".into()),
    ]);
    prop_oneof![
        6 => prop::sample::select(simple),
        2 => prop::sample::select(numbers()),
        2 => prop::sample::select(few),
    ]
}

fn distinct(items: Vec<Value>) -> Vec<Value> {
    let mut distinct: Vec<Value> = Vec::new();
    for item in items {
        if !distinct.iter().any(|present| present.python_eq(&item)) {
            distinct.push(item);
        }
    }
    distinct
}

fn hashable() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(2, 8, 3, |inner| {
        let items = prop::collection::vec(inner, 0..3);
        prop_oneof![
            items.clone().prop_map(Value::Tuple),
            items.prop_map(|items| Value::FrozenSet(distinct(items))),
        ]
    })
}

fn value() -> impl Strategy<Value = Value> {
    let keys = || prop::collection::vec(hashable(), 0..4);
    let flat = prop_oneof![
        3 => hashable(),
        1 => keys().prop_map(|items| Value::Set(distinct(items))),
        1 => keys().prop_map(|items| Value::KeysView(distinct(items))),
    ];
    flat.prop_recursive(3, 12, 3, move |inner| {
        let items = prop::collection::vec(inner.clone(), 0..3);
        let pairs = (keys(), prop::collection::vec(inner, 4));
        prop_oneof![
            items.clone().prop_map(Value::List),
            items.clone().prop_map(Value::Tuple),
            items.prop_map(Value::Deque),
            pairs.prop_map(|(keys, values)| {
                Value::dict(distinct(keys).into_iter().zip(values).collect()).expect("distinct keys")
            }),
        ]
    })
}

fn class(value: &Value) -> u128 {
    value.canonical_class(&mut Budget::default()).expect("a class")
}

fn holds_nan(value: &Value) -> bool {
    value.to_string().to_lowercase().contains("nan")
}

/// Every pair of some values: equality as in CPython, and equal values have equal hashes and
/// classes, others different classes. Returns how many pairs of different places are equal.
fn check_pairs(values: &[Value]) -> usize {
    let script = "
for a in [value(text) for text in texts]: print(''.join('01'[bool(a == b)] for b in [value(text) for text in texts]))";
    let texts: Vec<String> = values.iter().map(Value::to_string).collect();
    let table = python(&format!("{PRELUDE}{script}"), &texts);
    assert_eq!(table.lines().count(), values.len());
    let hashes: Vec<u64> = values.iter().map(Value::python_hash).collect();
    let classes: Vec<u128> = values.iter().map(class).collect();
    let nan: Vec<bool> = values.iter().map(holds_nan).collect();
    let mut equal_pairs = 0;
    for (i, row) in table.lines().enumerate() {
        for (j, equal) in row.bytes().enumerate() {
            let equal = equal == b'1';
            let pair = || format!("{} == {}", texts[i], texts[j]);
            assert_eq!(values[i].python_eq(&values[j]), equal, "{}", pair());
            assert!(!equal || hashes[i] == hashes[j], "hashes of {}", pair());
            if equal || !nan[i] || !nan[j] {
                assert_eq!(classes[i] == classes[j], equal, "classes of {}", pair());
            }
            equal_pairs += usize::from(equal && i != j);
        }
        // NaN is in a class, though it equals nothing.
        assert_eq!(classes[i], class(&values[i].clone()));
    }
    equal_pairs
}

#[test]
fn numbers_are_compared_as_in_python() {
    let equal = check_pairs(&numbers());
    assert!(equal > 300, "{equal}");
}

#[test]
fn random_values_are_compared_as_in_python() {
    let equal = check_pairs(&samples(value(), 350));
    assert!(equal > 500, "{equal}");
}

#[test]
fn numbers_hash_as_in_python() {
    let numbers: Vec<Value> = numbers().into_iter().filter(|number| !holds_nan(number)).collect();
    let texts: Vec<String> = numbers.iter().map(Value::to_string).collect();
    let printed = python(&format!("{PRELUDE}\nfor text in texts: print(hash(value(text)))"), &texts);
    assert_eq!(printed.lines().count(), numbers.len());
    for (number, theirs) in numbers.iter().zip(printed.lines()) {
        assert_eq!((number.python_hash() as i64).to_string(), theirs, "{number}");
    }
}

#[test]
fn random_numbers_hash_as_in_python() {
    let int =
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| BigInt::from_signed_bytes_le(&bytes));
    let fraction = (any::<i64>(), 1..i64::MAX).prop_map(|(a, b)| Value::Fraction(a.into(), b.into()));
    let decimal = (any::<i64>(), -5_000..5_000i64).prop_map(|(a, b)| Value::Decimal(format!("{a}E{b:+}")));
    let bits = any::<u64>().prop_map(f64::from_bits).prop_filter("a number", |value| !value.is_nan());
    let numbers =
        samples(prop_oneof![int.prop_map(Value::Int), fraction, decimal, bits.prop_map(Value::Float)], 2_000);
    let texts: Vec<String> = numbers.iter().map(Value::to_string).collect();
    let script = "
for text in texts: print(hash(value(text)))
for text in texts:
    number = value(text)
    print(number if isinstance(number, float) and abs(number) == names['inf'] else Fraction(number))";
    let printed = python(&format!("import sys\nsys.set_int_max_str_digits(0)\n{PRELUDE}{script}"), &texts);
    let lines: Vec<&str> = printed.lines().collect();
    let (hashes, exact) = lines.split_at(numbers.len());
    for ((number, hash), exact) in numbers.iter().zip(hashes).zip(exact) {
        assert_eq!((number.python_hash() as i64).to_string(), *hash, "{number}");
        let parse = |text: &str| text.parse::<BigInt>().expect("an integer");
        let exact = match exact.split_once('/') {
            Some((above, below)) => Value::Fraction(parse(above), parse(below)),
            None if exact.contains("inf") => number.clone(),
            None => Value::Int(parse(exact)),
        };
        let equal = number.python_eq_within(&exact, &mut Budget::new(u64::MAX));
        assert_eq!(equal, Ok(true), "{number} == {exact}");
        let budget = || Budget::new(u64::MAX);
        assert_eq!(number.canonical_class(&mut budget()), exact.canonical_class(&mut budget()), "{number}");
    }
}

#[test]
fn repr_and_truth_are_pythons() {
    let values = samples(value(), 2_000);
    let texts: Vec<String> = values.iter().map(Value::to_string).collect();
    let script = "
for text in texts: print(ascii(repr(value(text))))
for text in texts: print('01'[bool(value(text))])";
    let printed = python(&format!("import sys\nsys.set_int_max_str_digits(0)\n{PRELUDE}{script}"), &texts);
    let lines: Vec<&str> = printed.lines().collect();
    let (reprs, truths) = lines.split_at(values.len());
    for ((value, theirs), truth) in values.iter().zip(reprs).zip(truths) {
        let is_true = value.is_truthy(&mut Budget::default()).expect("its truth");
        assert_eq!(is_true, *truth == "1", "{value}");
        let theirs = parse_literal(theirs).expect("a string");
        let ours = value.to_string();
        // Python orders the elements of a set by their hashes, and what it writes of -0 and NaN in
        // complex numbers it does not read back.
        if !["{", "(-0", "nan"].iter().any(|part| ours.contains(part)) {
            assert!(theirs.python_eq(&Value::from(ours.as_str())), "{ours} is {theirs} in Python");
        }
    }
}

#[test]
fn nan_and_opaque_objects_equal_nothing_but_have_a_class() {
    let opaque = |sort: &str, number| Value::Opaque { sort: sort.to_owned(), number };
    let decimal = |text: &str| Value::Decimal(text.to_owned());
    let distinct = [
        Value::Float(f64::NAN),
        Value::Complex(f64::NAN, 0.0),
        Value::Complex(0.0, f64::NAN),
        decimal("NaN"),
        decimal("-NaN"),
        decimal("NaN1"),
        opaque("generator", 1),
        opaque("generator", 2),
        opaque("map", 1),
    ];
    for (i, one) in distinct.iter().enumerate() {
        for (j, other) in distinct.iter().enumerate() {
            assert!(!one.python_eq(other), "{one} == {other}");
            assert_eq!(class(one) == class(other), i == j, "classes of {one} and {other}");
        }
        let pair = |value: &Value| Value::Set(vec![value.clone(), Value::from(1)]);
        assert!(!pair(one).python_eq(&pair(one)), "{one}");
        assert_eq!(class(&pair(one)), class(&pair(one)));
        // Two of them are two elements.
        let set = |count: usize| Value::Set(vec![one.clone(); count]);
        assert_ne!(class(&set(1)), class(&set(2)), "{one}");
    }
    assert_eq!(opaque("re.Match", 255).to_string(), "<re.Match object at 0xff>");
    assert_eq!(opaque("a\nb", 1).to_string(), "<a\\nb object at 0x1>");
    assert_eq!(class(&Value::Float(f64::NAN)), class(&Value::Float(-f64::NAN)));
}

/// A repeated element of a set makes no difference, as it would make none in Python.
#[test]
fn repeated_elements_of_a_set_are_one() {
    let one = Value::Set(vec![Value::from(1), Value::from(2)]);
    let repeated = Value::Set(vec![Value::from(2), Value::Float(1.0), Value::Bool(true)]);
    assert!(one.python_eq(&repeated) && repeated.python_eq(&one));
    assert_eq!(one.python_hash(), repeated.python_hash());
    assert_eq!(class(&one), class(&repeated));
    let other = Value::Set(vec![Value::from(1), Value::from(1)]);
    assert!(!one.python_eq(&other) && !other.python_eq(&one));
}

/// Observations are kept between runs: a change here needs a new version of the form.
#[test]
fn classes_stay_the_same() {
    let text = "[None, True, -7, 2.5, 1e30, 3+4j, 'é', b'a', (), {1: [2]}, {1, 'a', 0.1}, frozenset()]";
    let value = parse_literal(text).expect("a literal");
    assert_eq!(format!("{:032x}", class(&value)), "f09c63f67965d6c36456ec147623f7b7");
}
