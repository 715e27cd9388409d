"""What an archive holds, and that nothing but an intact one is taken over."""

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from contextlib import chdir
from pathlib import Path

import pandas as pd
import pytest
import simulate
import travels
from fewshot import schemas, storage
from fewshot.analysis.run_manifests import CELL, read_run_manifest
from fewshot.errors import UserError
from fewshot.exchange import archive, unpack
from mistakes import told
from snakemake.common.configfile import load_configfile

PAIR = {**travels.PAIRS[0], "jobs": travels.PAIRS[0]["jobs"][:2]}
RUN = PAIR["jobs"][0]["folder"]
ROWS = ["results/data/hans/validation.parquet", "results/data/nli/validation.parquet"]
OTHERS = [
    "results/raw/nli/manifest.json",
    "results/models/opt-s/manifest.json",
    "results/models/opt-s/weights.json",
    "results/windows/sim/nli/opt-s.parquet",
    "results/shots/fair/nli/k16/seed0.parquet",
]
NAME = "sim.tar"


@pytest.fixture
def project(tmp_path) -> Path:
    """Return a folder with two runs and what they were made from."""
    folder = tmp_path / "project"
    simulate.write_study(folder, [PAIR])
    storage.write_json(folder / OTHERS[2], {"model": "opt-s", "revision": None, "files": {}})
    storage.write_table(folder / OTHERS[-1], travels.shots()[OTHERS[-1]], schemas.SHOTS)
    travels.date(folder)
    return folder


@pytest.fixture
def exported(project) -> Path:
    """Return the archive of that folder."""
    return export(project)


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """Return an empty project."""
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


def export(folder: Path) -> Path:
    files = [*OTHERS, *(f"{job['folder']}/manifest.json" for job in PAIR["jobs"])]
    with chdir(folder):
        archive.export_study(NAME, travels.study(), travels.registries(), files, ROWS)
    return folder / NAME


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def rewrite(path: Path, change) -> Path:
    """Write the archive anew with `change` applied to its list of (TarInfo, bytes)."""
    with tarfile.open(path) as tar:
        content = [(member, tar.extractfile(member).read()) for member in tar]
    change(content)
    broken = path.with_name("broken.tar")
    with tarfile.open(broken, "w") as tar:
        for info, data in content:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return broken


def listed(content: list, change) -> None:
    """Apply `change` to the manifest of a list of members."""
    manifest = json.loads(content[0][1])
    change(manifest)
    content[0] = (content[0][0], json.dumps(manifest).encode())


def refused(path: Path, folder: Path) -> str:
    """Return the one-line message with which an archive is refused; nothing may be placed."""
    before = sorted(folder.rglob("*"))
    said = told(unpack.import_archive, path, folder)
    left = [file for file in sorted(folder.rglob("*")) if file.name != "results"]
    assert left == [file for file in before if file.name != "results"]
    return said


def test_the_same_study_gives_the_same_bytes(project, exported):
    first = exported.read_bytes()
    later = 2_000_000_000
    for file in (project / "results").rglob("*"):
        os.utime(file, (later, later))
    assert export(project).read_bytes() == first


def test_it_lists_every_file_with_its_checksum_and_no_texts(project, exported):
    found = members(exported)
    manifest = json.loads(found.pop("MANIFEST.json"))
    assert manifest["study"] == "sim" and manifest["format"] == 3
    assert {"python", "pyarrow", "pandas"} <= set(manifest["made_with"])
    assert set(manifest["files"]) == set(found)
    tables = [f"{job['folder']}/{name}.parquet" for job in PAIR["jobs"]
              for name in ("predictions", "curves")]  # fmt: skip
    assert set(found) >= {*OTHERS, *ROWS, *tables}
    for name in (*OTHERS, *tables):
        assert found[name] == (project / name).read_bytes()
        assert manifest["files"][name]["sha256"] == storage.sha256(project / name)
        assert manifest["files"][name]["bytes"] == len(found[name])
    (project / "rows.parquet").write_bytes(found[ROWS[0]])
    rows = storage.read_table(project / "rows.parquet")
    prepared = simulate.prepared("hans")
    assert list(rows) == ["id", "label", "group", "subset", "cluster", "texts"]
    assert rows["id"].tolist() == prepared["id"].tolist()
    assert rows["cluster"].astype(object).tolist() == prepared["cluster"].tolist()
    assert set(rows["texts"]) == {storage.frame_checksum([["a", "b"]])}


def test_everything_is_placed_and_what_is_made_last_is_not_older(project, exported, elsewhere):
    done = unpack.import_archive(exported, elsewhere)
    assert done.study == "sim" and done.kept == 0
    assert done.configuration == "results/sim/imported/study.yaml"
    files = {str(file.relative_to(elsewhere)) for file in elsewhere.rglob("*") if file.is_file()}
    assert files == set(members(exported)) - {"MANIFEST.json"} and len(files) == done.placed
    for name in (*OTHERS, f"{RUN}/predictions.parquet"):
        assert (elsewhere / name).read_bytes() == (project / name).read_bytes()
    run = (elsewhere / RUN / "manifest.json").stat().st_mtime_ns
    assert all((elsewhere / name).stat().st_mtime_ns <= run for name in files)


@pytest.mark.parametrize("folder", ["held-out/4", "runs-held-out"])
def test_what_lies_apart_travels_as_other_runs_do(project, elsewhere, folder):
    """Scores of held-out shots, and runs whose best epoch a half of the rows has chosen."""
    held = RUN.replace("results/runs", f"results/{folder}")
    shutil.copytree(project / RUN, project / held)
    files = [*OTHERS, f"{held}/manifest.json"]
    with chdir(project):
        archive.export_study(NAME, travels.study(), travels.registries(), files, ROWS)
    unpack.import_archive(project / NAME, elsewhere)
    for name in ("predictions.parquet", "curves.parquet", "manifest.json"):
        assert (elsewhere / held / name).read_bytes() == (project / held / name).read_bytes()


def test_what_was_measured_outside_the_task_travels_with_the_runs_that_tell_of_it(
    project, elsewhere
):
    """Of a run that asked for nothing else, what another version may have left there does not."""
    run = RUN.replace("results/runs", "results/runs-forgetting/0abc/runs")
    before = "results/unadapted/sim/opt-s.parquet"
    row = {"seed": 0, "source": "w", "kind": "text", "shots": 0, "id": 1, "tokens": 3}
    cell = storage.read_json(project / RUN / "manifest.json")
    told = {name: cell[name] for name in CELL}
    measured = pd.DataFrame([{**told, **row, "loss": 0.5, "correct": None}])
    shutil.copytree(project / RUN, project / run)
    (project / before).parent.mkdir(parents=True)
    for name in (before, f"{RUN}/forgetting.parquet", f"{run}/forgetting.parquet"):
        storage.write_table(project / name, measured, schemas.FORGETTING)
    manifest = storage.read_json(project / run / "manifest.json")
    manifest["files"] |= storage.checksums_of(project / run / "forgetting.parquet")
    storage.write_json(project / run / "manifest.json", manifest)
    files = [*OTHERS, before, f"{RUN}/manifest.json", f"{run}/manifest.json"]
    with chdir(project):
        archive.export_study(NAME, travels.study(), travels.registries(), files, ROWS)
    unpack.import_archive(project / NAME, elsewhere)
    for name in (before, f"{run}/forgetting.parquet"):
        assert (elsewhere / name).read_bytes() == (project / name).read_bytes()
    assert read_run_manifest(elsewhere / run, manifest) == manifest
    assert not (elsewhere / RUN / "forgetting.parquet").exists()


def test_rows_without_texts_say_so_to_whom_needs_them(exported, elsewhere):
    unpack.import_archive(exported, elsewhere)
    with pytest.raises(UserError, match="imported, without its texts; to run models here"):
        storage.read_rows(elsewhere / ROWS[0])


def test_what_is_there_already_is_kept(project, exported):
    """Prepared rows with texts, and the same model elsewhere; runs are newer than both then."""
    manifest = project / "results/models/opt-s/manifest.json"
    content = storage.read_json(manifest)
    storage.write_json(manifest, {**content, "path": "/another/place"})
    run = project / RUN / "manifest.json"
    os.utime(run, (1, 1))
    done = unpack.import_archive(exported, project)
    assert done.kept == len(members(exported)) - 1 - done.placed and done.placed == 5
    assert storage.read_json(manifest)["path"] == "/another/place"
    assert "text_a" in storage.read_table(project / ROWS[0])
    assert run.stat().st_mtime_ns >= (project / ROWS[0]).stat().st_mtime_ns
    assert unpack.import_archive(exported, project).placed == 0


def test_rows_that_were_there_do_not_look_older_than_their_source(project, exported):
    (project / "results/raw/nli/manifest.json").unlink()
    unpack.import_archive(exported, project)
    source, rows = project / "results/raw/nli/manifest.json", project / ROWS[1]
    assert source.stat().st_mtime_ns <= rows.stat().st_mtime_ns


@pytest.mark.parametrize(
    "name",
    [f"{RUN}/predictions.parquet", ROWS[1], "results/models/opt-s/manifest.json", OTHERS[-1]],
)
def test_a_file_with_another_content_is_not_overwritten(project, exported, elsewhere, name):
    other = elsewhere / name
    if name in ROWS:
        storage.write_table(other, simulate.prepared("nli").assign(text_b="c"), schemas.ROWS)
    elif name.endswith(".json"):
        storage.write_json(other, {**storage.read_json(project / name), "revision": "other"})
    elif "shots" in name:
        frame = travels.shots()[name]
        storage.write_table(other, frame.assign(id=frame["id"] + 1), schemas.SHOTS)
    else:
        other.parent.mkdir(parents=True)
        other.write_bytes(b"mine")
    before = other.read_bytes()
    message = refused(exported, elsewhere)
    assert name in message and "differs from the one in" in message
    assert other.read_bytes() == before


def changed(content):
    place = next(i for i, (info, _) in enumerate(content) if info.name.endswith("curves.parquet"))
    info, data = content[place]
    content[place] = (info, data[:-1] + bytes([data[-1] ^ 1]))


def longer(content):
    info, data = content[-1]
    content[-1] = (info, data * 100)


def sparse(content):
    """One stretch of no bytes at the end of 3 GiB (the format of GNU tar, version 1.0)."""
    info, _ = content[-1]
    info.pax_headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": info.name,
        "GNU.sparse.realsize": str(3 << 30),
    }  # fmt: skip
    content[-1] = (info, f"1\n{3 << 30}\n0\n".encode().ljust(512, b"\0"))


def linked(content):
    content[3][0].type, content[3][0].linkname = tarfile.SYMTYPE, "/etc/passwd"
    content[3] = (content[3][0], b"")


def unlisted(content):
    content.append((tarfile.TarInfo("results/raw/hans/manifest.json"), b"{}"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed, "'results/runs/.*curves.parquet' is not what MANIFEST.json says"),
        (longer, r"has \d+ bytes, MANIFEST.json says \d+; corrupt"),
        (sparse, "is no plain file"),
        (linked, "is no plain file"),
        (unlisted, "is not in MANIFEST.json"),
        (lambda content: content.append(content[-1]), "is there twice"),
        (lambda content: content.pop(), "truncated: 1 of "),
        (lambda content: listed(content, lambda each: each.update(study="..")),
         "is no file of a study's results"),
    ],
)  # fmt: skip
def test_an_archive_that_was_changed_is_refused(exported, elsewhere, change, message):
    assert re.search(message, refused(rewrite(exported, change), elsewhere))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_archive_is_refused(exported, elsewhere, share):
    data = exported.read_bytes()
    exported.write_bytes(data[: int(len(data) * share)])
    assert re.search("truncated|corrupt", refused(exported, elsewhere))


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json",
        "/etc/evil.json",
        "results/runs/../../evil/manifest.json",
        "results/models/../manifest.json",
        "config/models.yaml",
        "results/other/imported/study.yaml",
        "results/runs/fair/nli/opt-s/icl/minimal/k0/seeds0-0/adapters.bin",
    ],
)
def test_names_that_lead_elsewhere_are_refused(exported, elsewhere, name):
    def change(content):
        listed(content, lambda each: each["files"].update({name: each["files"].popitem()[1]}))
        content[-1][0].name = name

    message = refused(rewrite(exported, change), elsewhere)
    assert f"'{name}' is no file of a study's results" in message


STUDY = "results/sim/imported/study.yaml"


def with_study(text: bytes):
    """Return the change that puts `text` behind the study of an archive, listed as it should be."""

    def change(content):
        place = next(i for i, (info, _) in enumerate(content) if info.name == STUDY)
        info, data = content[place]
        content[place] = (info, data + text)
        fact = {"sha256": hashlib.sha256(data + text).hexdigest(), "bytes": len(data + text)}
        listed(content, lambda manifest: manifest["files"].update({STUDY: fact}))

    return change


def test_a_study_that_snakemake_would_run_as_code_is_refused(exported, elsewhere, tmp_path):
    """Before any code of this project, so that it must not lie there at all."""
    proof = tmp_path / "it-ran"
    code = f"__use_yte__: true\ntitle: ?open('{proof}', 'w').name\n"
    broken = rewrite(exported, with_study(code.encode()))
    message = refused(broken, elsewhere)
    assert message.startswith(f"{broken}: '{STUDY}': top level: unknown key '__use_yte__'")
    assert not proof.exists()
    (tmp_path / "study.yaml").write_bytes(members(broken)[STUDY])
    load_configfile(tmp_path / "study.yaml")
    assert proof.exists(), "Snakemake would have run it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            b"a: !!python/object/apply:os.getcwd []\n",
            "line \\d+: could not determine a constructor",
        ),
        (b"methods: [\n", "line \\d+: "),
        (b"study: other\n", "key 'study' is given twice"),
    ],
)
def test_a_study_that_is_none_is_refused(exported, elsewhere, text, message):
    said = refused(rewrite(exported, with_study(text)), elsewhere)
    assert re.search(f"broken.tar: .{STUDY}.: .*{message}", said), said


def test_a_manifest_of_nested_lists_is_one_line(exported, elsewhere):
    def nested(content):
        content[0] = (content[0][0], b'{"files": ' + b"[" * 200_000)

    assert "MANIFEST.json is not readable" in refused(rewrite(exported, nested), elsewhere)


def test_other_formats_and_other_archives_are_refused(exported, elsewhere, tmp_path):
    later = rewrite(exported, lambda content: listed(content, lambda each: each.update(format=4)))
    assert "format 4, but this version reads format 3" in refused(later, elsewhere)
    other = rewrite(exported, lambda content: listed(content, lambda each: each.update(kind="x")))
    assert "MANIFEST.json is not readable" in refused(other, elsewhere)
    assert "does not begin with" in refused(rewrite(exported, lambda c: c.pop(0)), elsewhere)
    (tmp_path / "text.tar").write_text("no archive" * 200)
    assert "not a readable archive" in refused(tmp_path / "text.tar", elsewhere)
    assert "file not found" in refused(tmp_path / "nothing.tar", elsewhere)


def test_a_full_disk_is_told_before(project, exported, elsewhere, monkeypatch):
    usage = shutil.disk_usage(project)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "where 10 B are free" in refused(exported, elsewhere)
    with pytest.raises(UserError, match=r"^\S+\.tar: needs .* where 10 B are free"):
        export(project)
    assert exported.exists(), "the archive before is left"


def test_an_incomplete_study_is_not_exported(project):
    (project / RUN / "curves.parquet").unlink()
    with pytest.raises(UserError, match=r"curves\.parquet: file not found; the study"):
        export(project)
    assert not (project / NAME).exists()
