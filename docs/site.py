"""What mkdocs is told beyond mkdocs.yml (its `hooks`): pages read alike on the site and in the
repository. Files that lie outside of docs/ and are linked come along under repository/, and
equations become MathML, which browsers show without a script."""

import os
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
EQUATION = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TERM = re.compile(r"\$`(.+?)`\$")
OUTSIDE = "repository/"


def on_files(files, config):
    """Adds what pages link to, and what those pages link to."""
    waiting = list(files.documentation_pages())
    while waiting:
        page = waiting.pop()
        for link in LINK.findall(Path(page.abs_src_path).read_text()):
            source = _target(page.src_uri, link)
            uri = _uri(source)
            if source.is_file() and uri.startswith(OUTSIDE) and uri not in files.src_uris:
                added = File.generated(config, uri, abs_src_path=str(source))
                files.append(added)
                waiting += [added] if added.is_documentation_page() else []
    return files


def on_page_markdown(markdown, page, **_):
    """Links as the site has them, equations as MathML."""
    here = page.file.src_uri
    markdown = LINK.sub(lambda link: _relative(here, link[1]), markdown)
    markdown = EQUATION.sub(lambda found: f"{_mathml(found[1])}\n", markdown)
    return TERM.sub(lambda found: convert(found[1]), markdown)


def _mathml(equation):
    """latex2mathml knows `aligned` by its other name."""
    return convert(equation.replace("{aligned}", "{align*}"), display="block")


def _target(uri, link):
    """The file in the repository that a page's link means."""
    home = uri[len(OUTSIDE) :] if uri.startswith(OUTSIDE) else f"docs/{uri}"
    return Path(os.path.normpath(ROOT / home / ".." / link))


def _uri(path):
    """Where a file of the repository stands on the site."""
    uri = path.relative_to(ROOT).as_posix()
    return uri.removeprefix("docs/") if uri.startswith("docs/") else OUTSIDE + uri


def _relative(uri, link):
    target = _target(uri, link)
    if not target.is_relative_to(ROOT) or not target.exists():
        return link  # mkdocs says so
    return os.path.relpath(_uri(target), os.path.dirname(uri) or ".")
