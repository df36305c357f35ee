"""What makes a base state another one, and the statements that make its roles."""

from dataclasses import replace
from pathlib import Path

from sqlrs_engine.config.role_names import EXISTING
from sqlrs_engine.ids import is_state_id
from sqlrs_engine.postgres import base_recipe
from sqlrs_engine.postgres.base_recipe import BaseRecipe
from sqlrs_engine.postgres.distributions.distribution import Distribution

IMAGE = "postgres@sha256:" + "ab" * 32
PLAIN = Distribution(image_id=IMAGE, version="17.1", major=17, bin_dir=Path("/bin"))


def test_a_base_id_changes_only_with_the_recipe() -> None:
    # Another id for the same base state makes all cached states useless.
    assert base_recipe.FORMAT == 2
    assert BaseRecipe().base_id(IMAGE) == (
        "6d99beaff3a16ccfda0883fd05adfcd003e20c002188325ec5a05d7cc9da4be0"
    )


def test_image_roles_and_locale_each_make_another_base_state() -> None:
    ids = {
        BaseRecipe().base_id(IMAGE),
        BaseRecipe().base_id("postgres@sha256:" + "cd" * 32),
        BaseRecipe.of(["app"], None).base_id(IMAGE),
        BaseRecipe.of(["app", "web"], None).base_id(IMAGE),
        BaseRecipe.of(None, "en_US.utf8").base_id(IMAGE),
    }
    assert len(ids) == 5
    assert all(map(is_state_id, ids))


def test_the_order_of_roles_makes_no_difference() -> None:
    assert BaseRecipe.of(["web", "app"], None) == BaseRecipe.of(["app", "web"], None)


def test_a_locale_comes_from_the_configuration_or_else_from_the_distribution() -> None:
    image = replace(PLAIN, locale="en_US.utf8")
    assert BaseRecipe().on(PLAIN).locale is None
    assert BaseRecipe().on(image).locale == "en_US.utf8"
    assert BaseRecipe(locale="C.UTF-8").on(image).locale == "C.UTF-8"
    same = BaseRecipe(locale="en_US.utf8").on(PLAIN).base_id(IMAGE)
    assert BaseRecipe().on(image).base_id(IMAGE) == same


def test_the_names_of_roles_are_quoted() -> None:
    *_, app, odd = BaseRecipe.of(["app", 'x" SUPERUSER; --'], None).statements()
    assert app == 'CREATE ROLE "app" LOGIN'
    assert odd == 'CREATE ROLE "x"" SUPERUSER; --" LOGIN'


def test_every_base_state_has_the_superuser_of_the_engine() -> None:
    (statement,) = BaseRecipe().statements()
    assert statement.startswith("CREATE ROLE sqlrs SUPERUSER ")
    assert "PASSWORD" not in statement


def test_the_configuration_knows_the_roles_that_exist() -> None:
    assert {*EXISTING} == {*base_recipe.ALWAYS}
