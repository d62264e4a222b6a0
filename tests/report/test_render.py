from __future__ import annotations

import base64
import html
import html.parser
import json
import re

import pytest
import yaml

from barograph.report.markdown import escaped
from barograph.report.run import run_report

EVIL = """<script>alert("x")</script> & 'q' | *b* $x$"""


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, its texts, and whether every tag is closed where it should be."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self._open = [], [], []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        """A tag opens."""
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        """A tag closes: the one that was opened last."""
        assert self._open.pop() == tag, self.getpos()

    def handle_data(self, data):
        """A text."""
        self.texts.append(data)

    def of(self, tag):
        """The attributes of each tag of one kind."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page(made):
    """The page of a sweep."""
    return Page((made / "report.html").read_text(encoding="utf-8"))


def test_the_page_needs_nothing_else(made, page):
    """No script, no address of anything outside the page, figures inlined, and a policy that allows no more."""
    text = (made / "report.html").read_text(encoding="utf-8")
    assert page.of("script") == page.of("link") == page.of("iframe") == []
    assert "://" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    (policy,) = [meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")
    figures = sorted((made / "training" / "figures").glob("*.png"))
    inlined = [base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) for image in page.of("img")]
    assert sorted(inlined) == sorted(figure.read_bytes() for figure in figures)
    assert all(image["alt"] for image in page.of("img"))


def test_every_number_opens_its_address(made, page):
    """The exact value, the words, the query that can be copied, runs and hash stand behind each number shown."""
    numbers = yaml.safe_load((made / "manifest.yaml").read_bytes())["numbers"]
    shown = {button["id"]: button["popovertarget"] for button in page.of("button")}
    with_value = {f"n{place}" for place, number in enumerate(numbers) if number["value"] is not None}
    assert shown.keys() == with_value
    opened = [attributes["id"] for attributes in page.of("div") if "popover" in attributes]
    assert sorted(opened) == sorted(shown.values())
    text = html.unescape((made / "report.html").read_text(encoding="utf-8"))
    copied = [json.loads(found) for found in re.findall(r'<code class="query">(.*?)</code>', text)]
    asked = {query["id"]: query["query"] for query in copied}
    assert asked == {number["id"]: number["query"] for number in numbers if number["value"] is not None}
    assert all(number["content_sha256"][:12] in text for number in numbers if number["value"] is not None)
    mean = next(number for number in numbers if number["id"] == "summary.0.mean")
    assert repr(mean["value"]) in page.texts
    assert "mean over runs of: min of mse per epoch" in page.texts


def test_what_comes_from_runs_is_inert(tmp_path, new_run):
    """Names, notes, configuration, criteria, alerts and metrics with markup in them are shown as they are."""
    with new_run(name="<b>bold", config={EVIL: EVIL}, notes=EVIL, hypothesis=EVIL, seed=1, success=["loss < 3"]) as run:
        run.log({"loss": 1.0, EVIL: 2.0}, step=0)
        run.alert(EVIL, EVIL)
        run.check(EVIL, expected=EVIL, got=1)
        run.epoch_end(0, train_loss=1.0, metrics={EVIL: 1.0})
    path = run_report({"inputs": {"runs": [str(run.dir)]}, "outputs": {"dir": str(tmp_path / "r")}}, kind="single_run")
    text = (path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.of("script") == []
    assert "<b>bold" not in text
    assert html.escape("<script>").replace("&lt;", "&lt;") + "alert(" in text
    assert any(EVIL in shown for shown in page.texts)
    markdown = (path / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown
    assert escaped(EVIL) in markdown


@pytest.mark.spec("S3.51")
def test_figures_say_how_many_points_they_show(tmp_path, new_run):
    """``n of m points``, each with its address; values that are not finite are counted."""
    with new_run() as run:
        for step in range(5000):
            run.log({"loss": float("nan") if step == 70 else 1.0 / (step + 1)}, step=step)
    path = run_report({"inputs": {"runs": [str(run.dir)]}, "outputs": {"dir": str(tmp_path / "r")}}, kind="single_run")
    numbers = {it["id"]: it["value"] for it in yaml.safe_load((path / "manifest.yaml").read_bytes())["numbers"]}
    assert numbers["figure-train/loss_vs_step.points"] == 5000
    assert numbers["figure-train/loss_vs_step.nonfinite"] == 1
    drawn = (path / "training/figures/figure-train_loss_vs_step.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert numbers["figure-train/loss_vs_step.shown"] == len(drawn) < 1001
    assert sum(line.endswith(",nan") for line in drawn) == 1
    markdown = (path / "report.md").read_text(encoding="utf-8")
    assert f"{len(drawn):,} of 5,000 points of 1 run, 1 not finite" in markdown


def test_the_page_knows_dark_and_print(made):
    """Both have their own colours; nothing is told by colour alone."""
    text = (made / "report.html").read_text(encoding="utf-8")
    assert "@media (prefers-color-scheme: dark)" in text
    assert "@media print" in text
    assert '<meta name="color-scheme" content="light dark">' in text


def test_markdown_has_every_section_and_figure(made):
    """The same report as text: headings, tables, pictures that are there."""
    text = (made / "report.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["Results", "Curves", "What the settings did", "Promised and delivered", "Runs", "Left out"]
    pictures = re.findall(r"^!\[.*\]\((.*)\)$", text, re.MULTILINE)
    assert len(pictures) == 5
    assert all((made / picture).is_file() for picture in pictures)
