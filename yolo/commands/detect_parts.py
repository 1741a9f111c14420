"""`detect --json-dir`: many images, in parts, by this process or by Ray's workers."""

import sys
import time

from .flags import positive

PART = 256  # images


def add_flags(command):
    """The flags of `detect` that are about parts."""
    group = command.add_argument_group(
        "many images",
        "SOURCE: images, a folder, a list (.txt), Parquet, or shards (x-{000..099}.tar, a URL)",
    )
    group.add_argument(
        "--json-dir", metavar="DIR", help="write a file of each part of SOURCE there"
    )
    group.add_argument(
        "--engine", choices=("here", "ray"), default="here", help="who does the parts"
    )
    group.add_argument("--workers", type=positive, metavar="N", help="with ray; default: the cores")
    group.add_argument("--part", type=positive, default=PART, metavar="N", help="images of a part")
    group.add_argument("--form", choices=("jsonl", "parquet"), default="jsonl", help="of the files")


def run(args):
    """Does the parts that are not done; returns the exit code."""
    from tqdm import tqdm

    from ..engines import parts
    from ..engines.folder import open_folder, undone
    from ..errors import YoloError
    from ..legible import shown

    if not args.json_dir:
        raise YoloError("--engine ray: where to? name a folder with --json-dir")
    job = job_of(args)
    everything = parts.cut(args.sources, args.part)
    open_folder(job, [*map(parts.state, args.sources), parts.digest(everything)])
    left = undone(job, everything)
    if len(left) < len(everything):
        print(f"{len(everything) - len(left)} of {len(everything)} parts are done already")
    started, images, objects, failed = time.perf_counter(), 0, 0, 0
    texts = [part.dumps() for part in left]
    bar = tqdm(total=len(left), unit="part", disable=not sys.stderr.isatty(), leave=False)
    with bar:
        for done in follow(args, job, texts) if texts else ():
            images, objects = images + done.images, objects + done.objects
            failed += len(done.errors)
            for text in done.errors:
                bar.write(f"error: {text}", file=sys.stderr)
            bar.update()
    seconds = time.perf_counter() - started
    print(
        f"{images} images in {len(left)} parts, {objects} objects, {seconds:.1f} s: "
        f"{images / seconds:.1f} a second; in {shown(args.json_dir)}"
    )
    return 1 if failed else 0


def job_of(args):
    """What the flags ask for."""
    import torch

    from ..data import read_names
    from ..engines.work import Job

    return Job(
        cfg=args.cfg,
        weights=args.weights,
        out=args.json_dir,
        form=args.form,
        names=tuple(read_names(args.names)) if args.names else None,
        thresh=args.thresh,
        nms=args.nms,
        letterbox=args.letterbox or None,
        batch=args.batch,
        precision=args.precision,
        device=args.device,
        strict=args.strict,
        threads=args.threads or (1 if args.engine == "ray" else torch.get_num_threads()),
    )


def follow(args, job, texts):
    """Each Done, from whoever does the parts."""
    if args.engine == "here":
        from ..engines.work import here

        return here(job, texts)
    from ..data.loader import cores
    from ..engines.ray import spread

    return spread(job, texts, min(args.workers or max(1, cores() // job.threads), len(texts)))
