"""What to do about locales, features and places for files that a step's server does not have."""

import re

from sqlrs_engine.postgres.distributions.distribution import Distribution

from .extension_advice import ImagesWith

_NO_LOCALE = re.compile(
    r'(?:invalid (?:LC_COLLATE |LC_CTYPE )?locale name:|could not create locale) "(?P<locale>.*?)"'
)
_OF_WINDOWS = re.compile(r"^[A-Z][a-z]{3,}_[A-Z]|\.\d{3,5}$")  # such as Portuguese_Portugal.1252
_NO_COLLATION = re.compile(
    r'collation "(?:pg_catalog\.)?(?P<locale>[a-z]{2,3}(?:_[A-Z]{2}\b|[\w-]*-x-icu)[^"]*)" for '
)
_ICU_COLLATION = "-x-icu"
_OTHER_LOCALE = re.compile(
    r"new (?:collation|LC_CTYPE|locale provider|ICU locale) \(.*\) (?:is incompatible with|does "
    r"not match) "
)
_NO_FEATURE = re.compile(
    r"(?P<icu>ICU) is not supported in this build"
    r"|.*\n(?:.*\n)*?DETAIL:  This functionality requires the server to be built with "
    r"(?P<feature>\w+) support"
)
_NO_PLACE = re.compile(
    r"tablespace location must be an absolute path"
    r'|directory "(?P<directory>.*)" does not exist'
    r'|could not set permissions on directory "(?P<foreign>.*)"'
)
_NOT_PRELOADED = re.compile(
    r'(?:extension )?"?(?P<library>\w+)"? (?:must be preloaded|(?:must|can only) be loaded via )'
)
_NO_TABLESPACE = re.compile(r'tablespace "(?P<name>.*)" does not exist')

_IN_EVERY = "plpgsql"
_COMPLETE = ("system", "image")
_NOT_INSTALLED = ("ICU",)
_AN_IMAGE = "an image of a registry"


def server_advice(text: str, distribution: Distribution, images_with: ImagesWith) -> str | None:
    """Return what to do about an error of PostgreSQL, if it asks for what this server lacks.

    ``text`` is the message with the lines that follow it.
    """
    if found := _NO_LOCALE.match(text) or _NO_COLLATION.match(text):
        if found["locale"].endswith(_ICU_COLLATION):
            return _on_feature("ICU", distribution, images_with)
        return _on_locale(found["locale"], distribution)
    if _OTHER_LOCALE.match(text):
        return (
            "a database with another locale is a copy of template0: add TEMPLATE template0 to its "
            "CREATE DATABASE, or leave the locale out"
        )
    if found := _NO_FEATURE.match(text):
        return _on_feature(found["icu"] or found["feature"], distribution, images_with)
    if found := _NOT_PRELOADED.match(text):
        return (
            f"this PostgreSQL does not preload {found['library']}: prepare with an image of a "
            "registry whose postgresql.conf.sample has it in shared_preload_libraries"
        )
    if _NO_PLACE.match(text):
        return _on_tablespace("leave CREATE TABLESPACE out of the script")
    if found := _NO_TABLESPACE.match(text):
        return _on_tablespace("leave the tablespace out of the script", found["name"])
    return None


def _on_locale(locale: str, distribution: Distribution) -> str:
    if _OF_WINDOWS.search(locale):
        return f"{locale} is a locale of Windows: leave it out of the script"
    if distribution.origin == "image":
        return (
            f"the image has no locale {locale}: leave it out of the script, or prepare with an "
            "image that has it"
        )
    return (
        f"this machine has no locale {locale}: install it (Debian and Ubuntu: package "
        "locales-all), leave it out of the script, or prepare with an image that has it"
    )


def _on_feature(feature: str, distribution: Distribution, images_with: ImagesWith) -> str:
    here = [
        image
        for image, other in images_with(_IN_EVERY)
        if other.origin in _COMPLETE and other.image_id != distribution.image_id
    ]
    ways = [f"--image {image} of this machine" for image in here]
    if distribution.origin == "wheel" and feature not in _NOT_INSTALLED:
        ways.append(f"that of sqlrs-engine postgres install {distribution.major}")
    if not ways:
        ways = ["that of the system (Debian and Ubuntu: package postgresql)", _AN_IMAGE]
    return (
        f"PostgreSQL {distribution.version} is built without {feature}: prepare with one that has "
        f"it, such as {' or '.join(ways)}"
    )


def _on_tablespace(remedy: str, name: str = "name") -> str:
    return (
        f"a state holds all of its files: {remedy} (pg_dump --no-tablespaces), or create it in "
        "place, in a script with the lines SET allow_in_place_tablespaces = on; and "
        f"CREATE TABLESPACE {name} LOCATION '';"
    )
