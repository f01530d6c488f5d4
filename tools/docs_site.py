"""Lays out what the documentation site is built from: build/docs, the folder that mkdocs.yml names.

    python tools/docs_site.py

docs/ as it is, and beside it the pages that live elsewhere in the repository, so that no text exists twice. Links
between pages are turned to where these now lie. A source file that a page links to comes along as text, for a browser
shows a .txt and downloads a .py. build/api holds the package as it is installed, export/ and serving/ inside of
expnet_tf/, for the API pages, which are made by reading the sources: nothing is imported.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"README.md": "readme.md", "CHANGELOG.md": "changelog.md", "ASSETS.md": "assets.md"}
FOLDERS = {"docs": "", "benchmarks": "benchmarks"}  # folder of pages -> folder of the site
SOURCES = "sources"  # folder of the site for files that are no pages
SHOWN = {".md", ".png", ".jpg", ".webp", ".svg", ".css", ".js"}  # what a site serves as it is
PARTS = ("docs/site/site.css", "docs/site/iframe-worker.js")  # of the site itself

FENCE = re.compile(r"^ {0,8}(```+|~~~+)")
LINK = re.compile(r"(?P<before>\[(?:[^\[\]]|\[[^\[\]]*\])*\]\()(?P<target>[^()\s]+)(?P<after>\))")
CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")


class LinkError(ValueError):
    """A page links to a file that is not there."""


def place(path: PurePosixPath) -> PurePosixPath:
    """Where a file of the repository lies in the site."""
    if str(path) in PAGES:
        return PurePosixPath(PAGES[str(path)])
    if path.parts[0] in FOLDERS and path.suffix in SHOWN:
        return PurePosixPath(FOLDERS[path.parts[0]], *path.parts[1:])
    return PurePosixPath(SOURCES, f"{path}.txt")


def pages(root: Path) -> list[PurePosixPath]:
    """Every page of the site, as a path of the repository."""
    found = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.md"))]
    return [PurePosixPath(name) for name in PAGES] + [PurePosixPath(path.relative_to(root)) for path in found]


def links(text: str) -> list[tuple[int, re.Match[str]]]:
    """(line number from 0, match of LINK) of every link and picture that is not inside code."""
    found, fence = [], ""
    for number, line in enumerate(text.splitlines()):
        mark = FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        elif not fence:
            # Code keeps its length, so that places in the line stay what they are.
            plain = CODE.sub(lambda code: "x" * len(code[0]), line)
            found += [(number, match) for match in LINK.finditer(plain)]
    return found


def outside(target: str) -> bool:
    """Whether a link leaves the repository, or stays within its page."""
    return re.match(r"[a-z][a-z0-9+.-]*:|#", target) is not None


def turned(text: str, page: PurePosixPath, root: Path) -> tuple[str, set[PurePosixPath]]:
    """A page with its links as they are in the site, and the files that it links to.

    Raises LinkError where one is not there.
    """
    lines, used = text.splitlines(), set()
    for number, link in reversed(links(text)):
        if outside(link["target"]):
            continue
        name, hash_, anchor = link["target"].partition("#")
        goal = PurePosixPath(os.path.normpath(page.parent / name))
        if goal.parts[0] == ".." or not (root / goal).is_file():
            raise LinkError(f"{page}, line {number + 1}: links to {link['target']}, which is not there.")
        used.add(goal)
        path = os.path.relpath(place(goal), place(page).parent)
        start, end = link.span("target")
        lines[number] = f"{lines[number][:start]}{path}{hash_}{anchor}{lines[number][end:]}"
    return "\n".join(lines) + "\n", used


def lay_out(root: Path, out: Path) -> int:
    """Writes the folder `out` anew; how many pages. Raises LinkError."""
    shutil.rmtree(out, ignore_errors=True)
    files = {PurePosixPath(name) for name in PARTS}
    found = pages(root)
    for page in found:
        text, used = turned((root / page).read_text(encoding="utf-8"), page, root)
        files |= used
        _put(out / place(page), text.encode())
    for path in files - set(found):
        _put(out / place(path), (root / path).read_bytes())
    return len(found)


def lay_out_package(root: Path, out: Path) -> None:
    """The sources as they are installed: `out`/expnet_tf with export/ and serving/ inside."""
    shutil.rmtree(out, ignore_errors=True)
    python = shutil.ignore_patterns("assets", "__pycache__")
    shutil.copytree(root / "expnet_tf", out / "expnet_tf", ignore=python)
    for name in ("export", "serving"):
        shutil.copytree(root / name, out / "expnet_tf" / name, ignore=python)


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def main() -> int:
    try:
        count = lay_out(ROOT, ROOT / "build/docs")
    except LinkError as error:
        print(f"docs_site: {error}", file=sys.stderr)
        return 1
    lay_out_package(ROOT, ROOT / "build/api")
    print(f"build/docs: {count} pages")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
