"""Paths in programs are overwritten by paths of the same length."""

from sqlrs_engine.postgres.images.redirection import redirect, redirect_cache


def _redirected(before: bytes, directory: str, link: str) -> bytes | None:
    content = bytearray(before)
    return bytes(content) if redirect(content, directory, link) else None


def test_a_directory_is_replaced_wherever_it_begins_a_path():
    before = b"x\0/usr/share/zoneinfo\0/usr/share/zoneinfo/UTC\0"
    after = _redirected(before, "/usr/share/zoneinfo", "z")
    assert after == b"x\0/proc/self/fd/9///z\0/proc/self/fd/9///z/UTC\0"


def test_the_directory_of_links_itself_needs_no_name():
    after = _redirected(b"\0/usr/lib/locale/locale-archive\0", "/usr/lib/locale", "")
    assert after == b"\0/proc/self/fd/9/locale-archive\0"


def test_other_strings_stay():
    before = b"\0/usr/share/zoneinfo2\0in /usr/share/zoneinfo\0/opt/usr/share/zoneinfo\0"
    assert _redirected(before, "/usr/share/zoneinfo", "z") is None


def test_a_path_without_room_stays():
    assert _redirected(b"\0/usr/lib64/gconv\0", "/usr/lib64/gconv", "gconv") is None
    assert _redirected(b"\0/usr/lib/share\0", "/usr/lib/share", "") is None


def test_the_loader_reads_its_cache_from_a_descriptor():
    for before, after in (
        (b"\0/etc/ld.so.cache\0", b"\0//proc/self/fd/8\0"),
        (b"\0/nix/store/x-glibc/etc/ld.so.cache\0", b"\0" + b"/" * 20 + b"proc/self/fd/8\0"),
    ):
        content = bytearray(before)
        assert redirect_cache(content)
        assert bytes(content) == after


def test_a_loader_without_a_cache_is_told_apart():
    assert not redirect_cache(bytearray(b"\0/etc/ld-musl-x86_64.path\0"))
    assert not redirect_cache(bytearray(b"\0/e/ld.so.cache\0"))
