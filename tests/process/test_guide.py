"""Every program and command of the README and the guide runs as it stands there, and prints what stands under it."""

import re
from pathlib import Path

import pytest
from support.pages import blocks, run_page

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "orchestrator" / "guide"
MOST_LINES = 150
PAGES = [ROOT / "README.md", *sorted(GUIDE.glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_runs(page, tmp_path):
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_readme_is_short_and_names_every_page():
    readme = PAGES[0].read_text(encoding="utf-8")
    assert readme.count("\n") < MOST_LINES, f"README.md has {MOST_LINES} lines or more: move what is longer into the guide"
    for page in PAGES[1:]:
        assert f"(orchestrator/guide/{page.name})" in readme, f"{page.name} is in no list: give it a line under Guide in README.md"


def test_a_block_that_fails_or_prints_something_else_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1)\n```\n\n```text\n2\n```\n")
    assert [block.kind for block in blocks(page)] == ["python", "text"]
    with pytest.raises(AssertionError, match="should print"):
        run_page(page, tmp_path)
    page.write_text("```sh\nfalse\n```\n")
    with pytest.raises(AssertionError, match="ended with 1"):
        run_page(page, tmp_path)
