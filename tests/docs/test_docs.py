"""Docs are one set: links resolve, names exist, and words are those of the glossary."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from doc_pages import CONTRIBUTORS, DOCS, GUIDE, PAGES, PRINTED, ROOT
from gradloom import passes
from gradloom.ir import Op
from gradloom.passes.graph.rewrite import Pass

FLOORS = ("ir", "passes", "runtime", "engine", "tools", "tests", "examples")
SUFFIXES = ("py", "md", "txt", "js", "json", "toml", "html", "svg", "png")

THEIRS = (
    *("torch", "jax", "jnp", "np.fft", "np.linalg", "scipy", "IPython"),
    *("block_until_ready", "pure_callback", "shard_map", "taskset"),
)
"""What names of others begin with."""

YOURS = (
    *("chosen.txt", "prove_cuda.json", "step.html", "step.svg", "plan.json"),
    *("my_recipes.py", "tokenizer.json", "your_code.py"),
)
"""Files that a reader makes."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def prose(page: Path) -> str:
    """A page without what its programs print and without its code."""
    text = PRINTED.sub("", page.read_text())
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def spans(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


@cache
def words_of_the_code() -> frozenset[str]:
    files = [path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")]
    files += [ROOT / "__init__.py", ROOT / "gradloom_command.py", ROOT / "pyproject.toml"]
    text = "\n".join(path.read_text() for path in files if path.parent != Path(__file__).parent)
    return frozenset(re.findall(r"[A-Za-z_]\w*", text))


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_every_link_leads_somewhere(page: Path):
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]+`", "code", prose(page))):
        if "://" in link:
            parts = urlsplit(link)
            assert parts.scheme == "https", link
            assert "." in parts.netloc, link
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_page
def test_every_path_exists(page: Path):
    for span in spans(page):
        if re.fullmatch(rf"({'|'.join(FLOORS)}|docs)/[\w./]*|[\w/]+\.({'|'.join(SUFFIXES)})", span):
            below = [ROOT / span, *(ROOT.rglob(span) if "/" not in span else ())]
            assert any(path.exists() for path in below) or span in YOURS, span


@each_page
def test_every_name_exists(page: Path):
    """A name in code stands somewhere in the code; one that begins with the package's is there to be imported."""
    for span in spans(page):
        name = re.fullmatch(r"([A-Za-z_][\w.]*)(\(.*\))?", span)
        if name is None or re.search(rf"\.({'|'.join(SUFFIXES)}|\d+)(\.|$)", name[1]):
            continue  # a file, or a path of modules such as layers.3.attn
        if name[1].startswith(("gl.", "gradloom.")):
            rest = name[1].split(".")[1:]
            found = importlib.import_module("gradloom")
            for part in rest:
                if not hasattr(found, part) and hasattr(found, "__path__"):
                    importlib.import_module(f"{found.__name__}.{part}")
                found = getattr(found, part)
        elif not name[1].startswith(THEIRS):
            missing = set(name[1].split(".")) - words_of_the_code()
            assert not missing, span


@each_page
def test_every_pass_that_is_named_is_one(page: Path):
    """`tile-batch` is the name of a pass; other code spans with hyphens are commands and files."""
    from gradloom.passes.pipeline import PASS_NAMES

    others = {"import-linter", "lint-imports", "gradloom-digits", "cuda-compilers"}
    for span in spans(page):
        if re.fullmatch(r"[a-z]+(-[a-z]+)+", span) and span not in others:
            assert span in PASS_NAMES, span


def test_the_glossary_defines_each_name_once_in_one_line():
    rows = re.findall(
        r"^\| ([^|]+) \| ([^|]+) \| ([^|]*)\|$", (ROOT / "docs" / "glossary.md").read_text(), re.MULTILINE
    )
    names = [name for row in rows for name in row[0].split(", ") if row[0] != "name"]
    assert len(names) == len(set(names)) > 100
    assert all(row[1].endswith(".") for row in rows if row[0] != "name" and set(row[0]) != {"-"}), rows


def test_the_table_of_traits_is_that_of_ops():
    table = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "add_an_op.md").read_text(), re.MULTILINE)
    names = [field.name for field in fields(Op)]
    assert table == names[names.index("doc") + 1 :]


def test_every_page_is_linked_from_the_index():
    index = (DOCS / "index.md").read_text()
    trees = re.findall(r"^```{toctree}\n(.*?)^```$", index, re.MULTILINE | re.DOTALL)
    listed = {f"{line}.md" for tree in trees for line in tree.split()}
    linked = set(re.findall(r"\]\(([\w/]+\.md)\)", index))
    pages = {str(page.relative_to(DOCS)) for page in [*CONTRIBUTORS, *GUIDE]} - {"index.md"}
    assert pages == linked == {page for page in listed if page.endswith(".md")} & pages
    assert "reference/index.md" in listed


def passes_below(kind: type[Pass]) -> Iterator[type[Pass]]:
    for found in kind.__subclasses__():
        yield found
        yield from passes_below(found)


def test_every_pass_says_its_rule_and_what_it_is_known_as():
    for module in pkgutil.walk_packages(passes.__path__, "gradloom.passes."):
        importlib.import_module(module.name)
    found = [kind for kind in passes_below(Pass) if kind.__module__.startswith("gradloom.")]
    assert len(found) > 20
    for kind in found:
        rule, _, rest = (kind.__doc__ or "").partition("nown elsewhere as ")
        assert "->" in rule or "->" in rest, kind
        assert rest, kind


REPLACED = {
    "certificate": "plan verifier",
    "made again": "recomputed",
    "made anew": "recomputed",
    "computes again": "recomputes",
    "computed again": "recomputed",
    "is told": "is reported",
    "lanes take turns": "parallel iterations run one after the other",
    "side by side": "concurrently",
}
"""Phrases that a reader of other compilers' documentation would have to guess, and what is said instead."""


@each_page
def test_words_are_those_of_the_glossary(page: Path):
    text = " ".join(prose(page).split())
    assert not [f"{old}: say {new}" for old, new in REPLACED.items() if re.search(rf"\b{old}\b", text)]
