"""What the documents point to is there: places in the source, excerpts, links; the site builds."""

import re
from html.parser import HTMLParser

import pytest

from tests.docs.blocks import DOCUMENTS, ROOT, blocks

PLACE = re.compile(r"`((?:yolo|csrc|cfg|docs|benchmarks|tests)/[\w./-]+): ([\w.]+)`")
EXCERPT = re.compile(r"^`([\w./-]+)`:\n\n```(?:cpp|cuda)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_named_places_exist(path):
    for file, what in PLACE.findall(path.read_text()):
        source = ROOT / file
        assert source.is_file(), f"{path.name} names {file}"
        last = what.split(".")[-1]
        assert re.search(rf"\b{last}\b", source.read_text()), f"{path.name}: no {what} in {file}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_excerpts_are_the_source(path):
    found = EXCERPT.findall(path.read_text())
    assert len(found) == sum(b.language in ("cpp", "cuda") for b in blocks(path)), (
        f"{path.name}: an excerpt needs the line `FILE`: above it"
    )
    for file, code in found:
        assert code in (ROOT / file).read_text(), f"{path.name}: {file} has changed since"


def test_links_lead_somewhere():
    for path in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{path.name} points to {link}"


class Assets(HTMLParser):
    """What a page loads, and where it links to."""

    def __init__(self):
        super().__init__()
        self.loaded, self.links, self.anchors = [], [], set()

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors.add(values.get("id"))
        if tag in ("script", "img", "iframe", "source"):
            self.loaded.append(values.get("src"))
        elif tag == "link" and values.get("rel") != "canonical":
            self.loaded.append(values.get("href"))
        elif tag == "a":
            self.links.append(values.get("href"))


def read_page(path):
    assets = Assets()
    assets.feed(path.read_text())
    return assets


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; building stops at the first warning."""
    pytest.importorskip("mkdocs")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(folder))
    config.plugins.run_event("startup", command="build", dirty=False)
    build(config)
    return folder, config


def test_every_page_is_in_the_menu(site):
    written = (ROOT / "mkdocs.yml").read_text()
    for path in DOCUMENTS[1:]:
        page = path.relative_to(ROOT / "docs").as_posix()
        assert re.search(rf"[ :]{re.escape(page)}$", written, re.MULTILINE), (
            f"docs/{page} has no place in the menu: add it under nav: in mkdocs.yml"
        )


def test_the_site_needs_no_network_and_its_links_lead_somewhere(site):
    folder, _ = site
    pages = {path: read_page(path) for path in folder.rglob("*.html")}
    assert len(pages) > len(DOCUMENTS) - 1
    for path, page in pages.items():
        foreign = [url for url in page.loaded if url and re.match(r"(https?:)?//", url)]
        assert not foreign, f"{path.relative_to(folder)} loads {foreign[0]}"
        for link in page.links:
            if not link or re.match(r"[a-z]+:|/", link):
                continue
            target, _, anchor = link.partition("#")
            other = (path.parent / target).resolve() if target else path
            other = other / "index.html" if other.is_dir() else other
            assert other.exists(), f"{path.relative_to(folder)} links to {link}"
            if anchor and other in pages:
                assert anchor in pages[other].anchors, f"{path.relative_to(folder)}: no {link}"


def test_the_reference_of_the_interface_is_the_source():
    place = ROOT / "docs" / "reference.py"
    names = {"__file__": str(place), "__name__": "reference"}
    exec(compile(place.read_text(), str(place), "exec"), names)
    assert names["page"]() == names["PAGE"].read_text(), "run: python docs/reference.py"


def test_the_interface_is_described():
    import yolo

    text = (ROOT / "docs" / "api.md").read_text()
    public = set(yolo.__all__)
    for room in ("data", "ops", "train", "evaluate", "weights"):
        public |= set(getattr(yolo, room).__all__)
    for kind in (yolo.Network, yolo.Detections):
        public |= {name for name in vars(kind) if name[0] != "_"} - {"extra_repr"}
    missing = [name for name in sorted(public) if not re.search(rf"\b{name}\b", text)]
    assert not missing, f"docs/api.md does not mention {missing}"
