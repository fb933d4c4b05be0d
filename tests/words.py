"""Checks the words of docstrings, comments, messages, help texts, documents and names: `python -m tests.words`.

The prose of this project is plain technical English. Each rule in `RULES` is a regular expression with its replacement
and reason; uses that are correct although the expression matches them are listed in the rule's `right`.
"""

import argparse
import ast
import io
import re
import sys
import tokenize
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
FOLDERS = ("runtime", "train", "export", "compress", "benchmarks", "offline", "release", "tests", "docs", "docker")
FILES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "pyproject.toml", ".ci/run")
SUFFIXES = (".py", ".md", ".html", ".js", ".css", ".toml")
EXEMPT = ("tests/words.py", "tests/test_words.py")  # both quote what the rules match

PROSE = ("doc", "comment", "message", "text")
"""The kinds of text: docstrings, comments, string literals of the sources, and Markdown or the text of the page."""

ENTRIES = ("entry", "help")
"""Entries of Args, Attributes, Raises and the like, and the help of options."""


class Right(NamedTuple):
    """A correct use of what a rule matches.

    Attributes:
        pattern: Regular expression; a match of the rule that lies within a match of it is not reported.
        reason: Why the use is correct.
        path: Regular expression for the paths of the files in which it is correct.
    """

    pattern: str
    reason: str
    path: str = ""


@dataclass(frozen=True)
class Rule:
    """A pattern that is not plain technical English.

    Attributes:
        pattern: Regular expression, matched without regard to case in text whose lines are joined by single spaces.
        write: Replacement.
        reason: Rule of the project's style that it breaks.
        right: Correct uses.
        kinds: Kinds of text in which it is searched for.
        names: True if it is searched for in names, too, as in their words with spaces between them.
        path: Regular expression for the paths of the files that are checked.
    """

    pattern: str
    write: str
    reason: str
    right: tuple[Right, ...] = ()
    kinds: tuple[str, ...] = PROSE
    names: bool = False
    path: str = ""


SPEAKS = "a program reports, logs, shows or warns"
CONTAINS = "files contain things, and things are in files"
CHECKS = "invalid input is rejected or raises an error"
NOUN = "a noun says it shorter than a clause"
ENTRY = "an entry is a whole noun phrase that begins with a capital letter"
_SERVER = r"server|serv(e|ing)(_|\b)|/(test_)?load\.py|triton"
_CLAUSES = "Of|That|Which|What|Where|Whose|Who|Whom|Why|How|With|By|For|From|In|As|At|On|To"
_PRONOUNS = "It|They|There|He|Is|Are|Was|Were|Has|Does"

RULES = (
    Rule(r"\btold\b", "reported, logged, given, passed", SPEAKS, names=True),
    Rule(r"\btell(s|ing)?\b", "report, log, show; distinguish", SPEAKS, names=True),
    Rule(
        r"\b(say(s|ing)?|said|unsaid)\b",
        "report, log, show, state, describe",
        SPEAKS,
        (Right(r"(standard|specification|documentation|paper|article|RFC ?\d*|PS3(\.\d+)?),? says", "a text says"),),
        names=True,
    ),
    Rule(r"\bmend(s|ed|ing)?\b", "fix", "plain word", names=True),
    Rule(r"\bflatter(s|ed|ing|y)?\b", "is optimistic, is inflated", "plain word", names=True),
    Rule(
        r"\brefus(e|es|ed|ing|al|als)\b",
        "reject, raise, validate",
        CHECKS,
        (
            Right(r"connections? (is |was |are |were )?refused", "the system's word for a closed port"),
            Right(r"refused\.(md|json)", "files of an export's folder keep their names"),
            Right(r"^refusal$", "a public attribute of Predictor", r"predictor|model_banner"),
        ),
        names=True,
    ),
    Rule(
        r"\blet(s|ting)? (in|out|through)\b|\blet(s|ting)? (\w+ ){1,4}(in|out|through)(?=[.,;:]|$)",
        "accept, allow, pass",
        CHECKS,
    ),
    Rule(r"\b(is|are|was|were) let\b", "is allowed to, may", CHECKS),
    Rule(
        r"\b(stands?|stood|standing)\b(?!-)",
        "is, is listed, appears, contains",
        CONTAINS,
        (
            Right(r"\bst(ands?|ood|anding) for\b", "a placeholder or an abbreviation stands for something"),
            Right(r"\bstands? out\b", "an idiom"),
        ),
        names=True,
    ),
    Rule(
        r"\bholds?\b (an?|the|its|their|no|one|two|several|more|other|few|what|all|each|only|nothing|neither|\d+"
        r"|objects|pixels|tensors|bytes|images|files)\b",
        "contain, have, list, include",
        CONTAINS,
        (
            Right(r"\b(can|cannot|could|to)( not)? hold\b.*", "memory or a number format can hold something"),
            Right(r"\bholds? (the|a|an|its|their|no|that) (\w+ )?(lock|GIL|cores?|connections?)\b", "a lock is held"),
        ),
    ),
    Rule(r"\b(held|holds?|holding) ([^\s.;]+ ){0,8}?against\b", "compare with, check against", "plain word"),
    Rule(r"\b(is|are|was|were) to (?!(the|an?|its|their)\b)\w+\b", "must, should, will", 'not "that is to be"'),
    Rule(r"\bof (theirs|ours|his|hers|yours)\b|\bours\b", "its X, our X, the project's X", 'not "of theirs"'),
    Rule(
        r"\bof (it|them)(?=[.,;:)]|$)",
        "name the thing, or leave it out",
        'not "of it" at the end of a clause',
        (
            Right(
                r"\b(all|any|each|every|one|two|three|none|both|most|some|half|part|many|few|fewer|several|rest|first|last"
                r"|number|sum|mean|share|copy|copies|folders?|because|instead|regardless|ahead|front|out|rows?|batch(es)?"
                r"|kinds?|groups?|outside|inside|top|independent|duplicates?|X|\d+|afraid|aware|sample) of (it|them)\b",
                "a part or a number of something",
            ),
        ),
    ),
    Rule(
        r"\bwhich\b(?:(?![.!?;](?:\s|$)).)*?[,:] (?:\w+ ){0,3}?which\b",
        "two sentences, or a participle (using, with, containing)",
        'no sentence with two "which"',
    ),
    Rule(
        r"(?<!each )(?<!all )(?<!some )(?<!one )(?<!none )(?<!any )(?<!both )(?<!most )\bof which\b"
        r"(?! (\d|X|some|all|none|one|two|each|only|at least|at most|many|most))",
        "whose, with, or two sentences",
        "plain clause",
    ),
    Rule(
        r"\bfigures?\b",
        "metrics (accuracy and the like), measurements, values",
        "metrics is the field's word",
        (
            Right(r"\bfigure\b", "matplotlib's Figure, and the drawn plot", r"plot|chart|font|lettering"),
            Right(r"<?/?\bfigure>|\bfigure \{|, figure,", "an element of HTML"),
            Right(r"significant figures|Figure \d", "a number's digits, and a paper's figure"),
        ),
    ),
    Rule(
        r"\bfigures\b",
        "metrics, measurements, values",
        "metrics is the field's word",
        (Right(r"^figures$", "a key of bench.json", r"earlier"),),
        kinds=("name",),
    ),
    Rule(
        r"\bdoubt(s|ed|ful|ing)?\b",
        "warning, caveat; unreliable",
        "warning is the field's word",
        (Right(r"^doubts$", "a key of bench.json", r"earlier"),),
        names=True,
    ),
    Rule(
        r"\bcaution(s|ed)?\b",
        "warning, caveat",
        "warning is the field's word",
        (
            Right(r"\bcaution[=:]", "a field of Prediction in its representation, and its label in a table"),
            Right(r"\bcautions +warnings\b", "a module in its package's map", r"__init__"),
        ),
    ),
    Rule(
        r"\banswer(s|ed|ing)?\b",
        "prediction, output; predict, return",
        "a model predicts; only a server answers",
        (
            Right(
                r"\b(server|client|process|NVML|library|program|command|user|[Yy]ou)s?"
                r"( (does|did|do|may|must|will|can)( not)?| never)? answer(s|ed)?\b",
                "a server, a program or a person answers a request or a question",
            ),
            Right(
                r"\banswer\w* (with )?(an? |the |each |every |all )?(requests?|clients?|status|HTTP|\d{3})\b", "HTTP"
            ),
            Right(r"\bto the answer\b", "sections that earlier versions published are found by name", r"/publishing"),
        ),
        path=rf"^(?!.*({_SERVER}))",
    ),
    Rule(
        r"\b(model'?s|models'|network'?s|PyTorch'?s|ctonnx'?s|FP32'?s|INT8'?s|predictor'?s|right|golden) answers?\b"
        r"|\b(its|whose|the) answers (mean|are no|agree|hold)\b|\banswers? (for an? (image|scan|file)|should be)\b",
        "prediction, output",
        "a model predicts; only a server answers",
        path=_SERVER,
    ),
    Rule(
        r"\bdata sets?\b",
        "dataset",
        "one word",
        (
            Right(r".*", "DICOM's own term is Data Set", r"dicom|hounsfield|confidential|redaction|window|stored_bits"),
            Right(r"\b(DICOM|File Meta|deflated|pydicom|file's|encoded|preamble|Transfer Syntax)\b.*", "DICOM's term"),
            Right(r"\bdata sets?\b[^.]*\b(DICOM|encoded|Transfer Syntax|preamble|deflated|pydicom)\b", "DICOM's term"),
        ),
        names=True,
    ),
    Rule(
        r"\bpass(es|ed|ing)? over\b(?! (a|an|the|all|each|every)\b)",
        "skip, ignore",
        "plain word",
        (Right(r"^passed over$", "a field of `Dataset`, and a key of the audit's JSON", r"audit|/data/|dataset"),),
        names=True,
    ),
    Rule(r"\banew\b", "again, from scratch", "plain word", names=True),
    Rule(r"\bin (the )?place of\b", "instead of", "plain word"),
    Rule(
        r"(?<!there )(?<!where )\b(is|are|was|were|be) no "
        r"(?!longer|more|better|worse|less|fewer|larger|smaller|slower|faster|later|sooner|higher|lower|need|use)\w+",
        "is not a",
        "plain negation",
    ),
    Rule(
        r"\b(Returns|Yields|Gives) (what|why|whose|where|who|whom|how|which)\b",
        "Returns the NOUN (reason, number, name, text)",
        NOUN,
    ),
    Rule(
        r"^(What|Who|Whose|Whom|Why|How(?! to\b))\b(?![^.]*\?)",
        "begin with a noun",
        NOUN,
        kinds=("doc",),
    ),
    Rule(
        r"^(Of|That|Which|By which|With which|In which|For which)\b(?! [^.:;]{0,80},)(?![^.]*\?)",
        "begin with a noun",
        NOUN,
        kinds=("doc",),
    ),
    Rule(r"^(Has|Lets)\b", "Makes, Allows, or the verb itself", "active voice", kinds=("doc",)),
    Rule(
        rf"^({_CLAUSES})\b",
        "a noun phrase, or a sentence about the option",
        ENTRY,
        (Right(r"^At (most|least) (?!,)\w+ \w+", "a number's bound"), Right(r"^As (many|much|long)\b", "an amount")),
        kinds=ENTRIES,
    ),
    Rule(rf"^({_PRONOUNS})\b", 'a noun phrase, or in Raises "If ..."', ENTRY, kinds=ENTRIES),
    Rule(
        r"^(?-i:[a-z])[a-z'-]*(?=[\s,:;)]|\.(\s|$)|$)",
        "a noun phrase with a capital letter",
        ENTRY,
        (
            Right(rf"^({_CLAUSES}|{_PRONOUNS})\b", "a rule above reports it"),
            Right(r"^(ctonnx|onnx\w*|torch\w*|timm|pydicom|imagecodecs|tifffile|scikit-learn|auto)\b.*", "a name"),
        ),
        kinds=ENTRIES,
    ),
)


class Text(NamedTuple):
    """A paragraph, an entry of a docstring's section, or a name.

    Attributes:
        kind: One of `PROSE`, or "entry", "help" or "name".
        words: Words, separated by single spaces.
        lines: Offset and number of each line.
    """

    kind: str
    words: str
    lines: tuple[tuple[int, int], ...]


def findings(file: Path, path: str) -> Iterator[tuple[int, Rule, str]]:
    """Yields line, rule and matched words of each finding in a file."""
    rules = [(rule, re.compile(rule.pattern, re.I)) for rule in RULES if re.search(rule.path, path)]
    for text in _texts(file, path):
        for rule, pattern in rules:
            if text.kind not in rule.kinds and not (rule.names and text.kind == "name"):
                continue
            uses = [use.pattern for use in rule.right if re.search(use.path, path)]
            right = [found.span() for use in uses for found in re.finditer(use, text.words, re.I)]
            for found in pattern.finditer(text.words):
                if not any(start <= found.start() and found.end() <= end for start, end in right):
                    line = text.lines[bisect(text.lines, (found.start(), sys.maxsize)) - 1][1]
                    yield line, rule, found[0]


def _texts(file: Path, path: str) -> Iterator[Text]:
    content = file.read_text(encoding="utf-8")
    match file.suffix:
        case ".py":
            yield from _python(content, messages=not path.startswith("tests/"))
        case ".md":
            content = re.sub(r"(?ms)^ *```.*?^ *```", _blank, content)
            if file.name == "CHANGELOG.md":  # entries of released versions stay as they were
                content = "\n## ".join(content.split("\n## ")[:2])
            yield from _paragraphs("text", content)
        case ".html":
            yield from _paragraphs("text", _html(content))
        case ".js" | ".css":
            yield from _script(content)
        case _:
            yield from _paragraphs("text", "\n".join(map(_behind_hash, content.splitlines())))
    yield _name(file.stem, 1)


def _name(name: str, line: int) -> Text:
    return Text("name", re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_+", " ", name).strip().lower(), ((0, line),))


def _blank(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


def _python(content: str, *, messages: bool) -> Iterator[Text]:
    documented = set[tuple[int, int]]()
    names = dict[str, int]()
    for node in ast.walk(ast.parse(content)):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                documented.add((node.lineno, node.col_offset))
            case ast.keyword(arg="help" | "short_help", value=ast.Constant(value=str(words))):
                yield Text("help", " ".join(words.split()), ((0, node.value.lineno),))
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.setdefault(name, node.lineno)
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                names.setdefault(name, node.lineno)
    for name, line in names.items():
        yield _name(name, line)
    for (line, column), kind, words in _literals(content):
        if (line, column) in documented:
            yield from _entries(words, line)
            prose = re.sub(r"(?m)^\s*(>>>|\.\.\.).*", "", words)
            yield from _paragraphs("doc", re.sub(r"(?m)^( +)[\w*]+: ", r"\1`x`: ", prose), line)
        elif kind == "comment" or (messages and re.search(r"\s", words.strip())):
            yield from _paragraphs(kind, words, line)


def _literals(content: str) -> Iterator[tuple[tuple[int, int], str, str]]:
    """Yields start, kind and words of comments and strings; adjoining ones, as in a long message, are one."""
    lines = content.splitlines(keepends=True)
    place, kind, words, end = (0, 0), "", "", 0
    depth, start = 0, (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        name = tokenize.tok_name[token.type]
        if name == "FSTRING_START":  # Python 3.12 and newer; before, an f-string is one token
            start, depth = (start if depth else token.start), depth + 1
        depth -= name == "FSTRING_END"
        if depth or name in ("NL", "INDENT", "DEDENT") or (name == "NEWLINE" and kind == "comment"):
            continue
        found = {"COMMENT": "comment", "STRING": "message", "FSTRING_END": "message"}.get(name, "")
        first = start if name == "FSTRING_END" else token.start
        is_alone = not lines[first[0] - 1][: first[1]].strip() if found else False
        if not (found == kind and (kind == "message" or (is_alone and first[0] == end + 1))):
            if kind:
                yield place, kind, words
            place, kind, words, end = first, found, "", first[0]
        if found:
            rows = lines[first[0] - 1 : token.end[0]]
            rows[-1] = rows[-1][: token.end[1]]
            rows[0] = rows[0][first[1] :]
            words += "\n" * (first[0] - end) + (_bare if found == "message" else _uncommented)("".join(rows))
            end = token.end[0]


def _uncommented(comment: str) -> str:
    return comment.lstrip("#! ")


def _bare(literal: str) -> str:
    """Returns a string literal without quotes, and with X for each value of an f-string."""
    prefix, _, words = re.sub(r"(?s)^(\w*)('''|\"\"\"|'|\")(.*)\2$", "\\1\0\\3", literal).partition("\0")
    if "f" in prefix.lower():
        words = words.replace("{{", "").replace("}}", "")
        while (less := re.sub(r"\{[^{}]*\}", lambda found: "X" + _blank(found), words)) != words:
            words = less
    return re.sub(r"\\[nbt]", " ", words)


def _entries(docstring: str, line: int) -> Iterator[Text]:
    """Yields the entries of a docstring's sections, each without its name."""
    section, indent = "", 0
    for number, row in enumerate(docstring.split("\n"), line):
        depth = len(row) - len(row.lstrip())
        if row.strip() in ("Args:", "Attributes:", "Raises:", "Returns:", "Yields:"):
            section, indent = row.strip(), depth
        elif row.strip() and depth <= indent:
            section = ""
        elif section in ("Returns:", "Yields:") and row.strip():
            yield Text("entry", row.strip(), ((0, number),))
            section = ""
        elif section and depth == indent + 4 and (entry := re.match(r"\s*[\w.`*]+(?: \(.*?\))?: +(.*)", row)):
            yield Text("entry", entry[1], ((0, number),))


def _paragraphs(kind: str, content: str, line: int = 1) -> Iterator[Text]:
    """Yields paragraphs, items of lists and rows of tables, without code and addresses."""
    content = re.sub(r"``?[^`]+``?", lambda found: "`" + _blank(found) + "`", content)
    content = re.sub(r"\]\([^)\s]*\)|https?://\S+", "]", content)
    words, lines = "", list[tuple[int, int]]()
    for number, row in enumerate([*content.split("\n"), ""], line):
        begins = re.match(r"\s*(?:[-*>] |\d+\. |#+ |\||[\w.`]+: +\S|[A-Z]\w+:$)", row)
        if words and (begins or not row.strip()):
            yield Text(kind, words, tuple(lines))
            words, lines = "", []
        if row := re.sub(r"^\s*(?:[-*>|] |#+ )", "", " ".join(row.split())):
            words += " " if words else ""
            lines.append((len(words), number))
            words += row


def _html(page: str) -> str:
    """Returns the text of a page and of the attributes that are shown or read aloud."""

    def shown(tag: re.Match[str]) -> str:
        attributes = re.findall(r"(?:aria-label|title|alt|placeholder|content)=\"([^\"]*)\"", tag[0])
        return f" {'. '.join(attributes)} {_blank(tag)}"

    return re.sub(r"(?s)<[^>]*>", shown, re.sub(r"(?s)<(svg|style)\b.*?</\1>", _blank, page))


def _script(code: str) -> Iterator[Text]:
    """Yields the comments of a script or style sheet, and its string literals of more than one word."""
    pieces = r"(?s)//[^\n]*|/\*.*?\*/|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`"
    for piece in re.finditer(pieces, code):
        words = re.sub(r"\$\{[^{}]*\}", "X", piece[0].strip("/*\"'` "))
        if " " in words or piece[0].startswith("/"):
            yield from _paragraphs("text", words, code.count("\n", 0, piece.start()) + 1)


def _behind_hash(row: str) -> str:
    """Returns the comment of a row in a Makefile, a shell script or TOML, and the project's description."""
    found = re.search(r"(?:^|\s)#+ (.*)|^description = (.*)", row)
    return (found[1] or found[2]) if found else ""


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths or [*(ROOT / folder for folder in FOLDERS), *(ROOT / file for file in FILES)]:
        inner = path.rglob("*") if path.is_dir() else [path]
        yield from sorted(file for file in inner if file.is_file() and (file == path or file.suffix in SUFFIXES))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints each finding, and returns the exit code: 1 if there is one."""
    parser = argparse.ArgumentParser(prog="python -m tests.words", description="Check the project's prose.")
    parser.add_argument("paths", metavar="PATH", nargs="*", type=Path, help="File or folder; default: the project.")
    parser.add_argument("--count", action="store_true", help="Print the number of findings per file and per pattern.")
    options = parser.parse_args(arguments)
    if missing := [str(path) for path in options.paths if not path.exists()]:
        parser.error(f"expected files or folders, found none at {', '.join(missing)}")
    files, patterns = Counter[str](), Counter[str]()
    for file in _files([path.resolve() for path in options.paths]):
        path = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.as_posix()
        if path in EXEMPT:
            continue
        for line, rule, words in sorted(findings(file, path), key=lambda finding: finding[0]):
            files[path] += 1
            patterns[rule.pattern] += 1
            if not options.count:
                print(f'{path}:{line}: "{words}": write "{rule.write}" ({rule.reason})')
    if options.count:
        _print_counts(files.items())
        _print_counts(patterns.most_common())
    print(f"{files.total()} findings in {len(files)} files" if files else "words: no findings", file=sys.stderr)
    return 1 if files else 0


def _print_counts(counts: Iterable[tuple[str, int]]) -> None:
    for name, count in counts:
        print(f"{count:6}  {name}")
    print()


if __name__ == "__main__":
    sys.exit(main())
