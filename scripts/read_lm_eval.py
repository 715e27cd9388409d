"""Read logs of lm-evaluation-harness as a run (rule read_lm_eval)."""

from pathlib import Path
from typing import TYPE_CHECKING

from fewshot import storage
from fewshot.adaptation import job
from fewshot.exchange import lm_eval_runs
from fewshot.prompts.patterns import restore_pattern
from fewshot.runtime import script

if TYPE_CHECKING:
    from snakemake.script import snakemake


def main(smk):
    p, w, files = smk.params, smk.wildcards, smk.input
    cell = {name: getattr(w, name) for name in ("protocol", "task", "model", "method", "pattern")}
    cell["k"] = int(w.k)
    rows = {
        each["set"]: storage.read_rows(path)
        for each, path in zip(p.evaluation, files.evaluation, strict=True)
    }
    draws = dict(zip(p.seeds, files.shots, strict=True)) if files.shots else {}
    shots = job.read_shots(files.train, draws) if draws else {}
    seeds = lm_eval_runs.expect(
        restore_pattern(p.pattern), p.evaluation, rows, p.seeds, shots, files.samples, p.prompts
    )
    about = {"code": p.code, "parameters": p.parameters, "prompts": p.prompts}
    checksums = {
        "data": {
            f"{name}/validation": storage.sha256(path)
            for name, path in zip(rows, files.evaluation, strict=True)
        },
        "shots": {str(seed): storage.sha256(path) for seed, path in draws.items()},
    }
    lm_eval_runs.write_run(Path(smk.output.manifest).parent, cell, seeds, about, checksums)


if __name__ == "__main__":
    script.run(main, snakemake)
