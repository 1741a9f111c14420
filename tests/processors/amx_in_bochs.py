"""The packed kernels on AMX, in Linux on an emulated Sapphire Rapids: for those without one.

    python tests/processors/amx_in_bochs.py --bochs bochs-3.0/bochs --bios root/usr/share \
        --isolinux root/usr/lib --kernel root/boot/vmlinuz-*

--bochs: of Bochs 3.0's source with bochs_xfd.patch (patch -p1), after ./configure --with-nogui
--enable-x86-64 --enable-avx --enable-evex --enable-amx --enable-pci --enable-cdrom; the others lie
where Debian's packages bochsbios, vgabios, isolinux, syslinux-common and linux-image-*-cloud-amd64
put them (dpkg -x FILE root). Needs `pip install pycdlib` and a few minutes. Prints what
kernels.cpp prints there; exit code 1 if it failed.
"""

import argparse
import gzip
import re
import stat
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path

import pycdlib
from test_arm import SOURCES  # lies beside it

BOOT = """DEFAULT kernels
LABEL kernels
  KERNEL vmlinuz
  APPEND initrd=initrd console=ttyS0 nokaslr mitigations=off no5lvl acpi=off panic=-1 quiet amx
"""  # what Linux does not know goes to the first program: the level's name
MACHINE = """display_library: nogui
romimage: file={bios}/bochs/BIOS-bochs-latest
vgaromimage: file={bios}/vgabios/vgabios.stdvga.bin
megs: 512
cpu: model=sapphire_rapids, ips=50000000, reset_on_triple_fault=0
ata0-master: type=cdrom, path={disc}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={console}
log: {log}
panic: action=fatal
"""


def archive(files):
    """The first file system of Linux: {name: (mode, content, device)} in cpio's "newc" format."""
    data = bytearray()
    for i, (name, (mode, content, (major, minor))) in enumerate(files.items()):
        title = name.encode() + b"\0"
        fields = i + 1, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(title), 0
        for part in (b"070701" + b"".join(b"%08X" % f for f in fields) + title, content):
            data += part + bytes(-len(part) % 4)
    return gzip.compress(bytes(data))


def disc(path, isolinux, kernel, program):
    plain, none = stat.S_IFREG | 0o755, (0, 0)
    files = {
        "dev": (stat.S_IFDIR | 0o755, b"", none),
        "dev/console": (stat.S_IFCHR | 0o600, b"", (5, 1)),
        "init": (plain, program.read_bytes(), none),
        "TRAILER!!!": (0, b"", none),
    }
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3)
    for name, content in {
        "ISOLINUX.BIN": (isolinux / "ISOLINUX/isolinux.bin").read_bytes(),
        "LDLINUX.C32": (isolinux / "syslinux/modules/bios/ldlinux.c32").read_bytes(),
        "VMLINUZ.": kernel.read_bytes(),
        "INITRD.": archive(files),
        "ISOLINUX.CFG": BOOT.encode(),
    }.items():
        iso.add_fp(BytesIO(content), len(content), f"/{name};1")
    iso.add_eltorito("/ISOLINUX.BIN;1", "/BOOT.CAT;1", boot_load_size=4, boot_info_table=True)
    iso.write(path)
    iso.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("bochs", "bios", "isolinux", "kernel"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        program, console = folder / "kernels", folder / "console"
        flags = "-O2", "-std=c++17", "-static", "-pthread", "-Wno-unknown-pragmas"
        subprocess.run(["g++", *flags, *SOURCES, "-o", program], check=True)
        disc(folder / "disc", args.isolinux, args.kernel, program)
        names = {"disc": folder / "disc", "console": console, "log": folder / "log"}
        (folder / "machine").write_text(MACHINE.format(bios=args.bios.resolve(), **names))
        # It ends with the reset that follows the end of the first program.
        command = [args.bochs, "-q", "-f", folder / "machine"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as bochs:
            bochs.stdin.write(b"c\n")
            bochs.stdin.flush()
            code = None
            while code is None and bochs.poll() is None:
                time.sleep(5)
                text = console.read_text(errors="replace") if console.exists() else ""
                code = re.search(r"exitcode=0x0000(..)00", text)
            bochs.kill()
    print(*re.findall(r"^(?:amx|best in) .*|.*exitcode=.*", text, re.M), sep="\n")
    sys.exit(0 if code and code[1] == "00" else 1)


if __name__ == "__main__":
    main()
