//! What models wrap around programs, and what has to be left.

use problems::extract::extract_code;

#[test]
fn programs_are_found() {
    let program = "def f(x):\n    return x + 1\n";
    let cases = [
        ("fenced", "Sure:\n```python\ndef f(x):\n    return x + 1\n```\nThat's it."),
        ("fence without language", "```\ndef f(x):\n    return x + 1\n```"),
        ("fence never closed", "```python\ndef f(x):\n    return x + 1"),
        ("the prompt had opened the fence", "def f(x):\n    return x + 1\n```\nThis adds one."),
        (
            "two blocks, the second defines it",
            "```python\nprint(1)\n```\nor\n```python\ndef f(x):\n    return x + 1\n```",
        ),
        ("plain", "def f(x):\n    return x + 1"),
        (
            "prose around",
            "Here is the function you asked for.\n\ndef f(x):\n    return x + 1\n\nThis function adds one to its argument.",
        ),
        ("example calls", "def f(x):\n    return x + 1\n\nprint(f(1))\nassert f(1) == 2\n"),
        ("main block", "def f(x):\n    return x + 1\n\nif __name__ == \"__main__\":\n    f(1)\n"),
        ("windows lines", "def f(x):\r\n    return x + 1\r\n"),
    ];
    for (name, completion) in cases {
        assert_eq!(extract_code(completion, "f"), program, "{name}");
    }
}

#[test]
fn what_functions_need_is_kept() {
    let program = "import math\n\nLIMIT = 3\n\n@cache\ndef g(x):\n    \"\"\"Adds.\n\nA line of prose inside.\n    \"\"\"\n    return x\n\ndef f(x):\n    return g(\n        x\n    )\n";
    assert_eq!(extract_code(program, "f"), program);
    let alias = "def g(x):\n    return x\n\nf = g\n";
    assert_eq!(extract_code(&format!("{alias}print(f(2))\n"), "f"), alias);
}

#[test]
fn a_cut_off_program_stays_cut_off() {
    assert_eq!(extract_code("```python\ndef f(x):\n    return (x +", "f"), "def f(x):\n    return (x +\n");
    assert_eq!(extract_code("", "f"), "\n");
}
