"""The page for people: one file put together from page.html, page.css and page.js."""

import base64
import hashlib
import json
import re
from pathlib import Path

from ..drawing import class_colour
from ..predict import detection_heads

FOLDER = Path(__file__).parent
FLOOR = 0.05  # the page asks for everything above it, and its slider hides what is less sure


def page(net, defaults, limits):
    """The whole page, with what it must know of the network."""
    classes = detection_heads(net)[0][1].classes
    facts = {
        "model": model_name(net),
        "input": net.input_shape[1:],
        "colours": ["#{:02x}{:02x}{:02x}".format(*class_colour(c)) for c in range(classes)],
        "floor": max(limits.thresh, min(FLOOR, defaults.thresh)),
        "thresh": defaults.thresh,
        "nms": defaults.nms,
        "letterbox": defaults.letterbox,
        "bytes": limits.body,
    }
    parts = {
        "css": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "js": (FOLDER / "page.js").read_text(encoding="utf-8"),
        "facts": json.dumps(facts).replace("<", "\\u003c"),  # no name may end the element
    }
    html = (FOLDER / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], html)


def policy(html):
    """The Content-Security-Policy under which this very page works, and no other script does."""
    sources = {
        tag: f"'sha256-{_digest(re.search(f'<{tag}>(.*?)</{tag}>', html, re.DOTALL)[1])}'"
        for tag in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {sources['script']}; style-src {sources['style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


def model_name(net):
    """The network's file, without the folders of this machine."""
    return Path(net.cfg_path).stem


def _digest(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
