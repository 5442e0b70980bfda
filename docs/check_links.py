"""Check the links between built pages, `python docs/check_links.py FOLDER`: each file, and each place in it, exists.

Links to other sites are not followed: they must name a host by https.
"""

from __future__ import annotations

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The places and links of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.places.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


page_at = cache(Page)


def dead(path: Path, link: str) -> bool:
    """Whether a link of the page at `path` leads nowhere."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return parts.scheme not in ("data", "mailto") and (parts.scheme != "https" or "." not in parts.netloc)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return True
    anchor = unquote(parts.fragment)
    return bool(anchor) and target.suffix == ".html" and anchor not in page_at(target).places


def main(folder: Path) -> int:
    pages = sorted(folder.resolve().rglob("*.html"))
    found = [f"{path}: {link}" for path in pages for link in page_at(path).links if dead(path, link)]
    print("\n".join(found) or f"all links of {len(pages)} pages lead somewhere")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
