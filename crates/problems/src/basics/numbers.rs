//! Primitives over integers and lists of integers.

use super::data::Data::{Int, Ints, Text, Truth, Tuple, Words};
use super::data::Kind;
use super::primitive::{Primitive, filter, map, of_int, of_ints};

/// Lists of integers; the first are the most common in the wild.
pub fn ints() -> Vec<Primitive> {
    vec![
        filter(
            "even",
            &["keep the even numbers", "drop the odd numbers"],
            "v % 2 == 0",
            &["v % 2 == 1", "v % 2"],
            |v| v % 2 == 0,
        ),
        map(
            "double",
            &["double each number", "multiply each number by two"],
            "v * 2",
            &["v ** 2", "v + 2"],
            |v| v * 2,
        ),
        of_ints(
            "sum",
            Kind::Int,
            &["find the sum", "add up the numbers"],
            "sum({x})",
            &["len({x})", "sum({x}[1:])"],
            |x| Some(Int(x.iter().sum())),
        ),
        of_ints(
            "sort",
            Kind::Ints,
            &["sort in ascending order", "order from smallest to largest"],
            "sorted({x})",
            &["sorted({x}, reverse=True)", "{x}.sort()"],
            |x| Some(Ints(sorted(x))),
        ),
        filter(
            "positive",
            &["keep the positive numbers", "select the numbers above zero"],
            "v > 0",
            &["v >= 0", "v < 0"],
            |v| v > 0,
        ),
        map(
            "square",
            &["square each number", "replace each number by its square"],
            "v ** 2",
            &["v * 2", "v ** 3"],
            |v| v * v,
        ),
        of_ints(
            "max",
            Kind::Int,
            &["find the largest number", "return the maximum"],
            "max({x})",
            &["min({x})", "{x}[-1]"],
            |x| x.iter().max().map(|&v| Int(v)),
        ),
        of_ints(
            "reverse",
            Kind::Ints,
            &["reverse the order", "put the numbers in reverse order"],
            "{x}[::-1]",
            &["{x}[:-1]", "sorted({x}, reverse=True)"],
            |x| Some(Ints(x.iter().rev().copied().collect())),
        ),
        filter(
            "odd",
            &["keep the odd numbers", "drop the even numbers"],
            "v % 2 == 1",
            &["v % 2 == 0", "v // 2 == 1"],
            |v| v.rem_euclid(2) == 1,
        ),
        map(
            "increment",
            &["add one to each number", "increment each number"],
            "v + 1",
            &["v - 1", "v + 2"],
            |v| v + 1,
        ),
        of_ints(
            "length",
            Kind::Int,
            &["count the numbers", "find how many numbers there are"],
            "len({x})",
            &["len({x}) - 1", "sum({x})"],
            |x| Some(Int(x.len() as i64)),
        ),
        of_ints(
            "unique",
            Kind::Ints,
            &["remove duplicates and sort", "list the distinct numbers in order"],
            "sorted(set({x}))",
            &["list({x})", "sorted({x})"],
            |x| Some(Ints(distinct(x))),
        ),
        filter(
            "negative",
            &["keep the negative numbers", "select the numbers below zero"],
            "v < 0",
            &["v <= 0", "v > 0"],
            |v| v < 0,
        ),
        map(
            "absolute",
            &["take the absolute value of each number", "drop the sign of each number"],
            "abs(v)",
            &["-v", "max(v, 0)"],
            i64::abs,
        ),
        of_ints(
            "min",
            Kind::Int,
            &["find the smallest number", "return the minimum"],
            "min({x})",
            &["max({x})", "{x}[0]"],
            |x| x.iter().min().map(|&v| Int(v)),
        ),
        of_ints(
            "descending",
            Kind::Ints,
            &["sort in descending order", "order from largest to smallest"],
            "sorted({x}, reverse=True)",
            &["sorted({x})", "{x}[::-1]"],
            |x| Some(Ints(sorted(x).into_iter().rev().collect())),
        ),
        filter(
            "above_five",
            &["keep the numbers greater than five", "select the numbers over five"],
            "v > 5",
            &["v >= 5", "v < 5"],
            |v| v > 5,
        ),
        map(
            "negate",
            &["negate each number", "flip the sign of each number"],
            "-v",
            &["abs(v)", "-abs(v)"],
            |v| -v,
        ),
        of_ints(
            "product",
            Kind::Int,
            &["find the product", "multiply the numbers together"],
            "math.prod({x})",
            &["sum({x})", "math.prod({x}[1:])"],
            |x| x.iter().try_fold(1i64, |p, &v| p.checked_mul(v)).map(Int),
        ),
        of_ints(
            "first_three",
            Kind::Ints,
            &["take the first three numbers", "keep only the first three"],
            "{x}[:3]",
            &["{x}[:2]", "{x}[3:]"],
            |x| Some(Ints(x.iter().take(3).copied().collect())),
        ),
        filter(
            "three",
            &["keep the multiples of three", "select the numbers divisible by three"],
            "v % 3 == 0",
            &["v % 3", "v // 3 == 0"],
            |v| v % 3 == 0,
        ),
        map(
            "halve",
            &["halve each number, rounding down", "floor divide each number by two"],
            "v // 2",
            &["v / 2", "v % 2"],
            |v| v.div_euclid(2),
        ),
        of_ints(
            "range",
            Kind::Int,
            &["find the difference of largest and smallest", "compute the range of the values"],
            "max({x}) - min({x})",
            &["min({x}) - max({x})", "{x}[-1] - {x}[0]"],
            |x| Some(Int(x.iter().max()? - x.iter().min()?)),
        ),
        of_ints(
            "prefix_sums",
            Kind::Ints,
            &["compute the running totals", "build the prefix sums"],
            "list(itertools.accumulate({x}))",
            &["list(itertools.accumulate({x}[1:]))", "list(itertools.accumulate({x}, max))"],
            |x| Some(Ints(running(x))),
        ),
        filter(
            "small",
            &["keep the numbers between one and ten", "select numbers from one to ten"],
            "1 <= v <= 10",
            &["1 < v < 10", "1 <= v < 10"],
            |v| (1..=10).contains(&v),
        ),
        map(
            "last_digit",
            &["replace each number by its last digit", "take the last digit of each number"],
            "abs(v) % 10",
            &["v % 10", "abs(v) // 10"],
            |v| v.abs() % 10,
        ),
        of_ints(
            "second_largest",
            Kind::Int,
            &["find the second largest distinct number", "return the second biggest distinct value"],
            "sorted(set({x}))[-2]",
            &["sorted({x})[-2]", "sorted(set({x}))[1]"],
            |x| distinct(x).iter().rev().nth(1).map(|&v| Int(v)),
        ),
        of_ints(
            "drop_first",
            Kind::Ints,
            &["drop the first number", "remove the first element"],
            "{x}[1:]",
            &["{x}[:-1]", "{x}[:1]"],
            |x| Some(Ints(x.iter().skip(1).copied().collect())),
        ),
        filter(
            "nonzero",
            &["remove the zeros", "keep the nonzero numbers"],
            "v != 0",
            &["v > 0", "v == 0"],
            |v| v != 0,
        ),
        map(
            "cube",
            &["cube each number", "raise each number to the third power"],
            "v ** 3",
            &["v * 3", "v ** 2"],
            |v| v * v * v,
        ),
        of_ints(
            "last",
            Kind::Int,
            &["return the last number", "pick the final element"],
            "{x}[-1]",
            &["{x}[0]", "{x}[1]"],
            |x| x.last().map(|&v| Int(v)),
        ),
        of_ints(
            "every_second",
            Kind::Ints,
            &["take every second number", "keep every other number from the first"],
            "{x}[::2]",
            &["{x}[1::2]", "{x}[:2]"],
            |x| Some(Ints(x.iter().step_by(2).copied().collect())),
        ),
        of_ints(
            "count_even",
            Kind::Int,
            &["count the even numbers", "find how many numbers are even"],
            "sum(v % 2 == 0 for v in {x})",
            &["sum(v % 2 for v in {x})", "sum(v for v in {x} if v % 2 == 0)"],
            |x| Some(Int(x.iter().filter(|&v| v % 2 == 0).count() as i64)),
        ),
        of_ints(
            "differences",
            Kind::Ints,
            &["compute the differences of neighbours", "subtract each number from the next"],
            "[q - p for p, q in zip({x}, {x}[1:])]",
            &["[p - q for p, q in zip({x}, {x}[1:])]", "[q + p for p, q in zip({x}, {x}[1:])]"],
            |x| Some(Ints(x.windows(2).map(|w| w[1] - w[0]).collect())),
        ),
        of_ints(
            "is_sorted",
            Kind::Truth,
            &["check whether the numbers are in ascending order", "tell if the list is sorted"],
            "{x} == sorted({x})",
            &["{x} == sorted({x}, reverse=True)", "{x} == {x}.sort()"],
            |x| Some(Truth(x.is_sorted())),
        ),
        of_ints(
            "extremes",
            Kind::Tuple,
            &["return smallest and largest as a tuple", "pair the minimum with the maximum"],
            "(min({x}), max({x}))",
            &["(max({x}), min({x}))", "({x}[0], {x}[-1])"],
            |x| Some(Tuple(vec![*x.iter().min()?, *x.iter().max()?])),
        ),
        of_ints(
            "rotate",
            Kind::Ints,
            &["move the first number to the end", "rotate the list left by one"],
            "{x}[1:] + {x}[:1]",
            &["{x}[-1:] + {x}[:-1]", "{x}[1:]"],
            |x| Some(Ints([x.get(1..).unwrap_or(&[]), &x[..x.len().min(1)]].concat())),
        ),
        of_ints(
            "median",
            Kind::Int,
            &["find the lower median", "return the middle value after sorting, the lower of two"],
            "sorted({x})[(len({x}) - 1) // 2]",
            &["sorted({x})[len({x}) // 2]", "{x}[(len({x}) - 1) // 2]"],
            |x| sorted(x).get(x.len().checked_sub(1)? / 2).map(|&v| Int(v)),
        ),
        of_ints(
            "strings",
            Kind::Words,
            &["convert each number to a string", "turn the numbers into strings"],
            "[str(v) for v in {x}]",
            &["str({x})", "[v for v in {x}]"],
            |x| Some(Words(x.iter().map(i64::to_string).collect())),
        ),
    ]
}

/// Single integers.
pub fn int() -> Vec<Primitive> {
    vec![
        of_int(
            "int_square",
            Kind::Int,
            &["square it", "multiply it by itself"],
            "{x} ** 2",
            &["{x} * 2", "{x} ** 3"],
            |&x| x.checked_mul(x).map(Int),
        ),
        of_int(
            "digit_sum",
            Kind::Int,
            &["sum its digits", "add up the digits"],
            "sum(int(c) for c in str(abs({x})))",
            &["sum(int(c) for c in str(abs({x}))[1:])", "len(str(abs({x})))"],
            |&x| Some(Int(digits(x).iter().sum())),
        ),
        of_int(
            "count_up",
            Kind::Ints,
            &["list the numbers from one up to it", "build the list from one to it"],
            "list(range(1, {x} + 1))",
            &["list(range(1, {x}))", "list(range({x}))"],
            |&x| Some(Ints((1..=x).collect())),
        ),
        of_int(
            "int_text",
            Kind::Text,
            &["convert it to a string", "write it as text"],
            "str({x})",
            &["str([{x}])", "{x}"],
            |&x| Some(Text(x.to_string())),
        ),
        of_int(
            "is_even",
            Kind::Truth,
            &["check whether it is even", "tell if it is divisible by two"],
            "{x} % 2 == 0",
            &["{x} % 2 == 1", "{x} // 2 == 0"],
            |&x| Some(Truth(x % 2 == 0)),
        ),
        of_int(
            "int_increment",
            Kind::Int,
            &["add one", "take its successor"],
            "{x} + 1",
            &["{x} - 1", "{x} + 2"],
            |&x| Some(Int(x + 1)),
        ),
        of_int(
            "divisors",
            Kind::Ints,
            &["list its divisors", "find all numbers that divide it"],
            "[v for v in range(1, {x} + 1) if {x} % v == 0]",
            &["[v for v in range(1, {x}) if {x} % v == 0]", "[v for v in range(2, {x} + 1) if {x} % v == 0]"],
            |&x| Some(Ints((1..=x).filter(|v| x % v == 0).collect())),
        ),
        of_int(
            "digits",
            Kind::Ints,
            &["list its digits", "split it into its digits"],
            "[int(c) for c in str(abs({x}))]",
            &["[c for c in str(abs({x}))]", "[int(c) for c in str(abs({x}))][::-1]"],
            |&x| Some(Ints(digits(x))),
        ),
        of_int(
            "triangular",
            Kind::Int,
            &["sum all numbers up to it", "compute its triangular number"],
            "{x} * ({x} + 1) // 2",
            &["{x} * ({x} - 1) // 2", "{x} * ({x} + 1)"],
            |&x| x.checked_mul(x + 1).map(|p| Int(p.div_euclid(2))),
        ),
        of_int(
            "int_double",
            Kind::Int,
            &["double it", "multiply it by two"],
            "{x} * 2",
            &["{x} ** 2", "{x} + 2"],
            |&x| Some(Int(x * 2)),
        ),
        of_int(
            "binary",
            Kind::Text,
            &["convert it to binary without prefix", "write it in binary digits"],
            "format(abs({x}), 'b')",
            &["bin(abs({x}))", "format(abs({x}), 'o')"],
            |&x| Some(Text(format!("{:b}", x.abs()))),
        ),
        of_int(
            "is_prime",
            Kind::Truth,
            &["check whether it is prime", "tell if it is a prime number"],
            "{x} > 1 and all({x} % v for v in range(2, {x}))",
            &["all({x} % v for v in range(2, {x}))", "{x} > 1 and any({x} % v for v in range(2, {x}))"],
            |&x| Some(Truth(x > 1 && x < 100_000 && (2..x).all(|v| x % v != 0))),
        ),
        of_int(
            "reverse_digits",
            Kind::Int,
            &["reverse its digits", "read its digits backwards"],
            "int(str(abs({x}))[::-1])",
            &["str(abs({x}))[::-1]", "int(str({x})[1:])"],
            |&x| digits(x).iter().rev().try_fold(0i64, |n, d| n.checked_mul(10)?.checked_add(*d)).map(Int),
        ),
        of_int(
            "digit_count",
            Kind::Int,
            &["count its digits", "find how many digits it has"],
            "len(str(abs({x})))",
            &["len(str({x}))", "len(str(abs({x}))) - 1"],
            |&x| Some(Int(digits(x).len() as i64)),
        ),
        of_int(
            "remainder",
            Kind::Int,
            &["take the remainder by seven", "reduce it modulo seven"],
            "{x} % 7",
            &["{x} // 7", "{x} % 6"],
            |&x| Some(Int(x.rem_euclid(7))),
        ),
        of_int(
            "multiples",
            Kind::Ints,
            &["list its first five multiples", "build a list of its first five multiples"],
            "[{x} * v for v in range(1, 6)]",
            &["[{x} * v for v in range(5)]", "[{x} * v for v in range(1, 5)]"],
            |&x| Some(Ints((1..6).map(|v| x * v).collect())),
        ),
    ]
}

fn sorted(x: &[i64]) -> Vec<i64> {
    let mut items = x.to_vec();
    items.sort_unstable();
    items
}

fn distinct(x: &[i64]) -> Vec<i64> {
    let mut items = sorted(x);
    items.dedup();
    items
}

fn running(x: &[i64]) -> Vec<i64> {
    let add = |sum: &mut i64, &v: &i64| {
        *sum += v;
        Some(*sum)
    };
    x.iter().scan(0, add).collect()
}

fn digits(x: i64) -> Vec<i64> {
    x.unsigned_abs().to_string().bytes().map(|digit| i64::from(digit - b'0')).collect()
}
