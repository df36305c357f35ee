import pytest

from sqlrs_engine.host.memory import Machine
from sqlrs_engine.prepare.dump.loading import MIB, loading_settings


@pytest.mark.parametrize(
    ("available", "cores", "memory"),
    [(20_000, 2, "256MB"), (2_000, 2, "125MB"), (1_000, 8, "64MB"), (100_000, 64, "195MB")],
)
def test_the_memory_for_indexes_is_a_part_of_what_is_free(available, cores, memory):
    machine = Machine(total=2 * available * MIB, available=available * MIB)
    assert loading_settings(machine, cores)["maintenance_work_mem"] == memory


def test_of_a_machine_of_unknown_memory_it_is_the_default():
    assert loading_settings(None)["maintenance_work_mem"] == "64MB"
