"""Documented functions of a folder, a file or an installed package, as JSON lines.

Nothing of the package is imported or run: its files are parsed. Each line is a function with examples
in its docstring: what is needed to make a problem of it, or why none can be made.
"""

import ast
import builtins
import doctest
import importlib.util
import json
import os
import re
import symtable
import sys
import textwrap

KNOWN = set(dir(builtins)) | {"__name__", "__file__", "__doc__"}
STANDARD = set(getattr(sys, "stdlib_module_names", ())) or set(sys.builtin_module_names)
LEFT_OUT = {"test", "tests", "testing", "docs", "examples", "conftest", "setup", "build"}
LONGEST_TEXT = 1500
# Of a package; what holds more is many of them, or a whole disk. Its parsed files are held at once.
MOST_FILES, MOST_FOLDERS, MOST_BYTES = 10_000, 20_000, 48 << 20


class Dropped(Exception):
    """Why a function is no problem."""


class Module:
    def __init__(self, name, path):
        self.name, self.path = name, path
        with open(path, encoding="utf-8") as file:
            self.source = file.read()
        self.tree = ast.parse(self.source)
        self.is_package = os.path.basename(path) == "__init__.py"
        self.postponed = False
        self.bindings = {}
        for statement in self.tree.body:
            if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
                self.postponed |= any(alias.name == "annotations" for alias in statement.names)
                continue
            for name in bound(statement):
                self.bindings.setdefault(name, []).append(statement)

    def absolute(self, node):
        """The module that a `from` names."""
        if not node.level:
            return node.module
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + self.is_package]
        return ".".join(parts + ([node.module] if node.module else []))

    def text(self, statement):
        """A statement as it is written, without its docstring."""
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if self.postponed:
                return ast.unparse(without_annotations(statement))
            first = min([statement.lineno] + [d.lineno for d in statement.decorator_list])
            lines = self.source.splitlines()[first - 1 : statement.end_lineno]
            if ast.get_docstring(statement) is not None and statement.body[0].lineno > statement.lineno:
                document = statement.body[0]
                if len(statement.body) == 1:
                    indent = " " * document.col_offset
                    lines.append(indent + "pass")
                del lines[document.lineno - first : document.end_lineno - first + 1]
            return textwrap.dedent("\n".join(lines)).strip("\n")
        if self.postponed:
            return ast.unparse(without_annotations(statement))
        first = min([statement.lineno] + [d.lineno for d in getattr(statement, "decorator_list", [])])
        return "\n".join(self.source.splitlines()[first - 1 : statement.end_lineno])


def without_annotations(statement):
    class Bare(ast.NodeTransformer):
        def visit_arg(self, node):
            node.annotation = None
            return node

        def visit_FunctionDef(self, node):
            self.generic_visit(node)
            node.returns = None
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
            return node

        def visit_AnnAssign(self, node):
            if node.value is None:
                return ast.Pass()
            return ast.Assign(targets=[node.target], value=node.value)

    return ast.fix_missing_locations(Bare().visit(ast.parse(ast.unparse(statement))).body[0])


def bound(node):
    """Names that a statement of a module binds."""
    names = []
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    for child in ast.walk(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
            names.append(child.id)
    if isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
        for child in ast.walk(node):
            if child is not node and isinstance(
                child, (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
            ):
                names.extend(bound(child))
    return names


def needed(text):
    """Names of the module that a piece of it uses, now or when what it defines is called."""

    def within(table):
        top = table.get_type() == "module"
        for symbol in table.get_symbols():
            if (symbol.is_referenced() or symbol.is_assigned()) and (top and symbol.is_referenced() or symbol.is_global()):
                yield symbol.get_name()
        for child in table.get_children():
            yield from within(child)

    return set(within(symtable.symtable(text, "<piece>", "exec")))


class Package:
    def __init__(self, root, modules):
        self.root = root
        self.modules = {module.name: module for module in modules}

    def origin(self, module, name):
        """What a name of a module is, wherever it comes from."""
        statements = module.bindings.get(name)
        if statements is None:
            raise Dropped("it needs the name %s, which its module does not define" % name)
        if len(statements) != 1 or not isinstance(statements[0], (ast.Import, ast.ImportFrom)):
            return module.name, name
        alias = alias_of(statements[0], name)
        if isinstance(statements[0], ast.Import):
            return "import", alias.name
        source = module.absolute(statements[0])
        other = self.modules.get(source)
        if other is not None and alias.name in other.bindings:
            return self.origin(other, alias.name)
        return source, alias.name

    def piece(self, module, name, pieces, owner):
        """Adds what defines a name, and all that this needs, to `pieces` in an order that runs."""
        origin = self.origin(module, name)
        if name in owner:
            if owner[name] != origin:
                raise Dropped("two modules mean different things by the name %s" % name)
            return
        owner[name] = origin
        for statement in module.bindings[name]:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                self.imported(module, statement, name, pieces, owner)
                continue
            for node in ast.walk(statement):
                if isinstance(node, ast.ImportFrom) and (node.level or not standard(node.module)):
                    raise Dropped("it needs another package")
                if isinstance(node, ast.Import) and not all(standard(alias.name) for alias in node.names):
                    raise Dropped("it needs another package")
            text = module.text(statement)
            for other in sorted(needed(text) - KNOWN - set(bound(statement))):
                self.piece(module, other, pieces, owner)
            if text not in pieces:
                pieces.append(text)

    def imported(self, module, statement, name, pieces, owner):
        alias = alias_of(statement, name)
        source = alias.name if isinstance(statement, ast.Import) else module.absolute(statement)
        if standard(source):
            single = ast.Import(names=[alias])
            if isinstance(statement, ast.ImportFrom):
                single = ast.ImportFrom(module=source, names=[alias], level=0)
            if ast.unparse(single) not in pieces:
                pieces.append(ast.unparse(single))
            return
        other = self.modules.get(source)
        if isinstance(statement, ast.Import) or other is None:
            raise Dropped("it needs another package")
        if alias.name not in other.bindings:
            raise Dropped("it needs a module as a whole")
        if alias.name == name:
            # The name is the other module's.
            del owner[name]
        self.piece(other, alias.name, pieces, owner)
        if alias.name != name:
            pieces.append("%s = %s" % (name, alias.name))


def alias_of(statement, name):
    return next(alias for alias in statement.names if (alias.asname or alias.name).split(".")[0] == name)


def standard(name):
    return bool(name) and name.split(".")[0] in STANDARD


def assertion(tree, want):
    """The assert that an expression gives what is shown, or nothing where that cannot be said."""
    want = want.strip()
    value = tree.body[0].value
    shows = value.func.id if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) else ""
    if shows in ("print", "pprint", "pp"):
        if len(value.args) != 1 or value.keywords or isinstance(value.args[0], ast.Starred):
            return None
        value = value.args[0]
    text = ast.unparse(value)
    if not isinstance(value, (ast.Call, ast.Name, ast.Attribute, ast.Subscript)):
        # `a == b == True` would be a chain.
        text = "(%s)" % text
    if shows == "print":
        return None if "\n" in want or "..." in want else "assert str(%s) == %r" % (text, want)
    try:
        literal = ast.literal_eval(want)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        if "\n" in want or " at 0x" in want or "..." in want:
            return None
        return "assert repr(%s) == %r" % (text, want)
    if literal is None:
        return "assert %s is None" % text
    return "assert %s == %r" % (text, literal)


class Example:
    def __init__(self, example):
        self.tree = ast.parse(example.source)
        self.want = example.want
        self.text = ast.unparse(self.tree)
        self.binds = {name for statement in self.tree.body for name in bound(statement)}
        self.loads = needed(self.text)
        options = example.options
        self.runs = not options.get(doctest.SKIP) and example.exc_msg is None
        self.tells = (
            self.runs
            and not options.get(doctest.ELLIPSIS)
            and len(self.tree.body) == 1
            and isinstance(self.tree.body[0], ast.Expr)
            and bool(example.want.strip())
        )


def tests(package, module, function, examples):
    """The asserts of a docstring, and what they need beside the function."""
    found, setup, owner, reasons = [], [], {function.name: (module.name, function.name)}, []
    for at, example in enumerate(examples):
        if not example.tells:
            continue
        try:
            before = needed_before(examples[:at], example)
            names = set().union(example.loads, *(other.loads for other in before))
            if function.name not in names:
                continue
            if not all(other.runs for other in before):
                raise Dropped("an example needs one that raises or is skipped")
            lines = [other.text for other in before if not is_of_package(package, other.tree)]
            binds = set().union(*(other.binds for other in before if not is_of_package(package, other.tree)))
            pieces, owned = list(setup), dict(owner)
            for name in sorted(names - KNOWN - binds - {function.name}):
                if name in example.binds:
                    continue
                package.piece(module, name, pieces, owned)
            line = assertion(example.tree, example.want)
            if line is None:
                raise Dropped("its examples show no value that can be compared")
            setup, owner = pieces, owned
            test = "\n".join(lines + [line])
            if test not in found:
                found.append(test)
        except Dropped as dropped:
            reasons.append(str(dropped))
    if not found:
        raise Dropped(reasons[0] if reasons else "its examples do not call it")
    return found, "\n".join(setup)


def needed_before(earlier, example):
    """The earlier examples that bind or use what an example uses, and what these use."""
    variables = set().union(*(other.binds for other in earlier)) if earlier else set()
    wanted = example.loads & variables
    while True:
        chosen = [other for other in earlier if (other.binds | other.loads) & wanted]
        more = wanted.union(*(other.loads & variables for other in chosen))
        if more == wanted:
            return chosen
        wanted = more


def is_of_package(package, tree):
    statement = tree.body[0] if tree.body else None
    if isinstance(statement, ast.ImportFrom):
        return bool(statement.module) and statement.module.split(".")[0] == package.root
    return False


def words(docstring):
    """A docstring without its examples and directives."""
    lines, in_example, in_directive = [], False, None
    for line in docstring.expandtabs().splitlines():
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        if stripped.startswith(">>>"):
            in_example = True
        elif in_example and not stripped:
            in_example = False
        if in_directive is not None and (indent > in_directive or not stripped):
            continue
        in_directive = None
        if stripped.startswith(".. "):
            in_directive = indent
            continue
        if not in_example:
            lines.append(line.rstrip())
    text = "\n".join(lines)
    text = re.sub(r":\w+(?::\w+)?:`~?([^`]*)`", r"`\1`", text).replace("``", "`")
    text = re.sub(r"(?im)^\s*(examples?|doctests?|usage)\s*:*\s*(\n\s*[-=~]+\s*)?$", "", text)
    text = re.sub(r"::(\s*$)", r":\1", text, flags=re.M)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def problem(package, module, function):
    docstring = ast.get_docstring(function)
    try:
        examples = [Example(e) for e in doctest.DocTestParser().get_examples(docstring)]
    except (ValueError, SyntaxError):
        raise Dropped("its examples are not Python")
    text = words(docstring)
    if sum(c.isalpha() for c in text) < 15:
        raise Dropped("its docstring has no words but examples")
    if len(text) > LONGEST_TEXT:
        raise Dropped("its docstring is too long")
    pieces, owner = [], {}
    package.piece(module, function.name, pieces, owner)
    found, setup = tests(package, module, function, examples)
    returns = "" if function.returns is None else " -> " + ast.unparse(function.returns)
    return {
        "signature": "%s(%s)%s" % (function.name, ast.unparse(function.args), returns),
        "text": text,
        "tests": found,
        "test_setup": setup,
        "reference": "\n\n".join(pieces) + "\n",
    }


def place(target):
    """The name and the directory or file of a package, which is not imported."""
    if os.path.exists(target):
        path = os.path.abspath(target)
        return os.path.splitext(os.path.basename(path))[0], path
    first, *rest = target.split(".")
    spec = importlib.util.find_spec(first) if first.isidentifier() else None
    if spec is None:
        raise SystemExit("there is no file, folder or installed package '%s'" % target)
    if spec.submodule_search_locations:
        path = list(spec.submodule_search_locations)[0]
    else:
        path = spec.origin
    path = os.path.join(path, *rest)
    path = path if os.path.exists(path) else path + ".py"
    if not os.path.exists(path) or not path.endswith(".py") and not os.path.isdir(path):
        raise SystemExit("'%s' has no Python source: it is built in or compiled" % target)
    return target, path


def size_of(path):
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def files(name, path):
    if not os.path.isdir(path):
        yield name, path
        return
    is_package = os.path.exists(os.path.join(path, "__init__.py"))
    files = size = 0
    for number, (directory, folders, names) in enumerate(os.walk(path)):
        if number == MOST_FOLDERS:
            raise SystemExit("expected at most %d folders, found more; name a package or a part of it" % MOST_FOLDERS)
        folders[:] = sorted(f for f in folders if f not in LEFT_OUT and not f.startswith((".", "_")))
        for file in sorted(names):
            stem = file[:-3]
            if not file.endswith(".py") or stem in LEFT_OUT or stem.startswith("test_"):
                continue
            files, size = files + 1, size + size_of(os.path.join(directory, file))
            if files > MOST_FILES or size > MOST_BYTES:
                most = (MOST_FILES, MOST_BYTES >> 20)
                raise SystemExit("expected at most %d files of %d MiB in all, found more; name a part of it" % most)
            inner = os.path.relpath(os.path.join(directory, stem), path).replace(os.sep, ".")
            parts = ([name] if is_package else []) + [p for p in inner.split(".") if p not in ("__init__", "")]
            yield ".".join(parts) or name, os.path.join(directory, file)


def main():
    sys.path = [entry for entry in sys.path if entry]
    sys.setrecursionlimit(10000)
    name, path = place(sys.argv[1])
    modules, seen = [], set()
    for module_name, file in files(name, path):
        try:
            modules.append(Module(module_name, file))
        except (SyntaxError, UnicodeDecodeError, ValueError) as error:
            print(json.dumps({"function": module_name, "dropped": "its file cannot be parsed"}))
    package = Package(name.split(".")[0], modules)
    for module in modules:
        for function in module.tree.body:
            if not isinstance(function, ast.FunctionDef) or function.name.startswith("_"):
                continue
            if ">>>" not in (ast.get_docstring(function) or ""):
                continue
            line = {"function": "%s.%s" % (module.name, function.name), "name": function.name}
            if function.name in seen:
                line["dropped"] = "another function has its name"
            else:
                try:
                    line.update(problem(package, module, function))
                    seen.add(function.name)
                except Dropped as dropped:
                    line["dropped"] = str(dropped)
            print(json.dumps(line))


main()
