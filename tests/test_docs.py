"""The documentation as it lies in the repository: links, code, commands, and what the site is built from."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from expnet_tf.cli import _parser
from expnet_tf.morphable import open_face

ROOT = Path(__file__).resolve().parents[1]
OTHERS = ["README.md", "ASSETS.md", "CHANGELOG.md"]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md"), *(ROOT / name for name in OTHERS)])
PAGE = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<code>.*?)^ *```", re.MULTILINE | re.DOTALL)
FIRST, ITEM = re.compile(r" *([-*]|1\.) "), re.compile(r" *([-*]|\d+\.) ")  # what begins a list, and what is in one


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docs_site, check_site, component_gallery = tool("docs_site"), tool("check_site"), tool("component_gallery")


class Settings(yaml.SafeLoader):
    """mkdocs.yml names a Python function, which is not called here."""


Settings.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
SETTINGS = yaml.load((ROOT / "mkdocs.yml").read_text(), Settings)


def prose(page: Path) -> str:
    """A page without its blocks of code; the lines stay where they are."""
    return FENCE.sub(lambda block: "\n" * block[0].count("\n"), page.read_text())


def anchors(page: Path) -> set[str]:
    """The places of a page that can be linked to, by the rule of Git hosts."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", heading).lower()).strip().replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return {slug if not again else f"{slug}-{again}" for slug, count in found.items() for again in range(count + 1)}


def targets(page: Path) -> Iterator[str]:
    """Every link and picture of a page, code left aside."""
    text = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", prose(page))
    yield from re.findall(r"\]\(([^()\s]+)\)", text)
    yield from re.findall(r"""(?:src|href)=["']([^"']+)""", text)


@PAGE
def test_links_resolve(page: Path) -> None:
    wrong = []
    for target in targets(page):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        goal = (page.parent / name).resolve() if name else page
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            wrong.append(target)
    assert not wrong


@PAGE
def test_pictures_are_our_own(page: Path) -> None:
    assert not re.findall(r"!\[[^\]]*\]\((?:https?:)?//[^)]*", prose(page))
    assert not re.findall(r"<(?:img|script|link|iframe)\b[^>]*(?:https?:)?//[^>]*", prose(page))


@PAGE
def test_lists_begin_after_a_blank_line(page: Path) -> None:
    """Else only some readers of Markdown see a list."""
    lines = ["", *prose(page).splitlines()]
    wrong = [
        line
        for before, line in pairwise(lines)
        if FIRST.match(line) and before.strip() and not before.startswith(" ") and not ITEM.match(before)
    ]
    assert not wrong


@PAGE
def test_python_compiles(page: Path) -> None:
    for block in FENCE.finditer(page.read_text()):
        if block["language"] == "python":
            ast.parse(textwrap.dedent(block["code"]), str(page))


def commands(page: Path) -> list[str]:
    """The lines of a page's blocks that call expnet, those that go on joined."""
    blocks = [block["code"] for block in FENCE.finditer(page.read_text()) if block["language"] in ("", "sh", "bash")]
    joined = re.sub(r" *\\\n\s*", " ", "\n".join(blocks))
    return [line.strip() for line in joined.splitlines() if line.strip().startswith("expnet ")]


def parses(line: str) -> bool:
    try:
        _parser().parse_args(shlex.split(line, comments=True)[1:])
    except SystemExit as stop:
        return stop.code == 0  # --help and --version stop as well
    return True


@PAGE
def test_commands_parse(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in commands(page):
        assert parses(line), f"{line}\n{capsys.readouterr().err}"


def test_wrong_command_does_not_parse(capsys: pytest.CaptureFixture[str]) -> None:
    assert not parses("expnet predict photo.jpg --no-such-option")


def test_there_are_commands_to_test() -> None:
    assert sum(len(commands(page)) for page in PAGES) > 50


def files(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from files(entry)


def test_navigation_has_every_page_once() -> None:
    """A new page needs a line under nav in mkdocs.yml; benchmarks/*.md lie in benchmarks/, README.md in readme.md."""
    pages = [str(docs_site.place(page)) for page in docs_site.pages(ROOT)]
    assert sorted(files(SETTINGS["nav"])) == sorted(pages)


def test_site_needs_no_network() -> None:
    assert SETTINGS["theme"]["font"] is False
    assert "offline" in SETTINGS["plugins"]
    # The plugin brings a script from another server, unless one of this name is here.
    assert any("iframe-worker" in path for path in SETTINGS["extra"]["polyfills"])
    for path in (ROOT / "docs/site").glob("*.*"):  # not __pycache__
        assert not re.search(r"://|@import", path.read_text()), path
    for path in [*SETTINGS["extra_css"], *SETTINGS["extra"]["polyfills"]]:
        assert (ROOT / "docs" / path).is_file()


def test_laid_out_pages_link_to_each_other(tmp_path: Path) -> None:
    count = docs_site.lay_out(ROOT, tmp_path)
    pages = sorted(tmp_path.rglob("*.md"))
    assert len(pages) == count == len(PAGES)
    for page in pages:
        for target in targets(page):
            if not re.match(r"[a-z]+:|#", target):
                assert (page.parent / target.partition("#")[0]).is_file(), f"{page}: {target}"


def test_laid_out_links_are_turned(tmp_path: Path) -> None:
    for name in ("README.md", "docs/a/b.md", "benchmarks/c.md", "expnet_tf/d.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\n")
    page = docs_site.PurePosixPath("docs/a/b.md")
    code = "`[no](../nothing)`\n```\n[no](../nothing)\n```\n"
    text = f"[one](../../README.md#x) ![two](../../expnet_tf/d.py)\n{code}[c](../../benchmarks/c.md)\n"
    turned, used = docs_site.turned(text, page, tmp_path)
    assert turned.splitlines()[0] == "[one](../readme.md#x) ![two](../sources/expnet_tf/d.py.txt)"
    assert turned.splitlines()[1:5] == text.splitlines()[1:5]
    assert turned.splitlines()[5] == "[c](../benchmarks/c.md)"
    assert {str(path) for path in used} == {"README.md", "expnet_tf/d.py", "benchmarks/c.md"}


@pytest.mark.parametrize("target", ["nothing.md", "../../../etc/passwd"])
def test_laid_out_link_to_nothing_is_named(tmp_path: Path, target: str) -> None:
    with pytest.raises(docs_site.LinkError, match=r"docs/a\.md, line 2: links to .*, which is not there"):
        docs_site.turned(f"first\n[x]({target})\n", docs_site.PurePosixPath("docs/a.md"), tmp_path)


def test_check_site_finds_what_is_wrong(tmp_path: Path) -> None:
    good = '<a href="https://x.org">out</a><a href="#p">in</a><img src="a.png"><p id="p"><img src="data:image/png,">'
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "index.html").write_text(good)
    assert check_site.findings(tmp_path) == []
    (tmp_path / "index.html").write_text(good + '<script src="//x.org/a.js"></script><a href="b.html"><a href="#q">')
    (tmp_path / "a.css").write_text("p { background: url(https://x.org/a.png) }")
    assert [line.split(" from ")[0] for line in check_site.findings(tmp_path)] == [
        "index.html loads //x.org/a.js",
        "index.html needs b.html; it is not there.",
        "index.html needs #q; that page has no such place.",
        "a.css loads https://x.org/a.png",
    ]


def test_comments_of_fields_are_their_documentation() -> None:
    griffe = pytest.importorskip("griffe", reason="griffe, of the extra docs, is not installed")
    extensions = griffe.load_extensions(str(ROOT / "docs/site/field_comments.py"))
    options = {"search_paths": [ROOT], "extensions": extensions, "allow_inspection": False}
    face = griffe.load("expnet_tf.predictor", **options)["Face"]
    assert face["expression"].docstring.value == "float32 [29], sigma units"
    model = griffe.load("expnet_tf.morphable", **options)["MorphableModel"]
    assert "iBUG order" in model["landmark_ids"].docstring.value  # the comment is above the field
    assert model["decode"].docstring.value.startswith("Codes -> vertices")


def test_gallery_is_what_the_face_model_says() -> None:
    model = open_face()
    assert (ROOT / "docs/components.md").read_text() == component_gallery.page(model)
    pictures = sorted((ROOT / "docs/images").glob("component-*.webp"))
    assert len(pictures) == len(component_gallery.SEEN) == len(model.expression_basis)
    assert sum(path.stat().st_size for path in pictures) < 400_000
