"""Keys of [net] that would make Darknet train in a way that is not built: refused in words,
before anything is trained. A network that only detects may have them."""

REFUSED = {
    "adversarial_lr": "there is no adversarial pass",
    "weights_reject_freq": "filters that have become alike are not drawn again",
}


def refuse(net):
    """Raises a CfgError for the first key that is set."""
    section = net.sections[0]
    mixed = next((key for key in ("mosaic", "mixup", "cutmix") if section.float(key, 0.0)), None)
    if net.options.track and mixed:
        raise section.error(
            f"{mixed}=1 does not go with track=1: it puts pictures of other videos into a sequence",
            mixed,
        )
    for key, reason in REFUSED.items():
        if section.float(key, 0.0):
            value = section.float(key, 0.0)
            raise section.error(
                f"{key}={value:g} cannot be trained with: {reason}; --set {key}=0 trains without",
                key,
            )
