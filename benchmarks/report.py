"""Figures measured on a GPU, as tables between the markers of GPU.md and README.md.

    python benchmarks/report.py build/gpu/*.json            print the tables
    python benchmarks/report.py --write build/gpu/*.json    rewrite them in GPU.md and README.md

The files are those that bench_conv.py, bench_network.py and bench_train.py write with --json. A
table stands between <!-- measured KIND --> and <!-- end KIND -->; kinds without a file stay. Ratio:
PyTorch's time by ours. Of the floor: the least time that the convolutions can take on that machine,
by ours. Memory: our peak by PyTorch's.
"""

# ruff: noqa: E402
import argparse
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).parent))

from timing import geometric_mean

DOCUMENTS = (ROOT / "benchmarks" / "GPU.md", ROOT / "README.md")
KINDS = ("conv", "network", "train")


class ReportError(ValueError):
    """A file without the figures that a table needs, or a document without its markers."""


def read(paths):
    """kind -> contents of the files of that kind."""
    found = {}
    for path in paths:
        try:
            content = json.loads(Path(path).read_text())
            kind = content["kind"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReportError(f"{path}: not a file of a benchmark ({error})") from None
        if kind not in KINDS or not content.get("rows"):
            raise ReportError(f"{path}: kind {kind!r} with {len(content.get('rows', ()))} rows")
        found.setdefault(kind, []).append(content)
    return found


def conv_table(contents):
    """A line a file and pass: the geometric mean over the layers of a network."""
    lines = ["| network, batch, precision | pass | ratio to cuDNN | least | share of the floor |",
             "| --- | --- | --: | --: | --: |"]  # fmt: skip
    for content in contents:
        name = f"{Path(content['network']).stem}, {content['batch']}, {content['precision']}"
        for pass_ in dict.fromkeys(row["pass"] for row in content["rows"]):
            rows = [row for row in content["rows"] if row["pass"] == pass_]
            ratio = geometric_mean([r["ratio"] for r in rows for _ in range(r["count"])])
            least = min(row["ratio"] for row in rows)
            time = sum(row["ours"] * row["count"] for row in rows)
            floors = sum(row["ours"] * row["of_floor"] * row["count"] for row in rows)
            share = f"{floors / time:.2f}" if floors else "-"
            lines.append(f"| {name} | {pass_} | {ratio:.2f} | {least:.2f} | {share} |")
    return lines


def pair_table(contents):
    """A line a row: whole networks or steps; the peer's fastest mode in each case is marked."""
    lines = ["| network, size, batch, precision | ours ms | of the floor | PyTorch ms "
             "| ratio (95%) | memory |",
             "| --- | --: | --: | --: | --: | --: |"]  # fmt: skip
    rows = [(case_of(row, content), row) for content in contents for row in content["rows"]]
    for case, row in rows:
        best = min(other["peer"] for same, other in rows if same == case)
        mode = row["peer_mode"] + (" (fastest)" if row["peer"] == best else "")
        own = f", {row['our_mode']}" if "our_mode" in row else ""
        share = f"{row['of_floor']:.2f}" if row.get("of_floor") else "-"
        sizes = row.get("our_bytes"), row.get("peer_bytes")
        memory = f"{sizes[0] / sizes[1]:.2f}" if all(sizes) else "-"
        lines.append(
            f"| {case} | {1e3 * row['ours']:.2f}{own} | {share} | {1e3 * row['peer']:.2f}, {mode} "
            f"| {row['ratio']:.2f} ({row['low']:.2f}-{row['high']:.2f}) | {memory} |"
        )
    return lines


def case_of(row, content):
    return f"{row['network']}, {row['size']}, {row['batch']}, {content['precision']}"


TABLES = {"conv": conv_table, "network": pair_table, "train": pair_table}


def table(kind, contents):
    """Markdown: where and with what it was measured, then the table."""
    machines = {json.dumps(content["machine"], sort_keys=True) for content in contents}
    known = [json.loads(text) for text in sorted(machines)]
    heads = [f"{m['device']}, torch {m['torch']}, cuDNN {m['cudnn']}." for m in known]
    return "\n".join([*heads, "", *TABLES[kind](contents)])


def rewrite(text, kind, content, where):
    """The document with the table of this kind in its place."""
    pattern = re.compile(rf"(<!-- measured {kind} -->\n).*?(<!-- end {kind} -->)", re.S)
    if not pattern.search(text):
        raise ReportError(f"{where}: has no markers for {kind}")
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="JSON")
    parser.add_argument("--write", action="store_true")
    settings = parser.parse_args(arguments)
    tables = {kind: table(kind, contents) for kind, contents in read(settings.files).items()}
    for kind, content in tables.items():
        print(f"\n## {kind}\n\n{content}")
    for document in DOCUMENTS if settings.write else ():
        text = document.read_text()
        for kind, content in tables.items():
            text = rewrite(text, kind, content, document.name)
        document.write_text(text)


if __name__ == "__main__":
    main()
