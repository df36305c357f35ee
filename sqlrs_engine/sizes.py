"""Sizes in bytes, as people read them."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def text(number: int) -> str:
    """Format a size in bytes: ``28.4 MiB``."""
    value, unit = float(number), _UNITS[0]
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == _UNITS[0] else f"{value:.1f} {unit}"
