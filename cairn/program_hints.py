"""What to write instead, for each thing the sandbox lacks: tables of facts, and the hint that fits a message.

The sandbox runs a subset of Python. A model writes the whole language by habit, so each message that tells it "no"
carries a hint that says how. The tables were measured against pydantic-monty 1.4.0; a test compares them with it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType

_MODULES = (
    "__future__ asyncio base64 binascii bisect collections copy csv dataclasses datetime decimal functools hashlib "
    "itertools json math os os.path pathlib random re sys time tomllib typing unicodedata"
)
MODULES = frozenset(_MODULES.split())
"""Every module a program may import."""

MODULES_AT_HAND = (
    *("re", "json", "math", "os", "itertools", "functools", "collections", "random", "time", "hashlib", "base64"),
    *("csv", "copy", "sys", "bisect", "decimal"),
)
"""Those that need no import."""

_MODULE_HINTS: Mapping[str, str] = MappingProxyType(
    {
        "ast": "use outline(path) for functions and classes, or re on the text.",
        "difflib": "compare lines yourself; the person who reviews sees a diff anyway.",
        "textwrap": "use '\\n'.join(...) and str methods such as splitlines() and strip().",
        "string": "write the letters out, for example 'abcdefghijklmnopqrstuvwxyz'.",
        "enum": "use plain constants or a dict.",
        "io": "build text with a list of strings and ''.join(parts).",
        "tokenize": "use re on the text.",
        "heapq": "use sorted(items)[:n].",
        "operator": "use a lambda, for example key=lambda item: item['name'].",
        "statistics": "use sum(values) / len(values).",
        "contextlib": "use try/finally.",
        "collections.abc": "leave the annotation out, or use list, dict and typing.Callable.",
        "abc": "write plain classes; there is no inheritance.",
        "types": "leave the annotation out.",
        "typing_extensions": "import from typing, or leave the annotation out.",
        "inspect": "use outline(path).",
        "logging": "use print(...) or log(message).",
        "traceback": "print(type(error).__name__, error).",
        "warnings": "use print(...).",
        "shutil": "use move_file(source, target), delete_file(path), or write_file(target, read_file(source)).",
        "glob": "use search_files(pattern), for example search_files('**/*.py').",
        "fnmatch": "use search_files(pattern), or str.endswith and re.",
        "tempfile": "keep the text in a variable; nothing needs a temporary file.",
        "subprocess": "no command can be run; do the work on the files' text.",
        "threading": "use ask_llm_many(prompts) for many questions; everything else runs one after the other.",
        "concurrent.futures": "use ask_llm_many(prompts) for many questions.",
        "multiprocessing": "everything runs in one process; use a plain loop.",
        "pickle": "use json.",
        "sqlite3": "use dicts and json.",
        "urllib": "there is no network; work on the project's files.",
        "requests": "there is no network; work on the project's files.",
        "socket": "there is no network; work on the project's files.",
        "http": "there is no network; work on the project's files.",
        "uuid": "use a counter, or hashlib.sha256(text.encode()).hexdigest()[:8].",
        "struct": "use base64 or binascii for bytes.",
        "fractions": "use decimal.Decimal or whole numbers.",
        "secrets": "use random.",
        "argparse": "a program has no arguments; set variables at the top.",
        "yaml": "read the text line by line, or with re.",
        "toml": "use tomllib.loads(text) to read TOML.",
        "numpy": "use lists and sum/min/max.",
        "pandas": "use csv and lists of dicts.",
    }
)

_ONLY_FOR_ANNOTATIONS = (
    "AbstractSet AnyStr AsyncContextManager AsyncGenerator AsyncIterable AsyncIterator Awaitable "
    "BinaryIO ByteString ChainMap Collection Concatenate Container ContextManager Coroutine Counter "
    "DefaultDict Deque ForwardRef Hashable IO ItemsView KeysView LiteralString MappingView Match "
    "MutableMapping MutableSequence MutableSet NewType NotRequired OrderedDict ParamSpec "
    "ParamSpecArgs ParamSpecKwargs Pattern Required Reversible Sized SupportsAbs SupportsBytes "
    "SupportsComplex SupportsFloat SupportsIndex SupportsInt SupportsRound Text TextIO TypeAlias "
    "TypeGuard TypeVarTuple Unpack ValuesView assert_never assert_type clear_overloads "
    "dataclass_transform final get_args get_origin get_overloads get_type_hints is_typeddict "
    "no_type_check no_type_check_decorator overload reveal_type runtime_checkable"
)

MISSING_MEMBERS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "json": dict.fromkeys(("JSONEncoder", "JSONDecoder"), "turn the values into dicts, lists and strings first."),
        "re": {
            **dict.fromkeys(("VERBOSE", "X"), "start the pattern with '(?x)'."),
            **dict.fromkeys(("LOCALE", "L", "UNICODE", "U"), "leave the flag out."),
            "RegexFlag": "use re.IGNORECASE, re.MULTILINE or re.DOTALL directly.",
            "subn": "use re.sub, and len(re.findall(...)) for the count.",
            "purge": "leave it out.",
        },
        "datetime": {
            "UTC": "use datetime.timezone.utc.",
            "tzinfo": "use datetime.timezone.",
            "MINYEAR": "write 1.",
            "MAXYEAR": "write 9999.",
        },
        "os": {"stat_result": "leave the annotation out."},
        "pathlib": dict.fromkeys(
            ("PurePath", "PurePosixPath", "PosixPath", "PureWindowsPath", "WindowsPath"), "use pathlib.Path."
        ),
        "dataclasses": {
            "asdict": "build the dict yourself: {'name': item.name, ...}.",
            "astuple": "build the tuple yourself: (item.name, ...).",
            "replace": "make a new instance with its fields written out.",
            "fields": "write the field names out.",
            "make_dataclass": "write the class out with @dataclass.",
            **dict.fromkeys(("Field", "InitVar", "KW_ONLY"), "leave it out."),
        },
        "typing": {
            **dict.fromkeys(("TypedDict", "NamedTuple"), "use dict, collections.namedtuple or @dataclass."),
            "cast": "use the value itself.",
            **dict.fromkeys(_ONLY_FOR_ANNOTATIONS.split(), "leave it out; annotations are not needed."),
        },
        "sys": {
            "exit": "let the program end by itself, or raise an exception.",
            "stdin": "a program has no input.",
        },
    }
)
"""Members that importable modules lack, though the type checker believes in most of them."""

MISSING_METHODS: Mapping[str, str] = MappingProxyType(
    {
        "translate": "use chained .replace(old, new), or ''.join(...) over the characters.",
        "maketrans": "use chained .replace(old, new), or ''.join(...) over the characters.",
        "format_map": "use .format(**mapping).",
        "bit_length": "use len(bin(n)) - 2.",
        "bit_count": "use bin(n).count('1').",
        "to_bytes": "use bytes([...]) or binascii.unhexlify.",
        "from_bytes": "use int(binascii.hexlify(data), 16).",
        "is_integer": "use x == int(x).",
        "as_integer_ratio": "use decimal.Decimal.",
        "difference_update": "use a -= b.",
        "intersection_update": "use a &= b.",
        "symmetric_difference_update": "use a ^= b.",
        "relative_to": "use os.path.relpath or str slicing: str(path)[len(folder) + 1:].",
        "is_relative_to": "use str(path).startswith(folder + '/').",
        "touch": "use write_file(path, '').",
        "expanduser": "paths are relative to the project; there is no home folder.",
        "symlink_to": "links cannot be made.",
        "hardlink_to": "links cannot be made.",
        "samefile": "compare the paths as text.",
        "chmod": "the mode of a file cannot be changed.",
        "lastindex": "use match.groups().",
        "lastgroup": "use match.groupdict().",
        "writelines": "use f.write(''.join(lines)).",
        "parents": "use path.parent, or str(path).split('/').",
    }
)
"""Methods of built-in values that the sandbox lacks, though the type checker believes in most of them."""

IGNORED_METHODS: Mapping[str, str] = MappingProxyType(
    {
        "__len__": "write a method such as size() and call it.",
        "__bool__": "write a method such as is_empty() and call it; truth tests are always true.",
        "__getattr__": "write a method such as get(name).",
        "__getattribute__": "write a method such as get(name).",
        "__format__": "write a method that returns the text.",
        "__new__": "use __init__ or a plain function.",
        **dict.fromkeys(
            ("__lt__", "__le__", "__gt__", "__ge__"), "sort with a key: sorted(items, key=lambda item: item.name)."
        ),
    }
)
"""Special methods that the sandbox never calls."""

MISSING_BUILTINS: Mapping[str, str] = MappingProxyType(
    {
        "callable": "you know what you defined; leave the test out.",
        "dir": "write the names out.",
        "vars": "write the fields out: {'name': item.name, ...}.",
        "globals": "keep the values in a dict of your own.",
        "compile": "use exec(text) or eval(text).",
        "issubclass": "there is no inheritance; compare names.",
        "super": "there is no inheritance; write the method out.",
        "input": "a program has no input; set variables at the top.",
        "help": "leave it out.",
        "bytearray": "use bytes, or a list of ints and bytes(list).",
        "memoryview": "use bytes.",
        "ascii": "use repr.",
        "delattr": "set the attribute to None.",
        "exit": "let the program end by itself, or raise an exception.",
        "quit": "let the program end by itself, or raise an exception.",
        "__import__": "use an import statement.",
        "classmethod": "use a plain function.",
        "staticmethod": "use a plain function.",
        "IOError": "use OSError.",
        "EnvironmentError": "use OSError.",
        "EOFError": "use Exception.",
        "UnicodeError": "use UnicodeDecodeError or ValueError.",
        **dict.fromkeys(("ConnectionError", "BlockingIOError", "InterruptedError", "BrokenPipeError"), "use OSError."),
        **dict.fromkeys(("ExceptionGroup", "BaseExceptionGroup"), "collect the errors in a list."),
        **dict.fromkeys(("Warning", "UserWarning", "DeprecationWarning", "RuntimeWarning"), "use print(...)."),
    }
)
"""Built-in names the sandbox lacks."""

ANSWERS_AT_ONCE = "the functions you are given answer at once: remove `await` (for many questions use ask_llm_many)."
NO_CALLBACKS = (
    "a function you are given (or open()) cannot be called from inside map, filter, sort keys or __str__: "
    "use a list comprehension, for example [read_file(p) for p in paths], before sorting or mapping."
)
ONE_STRING = "an exception takes one string, for example ValueError(f'no match in {path}')."
NO_INHERITANCE = (
    "write a plain class without bases, or a dict; to signal an error raise ValueError(...) or RuntimeError(...)."
)
NO_YIELD = "build a list and return it."
NO_DEL = "use items.pop(key), items.remove(value), or set the name to None."
METHOD_VALUE = "a method is not a value here: use a lambda, for example key=lambda s: s.lower()."
NEXT_OF_LIST = "use a for loop with break, or found = [x for x in xs if ...] and found[0] if found else None."
SUB_CALLABLE = "the replacement must be a string: build the text from re.finditer and slices."
NO_DEFAULT = "turn the values into dicts, lists and strings first, then call json.dumps(value)."
PATH_TEXT_KEYWORDS = "files are UTF-8: leave encoding and errors out, or use read_file(path), write_file(path, text)."

OPEN_ARGUMENTS = "open(path) and open(path, 'w') are enough: files are UTF-8."
NO_ATTRIBUTE = "use type(x).__name__ for a type's name, str(error) for an error's message."

_MESSAGES: tuple[tuple[str, str], ...] = (
    (r"cannot suspend in this synchronous context", NO_CALLBACKS),
    (r"exceptions can only be called with zero or one string argument", ONE_STRING),
    (r"class inheritance and metaclasses", NO_INHERITANCE),
    (r"yield expressions", NO_YIELD),
    (r"the 'del' statement", NO_DEL),
    (r"method decorators", "write a plain method, or a function outside the class."),
    (r"class bodies containing anything other", "move the inner class or statement out of the class body."),
    (r"async context managers", "use with, or try/finally."),
    (r"async for loops", "use a plain for loop."),
    (r"exception groups", "use except."),
    (r"type aliases", "leave the alias out; annotations are not needed."),
    (r"[Ww]ildcard imports", "import the names you need."),
    (r"type object '\w+' has no attribute '\w+'", METHOD_VALUE),
    (r"callable replacement is not yet supported", SUB_CALLABLE),
    (r"'list' object is not an iterator", NEXT_OF_LIST),
    (r"JSON\w+coder.*unexpected keyword argument", NO_DEFAULT),
    (r"(read_text|write_text)\(\) takes", PATH_TEXT_KEYWORDS),
    (
        r"'(errors|buffering)' argument is not yet supported",
        "open(path) and open(path, 'w') are enough: files are UTF-8.",
    ),
    (r"print\(\) 'file' argument", "use f.write(text + '\\n')."),
    (r"exclusive creation mode", "test file_exists(path), then open it with 'w'."),
    (r"update modes", "read the text, change it, and write it back with write_file(path, text)."),
    (r"dataclass\(\) does not yet support", "leave that option of @dataclass out."),
    (r"can't be awaited|is not awaitable", ANSWERS_AT_ONCE),
    (r"An asyncio.Future, a coroutine or an awaitable is required", ANSWERS_AT_ONCE),
    (r"CoroutineType\[.*is not awaited", "call it with await, or write main as a plain function and call main()."),
    (r"CoroutineType\[", "an async function's value needs await; plain functions are simpler here."),
    (r"maximum recursion depth exceeded", "use a loop with a list of what is left to do."),
    (r"unknown encoding", "only utf-8 and ascii are known."),
    (
        r"__(name|doc|class|dict|cause)__'",
        "functions and values have no such attribute here; only type(x).__name__ works.",
    ),
    (r"too deeply nested|nested too deep", "split the expression or the blocks into named steps."),
    (r"memory limit exceeded", "work on one file at a time and keep less in memory."),
    (
        r"can only be read as text|codec can't decode",
        "it is not a text file: skip it, or read it with open(path, 'rb').",
    ),
)


def module_hint(module: str) -> str:
    """What to use instead of a module that cannot be imported."""
    for name in (module, module.partition(".")[0]):
        if name in _MODULE_HINTS:
            return _MODULE_HINTS[name]
    return "only these modules exist: " + ", ".join(sorted(MODULES - {"__future__"})) + "."


def name_hint(name: str, known: Collection[str] = ()) -> str:
    """What to write instead of a name that is not defined; `known` are the functions a program is given."""
    if name in MISSING_BUILTINS:
        return MISSING_BUILTINS[name]
    if name in MODULES:
        return f"add `import {name}` at the top."
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    if near:
        return f"did you mean {near[0]}?"
    return ""


def member_hint(owner: str, member: str) -> str:
    """What to use instead of a module's member that does not exist."""
    if owner in MISSING_MEMBERS and member in MISSING_MEMBERS[owner]:
        return MISSING_MEMBERS[owner][member]
    if owner == "asyncio":
        return "asyncio has only run, gather and sleep. " + ANSWERS_AT_ONCE.capitalize()
    if owner == "functools" and member in {"wraps", "total_ordering", "cmp_to_key", "cached_property"}:
        return "leave it out; use a key function or an explicit variable."
    if owner == "collections" and member in {"OrderedDict", "ChainMap"}:
        return "use dict; it keeps the order."
    return ""


def hint_for(message: str, known: Collection[str] = ()) -> str:
    """The hint for an error of the sandbox, its compiler or its type checker; "" when none is known."""
    for pattern, hint in _MESSAGES:
        if re.search(pattern, message):
            return hint
    if found := re.search(r"(?:[Nn]o module named|imported module) ['`]([\w.]+)['`]", message):
        return module_hint(found[1])
    if found := re.search(r"[Nn]ame ['`](\w+)['`] (?:used when|is) not defined", message):
        return name_hint(found[1], known)
    if found := re.search(r"cannot import name '(\w+)' from '([\w.]+)'", message):
        return member_hint(found[2], found[1]) or module_hint(found[2])
    if found := re.search(r"[Mm]odule ['`]([\w.]+)['`] has no (?:member|attribute) ['`](\w+)['`]", message):
        return member_hint(found[1], found[2])
    return _attribute_hint(message)


def _attribute_hint(message: str) -> str:
    found = re.search(r"'([\w.]+)' object has no attribute '(\w+)'", message)
    if not found:
        return ""
    if found[2] in MISSING_METHODS:
        return MISSING_METHODS[found[2]]
    builtin = {"str", "list", "dict", "set", "tuple", "bytes", "int", "float"}
    return METHOD_VALUE if found[1] in builtin and hasattr(_BUILTIN[found[1]], found[2]) else ""


_BUILTIN: Mapping[str, type] = MappingProxyType(
    {"str": str, "list": list, "dict": dict, "set": set, "tuple": tuple, "bytes": bytes, "int": int, "float": float}
)
