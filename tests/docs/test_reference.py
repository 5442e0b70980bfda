"""The reference has every public name, and each has a docstring that it can show."""

from __future__ import annotations

import inspect
import re
from functools import reduce
from typing import Any

import gradloom as gl
import pytest
from doc_pages import of_docs

reference, docstrings = of_docs("reference_pages"), of_docs("docstrings")
PUBLIC: dict[str, Any] = reference.public()
TEXT = "\n".join(reference.pages().values())


def documented() -> dict[str, str]:
    """The docstrings of public functions and classes of this package, and of the public members of classes."""
    found: dict[str, str] = {}
    for path, entry in PUBLIC.items():
        if not entry.module:
            continue
        found[path] = inspect.getdoc(entry.object) or ""
        if inspect.isclass(entry.object):
            members = (name for name in vars(entry.object) if not name.startswith("_"))
            found |= {f"{path}.{name}": inspect.getdoc(getattr(entry.object, name)) or "" for name in members}
    return found


def test_every_public_name_stands_in_the_reference_once():
    entries = re.findall(r"^\.\. auto(?:function|class):: (gradloom\.\S+)$", TEXT, re.MULTILINE)
    data = re.findall(r"^\.\. py:data:: (\S+)\n   :module: (\S+)$", TEXT, re.MULTILINE)
    found = [path for path in entries if ".engine." not in path] + [f"{module}.{name}" for name, module in data]
    assert sorted(found) == sorted(PUBLIC)
    spelled = reference.public_paths()
    for path, module in reference.namespaces().items():
        assert {f"{path}.{name}" for name in reference.names_of(module)} <= spelled.keys()


def test_a_class_has_the_methods_of_bases_that_are_not_public():
    assert ":inherited-members:" in PUBLIC["gradloom.Step"].entry
    assert ":inherited-members:" in PUBLIC["gradloom.nn.Module"].entry
    assert ":inherited-members:" not in PUBLIC["gradloom.optim.AdamW"].entry


@pytest.mark.parametrize("module", ["nn", "optim", "numpy", "data", "random", "tree"])
def test_what_all_lists_is_public(module: str):
    assert {f"gradloom.{module}.{name}" for name in getattr(gl, module).__all__} <= reference.public_paths().keys()


def test_every_public_name_has_a_docstring_of_a_sentence():
    docs = documented()
    first = {path: docs[path].partition("\n\n")[0] for path in PUBLIC if path in docs}
    assert not [path for path, text in first.items() if not text.endswith((".", ":"))]


def test_docstrings_name_what_there_is():
    """A name in a docstring that begins with `gl.` is there to be used."""
    for path, doc in documented().items():
        for name in re.findall(r"`gl\.([A-Za-z_][\w.]*\w)", doc):
            try:
                reduce(getattr, name.split("."), gl)
            except AttributeError:
                pytest.fail(f"{path}: there is no gl.{name}")


def test_a_result_is_said_to_come_from_somewhere():
    assert all(kind.__doc__ and source for kind, source in reference.RESULTS.items())


def test_every_option_of_a_command_stands_in_its_table():
    page = reference.pages()["commands"]
    for name, command in reference.commands(reference.make_parser()).items():
        section = page.partition(f"## gradloom {name}\n")[2].partition("\n## ")[0]
        for action in command._actions[1:]:
            assert all(option in section for option in action.option_strings), (name, action)


@pytest.mark.parametrize(
    ("markdown", "rst"),
    [
        ("`x` and\n`y`s, |x| * 2_ reset_.", [r"``x`` and ``y``\ s, \|x\| \* 2\_ reset\_."]),
        ("a:\n\n    b = c\n\n    d\n\ne", ["a:", "", ".. code-block:: python", "", "    b = c", "", "    d", "", "e"]),
        ("a:\n- `b`\n  c\n- d", ["a:", "", "- ``b`` c", "- d"]),
        ("`a\nb`", ["``a b``"]),
    ],
)
def test_a_docstring_becomes_restructured_text(markdown: str, rst: list[str]):
    assert docstrings.as_rst(markdown.split("\n")) == rst
