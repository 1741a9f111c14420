"""A network behind HTTP: detections as JSON, and a page to try it."""

from ..errors import YoloError


def serve(net, args):
    """`python -m yolo serve`: answers until it is told to stop; gives the exit code."""
    try:
        from .app import build
        from .server import libraries_silent, listen, make, url
    except ImportError as error:
        raise YoloError(f"serve needs {error.name}: pip install 'darknet-torch[serve]'") from None
    from .limits import Limits
    from .metrics import Metrics
    from .queue import Engine, Settings

    limits = Limits(
        body=args.max_bytes,
        bodies=max(Limits.bodies, args.max_bytes),
        pixels=args.max_pixels,
        waiting=args.queue,
        seconds=args.timeout,
        upload_seconds=args.upload_timeout,
        connections=args.connections,
        thresh=min(Limits.thresh, args.thresh),
    )
    listener = listen(args.host, args.port)
    metrics = Metrics()
    engine = Engine(net, metrics, args.batch, limits.waiting, args.precision)
    engine.warm_up()
    letterbox = args.letterbox or bool(net.options.letter_box)
    app = build(engine, Settings(args.thresh, args.nms, letterbox), limits)
    print(f"{url(listener)}   (Ctrl-C ends it)", flush=True)
    with libraries_silent():
        server = make(app, limits, metrics)
        server.run(sockets=[listener])
    return 1 if server.force_exit else 0
