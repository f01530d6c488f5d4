"""Looks through a built site: whatever a page loads or links to must lie in the site itself.

    python tools/check_site.py build/site

Pictures, scripts, styles and fonts from another server are errors, and so are links to files or places within a page
that are not there. Links for people to follow may go anywhere. Exit codes: 0 fine, 1 with a line for each finding.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
IN_STYLES = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


class Page(HTMLParser):
    """What a page loads, what it links to, and the places within it that can be linked to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.places = {"", "__top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.places |= {found[name] for name in ("id", "name") if name in found}
        if tag in LOADED and found.get(LOADED[tag]):
            self.loads.append(found[LOADED[tag]])
        elif tag == "link" and set(found.get("rel", "").split()) & {"stylesheet", "icon", "preload", "modulepreload"}:
            self.loads.append(found.get("href", ""))
        elif tag == "a" and found.get("href"):
            self.links.append(found["href"])


def elsewhere(target: str) -> bool:
    """Whether a target is not of this site: it names a server, or another thing than a file."""
    parts = urlsplit(target)
    return bool(parts.netloc or (parts.scheme and parts.scheme != "data"))


def missing(target: str, path: Path, site: Path, pages: dict[Path, Page]) -> str | None:
    """What is wrong with a target within the site, as the page `path` names it."""
    parts = urlsplit(target)
    base = site if parts.path.startswith("/") else path.parent
    goal = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
    goal = goal / "index.html" if goal.is_dir() else goal
    if not goal.is_file():
        return "it is not there"
    if parts.fragment and goal in pages and unquote(parts.fragment) not in pages[goal].places:
        return "that page has no such place"
    return None


def findings(site: Path) -> list[str]:
    """A sentence for each thing that is wrong."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site)
        found += [f"{name} loads {target} from another server." for target in page.loads if elsewhere(target)]
        for target in page.loads + page.links:
            problem = None if elsewhere(target) or target.startswith("data:") else missing(target, path, site, pages)
            # The page for what is not found does not know where it will be shown from.
            if problem and name != Path("404.html"):
                found.append(f"{name} needs {target}; {problem}.")
    for path in sorted(site.rglob("*.css")):
        for first, second in IN_STYLES.findall(path.read_text(encoding="utf-8")):
            if elsewhere(first or second):
                found.append(f"{path.relative_to(site)} loads {first or second} from another server.")
    if not pages:
        found.append(f"{site} has no pages.")
    return found


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: check_site.py SITE", file=sys.stderr)
        return 2
    found = findings(Path(sys.argv[1]).resolve())
    print("\n".join(found), file=sys.stderr) if found else print(f"{sys.argv[1]}: nothing comes from elsewhere")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
