"""What a training needs beyond that of one process where several ranks do it together."""

from .. import cfg, ranks
from ..data.loader import default_workers
from ..layers.recurrent import Recurrent
from ..train import fit_subdivisions as fit
from ..train import largest_size
from ..train.memory import set_subdivisions


def refuse(net, sync_bn):
    """Raises a CfgError for what several ranks cannot train."""
    if ranks.count() == 1:
        return
    for layer in net.layers:
        if isinstance(layer, Recurrent):
            raise layer.section.error(
                "goes through images in their order, and several ranks have only shares of it; "
                "train it in one process"
            )
        if sync_bn and getattr(layer, "cbn", False):
            raise layer.section.error("cbn=1 does not go with --sync-bn", "cbn")


def check_alike(net, source):
    """Refuses ranks that have another network or data set than the first."""
    own = [len(source.train), len(source.valid or ()), cfg.dump(net.sections)]
    images, valid, text = ranks.everyone(own)[0]
    if own[:2] != [images, valid]:
        raise ranks.RankError(
            f"{own[0]} images to train on and {own[1]} to measure on; the first rank has {images} "
            f"and {valid}: all need the same data set"
        )
    if own[2] != text:
        raise ranks.RankError("the cfg is not that of the first rank")


def loader_workers(args):
    """Processes that make images: ranks of one machine share its cores."""
    if args.workers is not None:
        return args.workers
    return max(1, default_workers() // ranks.on_this_machine())


def fit_subdivisions(net, device, say):
    """--auto-batch: as many subdivisions as the rank with the least memory needs."""
    fit(net, largest_size(net), device, say)
    (most,) = ranks.largest(net.options.subdivisions)
    set_subdivisions(net, most)


def count():
    """For the line that says what is trained."""
    return f"{ranks.count()} processes of " if ranks.count() > 1 else ""
