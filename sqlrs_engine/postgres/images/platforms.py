"""Platforms: the operating system and the processor that an image is for."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "loongarch64": ("loong64", ""),
}
# What an index leaves out when it is the only variant, or the first.
_DEFAULT_VARIANTS = {"arm64": "v8", "arm": "v7"}
_BASELINE = 1
_LEVEL = re.compile("[0-9]{1,3}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A platform, in the words of image indexes: ``linux/amd64``, ``linux/arm/v7``."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    @property
    def level(self) -> int:
        """The number in the variant: a processor of one level runs what is for lower ones."""
        variant = self.variant or _DEFAULT_VARIANTS.get(self.architecture, "")
        digits = variant.removeprefix("v")
        return int(digits) if _LEVEL.fullmatch(digits) else _BASELINE


def this_platform(machine: str | None = None) -> Platform:
    """Return the platform of this machine; ``machine`` is as ``uname -m`` prints it."""
    machine = machine or os.uname().machine
    architecture, variant = _ARCHITECTURES.get(machine, (machine, ""))
    return Platform(os="linux", architecture=architecture, variant=variant)


def choose(offered: Sequence[Platform], wanted: Platform) -> int | None:
    """Return the index of the offer that suits ``wanted`` best, None when none does.

    The highest variant that does not exceed the wanted one is the best; for processors whose
    variant is unknown (``amd64``), the baseline.
    """
    fits = [
        (each.level, -position)
        for position, each in enumerate(offered)
        if (each.os, each.architecture) == (wanted.os, wanted.architecture)
        and each.level <= wanted.level
    ]
    return -max(fits)[1] if fits else None
