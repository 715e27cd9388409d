# What is checked before the first job starts, and what is said after the last one. Nothing is
# written, fetched or cancelled here.
import os
import time

from fewshot.models.files import whole_folder
from fewshot.planning.requests import ATTEMPTS
from fewshot.runtime import site_checks

BEGAN = time.time()


def tell_report():
    """Say where the report is, if this start wrote it."""
    page = Path(f"results/{STUDY.name}/report.html")
    if page.exists() and page.stat().st_mtime >= BEGAN:
        logger.info(f"Report: {page} (numbers: {page.with_name('summary.txt')})")


def check_results():
    """End a start whose first job could write nothing."""
    folder = Path("results")
    if not os.access(folder if folder.exists() else ".", os.W_OK):
        sys.exit(f"error: {folder.resolve()}: cannot be written; all that is made goes there")


def check_start():
    """End a start that would submit jobs to SLURM which it refuses, or whose files other jobs
    write."""
    # Snakemake documents no way to learn whether jobs are submitted to SLURM.
    if workflow.executor_plugin.name != "slurm" or workflow.touch or STUDY.unsized:
        return  # Before the download of a model of unknown size nothing is submitted.
    try:
        if SITE is None:
            raise UserError(
                "--default-resources replaces the profile's, of which `site` names the facts of "
                "the cluster; add site=profiles/slurm/site.yaml to them, or use --set-resources"
            )
        shapes, longest = REQUESTS.shapes(), REQUESTS.longest()
        problems, warnings = site_checks.check_start(SITE, shapes, ATTEMPTS, longest)
    except UserError as error:
        problems, warnings = [error], []
    for line in warnings:
        logger.warning(line)
    if problems:
        sys.exit("\n".join(f"error: {line}" for line in problems))


def check_weights():
    """Tell of weights that were freed from the cache, before a job fails for it."""
    for manifest in (Path(marker).with_name("manifest.json") for marker in NEEDED_WEIGHTS):
        try:
            if manifest.with_name("weights.json").is_file():
                whole_folder(manifest)
        except UserError as error:
            logger.warning(f"{error}")


def partial_hint():
    """Return how to report on a study of which some jobs failed."""
    files = " ".join(map(str, workflow.overwrite_configfiles or []))
    command = f"snakemake report_partial{f' --configfile {files}' if files else ''}"
    return (
        f"Some jobs failed. `{command}` makes tables, figures and a report from what exists, under "
        f"results/{STUDY.name}/partial/, and shows what is missing and why."
    )


if rules.clean.log[0] != f"{PREFIX}results/logs/{STUDY.name}/clean.log":
    sys.exit("error: replace_prefix: paths in code would not follow; valid in a module: prefix")
# What follows is of the start alone: the workflow that uses this one as a module has its own.
if workflow.is_main_process and not MODULE:
    check_weights()


onstart:
    check_results()
    check_start()


onsuccess:
    tell_report()


onerror:
    if CTRL_C.pressed:
        sys.exit(CTRL_C.STATUS)
    made = [Path(manifest).exists() for manifest in RUN_MANIFESTS]
    if any(made) and not all(made):
        print(partial_hint(), file=sys.stderr)
