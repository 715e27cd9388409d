"""What of a store on scratch, which projects share, can be freed and what is kept."""

import shutil
from contextlib import chdir
from pathlib import Path

import pytest
from fewshot.downloads import store
from leftover_files import COMMIT, look, model, run

pytestmark = pytest.mark.usefixtures("project")


def test_scratch_is_freed_with_the_links_that_lead_there(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    folder = model("m", scratch=scratch)
    place = scratch / "fairshot/models/any--model" / COMMIT
    assert look(run("a", finished=False), scratch=str(scratch), delete=True)
    assert (folder / "model.safetensors").read_bytes() == b"w" * 1000
    # Known by its links, also where scratch is not named.
    look(run("a"), delete=True)
    assert not place.exists() and not (folder / "model.safetensors").is_symlink()
    assert (folder / "config.json").exists() and scratch.is_dir()


def test_what_another_project_uses_is_kept(tmp_path, project):
    scratch, other = tmp_path / "scratch", tmp_path / "other"
    scratch.mkdir()
    other.mkdir()
    folder = model("m", scratch=scratch)
    with chdir(other):
        theirs = model("m", scratch=scratch)
    found = look(run("a"), delete=True)
    why = f"{other / theirs} uses it too"
    assert found == {f"weights of m ({folder})": (False, why)}
    assert (folder / "model.safetensors").exists()
    for path in (other / theirs).iterdir():
        path.unlink()
    look(run("a"), delete=True)
    assert not (scratch / "fairshot/models/any--model" / COMMIT).exists()


def test_two_names_of_one_revision_go_together_or_not_at_all(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    one, two = model("one", scratch=scratch), model("two", scratch=scratch)
    found = look(run("a", model="one") | run("b", model="two", finished=False), delete=True)
    why = f"{two.absolute()} uses it too"
    assert found[f"weights of one ({one})"] == (False, why)
    assert (one / "model.safetensors").exists()
    look(run("a", model="one") | run("b", model="two"), delete=True)
    assert not any(path.is_symlink() for path in Path("results").rglob("*"))
    assert not list(scratch.rglob("*.safetensors"))


def test_what_nobody_is_noted_to_use_is_kept(tmp_path):
    """A file system that removes old files removes notes as well."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    folder = model("m", scratch=scratch)
    place = scratch / "fairshot/models/any--model" / COMMIT
    for note in (place / ".users").iterdir():
        note.unlink()
    [(free, why)] = look(run("a"), delete=True).values()
    assert not free and why == f"{place} has lost its notes on who uses it; remove it by hand"
    (folder / "model.safetensors").unlink()
    [(free, why)] = look(run("a"), scratch=str(scratch), delete=True).values()
    assert not free and why == "not noted who uses them"
    store.register(place, folder)
    [(free, why)] = look(run("a"), scratch=str(scratch), delete=True).values()
    assert free and why == "no project links to them any more" and not place.exists()


def test_only_what_a_store_holds_is_removed_behind_a_link(tmp_path):
    """A link that a user made leads to a user's files."""
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(b"w" * 1000)
    folder = model("m")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(mine)
    look(run("a"), delete=True)
    assert mine.exists() and not (folder / "model.safetensors").is_symlink()


def test_a_folder_of_another_software_is_kept_although_a_commit_names_it(tmp_path):
    """As in a cache of Hugging Face's, whose copy on another file system has no links inside."""
    mine = tmp_path / "hub/models--any--model/snapshots" / COMMIT
    mine.mkdir(parents=True)
    (mine / "model.safetensors").write_bytes(b"w" * 1000)
    folder = model("m")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(mine / "model.safetensors")
    found = look(run("a"), scratch=str(tmp_path), delete=True)
    assert list(found) == [f"weights of m ({folder})"]
    assert (mine / "model.safetensors").read_bytes() == b"w" * 1000
    assert not (folder / "model.safetensors").is_symlink()


@pytest.mark.parametrize("level", ["model", "revision"])
def test_what_lies_behind_a_link_in_the_place_of_a_folder_is_kept(tmp_path, level):
    folder, mine = model("m"), tmp_path / "mine"
    (folder / ".partial").mkdir()
    (folder / ".partial/abc").write_bytes(b"123")
    link = folder.parent if level == "model" else folder
    link.rename(mine)
    link.symlink_to(mine)
    before = sorted(mine.rglob("*"))
    found = look(run("a"), delete=True)
    assert found == {f"link {link}": (False, f"{mine} is not looked into")}
    assert sorted(mine.rglob("*")) == before and link.is_symlink()


def test_partial_downloads_behind_links_are_kept(tmp_path):
    scratch, mine = tmp_path / "scratch", tmp_path / "mine"
    for part in ("source", COMMIT):
        (mine / part / ".partial").mkdir(parents=True)
        (mine / part / ".partial/abc").write_bytes(b"123")
    (mine / "source/.dev.tsv.77.partial").write_bytes(b"1234")
    for link in (Path("results/raw/rte"), scratch / "fairshot/models/any--model"):
        link.parent.mkdir(parents=True)
    Path("results/raw/rte").symlink_to(mine / "source")
    (scratch / "fairshot/models/any--model").symlink_to(mine)
    before = sorted(mine.rglob("*"))
    assert look(run("a"), scratch=str(scratch), delete=True) == {}
    assert sorted(mine.rglob("*")) == before


def test_what_a_project_that_is_gone_used_is_shown_and_kept(tmp_path, project):
    scratch, other = tmp_path / "scratch", tmp_path / "other"
    scratch.mkdir()
    other.mkdir()
    with chdir(other):
        theirs = model("m", scratch=scratch).absolute()
    look_here = {"scratch": str(scratch), "delete": True}
    assert look({}, **look_here) == {}, "another project's"
    shutil.rmtree(other)
    place = scratch / "fairshot/models/any--model" / COMMIT
    why = f"{theirs} cannot be seen from here; if it is gone, remove them by hand"
    assert look({}, **look_here) == {f"weights in {place}": (False, why)}
    assert (place / "model.safetensors").exists()


def test_links_to_a_scratch_that_is_gone_are_removed(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    folder = model("m", scratch=scratch)
    shutil.rmtree(scratch)
    assert [free for free, _ in look(run("a"), delete=True).values()] == [True]
    assert not (folder / "model.safetensors").is_symlink()
