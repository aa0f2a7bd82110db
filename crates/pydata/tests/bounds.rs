//! What hostile values may cost, counted in steps, and how deep values may be.

use pydata::{BigInt, Budget, MAX_DEPTH, TooMuchWork, Value, parse_assert, parse_literal};

/// The steps that an operation takes, and its result; none where the default budget is too small.
fn steps<T>(operation: impl FnOnce(&mut Budget) -> Result<T, TooMuchWork>) -> Option<(u64, T)> {
    let mut budget = Budget::default();
    let result = operation(&mut budget).ok()?;
    Some((Budget::DEFAULT_STEPS - budget.left(), result))
}

fn int(value: i64) -> Value {
    Value::from(value)
}

fn decimal(text: &str) -> Value {
    Value::decimal(text.to_owned()).expect("a decimal")
}

fn ten_to_the(exponent: u32) -> BigInt {
    BigInt::from(10).pow(exponent)
}

#[test]
fn decimal_keys_with_large_exponents_are_cheap() {
    for exponent in ["-9999", "+9999", "-999999999", "+999999999999999999"] {
        let keys = (0..15_000).map(|at| (decimal(&format!("{}E{exponent}", 10_001 + 10 * at)), Value::None));
        let keys: Vec<_> = keys.collect();
        let (taken, dict) = steps(|budget| Value::dict_within(keys, budget)).expect("within the budget");
        let dict = dict.expect("distinct keys");
        assert!(taken < 15_000 * 1_000, "{exponent}: {taken}");
        let mut reversed = dict.clone();
        if let Value::Dict(pairs) = &mut reversed {
            pairs.reverse();
        }
        let (taken, equal) = steps(|budget| dict.python_eq_within(&reversed, budget)).expect("equality");
        assert!(equal && taken < 15_000 * 2_000, "{exponent}: {taken}");
        let classes = steps(|budget| Ok(dict.canonical_class(budget)? == reversed.canonical_class(budget)?));
        let (taken, equal) = classes.expect("classes");
        assert!(equal && taken < 15_000 * 2_000, "{exponent}: {taken}");
    }
}

#[test]
fn powers_of_ten_are_not_written_out() {
    let huge = decimal("7E+999999999999999999");
    let tiny = decimal("7E-999999999999999999");
    let others = [
        int(7),
        Value::Int(ten_to_the(20_000)),
        Value::Float(1e308),
        Value::Float(5e-324),
        Value::Complex(7.0, 0.0),
        Value::fraction(BigInt::from(1), ten_to_the(4_000)).expect("a fraction"),
        decimal("7E+999999999999999998"),
    ];
    for value in [&huge, &tiny] {
        for other in &others {
            let (taken, equal) = steps(|budget| value.python_eq_within(other, budget)).expect("equality");
            assert!(!equal && taken < 20_000, "{value} == {other}: {taken}");
        }
        assert!(value.python_eq(value));
        let (taken, _) = steps(|budget| value.canonical_class(budget)).expect("a class");
        assert!(taken < 1_000, "{value}: {taken}");
    }
    let (taken, equal) =
        steps(|budget| decimal("1E+20000").python_eq_within(&others[1], budget)).expect("equality");
    assert!(equal && taken < 20_000_000, "{taken}");
}

/// Twice the elements take at most about twice the steps.
#[test]
fn steps_grow_with_the_size() {
    type Build = fn(i64) -> Value;
    let set = |count: i64| Value::Set((0..count).map(int).collect());
    let kinds: [(&str, Build); 6] = [
        ("lists", |count| Value::List((0..count).map(int).collect())),
        ("sets", set),
        ("sets of tuples", |count| {
            Value::Set((0..count).map(|at| Value::Tuple(vec![int(at), Value::Str(at.to_string())])).collect())
        }),
        ("sets of sets", |count| {
            Value::Set((0..count).map(|at| Value::FrozenSet(vec![int(at), int(at + 1)])).collect())
        }),
        ("dictionaries of dictionaries", |count| {
            let inner = |at: i64| Value::Dict(vec![(int(at), int(at)), (Value::Float(0.5), Value::None)]);
            Value::Dict((0..count).map(|at| (int(at), inner(at))).collect())
        }),
        ("numbers of every kind", |count| {
            let number = |at: i64| match at % 5 {
                0 => Value::Float(at as f64 + 0.25),
                1 => Value::Int(BigInt::from(at) << 200),
                2 => decimal(&format!("{at}.125")),
                3 => Value::Fraction(BigInt::from(3 * at + 1), BigInt::from(3)),
                _ => Value::Complex(0.0, at as f64 + 1.0),
            };
            Value::Set((0..count).map(number).collect())
        }),
    ];
    let reversed = |value: &Value| match value.clone() {
        Value::Set(items) => Value::Set(items.into_iter().rev().collect()),
        Value::Dict(pairs) => Value::Dict(pairs.into_iter().rev().collect()),
        other => other,
    };
    for (name, build) in kinds {
        let cost = |count: i64| {
            let (value, other) = (build(count), reversed(&build(count)));
            let work = |budget: &mut Budget| {
                let same_hash = value.python_hash_within(budget)? == other.python_hash_within(budget)?;
                let same_class = value.canonical_class(budget)? == other.canonical_class(budget)?;
                Ok(value.python_eq_within(&other, budget)? && same_hash && same_class)
            };
            let (taken, equal) = steps(work).expect("within the budget");
            assert!(equal, "{name}");
            taken
        };
        let (small, large) = (cost(2_000), cost(16_000));
        assert!(large < 10 * small, "{name}: {small} and {large} steps");
        assert!(large < 16_000 * 1_500, "{name}: {large} steps");
    }
}

/// Integers that CPython's hash does not tell apart are compared in pairs, until the budget ends.
#[test]
fn collisions_end_with_the_budget() {
    let modulus = (BigInt::from(1) << 61) - 1;
    let keys = || (1..30_000).map(|at| Value::Int(&modulus * at));
    let pairs: Vec<_> = keys().map(|key| (key, Value::None)).collect();
    assert!(Value::dict(pairs).is_none());
    let (one, other) = (Value::Set(keys().collect()), Value::Set(keys().rev().collect()));
    assert_eq!(one.python_eq_within(&other, &mut Budget::default()), Err(TooMuchWork));
    assert!(!one.python_eq(&other));
    // Classes do not collide.
    let class = |value: &Value| steps(|budget| value.canonical_class(budget)).expect("a class").1;
    assert_eq!(class(&one), class(&other));
}

#[test]
fn large_numbers_end_with_the_budget() {
    // Bringing them to lowest terms takes the square of their length.
    let large = |add: u32| (BigInt::from(3).pow(9_000) + add) << 10;
    let fractions = (0..400).map(|at| Value::fraction(large(at), large(1_000)).expect("a fraction"));
    let fractions = Value::List(fractions.collect());
    assert_eq!(fractions.canonical_class(&mut Budget::default()), Err(TooMuchWork));
    assert!(steps(|budget| fractions.python_eq_within(&fractions, budget)).is_some());
    let zeros = Value::Int(ten_to_the(300_000));
    assert_eq!(zeros.canonical_class(&mut Budget::default()), Err(TooMuchWork));
    let digits = Value::Int(BigInt::from(3).pow(600_000));
    assert!(digits.canonical_class(&mut Budget::default()).is_ok());
}

#[test]
fn forged_dictionaries_are_refused() {
    let pair = |key: Value| (key, Value::None);
    assert!(Value::dict(vec![pair(int(1)), pair(Value::Bool(true))]).is_none());
    assert!(Value::dict(vec![pair(decimal("0.5")), pair(Value::Float(0.5))]).is_none());
    assert!(Value::dict(vec![pair(Value::List(vec![]))]).is_none());
    assert!(Value::dict(vec![pair(Value::Tuple(vec![Value::Dict(vec![])]))]).is_none());
    assert!(Value::dict(vec![pair(Value::Float(f64::NAN)), pair(Value::Float(f64::NAN))]).is_some());
    // Dictionaries in keys, were they let in, take the square of the depth.
    let mut nested = Value::None;
    for _ in 0..MAX_DEPTH - 1 {
        nested = Value::Dict(vec![(nested, Value::None)]);
    }
    let (taken, _) = steps(|budget| nested.python_hash_within(budget)).expect("a hash");
    assert!(taken < 1_000_000, "{taken}");
}

#[test]
fn a_budget_of_nothing_is_no_work() {
    let value = parse_literal("[1, {'a': {2.5}}]").expect("a literal");
    let nothing = || Budget::new(0);
    assert_eq!(value.python_eq_within(&value, &mut nothing()), Err(TooMuchWork));
    assert_eq!(value.python_hash_within(&mut nothing()), Err(TooMuchWork));
    assert_eq!(value.canonical_class(&mut nothing()), Err(TooMuchWork));
}

/// Tests run in threads with a stack of 2 MiB.
#[test]
fn deep_values_fit_the_stack() {
    let opens = ["[", "(", "{1:", "frozenset([", "[-(", "(1,", "{(", "set([(", "frozenset([(1,"];
    for open in opens {
        let close: String = open
            .chars()
            .rev()
            .map(|c| match c {
                '[' => "]",
                '(' => ")",
                '{' => "}",
                _ => "",
            })
            .collect();
        let brackets = open.chars().filter(|c| "[({".contains(*c)).count();
        let nested = |depth: usize| {
            let times = depth / brackets;
            format!("{}1{}", open.repeat(times), close.repeat(times))
        };
        let text = nested(MAX_DEPTH);
        // What Python refuses is refused at once; what it reads is read, compared and written.
        let Ok(value) = parse_literal(&text) else {
            assert!(["{(", "set([(", "[-("].contains(&open), "{open}");
            continue;
        };
        assert!(value.clone().python_eq(&value), "{open}");
        assert_eq!(value.python_hash(), value.clone().python_hash(), "{open}");
        assert!(value.canonical_class(&mut Budget::default()).is_ok(), "{open}");
        let written = value.to_string();
        assert!(parse_literal(&written).expect(&written).python_eq(&value), "{open}");
        assert!(!format!("{value:?}").is_empty());
        assert!(parse_literal(&nested(2 * MAX_DEPTH)).is_err(), "{open}");
    }
    let list = "[".repeat(200) + &"]".repeat(200);
    assert!(parse_assert(&format!("assert f({list}) == {list}")).is_ok());
}

#[test]
fn deeper_values_are_given_up() {
    let mut deep = Value::None;
    for _ in 0..2 * MAX_DEPTH {
        deep = Value::Tuple(vec![deep]);
    }
    let budget = &mut Budget::default();
    assert_eq!(deep.python_eq_within(&deep, budget), Err(TooMuchWork));
    assert_eq!(deep.python_hash_within(budget), Err(TooMuchWork));
    assert_eq!(deep.canonical_class(budget), Err(TooMuchWork));
    assert!(!deep.is_hashable());
    assert!(deep.to_string().contains("..."));
}

#[test]
fn parsing_takes_linear_time() {
    let keys = (0..50_000).map(|at| format!("{at}: '{at}'")).collect::<Vec<_>>().join(", ");
    let Ok(Value::Dict(pairs)) = parse_literal(&format!("{{{keys}}}")) else { panic!("a dictionary") };
    assert_eq!(pairs.len(), 50_000);
    // Integers that collide, in hexadecimal: the parser gives up.
    let modulus = (BigInt::from(1) << 61) - 1;
    let keys = (1..30_000).map(|at| format!("{:#x}", &modulus * at)).collect::<Vec<_>>().join(", ");
    assert!(parse_literal(&format!("{{{keys}}}")).is_err());
}
