# What of the disk can be freed. No input and no output: it looks at what is there, and always runs.
localrules:
    clean,


def idle_runs():
    """Return the folders of runs in this Snakemake's plan that it has not to make, or has made."""
    waiting = set(workflow.dag.needrun_jobs())
    return {
        str(Path(job.output.manifest).parent)
        for job in workflow.dag.jobs
        if job.rule.name in ADAPTING and job not in waiting
    }


rule clean:
    log:
        f"results/logs/{STUDY.name}/clean.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        **STORE,
    params:
        study=STUDY.name,
        runs={
            f"results/runs/{job.folder}": job.cell.model
            for job in STUDY.jobs
            if not STUDY.is_imported(job.cell.method)
        },
        delete=DELETE,
    script:
        "../scripts/clean.py"
