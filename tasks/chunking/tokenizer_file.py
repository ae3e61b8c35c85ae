"""A model's own tokenizer from its `tokenizer.json`, through Hugging Face's library, which is installed on demand."""

import numpy as np
import numpy.typing as npt

from tasks.chunking.characters import code_points
from tasks.chunking.tokenizer import Tokenizer, read_tokenizer_file
from tasks.errors import ConfigurationError


class FileTokenizer(Tokenizer):
    """The tokenizer in a file. Special tokens are ordinary text to it, and it adds none."""

    def __init__(self, path: str) -> None:
        """Raises ConfigurationError if the library is missing or the file is no tokenizer."""
        content = read_tokenizer_file(path)
        try:
            import tokenizers
        except ImportError as error:
            message = (
                f"embedding.tokenizer is {path}, which takes the library `tokenizers` to read: "
                "pip install 'millrace[tokenizers]'"
            )
            raise ConfigurationError(message) from error
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(content.decode())
        except Exception as error:  # the library raises nothing narrower
            message = f"embedding.tokenizer: {path} is no tokenizer.json ({error})"
            raise ConfigurationError(message) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # A document may well spell a special token; as text it counts for more than as one, which is the safe side.
        self._tokenizer.encode_special_tokens = True

    def count(self, text: str) -> int:
        """The number of tokens of `text`, without special ones."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def token_ends(self, text: str) -> npt.NDArray[np.int64]:
        """Where each token of `text` ends, as an offset into its UTF-8 bytes, ascending."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        points = code_points(text)
        widths = 1 + (points >= 0x80).astype(np.int64) + (points >= 0x800) + (points >= 0x10000)
        bytes_before = np.concatenate(([0], np.cumsum(widths)))
        ends = bytes_before[np.array([end for _, end in offsets], dtype=np.int64)]
        # Tokens that are parts of one character, or that a normalizer moved, may share an end or go back.
        return np.maximum.accumulate(ends) if len(ends) else ends
