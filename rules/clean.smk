# What of the disk can be freed. No input and no output: it looks at what is there, and always runs.
localrules:
    clean,


rule clean:
    log:
        f"results/logs/{STUDY.name}/clean.log",
    conda:
        "../envs/fairshot.yaml"
    resources:
        **(SITE.store if SITE else {}),
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
