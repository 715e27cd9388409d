#!/usr/bin/env bash
# Everything that is to be measured on one GPU, in at most eight minutes: `make bench-gpu`.
# Of each part what is finished within its time is kept; all of it goes into one Parquet file.
# DEVICE=cpu and MODELS=tiny-opt try the script where there is no GPU.
set -u
cd "$(dirname "$0")/../.."
export PYTHONPATH=scripts:tests
device=${DEVICE:-cuda}
read -ra models <<< "${MODELS:-opt-125m opt-1.3b opt-6.7b}"
out=results/benchmarks/gpu
rm -rf "$out"

part() { # seconds, name of the file, benchmark, its options
  timeout "$1" python -m "benchmarks.$3" --device "$device" --out "$out/$2.parquet" "${@:4}" ||
    echo "$2: not finished in $1 s, or failed: what is there is kept" >&2
}

# The same job twice: are its bytes the same?
part 40 bytes bench_bytes
# Rows per second behind 16 shots, beside plain transformers; share of the GPU's own products.
part 125 scorer bench_scorer --models "${models[@]}" --dtype bfloat16 --k 16 --repeats 3 --seconds 5 \
  --systems fairshot transformers-full transformers-cache
# A step of full fine-tuning, beside transformers' Trainer.
part 130 training bench_training --models "${models[@]:0:2}" --k 32 --epochs 4 --repeats 2 --seconds 15
# What the memory plan predicts, and what training takes.
part 105 memory bench_memory --models "${models[@]:0:2}" --methods full lora --dtype bfloat16 \
  --placements "stage 1" checkpointing "optimizer on the host"

# Ten seeds at once, beside one after another and peft.
part 50 stacking bench_stacking --models opt-125m --methods lora --rows 16 --epochs 3 --repeats 1

python -m benchmarks.gathered "$out"
