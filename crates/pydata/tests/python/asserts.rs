//! Asserts: how they are taken apart, and when they pass.

use crate::reference::{nearly_a_literal, python, samples};
use proptest::prelude::*;
use pydata::{Budget, Comparison, Value, parse_assert};

#[test]
fn asserts_are_taken_apart() {
    let plain = parse_assert("assert f(1, b='x') == [2]").expect("plain");
    assert_eq!((plain.call.function.as_str(), plain.call.args.len(), plain.call.keywords.len()), ("f", 1, 1));
    assert_eq!(plain.call.source, "f(1, b='x')");
    let accepted = [
        ("assert (f(1) == 2)", Comparison::Equal, "2"),
        ("assert(f(1)) == 2", Comparison::Equal, "2"),
        ("\n  assert ((f(1)) == \n 2) # note\n", Comparison::Equal, "2"),
        ("assert f(1) == True", Comparison::Equal, "True"),
        ("assert f(1) is True, 'message'", Comparison::Identical, "True"),
        ("assert f(1) is (None);", Comparison::Identical, "None"),
        ("assert f(1), 'not ' 'true'", Comparison::Truthy, "True"),
        ("assert (f(1))", Comparison::Truthy, "True"),
        ("assert not f(1)", Comparison::Falsy, "False"),
        ("assert (not (f(1))), 5", Comparison::Falsy, "False"),
    ];
    for (text, comparison, expected) in accepted {
        let assert = parse_assert(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(assert.comparison, comparison, "{text}");
        assert_eq!(assert.expected.to_string(), expected, "{text}");
        assert_eq!(assert.call.source, "f(1)", "{text}");
    }
}

#[test]
fn asserts_that_ask_for_more_are_refused() {
    let refused = [
        "assert f(x) == 1",
        "assert f(1) == 1 + 1",
        "assert f(1) == g(2)",
        "assert abs(f(1) - 2) < 1e-6",
        "assert f(1) is 5",
        "assert f(1) is +True",
        "assert f(1) is not None",
        "assert f(1) != 2",
        "assert (f(1) == 2, 'message')",
        "assert (f(1), 'message')",
        "assert f(1) == 2 == 2",
        "assert f(1) == 2 and g",
        "assert f(1) == 2 if g else 3",
        "assert not f(1) == 2",
        "assert not (f(1) == 2)",
        "assert not(1) == 2",
        "assert not not f(1)",
        "assert lambda(1)",
        "assert f(1) == 2, g()",
        "assert f(1) == 2, f'{1}'",
        "assert f(1) == 2, 'a' % 1",
        "assert f(1) == 2, 'a'.format()",
        "assert f(1) == 2,",
        "assert f(1) == 2\ng()",
        "assert f(1)\n== 2",
        "assert f(1) == 2; g()",
        "assert f(1) ==\n2",
        "assert f\n(1)",
        "assert (f\n(1) == 2)",
        "assert f(1)(2)",
        "assert f(1)[0] == 2",
        "assert f(1).x",
        "assert f.g(1) == 2",
        "assert f(1) in [2]",
        "assert f(1) = 2",
        "assert f(1) === 2",
        "assert f(a=1, a=2)",
        "assert f(a=1, 2)",
        "assert f(None=1)",
        "assert f(*[1])",
        "assert f(**{})",
        "assert f(,)",
        "assert None(1)",
        "assert ｆ(1)",
        "assertf(1)",
        "assert",
        "assert f(x for x in [])",
        "assert f(y := 1)",
        "assert f(1) == 2j ** 2",
        "assert f(1) == [1][0]",
    ];
    for text in refused {
        assert!(parse_assert(text).is_err(), "{text}");
    }
}

#[test]
fn true_is_only_true_itself() {
    let budget = &mut Budget::default();
    let mut holds =
        |text: &str, value: &Value| parse_assert(text).expect(text).holds(value, budget) == Ok(true);
    let ones = [Value::from(1), Value::Float(1.0), Value::decimal("1".to_owned()).expect("a decimal")];
    for one in &ones {
        assert!(!holds("assert f() is True", one), "{one}");
        assert!(holds("assert f() == True", one), "{one}");
        assert!(holds("assert f()", one), "{one}");
        assert!(!holds("assert not f()", one), "{one}");
    }
    assert!(holds("assert f() is True", &Value::Bool(true)));
    assert!(!holds("assert f() is True", &Value::Bool(false)));
    assert!(!holds("assert f() is False", &Value::from(0)));
    assert!(holds("assert f() is None", &Value::None));
    assert!(!holds("assert f() is None", &Value::Bool(false)));
}

/// Whether a text with a call of `f` does what the other columns say: the comparison, and then the
/// arguments of the call and the expected value as Python writes them.
const ASSERTS: &str = r"
import ast, json, sys
inf = float('inf')
def value(node):
    class Names(dict):
        def __missing__(self, key):
            if key == 'nan': return float('nan')
            raise KeyError(key)
    return eval(compile(ast.Expression(node), '', 'eval'), {}, Names(inf=inf))
def holds(text, comparison, call, expected):
    statement, = ast.parse(text.strip(' \t\x0c')).body
    assert type(statement) is ast.Assert
    test = statement.test
    if comparison == 'Truthy': operand, right = test, 'True'
    elif comparison == 'Falsy':
        assert type(test) is ast.UnaryOp and type(test.op) is ast.Not
        operand, right = test.operand, 'False'
    else:
        operator, = test.ops
        assert type(operator) is {'Equal': ast.Eq, 'Identical': ast.Is}[comparison]
        operand, (right,) = test.left, test.comparators
        right = value(right)
        expected = value(ast.parse(expected, mode='eval').body)
        assert right == expected or repr(right) == repr(expected), right
        assert type(right) is type(expected)
    assert ast.dump(operand) == ast.dump(ast.parse(call, mode='eval').body)
    assert operand.func.id == 'f'
    ours = ast.parse(call, mode='eval').body
    if statement.msg: value(statement.msg)
    return len(ours.args)
rows = json.load(sys.stdin)
for at in range(0, len(rows), 4):
    try: print(holds(*rows[at:at + 4]))
    except Exception as error: print(rows[at:at + 4], repr(error))
";

#[test]
fn asserts_that_are_accepted_are_that_one_comparison() {
    let call = prop_oneof![Just("f(1)"), Just("(f('a', k=2))"), Just("f()"), Just("(f([1])")];
    let parts = (nearly_a_literal(), nearly_a_literal(), call);
    let operators = [" == ", " is ", "", "==", "\n== ", ") == ", " is not ", " and ", ", "];
    let soup = (parts, prop::sample::select(operators.to_vec()), 0..6u8);
    let text = soup.prop_map(|((one, other, call), operator, form)| match form {
        0 => format!("assert {call}{operator}{one}"),
        1 => format!("assert {call}{operator}{one}, {other}"),
        2 => format!("assert ({call}{operator}{one})"),
        3 => format!("assert not {call}{other}"),
        4 => format!("assert f({one}, a={other}){operator}{one}"),
        _ => format!("assert {call}, {one}"),
    });
    let texts = samples(text, 40_000);
    let accepted: Vec<_> = texts.iter().filter_map(|text| Some((text, parse_assert(text).ok()?))).collect();
    assert!(accepted.len() > 500, "{}", accepted.len());
    let rows = accepted.iter().flat_map(|(text, assert)| {
        let comparison = format!("{:?}", assert.comparison);
        [text.to_string(), comparison, assert.call.source.clone(), assert.expected.to_string()]
    });
    let printed = python(ASSERTS, &rows.collect::<Vec<_>>());
    assert_eq!(printed.lines().count(), accepted.len());
    for ((_, assert), printed) in accepted.iter().zip(printed.lines()) {
        assert_eq!(printed, assert.call.args.len().to_string());
    }
}
