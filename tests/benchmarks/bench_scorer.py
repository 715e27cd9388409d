"""Measure the scorer beside other ways to score the same prompts: `make bench-scorer`.

These systems score real rows behind real draws, with models of published shapes and random weights
(speed and memory do not depend on their values):

    fairshot            this project's scorer, at the study's `batch_tokens`
    transformers-full   whole prompts, sorted, masks and needless logits avoided
    transformers-cache  the context read once, its keys and values copied to each row of a batch
    lm-eval             lm-evaluation-harness, its class for transformers models, own batching
    ctranslate2         CTranslate2, the context as a static prompt whose state is cached
    ctranslate2-int8    the same, its linear layers in 8 bits
    vllm                vLLM, the context in its prefix cache, log-probabilities of the label words

`make rivals` installs the last three, each in an environment of its own; what is not installed, or
cannot compute in a type on this machine, is left out, and one line says so.

Each measurement runs in a process of its own on the same threads: two rows to warm up, then passes
over the rows; rows/s is of the median pass. Building the model and tokenizing are not timed, but
for lm-eval, which tokenizes inside its call (milliseconds a row, where the model takes hundreds).
The peak of memory is what comes on top once model and prompts are held. Systems that read whole
prompts, row by row, read a sample of the rows, stratified by length; `rows` says how many. All
others read the shared context in each pass, once. Differences are of label log-probabilities, from
transformers-full in float32, on the rows that both scored. The first of the types is measured with
all systems, others with fairshot and the rivals that `make rivals` installs.
"""

import argparse
import copy
import logging
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from fewshot.errors import UserError
from torch import nn
from transformers import DynamicCache

from . import cases, clocks, harness, rivals, shapes
from .clocks import MIB
from .engines import WARM_ROWS, WORTH
from .harness import OURS, Column, Target

REFERENCE = "transformers-full"
SLOW = (REFERENCE, "lm-eval")
"""Systems that read whole prompts, each row at the same cost however many there are."""
SLOW_TOKENS, SLOW_LEAST = 4000, 4
"""Tokens of the prompts that slow systems are timed on, about, and rows at least."""
BATCHES = {
    "cpu": {REFERENCE: 2048, "transformers-cache": 1024, "lm-eval": 1024},
    "cuda": {REFERENCE: 65536, "transformers-cache": 131072, "lm-eval": 65536},
}
"""Tokens of whole prompts in a batch; on a CPU the best of a few for each system, which is one row
where prompts are long."""
MNLI_SHOTS = 32
"""Shots from which on MNLI, whose texts are short, is measured as well."""
GEMM_TOKENS, GEMM_LAYERS, GEMM_SECONDS = 2048, 12, 1.0

NUMBER, COUNT, TEXT = pa.float64(), pa.int32(), pa.string()
COLUMNS = {
    **harness.COMMON,
    "task": Column(TEXT, "task of rows and shots", "task"),
    "k": Column(COUNT, "shots", "k"),
    "seed": Column(COUNT, "data seed of the draw"),
    "status": Column(TEXT, "'ok' or 'does not fit'", "status"),
    "shared": Column(COUNT, "tokens that all prompts share", "shared"),
    "longest": Column(COUNT, "tokens of the longest prompt"),
    "batch": Column(TEXT, "size of a batch, in padded tokens or rows", "batch"),
    "rows": Column(COUNT, "rows that were timed", "rows"),
    "passes": Column(COUNT, "passes over the rows", "passes"),
    "rows_per_s": Column(NUMBER, "of the median pass", "rows/s", "{:.2f}", 1),
    "of_fewest": Column(NUMBER, "rows_per_s by that of the fewest shots", "of fewest", "{:.0%}"),
    "peak_mib": Column(NUMBER, "peak beyond the weights, MiB", "peak MiB", "{:,.0f}", -1),
    "gflops": Column(NUMBER, "1e9 operations needed per second of scoring"),
    "gemm_gflops": Column(NUMBER, "1e9 operations per second of bare products"),
    "matmul_share": Column(NUMBER, "gflops / gemm_gflops", "of GEMM", "{:.0%}"),
    "max_abs_diff": Column(NUMBER, "log-probability, at most", "max diff", "{:.1e}"),
    "same_predictions": Column(pa.bool_(), "as of transformers-full in float32", "same"),
    "version": Column(TEXT, "package and version of a rival"),
}
TARGETS = [
    Target({"task": "rte", "k": 16, "system": "lm-eval"}, "rows_per_s_ratio", least=25),
    Target({"task": "rte", "k": 16, "system": REFERENCE}, "rows_per_s_ratio", least=14),
    Target({"task": "mnli", "k": 32, "system": "lm-eval"}, "rows_per_s_ratio", least=40),
    Target({"dtype": "float32", "system": OURS}, "max_abs_diff", most=1e-4),
    Target({"dtype": "float32", "system": OURS}, "same_predictions", least=1),
    Target({"dtype": "float32", "system": OURS}, "matmul_share", least=0.85),
    Target({"dtype": "bfloat16", "system": OURS}, "matmul_share", least=0.7),
    Target({"task": "rte", "k": 16, "dtype": "bfloat16", "system": OURS}, "of_fewest", least=0.75),
    *(Target({"system": rival}, "rows_per_s_ratio", least=1) for rival in rivals.RIVALS),
]


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    made = harness.parser("scorer", __doc__, ["opt-125m", "pythia-160m"], 25.0)
    add = made.add_argument
    text = "shots, on RTE rows; 32 on MNLI rows too (default: 0 2 16 32)"
    add("--k", nargs="+", type=int, default=[0, 2, 16, 32], metavar="K", help=text)
    harness.choose(made, "dtype", ["float32", "bfloat16", "float16"], ["float32", "bfloat16"])
    systems = [*SYSTEMS, *rivals.RIVALS]
    harness.choose(made, "systems", systems, systems)
    text = f"holds the rivals' environments (default: {rivals.FOLDER.relative_to(cases.ROOT)})"
    add("--rivals", type=Path, default=rivals.FOLDER, metavar="FOLDER", help=text)
    add("--rows", type=int, default=277, help="rows of a task at most (default: 277, all of RTE)")
    text = "rows that slow systems are timed on (default: as many as have 4,000 tokens)"
    add("--slow-rows", type=int, default=0, help=text)
    harness.clock(made)
    return harness.parse(made, argv, ("k", "slow_rows"))


def main(argv: list[str]) -> int:
    """Run the benchmark, print and store its table, and return the exit code."""
    asked = parse(argv)
    asked.systems = rivals.installed(asked.rivals, asked.systems)
    table = harness.Table(asked.out, COLUMNS, ["model", "dtype", "task", "k"])
    tokenizers = {
        model: cases.tokenizer(asked.tokenizers, shapes.family(model)) for model in asked.models
    }
    for model, tokenizer in tokenizers.items():
        for k in sorted(asked.k):
            for task in ("rte", "mnli") if k >= MNLI_SHOTS else ("rte",):
                case = cases.make_case(asked.data, tokenizer, task, k)
                compare(asked, table, model, case)
    return table.finish(TARGETS, asked.check)


def compare(asked: argparse.Namespace, table: harness.Table, model: str, case: cases.Case) -> None:
    """Measure all systems on the rows of one task behind k shots; nothing where they do not fit."""
    first, *others = asked.dtype
    about = {"model": model, **{name: getattr(case, name) for name in ("task", "k", "seed")}}
    about |= {"status": case.status, "shared": case.shared}
    if case.status != "ok":
        nothing = {"system": OURS, "dtype": first, "rows": 0, "passes": 0}
        table.add(asked, {**about, **nothing, "longest": max(case.lengths)})
        return
    case = case.take(cases.stratified(case.lengths, asked.rows))
    count = asked.slow_rows or max(SLOW_LEAST, round(SLOW_TOKENS / np.mean(case.lengths)))
    sample = cases.stratified(case.lengths, count)
    reference = None
    if first != "float32":
        about_it = {"system": REFERENCE, "model": model, "dtype": "float32"}
        reference = score(asked, {**about_it, "repeats": 1}, case.take(sample))["logprobs"]
    chosen = [system for system in (*SYSTEMS, *rivals.RIVALS) if system in asked.systems]
    runs = [(first, system) for system in chosen]
    again = [system for system in chosen if system == OURS or system in rivals.RIVALS]
    for dtype, system in runs + [(dtype, system) for dtype in others for system in again]:
        rows = sample if system in SLOW else list(range(len(case.texts)))
        mine = case.take(rows)
        try:
            found = score(asked, {"system": system, "model": model, "dtype": dtype}, mine)
        except UserError as error:
            if system not in rivals.RIVALS:
                raise
            harness.LOG.warning("%s: %s; it is left out", dtype, error)
            continue
        logprobs = found["logprobs"][[rows.index(row) for row in sample]]
        reference = logprobs if reference is None else reference
        same = logprobs.argmax(axis=1) == reference.argmax(axis=1)
        difference = {
            "max_abs_diff": float(np.abs(logprobs - reference).max()),
            "same_predictions": bool(same.all()),
            "longest": max(mine.lengths),
        }
        row = {**about, **found, "system": system, "dtype": dtype, **difference}
        if system == OURS:
            row["of_fewest"] = of_fewest(table, row)
        table.add(asked, row)


def of_fewest(table: harness.Table, row: dict) -> float | None:
    """Return the rows/s of a row by those of the first with the same work but for its shots."""
    same = ("model", "dtype", "task", "system")
    first = (each for each in table.rows if all(each[name] == row[name] for name in same))
    rates = (each["rows_per_s"] for each in first if each["rows_per_s"])
    return next((row["rows_per_s"] / rate for rate in rates), None)


def score(asked: argparse.Namespace, about: dict, case: cases.Case) -> dict:
    """Measure a system in a process of its own and return what was found, with rates."""
    if about["system"] in rivals.RIVALS:
        found = rivals.run(asked, about, case)
    else:
        job = harness.options(asked, "repeats", "seconds", "clock", "tokenizers")
        job |= {"case": case, "batch": batch(asked, about["system"], case), **about}
        unit = "tokens" if about["system"] in (OURS, REFERENCE) else "rows"
        found = {"batch": f"{job['batch']} {unit}", **harness.run("bench_scorer", job)}
    return {
        **found,
        "rows": len(case.texts),
        "rows_per_s": len(case.texts) / statistics.median(found["seconds"]),
        "passes": len(found["seconds"]),
    }


def batch(asked: argparse.Namespace, system: str, case: cases.Case) -> int:
    """Return the size of a batch, in the unit that `Job` states."""
    if system == OURS:
        return asked.batch_tokens or cases.study_batch_tokens(asked.device)
    tokens = BATCHES[asked.device][system]
    return tokens if system == REFERENCE else max(1, round(tokens / np.mean(case.lengths)))


def measure(job: dict) -> dict:
    """Return logprobs, seconds per pass, peak_mib and, for fairshot, products done and possible.

    `peak_mib` is the memory in MiB beyond what is held once model and prompts are there.
    """
    torch.set_num_threads(job["threads"])
    model = shapes.build(job["model"], job["dtype"], job["device"])
    tokenizer = cases.tokenizer(job["tokenizers"], shapes.family(job["model"]))
    case, make = job["case"], SYSTEMS[job["system"]]
    run = make(model, Job(tokenizer, case, job["batch"]))
    warm = make(model, Job(tokenizer, case.take(range(WARM_ROWS)), job["batch"]))
    rate = gemm_rate(model, job["clock"]) if job["system"] == OURS else 0.0
    held = clocks.reset_peak(job["device"])
    warm()
    seconds, logprobs = clocks.passes(run, job)
    most = max(0.0, clocks.peak(job["device"]) - held) / MIB
    found = {"logprobs": logprobs, "seconds": seconds, "peak_mib": most}
    if job["system"] == OURS:
        rate = max(rate, gemm_rate(model, job["clock"]))
        prompts = cases.scorer(tokenizer, case.pattern, case.context, case.texts)
        flops = shapes.scoring_flops(model, prompts.prefix, prompts.own, len(case.texts))
        speed = flops / statistics.median(seconds)
        found |= {"gflops": speed / 1e9, "gemm_gflops": rate / 1e9, "matmul_share": speed / rate}
    return found


def gemm_rate(model: nn.Module, clock: str) -> float:
    """Return operations per second of the model's own matrix products, with nothing between them.

    Its first `GEMM_LAYERS` linear layers in turn (two or three blocks), on `GEMM_TOKENS` tokens,
    on its device and threads, in its dtype or in float32, which is faster where a CPU emulates the
    other; the fastest pass within `GEMM_SECONDS` seconds, of three at least. Measured before and
    after scoring; the better of the two counts.
    """
    weight = next(model.parameters())
    layers = [m for m in model.base_model.modules() if isinstance(m, nn.Linear)][:GEMM_LAYERS]
    flops = sum(2 * GEMM_TOKENS * m.in_features * m.out_features for m in layers)
    rates = []
    for dtype in {weight.dtype, torch.float32}:
        weights = [layer.weight.to(dtype) for layer in layers]
        widths = {layer.in_features for layer in layers}
        about = {"dtype": dtype, "device": weight.device}
        inputs = {width: torch.randn(GEMM_TOKENS, width, **about) for width in widths}

        def products(weights: list = weights, inputs: dict = inputs) -> None:
            for each in weights:
                nn.functional.linear(inputs[each.shape[1]], each)

        seconds: list[float] = []
        with torch.no_grad():
            while len(seconds) < 4 or sum(seconds[1:]) < GEMM_SECONDS:
                seconds.append(clocks.timed(products, weight.device.type, clock)[0])
        rates.append(flops / min(seconds[1:]))
    return max(rates)


Run = Callable[[], np.ndarray]
"""Scores and returns log-probabilities [rows, labels]; what is done to make one is not timed."""


@dataclass(frozen=True)
class Job:
    """A case, and in what portions a system reads it: `batch` is in padded tokens for fairshot and
    transformers-full, in rows for the other two."""

    tokenizer: object
    case: cases.Case
    batch: int


def fairshot(model: nn.Module, job: Job) -> Run:
    """Score with this project's scorer."""
    case = job.case
    prompts = cases.scorer(job.tokenizer, case.pattern, case.context, case.texts)
    return lambda: prompts.run(model, job.batch).logprobs


def transformers_full(model: nn.Module, job: Job) -> Run:
    """Read each prompt whole: what a careful user of transformers writes.

    Rows are sorted by length and cut into batches of at most `job.batch` padded tokens, longest
    first; padding is on the right, so that the causal kernel needs no mask; no cache is kept; and
    the readout over the vocabulary meets the last position of each row only.
    """
    prompts, words = _tokenize(job)
    batches: list[list[int]] = []
    for row in sorted(range(len(prompts)), key=lambda row: -len(prompts[row])):
        if batches and (len(batches[-1]) + 1) * len(prompts[batches[-1][0]]) <= job.batch:
            batches[-1].append(row)
        else:
            batches.append([row])
    return lambda: read_behind(model, batches, words, prompts)


def transformers_cache(model: nn.Module, job: Job) -> Run:
    """Read the shared context once and copy its keys and values to every row of a batch.

    Batches have `job.batch` rows, sorted by length. Prompts that share next to nothing are read
    whole.
    """
    prompts, words = _tokenize(job)
    shared = cases.shared_tokens(prompts)
    shared = shared if shared >= WORTH else 0
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    batches = [order[start : start + job.batch] for start in range(0, len(order), job.batch)]
    own = [prompt[shared:] for prompt in prompts]

    def run() -> np.ndarray:
        cache = None
        if shared:
            cache = DynamicCache(config=model.config)
            start = torch.tensor([prompts[0][:shared]], device=model.device)
            with torch.no_grad():
                model.base_model(input_ids=start, past_key_values=cache, use_cache=True)
        return read_behind(model, batches, words, own, shared, cache)

    return run


def lm_eval(model: nn.Module, job: Job) -> Run:
    """Score with lm-evaluation-harness: its class for transformers models, its own batching.

    `job.batch` is its batch size; all else is default. It asks for the words of a prompt in one
    forward pass (its cache of logits), with logits at all positions.
    """
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    judge, case = HFLM(pretrained=model, tokenizer=job.tokenizer, batch_size=job.batch), job.case
    requests = [
        Instance("loglikelihood", {}, (case.context + text, word), index)
        for text in case.texts
        for index, word in enumerate(case.pattern.words)
    ]

    def run() -> np.ndarray:
        answers = judge.loglikelihood(requests, disable_tqdm=True)
        logprobs = [logprob for logprob, _ in answers]
        return np.array(logprobs, dtype=np.float32).reshape(len(case.texts), -1)

    return run


SYSTEMS = {
    REFERENCE: transformers_full,
    "transformers-cache": transformers_cache,
    "lm-eval": lm_eval,
    OURS: fairshot,
}


def _tokenize(job: Job) -> tuple[list[list[int]], list[int]]:
    texts = [job.case.context + text for text in job.case.texts]
    return cases.tokenize(job.tokenizer, job.case.pattern, texts)


def read_behind(
    model: nn.Module,
    batches: list[list[int]],
    words: list[int],
    rows: list[list[int]],
    shared: int = 0,
    cache: DynamicCache | None = None,
) -> np.ndarray:
    """Return log-probabilities [rows, words] behind rows of tokens, which follow the `shared`
    tokens of the cache; rows are padded on the right."""
    logprobs = np.empty((len(rows), len(words)), dtype=np.float32)
    with torch.no_grad():
        for batch in batches:
            longest = max(len(rows[row]) for row in batch)
            padded = [rows[row] + [0] * (longest - len(rows[row])) for row in batch]
            mine, positions = copy.deepcopy(cache), {}
            if mine is not None:
                mine.batch_repeat_interleave(len(batch))
                at = torch.arange(shared, shared + longest, device=model.device)
                positions = {"position_ids": at[None]}
            states = model.base_model(
                input_ids=torch.tensor(padded, device=model.device),
                past_key_values=mine,
                use_cache=mine is not None,
                **positions,
            ).last_hidden_state
            last = [len(rows[row]) - 1 for row in batch]
            logits = model.get_output_embeddings()(states[range(len(batch)), last]).float()
            logprobs[batch] = torch.log_softmax(logits, dim=-1)[:, words].cpu().numpy()
    return logprobs


if __name__ == "__main__":
    harness.start(main)
