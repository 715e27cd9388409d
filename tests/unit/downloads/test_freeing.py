"""What is freed, what is said of it, and what cannot be."""

import re
from pathlib import Path
from types import SimpleNamespace

import clean
import pytest
from fewshot.downloads import clean as clean_module
from fewshot.errors import UserError
from leftover_files import COMMIT, look, model, run, state

pytestmark = pytest.mark.usefixtures("project")


def test_snakemake_frees_states_of_finished_runs_of_its_own_plan():
    for name in ("a", "b", "c"):
        state(name, {"run": f"results/runs/{name}", "model": "m"})
    run("a"), run("c")
    clean_module.free_finished({"results/runs/a", "results/runs/b"})
    assert sorted(path.name for path in Path("results/state").iterdir()) == ["b", "c"]


def call(capsys, delete, **resources) -> str:
    params = SimpleNamespace(study="demo", runs=run("a") | run("b", "n", False), delete=delete)
    clean.main(SimpleNamespace(params=params, resources=resources))
    return capsys.readouterr().out


def test_the_script_prints_sizes_reasons_and_sums(capsys):
    folder, kept = model("m"), model("n")
    state("s", {"run": "results/runs/a", "model": "m"}, size=1500)
    owner = Path("results/state/s/owner.json").stat().st_size
    size = f"{(1500 + owner) / 1000:.2f} kB"
    lines = [
        f"{(2500 + owner) / 1000:.2f} kB:",
        f"     1.00 kB  weights of m ({folder}): all runs of study 'demo' are finished (1)",
        f"  {size:>10}  state results/state/s: results/runs/a is finished",
        "Kept, 1.00 kB:",
        f"     1.00 kB  weights of n ({kept}): needed by 1 of 1 runs",
    ]
    text = "\n".join(lines) + "\n"
    assert call(capsys, "no") == "Could be freed (deleted with --config delete=yes), " + text
    assert call(capsys, "yes") == "Freed, " + text
    assert call(capsys, "yes") == "\n".join(["Nothing can be freed.", *lines[3:], ""])


def test_what_cannot_be_removed_is_kept_and_ends_in_one_line(capsys, monkeypatch):
    folder = model("m")
    state("s", {"run": "results/runs/a", "model": "m"})
    real = Path.unlink

    def unlink(path, **how):
        if path.suffix == ".safetensors":
            raise PermissionError(13, "Permission denied", str(path))
        real(path, **how)

    monkeypatch.setattr(Path, "unlink", unlink)
    message = f"clean: 1 of what was to go could not be removed: weights of m ({folder})"
    with pytest.raises(UserError, match=rf"^{re.escape(message)}$"):
        call(capsys, "yes")
    freed, kept = capsys.readouterr().out.split("Kept")
    assert "state results/state/s" in freed and "cannot be removed ([Errno 13] Perm" in kept


def test_what_cannot_be_read_ends_in_one_line(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    model("m", scratch=scratch)
    (scratch / "fairshot/models/any--model" / COMMIT / ".users/a").mkdir()
    with pytest.raises(UserError, match=r"^clean: .*Is a directory: '\S+/\.users/a'$"):
        look(run("a"))


def test_what_the_script_does_not_understand_is_one_line(capsys):
    with pytest.raises(UserError, match=r"^--config delete=True; valid: yes, no$"):
        call(capsys, "True")
    with pytest.raises(UserError, match=r"^scratch: nowhere is not a folder$"):
        call(capsys, "no", scratch="nowhere")
