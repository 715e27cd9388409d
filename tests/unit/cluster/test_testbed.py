"""What the tests on a SLURM of their own say where this machine cannot have one."""

from pathlib import Path

import pytest
import testbed

INSTALL = (
    "apt-get install --no-install-recommends slurmctld slurmd slurmdbd slurm-client munge "
    "mariadb-server-core mariadb-client-core"
)


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """Return the folder of programs of a machine of root's that has all of them."""
    for name in testbed.PACKAGES:
        (tmp_path / name).touch(mode=0o755)
    (tmp_path / "etc").mkdir()
    monkeypatch.setattr(testbed, "PATH", str(tmp_path))
    monkeypatch.setattr(testbed, "ETC", tmp_path / "etc")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return tmp_path


def test_programs_that_are_missing_are_named_and_how_to_install_them(machine):
    assert testbed.lacking() == ""
    for name in ("slurmdbd", "mariadb"):
        (machine / name).unlink()
    assert (
        testbed.lacking() == f"these programs are missing: slurmdbd, mariadb; on Debian: {INSTALL}"
    )
    for name in testbed.PACKAGES:
        (machine / name).unlink(missing_ok=True)
    programs = "slurmctld, slurmd, slurmdbd, sbatch, munged, mariadbd, mariadb-install-db, mariadb"
    assert testbed.lacking() == f"these programs are missing: {programs}; on Debian: {INSTALL}"


def test_another_user_is_told_so(machine, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert testbed.lacking().endswith("started as root, and this is another user")


def test_a_slurm_of_the_machines_own_is_left_alone(machine):
    """Links are those of an earlier run of the tests, which was killed."""
    path = machine / "etc/slurm.conf"
    path.symlink_to(machine / "slurmd")
    assert testbed.lacking() == ""
    path.unlink()
    path.write_text("")
    assert testbed.lacking().startswith(f"{path} is there: this machine has a SLURM of its own")
