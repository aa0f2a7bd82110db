//! Primitives over text, words, pairs of lists, tuples and dictionaries.

use super::data::Data::{Dict, Int, Ints, Text, Truth, Tuple, Words};
use super::data::Kind;
use super::primitive::{Primitive, of_dict, of_lists, of_text, of_tuple, of_words};

/// Text.
pub fn text() -> Vec<Primitive> {
    vec![
        of_text(
            "text_reverse",
            Kind::Text,
            &["reverse it", "write it backwards"],
            "{x}[::-1]",
            &["{x}[:-1]", "{x}[-1]"],
            |x| Some(Text(x.chars().rev().collect())),
        ),
        of_text(
            "upper",
            Kind::Text,
            &["convert it to upper case", "capitalise all letters"],
            "{x}.upper()",
            &["{x}.lower()", "{x}.title()"],
            |x| Some(Text(x.to_uppercase())),
        ),
        of_text(
            "text_length",
            Kind::Int,
            &["find its length", "count its characters"],
            "len({x})",
            &["len({x}) - 1", "len({x}.split())"],
            |x| Some(Int(x.len() as i64)),
        ),
        of_text(
            "split",
            Kind::Words,
            &["split it into words", "list its words"],
            "{x}.split()",
            &["list({x})", "{x}.split(',')"],
            |x| Some(Words(x.split_whitespace().map(str::to_owned).collect())),
        ),
        of_text(
            "count_vowels",
            Kind::Int,
            &["count the vowels", "find how many vowels it has"],
            "sum(c in 'aeiou' for c in {x}.lower())",
            &["sum(c in 'aeiou' for c in {x})", "sum(c not in 'aeiou' for c in {x}.lower())"],
            |x| Some(Int(x.chars().filter(|&c| is_vowel(c)).count() as i64)),
        ),
        of_text(
            "lower",
            Kind::Text,
            &["convert it to lower case", "make all letters small"],
            "{x}.lower()",
            &["{x}.upper()", "{x}.capitalize()"],
            |x| Some(Text(x.to_lowercase())),
        ),
        of_text(
            "remove_spaces",
            Kind::Text,
            &["remove the spaces", "drop all blanks"],
            "{x}.replace(' ', '')",
            &["{x}.strip()", "{x}.replace('', ' ')"],
            |x| Some(Text(x.replace(' ', ""))),
        ),
        of_text(
            "is_palindrome",
            Kind::Truth,
            &["check whether it is a palindrome", "tell if it reads the same backwards"],
            "{x} == {x}[::-1]",
            &["{x} == {x}[:-1]", "{x} != {x}[::-1]"],
            |x| Some(Truth(x.chars().eq(x.chars().rev()))),
        ),
        of_text(
            "remove_vowels",
            Kind::Text,
            &["remove the vowels", "drop all vowels"],
            "''.join(c for c in {x} if c.lower() not in 'aeiou')",
            &[
                "''.join(c for c in {x} if c not in 'aeiou')",
                "''.join(c for c in {x} if c.lower() in 'aeiou')",
            ],
            |x| Some(Text(x.chars().filter(|&c| !is_vowel(c)).collect())),
        ),
        of_text(
            "swap_case",
            Kind::Text,
            &["swap upper and lower case", "toggle the case of each letter"],
            "{x}.swapcase()",
            &["{x}.upper()", "{x}.capitalize()"],
            |x| Some(Text(x.chars().map(swap_case).collect())),
        ),
        of_text(
            "count_upper",
            Kind::Int,
            &["count the capital letters", "find how many letters are upper case"],
            "sum(c.isupper() for c in {x})",
            &["sum(c.islower() for c in {x})", "sum({x}.isupper() for c in {x})"],
            |x| Some(Int(x.chars().filter(|c| c.is_uppercase()).count() as i64)),
        ),
        of_text(
            "letter_counts",
            Kind::Dict,
            &["count each character in order of appearance", "build a dictionary of character counts"],
            "{c: {x}.count(c) for c in {x}}",
            &["{c: 1 for c in {x}}", "{c: {x}.index(c) for c in {x}}"],
            |x| Some(Dict(counts(x))),
        ),
        of_text(
            "sort_letters",
            Kind::Text,
            &["sort its characters", "put its characters in order"],
            "''.join(sorted({x}))",
            &["sorted({x})", "''.join(sorted({x}, reverse=True))"],
            |x| {
                let mut c: Vec<char> = x.chars().collect();
                c.sort_unstable();
                Some(Text(c.into_iter().collect()))
            },
        ),
        of_text(
            "first_half",
            Kind::Text,
            &["take its first half, rounding down", "keep the first half of the characters, rounding down"],
            "{x}[:len({x}) // 2]",
            &["{x}[len({x}) // 2:]", "{x}[:(len({x}) + 1) // 2]"],
            |x| Some(Text(x.chars().take(x.len() / 2).collect())),
        ),
        of_text(
            "only_digits",
            Kind::Text,
            &["keep only the digits", "remove everything but digits"],
            "''.join(c for c in {x} if c.isdigit())",
            &["''.join(c for c in {x} if c.isalpha())", "''.join(c for c in {x} if not c.isdigit())"],
            |x| Some(Text(x.chars().filter(char::is_ascii_digit).collect())),
        ),
        of_text(
            "codes",
            Kind::Ints,
            &["list its character codes", "convert each character to its code"],
            "[ord(c) for c in {x}]",
            &["[chr(c) for c in {x}]", "[ord(c) - 97 for c in {x}]"],
            |x| Some(Ints(x.bytes().map(i64::from).collect())),
        ),
        of_text(
            "double_letters",
            Kind::Text,
            &["repeat each character twice", "write every character two times"],
            "''.join(c * 2 for c in {x})",
            &["{x} * 2", "''.join(c * 3 for c in {x})"],
            |x| Some(Text(x.chars().flat_map(|c| [c, c]).collect())),
        ),
        of_text(
            "title",
            Kind::Text,
            &["replace the spaces by underscores", "join its words with underscores"],
            "{x}.replace(' ', '_')",
            &["{x}.replace('_', ' ')", "{x}.replace(' ', '-')"],
            |x| Some(Text(x.replace(' ', "_"))),
        ),
    ]
}

/// Lists of words.
pub fn words() -> Vec<Primitive> {
    vec![
        of_words(
            "join",
            Kind::Text,
            &["join the words with spaces", "connect the words by spaces"],
            "' '.join({x})",
            &["''.join({x})", "','.join({x})"],
            |x| Some(Text(x.join(" "))),
        ),
        of_words(
            "word_lengths",
            Kind::Ints,
            &["list the length of each word", "replace each word by its length"],
            "[len(w) for w in {x}]",
            &["[len({x}) for w in {x}]", "[len(w) - 1 for w in {x}]"],
            |x| Some(Ints(x.iter().map(|w| w.len() as i64).collect())),
        ),
        of_words(
            "sort_words",
            Kind::Words,
            &["sort the words", "put the words in order"],
            "sorted({x})",
            &["sorted({x}, key=len)", "{x}.sort()"],
            |x| {
                let mut w = x.to_vec();
                w.sort();
                Some(Words(w))
            },
        ),
        of_words(
            "longest",
            Kind::Text,
            &["find the longest word, the first of equals", "return the first word of greatest length"],
            "max({x}, key=len)",
            &["max({x})", "min({x}, key=len)"],
            |x| {
                let most = x.iter().map(String::len).max()?;
                x.iter().find(|w| w.len() == most).map(|w| Text(w.clone()))
            },
        ),
        of_words(
            "long_words",
            Kind::Words,
            &["keep the words longer than three letters", "select words of more than three letters"],
            "[w for w in {x} if len(w) > 3]",
            &["[w for w in {x} if len(w) >= 3]", "[w for w in {x} if len(w) < 3]"],
            |x| Some(Words(x.iter().filter(|w| w.len() > 3).cloned().collect())),
        ),
        of_words(
            "word_count",
            Kind::Int,
            &["count the words", "find how many words there are"],
            "len({x})",
            &["len({x}[0])", "len({x}) - 1"],
            |x| Some(Int(x.len() as i64)),
        ),
        of_words(
            "initials",
            Kind::Text,
            &["join the first letters", "build a string of the initials"],
            "''.join(w[0] for w in {x})",
            &["''.join(w[-1] for w in {x})", "[w[0] for w in {x}]"],
            |x| x.iter().map(|w| w.chars().next()).collect::<Option<String>>().map(Text),
        ),
        of_words(
            "reverse_words",
            Kind::Words,
            &["reverse each word", "write each word backwards"],
            "[w[::-1] for w in {x}]",
            &["{x}[::-1]", "[w[:-1] for w in {x}]"],
            |x| Some(Words(x.iter().map(|w| w.chars().rev().collect()).collect())),
        ),
        of_words(
            "upper_words",
            Kind::Words,
            &["convert each word to upper case", "capitalise every letter of the words"],
            "[w.upper() for w in {x}]",
            &["[w.lower() for w in {x}]", "[w.title() for w in {x}]"],
            |x| Some(Words(x.iter().map(|w| w.to_uppercase()).collect())),
        ),
        of_words(
            "total_letters",
            Kind::Int,
            &["count the letters of all words", "add up the lengths of the words"],
            "sum(len(w) for w in {x})",
            &["len({x})", "max(len(w) for w in {x})"],
            |x| Some(Int(x.iter().map(String::len).sum::<usize>() as i64)),
        ),
        of_words(
            "by_length",
            Kind::Words,
            &["sort the words by length", "order the words from short to long"],
            "sorted({x}, key=len)",
            &["sorted({x})", "sorted({x}, key=len, reverse=True)"],
            |x| {
                let mut w = x.to_vec();
                w.sort_by_key(String::len);
                Some(Words(w))
            },
        ),
    ]
}

/// Two lists of integers.
pub fn two_lists() -> Vec<Primitive> {
    vec![
        of_lists(
            "concatenate",
            Kind::Ints,
            &["join them", "append the second to the first"],
            "{a} + {b}",
            &["{b} + {a}", "[{a}, {b}]"],
            |a, b| Some(Ints([a, b].concat())),
        ),
        of_lists(
            "add_pairs",
            Kind::Ints,
            &["add them element by element", "sum the numbers at the same positions"],
            "[p + q for p, q in zip({a}, {b})]",
            &["[p * q for p, q in zip({a}, {b})]", "{a} + {b}"],
            |a, b| Some(Ints(a.iter().zip(b).map(|(p, q)| p + q).collect())),
        ),
        of_lists(
            "common",
            Kind::Ints,
            &["list their common numbers in order", "find the sorted intersection"],
            "sorted(set({a}) & set({b}))",
            &["sorted(set({a}) | set({b}))", "[v for v in {a} if v in {b}]"],
            |a, b| {
                let mut c: Vec<i64> = a.iter().copied().filter(|v| b.contains(v)).collect();
                c.sort_unstable();
                c.dedup();
                Some(Ints(c))
            },
        ),
        of_lists(
            "dot",
            Kind::Int,
            &["compute the dot product", "sum the products of numbers at the same positions"],
            "sum(p * q for p, q in zip({a}, {b}))",
            &["sum(p + q for p, q in zip({a}, {b}))", "sum({a}) * sum({b})"],
            |a, b| Some(Int(a.iter().zip(b).map(|(p, q)| p * q).sum())),
        ),
        of_lists(
            "multiply_pairs",
            Kind::Ints,
            &["multiply them element by element", "list the products of numbers at the same positions"],
            "[p * q for p, q in zip({a}, {b})]",
            &["[p + q for p, q in zip({a}, {b})]", "[p ** q for p, q in zip({a}, {b})]"],
            |a, b| Some(Ints(a.iter().zip(b).map(|(p, q)| p * q).collect())),
        ),
        of_lists(
            "only_first",
            Kind::Ints,
            &[
                "keep the numbers of the first that are not in the second",
                "remove the second's numbers from the first",
            ],
            "[v for v in {a} if v not in {b}]",
            &["[v for v in {b} if v not in {a}]", "sorted(set({a}) - set({b}))"],
            |a, b| Some(Ints(a.iter().copied().filter(|v| !b.contains(v)).collect())),
        ),
        of_lists(
            "larger_pairs",
            Kind::Ints,
            &["take the larger number at each position", "build the element-wise maximum"],
            "[max(p, q) for p, q in zip({a}, {b})]",
            &["[min(p, q) for p, q in zip({a}, {b})]", "max({a}, {b})"],
            |a, b| Some(Ints(a.iter().zip(b).map(|(p, q)| *p.max(q)).collect())),
        ),
        of_lists(
            "matches",
            Kind::Int,
            &["count the positions where they agree", "find how many positions hold equal numbers"],
            "sum(p == q for p, q in zip({a}, {b}))",
            &["sum(p != q for p, q in zip({a}, {b}))", "len(set({a}) & set({b}))"],
            |a, b| Some(Int(a.iter().zip(b).filter(|(p, q)| p == q).count() as i64)),
        ),
        of_lists(
            "interleave",
            Kind::Ints,
            &["interleave them", "alternate their numbers"],
            "[v for p in zip({a}, {b}) for v in p]",
            &["[v for p in zip({b}, {a}) for v in p]", "list(zip({a}, {b}))"],
            |a, b| Some(Ints(a.iter().zip(b).flat_map(|(p, q)| [*p, *q]).collect())),
        ),
        of_lists(
            "subtract_pairs",
            Kind::Ints,
            &[
                "subtract the second from the first element by element",
                "list the differences at the same positions",
            ],
            "[p - q for p, q in zip({a}, {b})]",
            &["[q - p for p, q in zip({a}, {b})]", "[abs(p - q) for p, q in zip({a}, {b})]"],
            |a, b| Some(Ints(a.iter().zip(b).map(|(p, q)| p - q).collect())),
        ),
    ]
}

/// Tuples of integers.
pub fn tuple() -> Vec<Primitive> {
    vec![
        of_tuple(
            "tuple_list",
            Kind::Ints,
            &["convert it to a list", "turn it into a list"],
            "list({x})",
            &["[{x}]", "sorted({x})"],
            |x| Some(Ints(x.to_vec())),
        ),
        of_tuple(
            "tuple_sum",
            Kind::Int,
            &["add up its elements", "sum the tuple"],
            "sum({x})",
            &["len({x})", "sum({x}[1:])"],
            |x| Some(Int(x.iter().sum())),
        ),
        of_tuple(
            "tuple_reverse",
            Kind::Tuple,
            &["reverse it", "put its elements in reverse order"],
            "{x}[::-1]",
            &["list({x}[::-1])", "{x}[:-1]"],
            |x| Some(Tuple(x.iter().rev().copied().collect())),
        ),
        of_tuple(
            "tuple_double",
            Kind::Tuple,
            &["double each element", "multiply each element by two"],
            "tuple(v * 2 for v in {x})",
            &["{x} * 2", "[v * 2 for v in {x}]"],
            |x| Some(Tuple(x.iter().map(|v| v * 2).collect())),
        ),
        of_tuple(
            "tuple_max",
            Kind::Int,
            &["find its largest element", "take its maximum"],
            "max({x})",
            &["min({x})", "{x}[-1]"],
            |x| x.iter().max().map(|&v| Int(v)),
        ),
        of_tuple(
            "tuple_sort",
            Kind::Tuple,
            &["sort it into a tuple", "order its elements as a tuple"],
            "tuple(sorted({x}))",
            &["sorted({x})", "tuple(sorted({x}, reverse=True))"],
            |x| {
                let mut v = x.to_vec();
                v.sort_unstable();
                Some(Tuple(v))
            },
        ),
        of_tuple(
            "ends",
            Kind::Tuple,
            &["keep its first and last element", "take both ends of it"],
            "({x}[0], {x}[-1])",
            &["({x}[0], {x}[1])", "{x}[:2]"],
            |x| Some(Tuple(vec![*x.first()?, *x.last()?])),
        ),
        of_tuple(
            "tuple_positive",
            Kind::Tuple,
            &["keep its positive elements", "drop elements that are not positive"],
            "tuple(v for v in {x} if v > 0)",
            &["tuple(v for v in {x} if v >= 0)", "[v for v in {x} if v > 0]"],
            |x| Some(Tuple(x.iter().copied().filter(|&v| v > 0).collect())),
        ),
    ]
}

/// Dictionaries.
pub fn dict() -> Vec<Primitive> {
    vec![
        of_dict(
            "values",
            Kind::Ints,
            &["list its values", "collect the values"],
            "list({x}.values())",
            &["list({x}.keys())", "list({x}.items())"],
            |x| Some(Ints(x.iter().map(|p| p.1).collect())),
        ),
        of_dict(
            "keys",
            Kind::Words,
            &["list its keys in order", "collect the sorted keys"],
            "sorted({x})",
            &["sorted({x}.values())", "list({x}.items())"],
            |x| {
                let mut k: Vec<String> = x.iter().map(|p| p.0.clone()).collect();
                k.sort();
                Some(Words(k))
            },
        ),
        of_dict(
            "value_sum",
            Kind::Int,
            &["add up its values", "sum the values"],
            "sum({x}.values())",
            &["sum({x})", "len({x})"],
            |x| Some(Int(x.iter().map(|p| p.1).sum())),
        ),
        of_dict(
            "positive_values",
            Kind::Dict,
            &["keep the entries with positive value", "drop entries whose value is not positive"],
            "{k: v for k, v in {x}.items() if v > 0}",
            &["{k: v for k, v in {x}.items() if v >= 0}", "{k: v for k, v in {x}.items() if v < 0}"],
            |x| Some(Dict(x.iter().filter(|p| p.1 > 0).cloned().collect())),
        ),
        of_dict(
            "best_key",
            Kind::Text,
            &["find the key of the largest value", "return the key with the maximum value"],
            "max({x}, key={x}.get)",
            &["max({x})", "min({x}, key={x}.get)"],
            |x| {
                let most = x.iter().map(|p| p.1).max()?;
                x.iter().find(|p| p.1 == most).map(|p| Text(p.0.clone()))
            },
        ),
        of_dict(
            "double_values",
            Kind::Dict,
            &["double each value", "multiply each value by two"],
            "{k: v * 2 for k, v in {x}.items()}",
            &["{k: v ** 2 for k, v in {x}.items()}", "{k * 2: v for k, v in {x}.items()}"],
            |x| Some(Dict(x.iter().map(|(k, v)| (k.clone(), v * 2)).collect())),
        ),
        of_dict(
            "size",
            Kind::Int,
            &["count its entries", "find how many keys it has"],
            "len({x})",
            &["len({x}) - 1", "sum({x}.values())"],
            |x| Some(Int(x.len() as i64)),
        ),
        of_dict(
            "upper_keys",
            Kind::Dict,
            &["convert the keys to upper case", "capitalise the keys"],
            "{k.upper(): v for k, v in {x}.items()}",
            &["{k.lower(): v for k, v in {x}.items()}", "{k.title(): v for k, v in {x}.items()}"],
            |x| {
                let k: Vec<_> = x.iter().map(|(k, v)| (k.to_uppercase(), *v)).collect();
                let unique: std::collections::HashSet<_> = k.iter().map(|p| &p.0).collect();
                (unique.len() == k.len()).then(|| Dict(k.clone()))
            },
        ),
        of_dict(
            "largest_value",
            Kind::Int,
            &["find the largest value", "take the maximum of the values"],
            "max({x}.values())",
            &["max({x})", "min({x}.values())"],
            |x| x.iter().map(|p| p.1).max().map(Int),
        ),
        of_dict(
            "by_value",
            Kind::Words,
            &["list the keys ordered by value", "sort the keys by their values"],
            "sorted({x}, key={x}.get)",
            &["sorted({x})", "sorted({x}.values())"],
            |x| {
                let mut p = x.to_vec();
                p.sort_by_key(|p| p.1);
                Some(Words(p.into_iter().map(|p| p.0).collect()))
            },
        ),
    ]
}

fn is_vowel(c: char) -> bool {
    "aeiou".contains(c.to_ascii_lowercase())
}

fn swap_case(c: char) -> char {
    if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() }
}

fn counts(x: &str) -> Vec<(String, i64)> {
    let mut counts: Vec<(String, i64)> = Vec::new();
    for c in x.chars() {
        match counts.iter_mut().find(|(key, _)| key.starts_with(c)) {
            Some((_, count)) => *count += 1,
            None => counts.push((c.to_string(), 1)),
        }
    }
    counts
}
