"""`cfg lint`, `cfg diff`: mistakes in a network description, and how two of them differ."""


def add(commands):
    top = commands.add_parser("cfg", help="check a network description, or compare two")
    parts = top.add_subparsers(dest="part", required=True, metavar="lint|diff")
    lint = parts.add_parser("lint", help="what is wrong, or does not do what it seems to say")
    lint.add_argument("cfg", metavar="FILE", nargs="+")
    lint.add_argument("--quiet", action="store_true", help="no notes")
    lint.set_defaults(run=run_lint)
    diff = parts.add_parser("diff", help="differences in meaning: exit code 1 when there are any")
    diff.add_argument("a", metavar="A")
    diff.add_argument("b", metavar="B")
    diff.set_defaults(run=run_diff)


def run_lint(args):
    from ..inspection.lint import NOTE, lint

    bad = False
    for path in args.cfg:
        found = lint(path)
        for finding in found:
            if finding.kind != NOTE or not args.quiet:
                print(finding.show(path))
        bad = bad or any(finding.kind != NOTE for finding in found)
    return 1 if bad else 0


def run_diff(args):
    from ..inspection.diff import diff

    lines = diff(args.a, args.b)
    print("\n".join(lines) if lines else "the same network, trained alike")
    return 1 if lines else 0
