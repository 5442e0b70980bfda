"""How Sphinx builds the documents: `sphinx-build -W -n docs FOLDER`, with the extra `docs`.

The guide and the pages for contributors are Markdown. The reference is made of docstrings (`reference_pages.py`).
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path
from typing import Any

import gradloom
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.inspect import signature as find_signature
from sphinx.util.inspect import stringify_signature

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from docstrings import as_rst  # noqa: E402
from reference_pages import MADE_ELSEWHERE, pages, public_base, public_paths  # noqa: E402

project = "Gradloom"
author = copyright = "The Gradloom developers"
version = release = importlib.metadata.version("gradloom")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"Gradloom {release}"
html_static_path = ["static"]
html_css_files = ["guide.css"]
html_show_sphinx = False
html_copy_source = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"

PATHS = public_paths()


def write_reference(app: Sphinx) -> None:
    """The pages of the reference, where they have changed."""
    folder = HERE / "reference"
    folder.mkdir(exist_ok=True)
    texts = {folder / f"{name}.md": text for name, text in pages().items()}
    for path in set(folder.glob("*.md")) - set(texts):
        path.unlink()
    for path, text in texts.items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def read_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = as_rst(lines)


def show_signature(app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: Any, result: Any) -> Any:
    """Of a module that of `__init__`, not that of `__new__`; none of what a reader does not construct."""
    if not isinstance(obj, type) or signature is None:
        return None
    if obj in MADE_ELSEWHERE or issubclass(obj, BaseException):
        return "", None
    if not issubclass(obj, gradloom.nn.Module):
        return None
    if obj.__init__ is object.__init__:
        return "()", None
    return stringify_signature(find_signature(obj.__init__, bound_method=True), show_annotation=False), None


def leave_out_links(app: Sphinx, name: str, text: list[str]) -> None:
    """A link to a folder, or to a page outside, is its text alone; a link to another file outside hands it out."""

    def kept(link: re.Match[str]) -> str:
        target = (HERE / name).parent / link[2].partition("#")[0]
        outside = HERE not in target.resolve().parents
        return link[1] if outside and (target.is_dir() or target.suffix == ".md") else link[0]

    text[0] = re.sub(r"(?<!!)\[([^\]]+)\]\((\.\.?/[^)\s]+)\)", kept, text[0])


def show_bases(app: Sphinx, name: str, obj: Any, options: Any, bases: list[Any]) -> None:
    """Bases that are public, by their public paths."""
    bases[:] = [f":py:obj:`{path}`" for base in bases if isinstance(base, type) and (path := public_base(base))]


class LinkNames(SphinxTransform):
    """`gl.nn.relu` in code is a link to where it is documented."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(nodes.literal)):
            path = documented(node.astext())
            if path is None or isinstance(node.parent, (nodes.reference, addnodes.pending_xref, nodes.title)):
                continue
            link = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=path, refexplicit=True, refwarn=True
            )
            node.replace_self(link)
            link += node


class HideHomes(SphinxTransform):
    """What has no public name is called without the module that defines it."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(addnodes.desc_addname)):
            if re.match(r"gradloom\.(engine|passes|ir)\.", node.astext()):
                node.parent.remove(node)


def documented(text: str) -> str | None:
    """The path that a code span's name is documented by, if it has one."""
    found = re.match(r"(?:gl|gradloom)\.([\w.]+)", text) or re.match(r"((?:nn|optim|data)\.[\w.]+)", text)
    found = found or re.fullmatch(r"([A-Z]\w+)", text)
    return PATHS.get(f"gradloom.{found[1].rstrip('.')}") if found else None


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_reference)
    app.connect("source-read", leave_out_links)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-process-signature", show_signature)
    app.connect("autodoc-process-bases", show_bases)
    app.add_transform(LinkNames)
    app.add_transform(HideHomes)
