//! Calls for a function of which only the text and the candidates' own signatures are known.
//!
//! What a parameter takes shows in its name, its annotation and the problem's words, but not
//! surely. So several guesses are made, each a few calls, the candidates run on all of them, and
//! the guess that most of them can take is what their inputs are made from.

use std::collections::HashMap;
use verify::Guess;

/// Guesses for one problem.
const GUESSES: usize = 12;
/// Calls of each guess.
const CALLS: usize = 3;

/// What an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    Float,
    Text,
    Integers,
    Texts,
    Lists,
    Pairs,
    Tuple,
    Tuples,
    Dictionary,
    Boolean,
}

/// A parameter as a signature has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Parameter {
    name: String,
    annotation: String,
}

/// Guesses at the calls of `entry_point`, likelier ones first; none where no solution defines it, or
/// where it takes nothing. The calls of one guess are about alike in type.
pub fn guesses(entry_point: &str, statement: &str, solutions: &[&str]) -> Vec<Guess> {
    let Some(parameters) = usual_parameters(entry_point, solutions) else { return Vec::new() };
    let text = statement.to_lowercase();
    let kinds: Vec<Vec<Kind>> = parameters.iter().map(|parameter| kinds(parameter, &text)).collect();
    let mut combinations: Vec<Vec<Kind>> = Vec::new();
    let mut add = |combination: Vec<Kind>| {
        if combinations.len() < GUESSES && !combinations.contains(&combination) {
            combinations.push(combination);
        }
    };
    let first = |ranks: &dyn Fn(usize) -> usize| -> Vec<Kind> {
        kinds.iter().enumerate().map(|(at, kinds)| kinds[ranks(at).min(kinds.len() - 1)]).collect()
    };
    // The likeliest of each, then all a rank lower, then one parameter at a time.
    add(first(&|_| 0));
    add(first(&|_| 1));
    for rank in 1..5 {
        add(first(&|_| rank));
        (0..parameters.len()).for_each(|changed| add(first(&|at| if at == changed { rank } else { 0 })));
    }
    let guess = |combination: &Vec<Kind>| Guess {
        inputs: (0..CALLS).map(|turn| call(entry_point, &parameters, combination, turn)).collect(),
    };
    combinations.iter().map(guess).collect()
}

/// The commonest parameters among the definitions of a function.
fn usual_parameters(entry_point: &str, solutions: &[&str]) -> Option<Vec<Parameter>> {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    let signatures: Vec<Vec<Parameter>> =
        solutions.iter().filter_map(|code| parameters(entry_point, code)).collect();
    signatures.iter().for_each(|signature| *counts.entry(signature.len()).or_default() += 1);
    let (&arity, _) = counts.iter().max_by_key(|(arity, count)| (**count, usize::MAX - **arity))?;
    if arity == 0 {
        return None;
    }
    let of_arity: Vec<&Vec<Parameter>> = signatures.iter().filter(|s| s.len() == arity).collect();
    // Annotated ones say most.
    let annotated = |signature: &&&Vec<Parameter>| signature.iter().all(|p| !p.annotation.is_empty());
    of_arity.iter().find(annotated).or(of_arity.first()).map(|signature| (**signature).clone())
}

/// The parameters without a default of a function's definition, if the program has one that reads
/// plainly.
fn parameters(entry_point: &str, code: &str) -> Option<Vec<Parameter>> {
    let start = code.find(&format!("def {entry_point}("))? + entry_point.len() + 5;
    let (mut depth, mut parts) = (0usize, vec![String::new()]);
    for character in code[start..].chars() {
        match character {
            ')' if depth == 0 => {
                let plain = parts.iter().map(|part| part.trim()).filter(|part| {
                    !part.is_empty() && !part.contains('=') && !part.starts_with('*') && *part != "/"
                });
                let parameter = |part: &str| {
                    let (name, annotation) = part.split_once(':').unwrap_or((part, ""));
                    Parameter { name: name.trim().to_owned(), annotation: annotation.trim().to_owned() }
                };
                return Some(plain.map(parameter).collect());
            }
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        parts.last_mut()?.push(character);
    }
    None
}

/// What a parameter may take, likeliest first; never empty.
fn kinds(parameter: &Parameter, text: &str) -> Vec<Kind> {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let mut kinds: Vec<Kind> = of_annotation(&parameter.annotation);
    let collections = [
        (says(&["tuple list", "list of tuples", "tuples", "pairs", "records"]), Kind::Pairs),
        (says(&["lists", "sublist", "matrix", "2d", "nested", "triangle", "rows"]), Kind::Lists),
        (says(&["strings", "words", "names"]), Kind::Texts),
        (true, Kind::Integers),
        (says(&["string", "word", "element"]), Kind::Texts),
        (says(&["list", "array"]), Kind::Lists),
    ];
    let elements = collections.iter().filter(|(holds, _)| *holds).map(|(_, kind)| *kind);
    let name = parameter.name.to_lowercase();
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_start_matches("test_");
    match bare {
        "tup" | "tuple" | "tuples" | "t" => kinds.extend([Kind::Tuple, Kind::Tuples, Kind::Pairs]),
        "d" | "dict" | "dic" | "dictionary" | "mydict" => kinds.extend([Kind::Dictionary, Kind::Integer]),
        "s" | "str" | "string" | "text" | "word" | "sentence" | "pattern" | "char" | "ch" | "c" | "name"
        | "password" | "date" | "url" | "email" | "line" | "letter" | "character" | "substring" | "sub"
        | "path" | "filename" => kinds.extend([Kind::Text, Kind::Integer, Kind::Texts]),
        "matrix" | "mat" | "grid" | "lists" | "board" => kinds.extend([Kind::Lists, Kind::Integers]),
        "words" | "strings" | "names" | "strs" => kinds.extend([Kind::Texts, Kind::Text]),
        "r" | "radius" | "height" | "side" | "price" | "rate" | "amount" => {
            kinds.extend([Kind::Integer, Kind::Float]);
        }
        _ if is_collection(bare) => kinds.extend(elements.clone()),
        _ if bare.contains("str") || bare.contains("text") => kinds.extend([Kind::Text, Kind::Integer]),
        _ if bare.contains("dict") => kinds.push(Kind::Dictionary),
        _ if bare.contains("tup") => kinds.extend([Kind::Tuple, Kind::Tuples]),
        _ => kinds.extend([Kind::Integer]),
    }
    let fallback = [Kind::Integers, Kind::Text, Kind::Integer, Kind::Tuple, Kind::Lists, Kind::Pairs];
    for kind in elements.chain(fallback).chain([Kind::Texts, Kind::Dictionary]) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.dedup();
    kinds
}

fn is_collection(name: &str) -> bool {
    let words =
        ["list", "lst", "arr", "array", "nums", "numbers", "items", "elements", "values", "data", "seq"];
    words.iter().any(|word| name.contains(word)) || ["l", "li", "ls", "a"].contains(&name)
}

/// What an annotation says; empty if nothing.
fn of_annotation(annotation: &str) -> Vec<Kind> {
    let annotation = annotation.to_lowercase().replace(' ', "");
    let starts = [
        ("list[list", Kind::Lists),
        ("list[tuple", Kind::Pairs),
        ("list[str", Kind::Texts),
        ("list", Kind::Integers),
        ("tuple[tuple", Kind::Tuples),
        ("tuple", Kind::Tuple),
        ("dict", Kind::Dictionary),
        ("str", Kind::Text),
        ("int", Kind::Integer),
        ("float", Kind::Float),
        ("bool", Kind::Boolean),
    ];
    starts
        .iter()
        .find(|(start, _)| annotation.starts_with(start))
        .map(|(_, kind)| *kind)
        .into_iter()
        .collect()
}

/// One call: arguments of these kinds. A number that by its name is a size says the length of the
/// list before it.
fn call(entry_point: &str, parameters: &[Parameter], kinds: &[Kind], turn: usize) -> String {
    let mut arguments: Vec<String> = Vec::with_capacity(kinds.len());
    let mut length = None;
    for (at, (parameter, &kind)) in parameters.iter().zip(kinds).enumerate() {
        let sized =
            ["n", "m", "size", "len", "length", "arr_size"].contains(&parameter.name.to_lowercase().as_str());
        let argument = match length {
            Some(length) if kind == Kind::Integer && sized => format!("{length}"),
            _ => example(kind, turn, at).to_owned(),
        };
        if let Ok(pydata::Value::List(items)) = pydata::parse_literal(&argument) {
            length = Some(items.len());
        }
        arguments.push(argument);
    }
    format!("{entry_point}({})", arguments.join(", "))
}

/// A value of a kind; parameters of the same call get different ones that have something in common.
fn example(kind: Kind, turn: usize, at: usize) -> &'static str {
    let examples: [&str; 4] = match kind {
        Kind::Integer => ["6", "3", "10", "15"],
        Kind::Float => ["2.5", "4.0", "10.75", "1.2"],
        Kind::Text => ["'Hello world'", "'o'", "'aabbc12'", "'python'"],
        Kind::Integers => ["[3, 1, 4, 1, 5]", "[2, 4, 6, 8]", "[1, 5, 9, 2]", "[10, -3, 7, 7, 0, 12]"],
        Kind::Texts => [
            "['apple', 'bob', 'kiwi']",
            "['bob', 'red', 'Red']",
            "['aa', 'b', 'aa', 'xyz']",
            "['kiwi', 'no']",
        ],
        Kind::Lists => [
            "[[1, 2], [3, 4]]",
            "[[3, 1], [5, 2]]",
            "[[4, 2, 1], [7, 8, 9], [1, 3, 5]]",
            "[[0, 1], [1, 0], [2, 5]]",
        ],
        Kind::Pairs => [
            "[(1, 2), (3, 4), (5, 1)]",
            "[(3, 4), (7, 2)]",
            "[('a', 3), ('b', 1), ('c', 2)]",
            "[(4, 4), (2, 9), (1, 2)]",
        ],
        Kind::Tuple => ["(3, 1, 4, 1)", "(1, 5, 3, 7)", "(10, 4, 6, 8, 4)", "(2, 4, 5, 6)"],
        Kind::Tuples => {
            ["((1, 2), (3, 4))", "((5, 1), (3, 4))", "((4, 2), (7, 8), (1, 3))", "((0, 1), (2, 5))"]
        }
        Kind::Dictionary => {
            ["{'a': 1, 'b': 2, 'c': 3}", "{'b': 4, 'd': 5}", "{'x': 10, 'y': 5, 'z': 7}", "{'a': 2}"]
        }
        Kind::Boolean => ["True", "False", "True", "False"],
    };
    examples[(turn + at) % examples.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_words_and_annotations_tell_what_is_taken() {
        let first = |signature: &str, text: &str| {
            let solution = format!("{signature}\n    return 1\n");
            guesses("f", text, &[&solution]).first().map(|guess| guess.inputs[0].clone())
        };
        let is = |signature: &str, text: &str, call: &str| {
            assert_eq!(first(signature, text).as_deref(), Some(call), "{signature}");
        };
        is("def f(n):", "", "f(6)");
        is("def f(arr, n):", "", "f([3, 1, 4, 1, 5], 5)");
        is("def f(s: str, k=3):", "", "f('Hello world')");
        is("def f(x: List[List[int]]) -> int:", "", "f([[1, 2], [3, 4]])");
        is("def f(test_list):", "from a list of tuples", "f([(1, 2), (3, 4), (5, 1)])");
        assert_eq!(first("def f():", ""), None);
        assert_eq!(first("def g(n):", ""), None);
        assert_eq!(first("def f(n", ""), None);
    }

    #[test]
    fn several_guesses_are_made_and_all_calls_read() {
        let guesses = guesses("f", "", &["def f(x):\n    return 1\n"]);
        assert!(guesses.len() > 3);
        assert!(guesses.iter().any(|guess| guess.inputs[0] == "f('Hello world')"));
        for call in guesses.iter().flat_map(|guess| &guess.inputs) {
            assert!(pydata::parse_call(call).is_ok(), "{call}");
        }
    }
}
