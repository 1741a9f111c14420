"""The commands of `python -m yolo`: one file each, with `add(commands)`, which declares its
flags, and `run(args)`, which does the work and returns the exit code (None: 0)."""

from . import (
    anchors,
    benchmark,
    cfg,
    classify,
    data,
    detect,
    export,
    faces,
    gradcheck,
    map,
    plot,
    recall,
    serve,
    summary,
    trace,
    train,
    valid,
    weights,
)

COMMANDS = (
    *(summary, train, detect, serve, classify, faces, map, valid, recall),
    *(data, anchors, export, benchmark, gradcheck, trace, plot, cfg, weights),
)
