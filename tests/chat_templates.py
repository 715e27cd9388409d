"""Chat templates of published models, without their parts for tools, and tokenizers like theirs.

Each writes plain conversations as the model's own template does.
"""

from functools import cache

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CHATML = """\
{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|im_start|>system\\nDEFAULT<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

# Answers lose their thoughts once another question stands behind them.
QWEN3 = """\
{%- set asked = namespace(last=0) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{% set asked.last = loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' and loop.index0 > asked.last %}
        {{- '<think>\\n\\n</think>\\n\\n' + message.content.lstrip('\\n') }}
    {%- elif message.role == 'assistant' %}
        {{- message.content.split('</think>')[-1].lstrip('\\n') }}
    {%- else %}
        {{- message.content }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and not enable_thinking %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

LLAMA3 = """\
{{ bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") if strftime_now is defined else "26 Jul 2024" %}
{%- endif %}
{%- set said = messages[0].content | trim if messages[0].role == 'system' else '' %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" + said + "<|eot_id|>" }}
{%- for message in messages if message.role != 'system' %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
    {{- message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

GEMMA2 = """\
{{ bos_token }}
{%- if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}
{%- for message in messages %}
    {%- set role = 'model' if message.role == 'assistant' else message.role %}
    {{- '<start_of_turn>' + role + '\\n' + message.content | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

# The system text goes in front of the first question.
GEMMA3 = """\
{{ bos_token }}
{%- set told = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' %}
{%- for message in messages if message.role != 'system' %}
    {%- set role = 'model' if message.role == 'assistant' else message.role %}
    {{- '<start_of_turn>' + role + '\\n' + (told if loop.first else '') }}
    {{- message.content | trim + '<end_of_turn>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

# A turn begins with <s>, and an answer with a blank, which no generation prompt writes.
LLAMA2 = """\
{% set told = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' %}
{% for message in messages if message.role != 'system' %}
    {%- if message.role == 'user' %}
        {%- set first = loop.first and messages[0].role == 'system' %}
        {{- bos_token + '[INST] ' }}
        {{- ((told if first else '') + message.content) | trim + ' [/INST]' }}
    {%- else %}
        {{- ' ' + message.content | trim + ' ' + eos_token }}
    {%- endif %}
{%- endfor %}"""

# Its headers are plain text, and the last answer ends without a line break.
OLMO2 = """\
{{ bos_token }}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '<|assistant|>\\n' + message.content + eos_token + ('' if loop.last else '\\n') }}
    {%- else %}
        {{- '<|' + message.role + '|>\\n' + message.content + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"""

TEMPLATES = {
    "chatml": (CHATML, "gpt2"),
    "qwen3": (QWEN3, "digits"),
    "llama3": (LLAMA3, "digits"),
    "gemma2": (GEMMA2, "sentencepiece"),
    "gemma3": (GEMMA3, "sentencepiece"),
    "llama2": (LLAMA2, "metaspace"),
    "olmo2": (OLMO2, "digits"),
}
BOS = {"digits": "<|begin_of_text|>", "sentencepiece": "<bos>", "metaspace": "<s>"}
SPECIAL = [
    *("<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<start_of_turn>", "<end_of_turn>", "<s>", "</s>", "<bos>", "<|begin_of_text|>"),
]
TEXT = (
    "A man sleeps. He is awake? Yes\n\nNo\nuser\nassistant\n\nmodel\nsystem question: answer: "
    "True or False? The cat sat on the mat, and it rained.\n \n Yes No"
)
# How Llama 3 and Qwen cut a text.
WORDS_AND_DIGITS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@cache
def chat_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer with the template of that name; most add their <s> to a text."""
    template, kind = TEMPLATES[name]
    backend = Tokenizer(models.BPE(byte_fallback=kind in ("sentencepiece", "metaspace")))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if kind == "gpt2":
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    elif kind == "digits":
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(WORDS_AND_DIGITS), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    else:
        alphabet = [chr(code) for code in range(33, 127)] + ["\n", "▁", "é", "ï"]
        if kind == "metaspace":
            backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        else:
            backend.normalizer = normalizers.Replace(" ", "▁")
            backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    backend.train_from_iterator([TEXT] * 5, trainer)
    bos = BOS.get(kind)
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=bos, eos_token="</s>", chat_template=template
    )
