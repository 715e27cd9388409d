"""Programs that others score prompts with, each used as one who knows it would.

`python -m benchmarks.engines FILE` runs in the environment of the program, without this project's
packages: it reads a job from a file (pickle, of plain values only) and writes what was found beside
it. A job has

    system      a name of `ENGINES`
    folder      holds the model, as transformers saves it, and its tokenizer; written to as well
    dtype       type of the model's weights, which are computed with
    prompts     tokens of each row's prompt; `shared` of them, the first, are the same in all rows
    tokens      the one token of each label word
    window      tokens of a prompt at most

and device, threads, clock, repeats and seconds as any measurement. A pass begins with nothing
cached: it reads what the prompts share once, and then the rows.
"""

import itertools
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np

from . import clocks

WORTH = 16
"""Shared tokens from which on a cache is worth its copies."""
WARM_ROWS = 2
Score = Callable[[list[int]], np.ndarray]
"""Returns log-probabilities [rows, words] of rows, given by position."""


def measure(job: dict) -> dict:
    """Return logprobs, seconds per pass, peak_mib (None on a GPU), version and batch.

    `peak_mib` is the memory in MiB beyond what is held once the model is there.
    """
    make, package, batch = ENGINES[job["system"]]
    score, rows = make(job), list(range(len(job["prompts"])))
    held = clocks.reset_peak("cpu")
    score(rows[:WARM_ROWS])
    seconds, logprobs = clocks.passes(lambda: score(rows), {**job, "device": "cpu"})
    most = max(0.0, clocks.peak() - held) / clocks.MIB
    return {
        "logprobs": logprobs.tolist(),
        "seconds": seconds,
        "peak_mib": most if job["device"] == "cpu" else None,
        "version": f"{package} {import_module(package).__version__}",
        "batch": batch,
    }


def ctranslate2(job: dict) -> Score:
    """Generate one token behind a static prompt, whose state is cached, and read its logits.

    Prompts of unequal length in one batch are read token by token from the end of the shortest on,
    so a batch has rows of one length. With "-int8" linear layers compute in 8 bits. The cache
    outlives a call; so each call shortens the static prompt by one more token, which the rows read.
    """
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    folder = Path(job["folder"]) / "ctranslate2"
    TransformersConverter(job["folder"]).convert(str(folder))
    kind = job["dtype"] if job["system"] == "ctranslate2" else f"int8_{job['dtype']}"
    model = ctranslate2.Generator(
        str(folder),
        device=job["device"],
        compute_type=kind,
        inter_threads=1,
        intra_threads=job["threads"],
    )
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    prompts = [[vocabulary[token] for token in prompt] for prompt in job["prompts"]]
    calls = itertools.count()

    def score(rows: list[int]) -> np.ndarray:
        shared = job["shared"] - next(calls) if job["shared"] >= WORTH else 0
        start = {"static_prompt": prompts[0][:shared], "cache_static_prompt": True}
        logprobs = np.empty((len(rows), len(job["tokens"])))
        for batch in same_lengths([len(prompts[row]) for row in rows]):
            answers = model.generate_batch(
                [prompts[rows[each]][shared:] for each in batch],
                max_length=1,
                return_logits_vocab=True,
                include_prompt_in_result=False,
                **(start if shared else {}),
            )
            for each, answer in zip(batch, answers, strict=True):
                logits = answer.logits[0][0].to_device(ctranslate2.Device.cpu)
                logprobs[each] = log_softmax(np.asarray(logits))[job["tokens"]]
        return logprobs

    return score


def same_lengths(lengths: list[int]) -> Iterator[list[int]]:
    """Yield the positions that have one length, length by length."""
    order = sorted(range(len(lengths)), key=lambda each: lengths[each])
    for _, batch in itertools.groupby(order, key=lambda each: lengths[each]):
        yield list(batch)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities [words] of logits, which may have leading dimensions of 1."""
    logits = logits.reshape(-1).astype(np.float64)
    logits = logits - logits.max()
    return logits - np.log(np.exp(logits).sum())


def vllm(job: dict) -> Score:
    """Read the shared tokens as a prompt of their own, then all rows behind its prefix cache, with
    one new token and the log-probabilities of the label words alone.

    vLLM computes in this process, whose time and memory are measured, on its threads.
    """
    os.environ |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    from vllm import LLM, SamplingParams

    options = {"dtype": job["dtype"], "max_model_len": job["window"]}
    if job["device"] == "cpu":
        # Its cache, of which a few prompts' worth is needed, would take most of the memory; and
        # without `enforce_eager` the model would be compiled at each start.
        options |= {"kv_cache_memory_bytes": 2 * 2**30, "enforce_eager": True}
    model = LLM(job["folder"], **options, enable_prefix_caching=True)
    asked = SamplingParams(
        max_tokens=1, temperature=0, detokenize=False, logprob_token_ids=job["tokens"]
    )

    def answer(prompts: list[list[int]]) -> list:
        prompts = [{"prompt_token_ids": prompt} for prompt in prompts]
        return model.generate(prompts, asked, use_tqdm=False)

    def score(rows: list[int]) -> np.ndarray:
        if not model.reset_prefix_cache():
            raise RuntimeError("vllm: the prefix cache could not be emptied between passes")
        if job["shared"] >= WORTH:
            answer([job["prompts"][0][: job["shared"]]])
        found = [each.outputs[0].logprobs[0] for each in answer([job["prompts"][i] for i in rows])]
        return np.array([[each[token].logprob for token in job["tokens"]] for each in found])

    return score


ENGINES = {
    "ctranslate2": (ctranslate2, "ctranslate2", "rows of one length"),
    "ctranslate2-int8": (ctranslate2, "ctranslate2", "rows of one length"),
    "vllm": (vllm, "vllm", "its own"),
}
"""What makes a system's function, the package whose version counts, and what a batch holds."""


if __name__ == "__main__":
    job_file = Path(sys.argv[1])
    result = measure(pickle.loads(job_file.read_bytes()))
    job_file.with_suffix(".found").write_bytes(pickle.dumps(result))
