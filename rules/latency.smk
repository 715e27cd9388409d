# Latency and memory of what is shipped, of runs that are finished.
LATENCY_RUN = f"{{runs}}/{RUN}"


# Read a cell's first evaluation rows in each way in which it can be deployed. The run's manifest and
# predictions say what has to be answered; adapters lie beside them, and are no input: an import
# brings none, and nothing is to be trained again for that. One measurement at a time runs on a
# machine, by a lock that the script takes: a resource of Snakemake's would count over a whole
# cluster, and not at all where the call states no limit.
rule measure_latency:
    input:
        predictions=f"results/{LATENCY_RUN}/predictions.parquet",
        manifest=f"results/{LATENCY_RUN}/manifest.json",
        model=one_line(lambda w: INPUTS.model_manifest(w.model)),
        weights=lambda w: ancient(INPUTS.weights(w.model)),
        evaluation=lambda w: INPUTS.evaluation_files(w.task),
        train=lambda w: INPUTS.train_file(w.task, w.k),
        shots=lambda w: INPUTS.shots(w.method, w.task, w.k, job_seeds(w)),
        start=lambda w: INPUTS.start(job_cell(w), job_seeds(w)),
    output:
        latency=f"results/latency/{LATENCY_RUN}.parquet",
    log:
        f"results/logs/latency/{LATENCY_RUN}.log",
    benchmark:
        f"results/benchmarks/latency/{LATENCY_RUN}.jsonl"
    wildcard_constraints:
        method=any_of([*METHODS_IN_CONTEXT, *METHODS_TRAINED]),
    conda:
        "../envs/fairshot.yaml"
    threads: 1
    resources:
        **{name: latency_request(name) for name in REQUESTS.names},
    params:
        told=one_line(lambda w: told_job(INPUTS, Job(job_cell(w), tuple(job_seeds(w))))),
        own_weights=lambda w: STUDY.methods[w.method]["family"] in OWN_WEIGHTS,
        rows=STUDY.settings["latency"]["rows"],
        repeats=STUDY.settings["latency"]["repeats"],
        code=lambda w: code_version("exchange.latency", *code_of_method(w)),
    script:
        "../scripts/measure_latency.py"


# The table and the figure of latencies, of all cells that adapt a model.
rule latency:
    input:
        LATENCY,
        files_of("tables", "latency", TABLE_KINDS),
        files_of("figures", "latency", FIGURE_KINDS),
