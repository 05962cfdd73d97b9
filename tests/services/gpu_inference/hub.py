"""Small models with random weights, one of each architecture, as Hugging Face saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = [
    "the",
    "a",
    "film",
    "was",
    "good",
    "bad",
    "great",
    "dull",
    "and",
    "not",
    "very",
    "i",
    "liked",
    "it",
    "maria",
    "lives",
    "in",
    "paris",
    "bank",
    "of",
    "england",
]
SPECIAL = ["[UNK]", "[PAD]", "[CLS]", "[SEP]"]
PIECES = [*"abcdefghijklmnopqrstuvwxyz.,!é", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")]
VOCABULARY = {token: index for index, token in enumerate(SPECIAL + WORDS + PIECES)}
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
MAX_TOKENS = 64

_SIZES = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64},
    "distilbert": {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 64},
}
ARCHITECTURES = [
    family + head
    for family in ("Bert", "Roberta", "XLMRoberta", "Camembert", "DistilBert")
    for head in ("ForSequenceClassification", "ForTokenClassification", "Model")
]


def make(architecture: str, directory: Path, **changes: Any) -> Path:
    """A model of that architecture, with weights so large that predictions differ; `changes` go to its config."""
    family = next(f for f in ("XLMRoberta", "Roberta", "Camembert", "DistilBert", "Bert") if architecture.startswith(f))
    roberta = family in ("Roberta", "XLMRoberta", "Camembert")
    options: dict[str, Any] = {
        **_SIZES["distilbert" if family == "DistilBert" else "bert"],
        "vocab_size": len(VOCABULARY),
        "max_position_embeddings": MAX_TOKENS + 2 if roberta else MAX_TOKENS,
        "pad_token_id": SPECIAL.index("[PAD]"),
        "initializer_range": 0.3,
    }
    if "Token" in architecture:
        options |= {"id2label": dict(enumerate(TAGS)), "label2id": {tag: i for i, tag in enumerate(TAGS)}}
    elif "Sequence" in architecture:
        options |= {"id2label": {0: "negative", 1: "neutral", 2: "positive"}, "num_labels": 3}
    torch.manual_seed(sum(map(ord, architecture)))
    config = getattr(transformers, f"{family}Config")(**options | changes)
    model = getattr(transformers, architecture)(config).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:  # biases and norms begin as constants, which would hide a mix-up
            torch.nn.init.normal_(parameter.data, 1.0 if "norm" in name.lower() and "weight" in name else 0.0, 0.3)
    model.save_pretrained(directory)
    tokenizer().save_pretrained(directory)
    return directory


def tokenizer() -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of a few words and all letters."""
    core = Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer(strip_accents=False)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=MAX_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
    )
