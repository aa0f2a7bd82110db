//! What models wrap around programs, and what has to be left.

use super::{continue_opening, extract_code};
use proptest::prelude::*;

const ADD: &str = "def add(a, b):\n    return a + b\n";

fn check(cases: &[(&str, &str, &str)]) {
    for (name, completion, program) in cases {
        assert_eq!(extract_code(completion, "add"), *program, "{name}");
    }
}

/// Completions whose program is `ADD`.
fn check_add(cases: &[(&str, &str)]) {
    for (name, completion) in cases {
        let completion = completion.replace("ADD", ADD);
        assert_eq!(extract_code(&completion, "add"), ADD, "{name}");
    }
}

/// Programs of which nothing may be lost.
fn check_whole(cases: &[(&str, &str)]) {
    for (name, program) in cases {
        assert_eq!(extract_code(program, "add"), *program, "{name}");
        let fenced = format!("Here it is:\n\n```python\n{program}```\n\nThat is all.");
        assert_eq!(extract_code(&fenced, "add"), *program, "{name}, fenced");
    }
}

#[test]
fn fences_and_markers_are_found() {
    check_add(&[
        ("fenced", "Sure:\n```python\nADD```\nThat's it."),
        ("without a language", "```\nADD```"),
        ("never closed", "```python\ndef add(a, b):\n    return a + b"),
        ("opened by the prompt", "ADD```\nThis adds (well."),
        ("opened by the prompt, more blocks below", "ADD```\nUse:\n```python\nprint(add(1, 2))\n```"),
        ("tildes", "~~~python\nADD~~~\nDone."),
        ("Windows lines", "```python\r\ndef add(a, b):\r\n    return a + b\r\n```\r\n"),
        ("in a list", "1. Code:\n\n   ```python\n   def add(a, b):\n       return a + b\n   ```\n"),
        ("on a bullet's line", "- ```python\n  def add(a, b):\n      return a + b\n  ```\n"),
        ("quoted", "> So:\n> ```python\n> def add(a, b):\n>     return a + b\n> ```\n"),
        ("closed on the last line of code", "```python\ndef add(a, b):\n    return a + b```\nDone."),
        ("one fence in another", "````markdown\n```python\nADD```\n````\n"),
        ("another language's above", "```bash\npip install add\n```\n```python\nADD```\n"),
        ("markers", "[BEGIN]\nADD[DONE]\n"),
        ("markers around a fence", "[BEGIN]\n```python\nADD```\n[DONE]\n"),
        ("a marker that the prompt's pairs with", "ADD[DONE]\n\nTask: subtract.\n[BEGIN]\nx = (\n[DONE]\n"),
        ("tags", "<code>\nADD</code>\nDone."),
        (
            "an interactive session",
            "```\n>>> def add(a, b):\n...     return a + b\n...\n>>> add(1, 2)\n3\n```",
        ),
        ("after reasoning", "<think>\n```python\ndef add(a, b):\n    return a\n```\n</think>\nADD"),
        ("the end of a turn", "ADD<|im_end|>\n<|im_start|>user\ndef add(a): return a"),
    ]);
    let one_line = "```python def add(a, b): return a + b```";
    assert_eq!(extract_code(one_line, "add"), "def add(a, b): return a + b\n");
    assert_eq!(extract_code("[BEGIN] def add(a, b): return a [DONE]", "add"), "def add(a, b): return a\n");
}

#[test]
fn fences_in_strings_are_text() {
    check_whole(&[
        (
            "bare fences",
            "def add(a, b):\n    \"\"\"Adds.\n\n    ```\n    add(1, 2)\n    ```\n    \"\"\"\n    return a + b\n",
        ),
        (
            "with a language",
            "def add(a, b):\n    '''Adds.\n```python\n>>> add(1, 2)\n```\n    '''\n    return a + b\n",
        ),
        ("an underlined title", "\"\"\"\nAdding\n~~~~~~\n\"\"\"\n\ndef add(a, b):\n    return a + b\n"),
    ]);
}

#[test]
fn prose_is_dropped() {
    check_add(&[
        ("around", "Here is the function you asked for.\n\nADD\nThis function adds one to its argument."),
        ("with quotes and brackets", "Here's how (it isn't hard:\n\nADD\nIt's \"done"),
        ("inline code", "Use `add`:\n\nADD\nDone."),
        ("a list", "1. Define it\n2) Use it\n- one item\n* two items\n\nADD\n- O(1) time\n"),
        ("labels", "Solution:\n\nADD\nExplanation:\nTime complexity: O(1)\nComplexity: O(1)\nOutput\n"),
        (
            "keywords that begin sentences",
            "for example\n\nADD\nif you need more, do not hesitate\nreturn the sum",
        ),
        ("markup", "**Solution**\n\n| a | b |\n|---|---|\n\nADD\n---\n<p>end</p>\n"),
        ("another script", "以下是代码：\n\nADD\n这个函数返回两个数的和。\n解释\n"),
        ("code indented as a block", "Here:\n\n    def add(a, b):\n        return a + b\n\nDone."),
    ]);
    let between = "First, imports.\n\nimport math\n\nThen we'll use them:\n\ndef add(a, b):\n    return math.floor(a + b)\n";
    assert_eq!(extract_code(between, "add"), "import math\n\ndef add(a, b):\n    return math.floor(a + b)\n");
}

#[test]
fn what_loading_needs_is_kept() {
    check_whole(&[
        ("comments first", "# a comment that goes on and on\n# more\ndef add(a, b):\n    return a + b\n"),
        ("a docstring first", "\"\"\"This adds two numbers.\"\"\"\ndef add(a, b):\n    return a + b\n"),
        (
            "prose in a string",
            "DOC = '''\nThis text has many words in it and is no code at all.\n'''\ndef add(a, b):\n    return a + b\n",
        ),
        (
            "prose in a docstring at the margin",
            "def add(a, b):\n    \"\"\"Adds.\n\nA line of prose inside.\n    \"\"\"\n    return a + b\n",
        ),
        (
            "a definition in a condition",
            "import sys\nif sys.version_info >= (3, 8):\n    def add(a, b):\n        return a + b\nelse:\n    def add(a, b):\n        return b + a\n",
        ),
        (
            "an import that may fail",
            "try:\n    from math import sumprod\nexcept ImportError:\n    sumprod = None\ndef add(a, b):\n    return a + b\n",
        ),
        (
            "with",
            "import decimal\nwith decimal.localcontext() as c:\n    c.prec = 5\n    X = decimal.Decimal(1)\ndef add(a, b):\n    return a + b + int(X) - 1\n",
        ),
        (
            "a loop above",
            "primes = []\nn = 2\nwhile len(primes) < 5:\n    if all(n % p for p in primes):\n        primes.append(n)\n    n += 1\n\ndef add(a, b):\n    return a + b + primes[0] - 2\n",
        ),
        ("a constant below", "def add(a, b):\n    return (a + b) % MOD\n\nMOD = 10**9 + 7\n"),
        ("an annotated constant below", "def add(a, b):\n    return a + b + K\n\nK: int = 0\n"),
        (
            "a table filled below",
            "T = {}\ndef add(a, b):\n    return T[a] + b\nfor i in range(-5, 5):\n    T[i] = i\n",
        ),
        ("changes below", "T = [2]\ndef add(a, b):\n    return a + b + T[0]\nT[0] -= 1\nT.insert(0, 0)\n"),
        (
            "a call that fills",
            "cache = {}\ndef fill():\n    for i in range(9):\n        cache[i] = i\ndef add(a, b):\n    return cache[a] + b\nfill()\n",
        ),
        (
            "a call that fills through another",
            "def put(i):\n    global K\n    K = i\ndef init():\n    put(0)\ndef add(a, b):\n    return a + b + K\ninit()\n",
        ),
        (
            "a call that is given what it fills",
            "import heapq\nH = [3, 0]\ndef add(a, b):\n    return a + b + H[0]\nheapq.heapify(H)\n",
        ),
        (
            "functions that register themselves",
            "R = {}\ndef reg(f):\n    R[f.__name__] = f\ndef plus(a, b):\n    return a + b\nreg(plus)\ndef add(a, b):\n    return R['plus'](a, b)\n",
        ),
        ("settings", "import sys\ndef add(a, b):\n    return a + b\nsys.setrecursionlimit(10000)\n"),
        ("an attribute of a function", "def add(a, b):\n    return a + b + add.k\nadd.k = 0\n"),
        ("an alias", "def plus(a, b):\n    return a + b\n\nadd = plus\n"),
        (
            "partial",
            "from functools import partial\ndef _op(kind, a, b):\n    return a + b\nadd = partial(_op, 'plus')\n",
        ),
        ("a lambda", "add = lambda a, b: a + b\n"),
        (
            "a method",
            "class A:\n\n    def add(self, a, b):\n\n        return a + b\n\n_a = A()\nadd = _a.add\n",
        ),
        (
            "a decorator put on below",
            "import functools\ndef add(a, b):\n    return a + b + E['x']\nE = dict(x=0)\nadd = functools.lru_cache(maxsize=None)(add)\n",
        ),
        ("a comment at the margin in a body", "def add(a, b):\n# odd\n    return a + b\n"),
        (
            "match",
            "def add(a, b):\n    match a:\n        case int():\n            return a + b\n        case _:\n            return None\n",
        ),
        ("several on a line", "K = 0\ndef add(a, b): return a + b + K\ndef sub(a, b): return a - b\n"),
        ("a formatted string", "def add(a, b):\n    return int(f'{a + b + K:>3d}')\n\nK = 0\n"),
        (
            "brackets over lines",
            "NAMES = [\n    'a',\n\n    'b',\n]\n\ndef add(\n    a,\n    b,\n):\n    return a + b + \\\n        len(NAMES) - 2\n",
        ),
    ]);
}

#[test]
fn examples_are_dropped() {
    check_add(&[
        ("prints and asserts", "ADD\nprint(add(1, 2))\nassert add(1, 2) == 4\n"),
        ("comments above them", "ADD\n# Example usage\nprint(add(1, 2))  # 3\n"),
        ("a main block", "ADD\nif __name__ == \"__main__\":\n    add(input())\n"),
        ("a result for a print", "ADD\nresult = add('a', 1)\nprint(result)\n"),
        ("what sets an example up", "ADD\nnumbers = [1, 2]\nresult = add(*numbers)\nprint(result)\n"),
        ("an example named as a builtin", "ADD\nlist = [1, 2]\nprint(add(*list))\n"),
        ("a script that asks", "ADD\na = int(input())\nb = int(input())\nprint(add(a, b))\n"),
        ("a loop of tests", "ADD\nfor a, b, c in [(1, 2, 4)]:\n    assert add(a, b) == c\n"),
        ("an attempt", "ADD\ntry:\n    print(add('a', 1))\nexcept ValueError:\n    pass\n"),
        ("a menu", "ADD\nwhile True:\n    x = input()\n    if x == 'q':\n        break\n"),
        ("doctest and its import", "ADD\nimport doctest\ndoctest.testmod()\n"),
        ("several on a line", "ADD\nx = add(1, 2); print(x)\n"),
        ("a call that is cut off", "ADD\nprint(add(1,"),
        ("a function that is cut off", "ADD\ndef more(x):\n    if x >"),
    ]);
    let tested = format!("{ADD}\ndef test_add():\n    assert add(1, 2) == 4\n");
    assert_eq!(extract_code(&format!("{tested}\ntest_add()\n"), "add"), tested);
    let nodes = format!("class Node:\n    def __init__(self, v):\n        self.v = v\n\n{ADD}");
    let examples = "root = Node(1)\nroot.left = Node(2)\nprint(add(root.left.v, 1))\n";
    assert_eq!(extract_code(&format!("{nodes}\n{examples}"), "add"), nodes);
}

#[test]
fn blocks_are_chosen_and_joined() {
    let wrong = "```python\nimport operator\ndef add(a, b):\n    return operator.sub(a, b)\n```\n";
    let right = "def add(a, b):\n    return operator.add(a, b)\n";
    check(&[
        (
            "a correction",
            &format!("```python\ndef add(a, b):\n    return a\n```\nOops:\n```python\n{ADD}```"),
            ADD,
        ),
        (
            "a correction that needs an import",
            &format!("{wrong}Oops:\n```python\n{right}```"),
            &format!("import operator\n{right}"),
        ),
        ("usage below", &format!("```python\n{ADD}```\n```python\nr = add(1, 2)\nadd = 5\n```"), ADD),
        ("a signature below", &format!("```python\n{ADD}```\n```python\ndef add(a, b):\n    ...\n```"), ADD),
        ("an import of it below", &format!("```python\n{ADD}```\n```python\nfrom x import add\n```"), ADD),
        (
            "another version, cut off",
            &format!("```python\n{ADD}```\nOr:\n```python\ndef add(a, b):\n    return (a"),
            ADD,
        ),
        ("others that define nothing", &format!("```python\nprint(1)\n```\nor\n```python\n{ADD}```"), ADD),
        ("only the unfenced text defines it", &format!("{ADD}\nExample:\n\n~~~text\n3\n~~~\n"), ADD),
        (
            "imports and helpers above",
            "```python\nimport math\nK = 0\nL = 1\n```\nthen\n```python\ndef h(x):\n    return math.floor(x) + K\n```\nand\n```python\ndef add(a, b):\n    return h(a + b)\n```",
            "import math\nK = 0\ndef h(x):\n    return math.floor(x) + K\ndef add(a, b):\n    return h(a + b)\n",
        ),
        (
            "a helper below",
            "```python\ndef add(a, b):\n    return h(a) + b\n```\nwhere\n```python\ndef h(x):\n    return x\n```",
            "def add(a, b):\n    return h(a) + b\ndef h(x):\n    return x\n",
        ),
        (
            "an import from the future",
            "```python\nK = 0\n```\n```python\nfrom __future__ import annotations\ndef add(a: X, b):\n    return a + b + K\n```",
            "from __future__ import annotations\nK = 0\ndef add(a: X, b):\n    return a + b + K\n",
        ),
    ]);
}

#[test]
fn a_cut_off_program_stays_cut_off() {
    assert_eq!(extract_code("```python\ndef f(x):\n    return (x +", "f"), "def f(x):\n    return (x +\n");
    assert_eq!(extract_code("", "f"), "\n");
    assert_eq!(extract_code("I cannot do that.", "f"), "I cannot do that.\n");
}

const OPENING: &str = "from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    \"\"\" Adds.\n    >>> total([1])\n    1\n    \"\"\"\n";

#[test]
fn openings_are_continued() {
    let body = "    n = 0\n    for x in xs:\n        n += x\n    return n\n";
    let program = format!("{OPENING}{body}");
    let cases = [
        ("bare", body.to_owned()),
        ("a blank line first", format!("\n{body}")),
        ("Windows lines", body.replace('\n', "\r\n")),
        ("prints and cut-off functions", format!("{body}\nprint(total([1]))\n\nclass A:\n    def b(")),
        ("unneeded functions", format!("{body}\ndef other(x):\n    return x\n")),
        ("itself again", format!("{body}\ndef total(xs):\n    return 0\n")),
        (
            "a main block",
            format!("{body}\nif __name__ == '__main__':\n    import doctest\n    doctest.testmod()\n"),
        ),
        ("prose", format!("{body}\nThis isn't hard (really.\n1. It adds.\n")),
        ("a fence and prose", format!("{body}```\nDone.\n```python\ndef total(xs):\n    return 0\n```")),
        ("a body in a fence", format!("Here:\n```python\n{body}```\nDone.")),
        ("without its first indentation", body.trim_start().to_owned()),
        ("without any indentation", body.replace("\n    ", "\n").trim_start().to_owned()),
    ];
    for (name, completion) in &cases {
        let found = continue_opening(OPENING, completion, "total");
        let blank = |text: &str| text.replace("\n\n", "\n").replace("\n\n", "\n");
        assert_eq!(blank(&found), blank(&program), "{name}");
    }
    let helped = "    return h(xs) + K\n\n\nK = 0\n\ndef h(xs):\n    return sum(xs)\n";
    let found = continue_opening(OPENING, &format!("{helped}\nprint(h([1]))\n"), "total");
    assert_eq!(found, format!("{OPENING}{helped}"));
}

#[test]
fn whole_answers_follow_the_openings_helpers() {
    let helpers = "import math\n\n\ndef h(x):\n    return x\n";
    let opening = format!("{helpers}\n\ndef add(a, b):\n    \"\"\" Adds. \"\"\"\n");
    let program = format!("{helpers}\n\n{ADD}");
    for completion in [ADD.to_owned(), format!(" Sure:\n```python\n{ADD}\nprint(add(1, 2))\n```\nDone.")] {
        assert_eq!(continue_opening(&opening, &completion, "add"), program);
    }
    let future = format!("from __future__ import annotations\n{ADD}");
    let found = continue_opening(&opening, &future, "add");
    assert_eq!(found, format!("from __future__ import annotations\n{program}"));
}

/// Texts of the pieces that decide, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "def add(a, b):",
        "class A:",
        "\n",
        "    ",
        "\t",
        "return a",
        "```",
        "```python",
        "~~~",
        "[BEGIN]",
        "[DONE]",
        "</code>",
        "\"\"\"",
        "'",
        "\"",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "\\",
        "f'{a",
        "#",
        "add = ",
        "x += 1",
        "lambda x:",
        ":",
        ";",
        "@d",
        "else:",
        "match x:",
        "case y:",
        "import a.b as c",
        "from a import (b",
        "global x",
        "for x in ",
        "if x: ",
        "é",
        "\u{3000}",
        "数",
        "\r\n",
        "\0",
        "</think>",
        "</s>",
        ">>> ",
        "... ",
        "> ",
        "1. ",
        "- ",
        "print(",
        "__name__",
        "=",
        "with open(x) as (a, b):",
        "del a[0].b",
        "*",
        "**",
        "…",
        "0x",
        "1e",
        ".5",
        "async def f(*, a=1):",
        "assert ",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_taken(text in any::<String>(), name in "[a-z]{0,3}") {
        prop_assert!(extract_code(&text, &name).ends_with('\n'));
        prop_assert!(continue_opening(OPENING, &text, &name).ends_with('\n'));
        prop_assert!(continue_opening(&text, ADD, &name).ends_with('\n'));
    }

    #[test]
    fn any_pieces_are_taken(text in pieces(), opening in pieces()) {
        prop_assert!(extract_code(&text, "add").ends_with('\n'));
        prop_assert!(continue_opening(OPENING, &text, "total").ends_with('\n'));
        prop_assert!(continue_opening(&opening, &text, "add").ends_with('\n'));
    }

    /// What was extracted is a program, so extracting again loses nothing of the entry point.
    #[test]
    fn a_function_survives_what_surrounds_it(before in "[a-z ,.'(]{0,40}", after in "[a-z ,.'(`]{0,40}") {
        let completion = format!("{before}\n\n```python\n{ADD}```\n\n{after}");
        prop_assert_eq!(extract_code(&completion, "add"), ADD);
    }
}
