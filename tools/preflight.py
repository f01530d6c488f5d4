"""Say in one sentence why this Python cannot build the environment, or nothing when it can.

    python3 tools/preflight.py      exit 0: it can; exit 1: the sentence is on standard output

Run by tools/find_python.sh before anything is installed, so it uses the standard library only and the syntax
of old Pythons: a Python that is too old must still reach the sentence that says so.
"""

import ctypes.util
import importlib
import os
import platform
import shutil
import struct
import sys

OLDEST, NEWEST = (3, 11), (3, 13)  # TensorFlow's wheels; the same as requires-python in pyproject.toml
FREE_GB = 4  # the environment is 2.8 GB, and the installer's cache holds the packed wheels beside it
DEBIAN_PACKAGES = {"venv": "python%d.%d-venv", "ensurepip": "python%d.%d-venv"}


def wrong_python():
    """A sentence when the interpreter itself is unsuitable: version, implementation, word size."""
    have = "%s is Python %s" % (sys.executable or "python3", platform.python_version())
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return (
            "%s, and this needs Python 3.11, 3.12 or 3.13: install one of them (on Debian or Ubuntu the "
            "packages python3 and python3-venv, or python3.12 and python3.12-venv), or name one you have "
            "with make PYTHON=/path/to/python3.12" % have
        )
    if platform.python_implementation() != "CPython" or struct.calcsize("P") != 8:
        return "%s (%s, %d bit), and TensorFlow's wheels are for 64-bit CPython only" % (
            have,
            platform.python_implementation(),
            8 * struct.calcsize("P"),
        )
    return None


def wrong_system():
    """A sentence when no wheel of the lock is made for this system."""
    system, machine = platform.system(), platform.machine()
    accepted = {"Linux": ("x86_64", "aarch64"), "Darwin": ("arm64",)}
    if machine not in accepted.get(system, ()):
        return (
            "this machine is %s on %s, and the locked packages have wheels for Linux (x86_64, aarch64) "
            "and macOS 14 or newer (arm64) only" % (system, machine)
        )
    if system == "Linux":
        libc, version = platform.libc_ver()
        if libc != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < (2, 28):
            return (
                "the C library here is %s %s, and the locked packages need glibc 2.28 or newer (Debian 10, "
                "Ubuntu 20.04 and later; not Alpine)" % (libc or "not glibc", version)
            )
        if ctypes.util.find_library("stdc++") is None:
            return "the C++ runtime library is missing: install the system package libstdc++6"
    return None


def missing_module():
    """A sentence when the distribution, or whoever built this Python, left out a part that is needed."""
    for name in ("venv", "ensurepip", "ssl", "zlib", "ctypes"):
        try:
            importlib.import_module(name)
        except ImportError:
            package = DEBIAN_PACKAGES.get(name)
            if package is None:
                return "%s was built without its module %s: install the distribution's own python3" % (
                    sys.executable,
                    name,
                )
            return (
                "%s has no module %s: install the system package python3-venv (on Debian or Ubuntu also "
                "named %s)" % (sys.executable, name, package % sys.version_info[:2])
            )
    return None


def too_little_disk():
    """A sentence when the folder's disk has no room for the environment; not asked inside one that exists."""
    if sys.prefix != sys.base_prefix:
        return None
    free = shutil.disk_usage(os.curdir).free / 1e9
    if free < FREE_GB:
        return "%.1f GB are free on the disk of %s, and the environment needs %d GB" % (
            free,
            os.path.abspath(os.curdir),
            FREE_GB,
        )
    return None


def main():
    for check in (wrong_python, wrong_system, missing_module, too_little_disk):
        sentence = check()
        if sentence:
            print(sentence)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
