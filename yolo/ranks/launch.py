"""--gpus: torchrun on behalf of the user, one process for each GPU named."""

import os
import subprocess
import sys

from .group import launched


def launch(gpus, arguments):
    """Runs `python -m yolo ARGUMENTS` once for each of the GPUs, a list of numbers; gives the exit
    code. None where this process was itself started so."""
    if launched():
        return None
    visible = ",".join(map(str, gpus))
    process = subprocess.Popen(
        torchrun(len(gpus), arguments), env=os.environ | {"CUDA_VISIBLE_DEVICES": visible}
    )
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # torchrun has it as well, and waits for its processes
            continue


def torchrun(processes, arguments):
    """The command line that starts so many processes of `python -m yolo` here."""
    options = ["--standalone", f"--nproc-per-node={processes}"]
    return [sys.executable, "-m", "torch.distributed.run", *options, "-m", "yolo", *arguments]
