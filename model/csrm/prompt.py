"""The prompt: what the relevance model reads, cut so that the query's part is computed once for all products.

    <bos>{instruction, locale, knowledge, query}  {product}  {suffix}
    |------ prefix: once a query --------------| |-- once a product --|

Knows tokenizers; knows no model and no forward pass. Texts of shoppers and sellers are encoded as plain text:
a special token written in a product title stays a string of characters. Truncation cuts the texts, never the
frame around them, so the suffix at whose end the grades are read always stands whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from csrm.errors import BundleError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

GRADES = ("E", "S", "C", "I")
"""Exact, substitute, complement, irrelevant: the grades of the Shopping Queries data set (arXiv 2206.06588)."""

PROMPT_FORMAT = 1
"""Raised where the same texts become other tokens: grades that are shared between versions go by it."""

LOCALE_TOKENS = 35
"""Most tokens of the locale; a language tag of RFC 5646 has no more characters."""

SLACK_TOKENS = 32
"""How far behind a token its text must go on for the token to be the same as in the whole text: generous, a cut changes
the few tokens before it."""

USUAL_CHARS = 6
"""Characters of a token that are read at first; where tokens have more, more is read."""


class PromptTemplate(BaseModel):
    """The words of the prompt. ``{locale}``, ``{knowledge}``, ``{query}`` and ``{product}`` are filled in.

    ``labels`` maps each answer to the grades it stands for: four answers for a graded model, ``yes`` and ``no``
    for rerankers of the Qwen3-Reranker convention. Each answer must be one token of the base model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prefix: str = "Grade the match.\n{knowledge}Query ({locale}): {query}\nProduct:"
    knowledge_line: str = "Note: {line}\n"
    product: str = " {product}"
    suffix: str = "\nGrade:"
    unknown_locale: str = "any"
    labels: dict[str, Literal["E", "S", "C", "I"]] = Field(
        default={" exact": "E", " substitute": "S", " complement": "C", " irrelevant": "I"}
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for part, needed, allowed in (
            ("prefix", {"query"}, {"query", "locale", "knowledge"}),
            ("product", {"product"}, {"product"}),
            ("knowledge_line", {"line"}, {"line"}),
        ):
            fields = [field for _, field in _segments(getattr(self, part)) if field is not None]
            if len(fields) != len(set(fields)) or not needed <= set(fields) <= allowed:
                raise ValueError(
                    f"{part} must name {sorted(needed)} once and may name only {sorted(allowed)}"
                )
        if not self.suffix:
            raise ValueError("suffix must not be empty: the grade is read at its last token")
        if len(set(self.labels.values())) != len(self.labels) or len(self.labels) < 2:
            raise ValueError("labels must name at least two answers, each for another grade")
        return self


class PromptLimits(BaseModel):
    """Most tokens of each part of the prompt; what is longer is cut at its end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query_tokens: int = Field(default=64, ge=4)
    knowledge_tokens: int = Field(default=96, ge=0)
    product_tokens: int = Field(default=96, ge=8)


@dataclass(frozen=True, slots=True)
class CompiledTokenizer:
    """A compiled tokenizer that nobody else has, and the token that stands before every prompt, if any."""

    backend_tokenizer: Tokenizer
    bos_token_id: int | None

    @property
    def vocab_size(self) -> int:
        """Without added tokens, as transformers counts."""
        return int(self.backend_tokenizer.get_vocab_size(with_added_tokens=False))


class PromptEncoder:
    """Turns queries, knowledge and products into token ids.

    Raises:
        BundleError: an answer of the template is not exactly one token of this tokenizer.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | CompiledTokenizer,
        template: PromptTemplate,
        limits: PromptLimits,
    ) -> None:
        self.template = template
        self.limits = limits
        self._bos: int | None = tokenizer.bos_token_id
        self._ids = _reader(tokenizer)
        self.label_grades = tuple(template.labels.values())
        self.label_ids = tuple(self._label_id(answer) for answer in template.labels)

    @property
    def longest(self) -> int:
        """Most tokens that a prompt with one product can have."""
        literals = [literal for literal, _ in _segments(self.template.prefix)]
        literals.append(_segments(self.template.product)[0][0])
        frame = sum(len(self._markup(literal)) for literal in literals) + len(self._suffix())
        limits = self.limits
        texts = LOCALE_TOKENS + limits.query_tokens + limits.knowledge_tokens + limits.product_tokens
        return 1 + frame + texts

    def prefix(self, query: str, *, locale: str | None = None, knowledge: Sequence[str] = ()) -> list[int]:
        """Token ids of everything before the product; the same for all products of a query.

        Args:
            query: what the shopper typed; cut to ``limits.query_tokens``.
            locale: language tag of the shop; ``template.unknown_locale`` where null.
            knowledge: lines of knowledge, best first; as many whole lines as ``limits.knowledge_tokens`` allows.
        """
        fields = {
            "locale": (locale or self.template.unknown_locale, LOCALE_TOKENS),
            "query": (query, self.limits.query_tokens),
        }
        ids = [] if self._bos is None else [self._bos]
        for literal, field in _segments(self.template.prefix):
            if field == "knowledge":
                ids += self._markup(literal) + self._knowledge(knowledge)
            elif field is not None:
                text, limit = fields[field]
                ids += self._filled(literal, [text], limit)[0]
            else:
                ids += self._markup(literal)
        return ids

    def products(self, products: Sequence[str]) -> list[list[int]]:
        """Token ids of each product with the suffix after it; only the product's own text is ever cut."""
        head = _segments(self.template.product)[0][0]
        suffix = self._suffix()
        return [ids + suffix for ids in self._filled(head, products, self.limits.product_tokens)]

    def _suffix(self) -> list[int]:
        """Token ids of everything after the product."""
        rest = _segments(self.template.product)[1:]
        return self._markup("".join(literal for literal, _ in rest) + self.template.suffix)

    def _knowledge(self, lines: Sequence[str]) -> list[int]:
        (head, _), *rest = _segments(self.template.knowledge_line)
        end = self._markup("".join(literal for literal, _ in rest))
        budget = self.limits.knowledge_tokens
        kept: list[int] = []
        for ids in self._filled(head, lines, budget + 1):
            if len(kept) + len(ids) + len(end) > budget:
                break
            kept += ids + end
        return kept

    def _filled(self, head: str, texts: Sequence[str], limit: int) -> list[list[int]]:
        """The literal before a field, then the field: each text as plain text on one line, cut to ``limit`` tokens."""
        lead = ""
        if head.endswith(" "):  # "a: " + "cat" is tokenised as "a:" + " cat", as in running text
            head, lead = head[:-1], " "
        start = self._markup(head)
        lines = [lead + " ".join(text.split()) for text in texts]
        return [start + ids for ids in self._first_tokens(lines, limit)]

    def _first_tokens(self, lines: Sequence[str], limit: int) -> list[list[int]]:
        """The first ``limit`` tokens of each line, without a look at all of a long one.

        Only the beginning of a line is tokenised, so far that ``SLACK_TOKENS`` stand behind the last token that is
        taken: where a text is cut, its last few tokens are others than in the whole.
        """
        needed = limit + SLACK_TOKENS
        chars = needed * USUAL_CHARS
        found = self._plain([line[:chars] for line in lines])
        for place, line in enumerate(lines):
            read = chars
            while len(found[place]) < needed and read < len(line):
                read *= 2
                found[place] = self._plain([line[:read]])[0]
        return [ids[:limit] for ids in found]

    def _plain(self, lines: Sequence[str]) -> list[list[int]]:
        """Token ids of texts in which nothing is special."""
        return self._ids(lines, True) if lines else []

    def _markup(self, literal: str) -> list[int]:
        """A literal of the template, the only place where special tokens mean what they say."""
        return self._ids([literal], False)[0] if literal else []

    def _label_id(self, answer: str) -> int:
        ids = self._markup(answer)
        if len(ids) != 1:
            raise BundleError(
                f"The answer {answer!r} is {len(ids)} tokens of this base model: choose answers of one token."
            )
        return ids[0]


def _reader(
    tokenizer: PreTrainedTokenizerBase | CompiledTokenizer,
) -> Callable[[Sequence[str], bool], list[list[int]]]:
    """From texts, and whether special tokens in them are plain text, to the token ids of each.

    Of a fast tokenizer only the compiled part is held: transformers keeps the whole vocabulary beside it in Python,
    twice its memory.
    """
    if isinstance(tokenizer, CompiledTokenizer):
        backend = tokenizer.backend_tokenizer
    elif tokenizer.is_fast:
        backend = copy(tokenizer.backend_tokenizer)  # what others do with the tokenizer changes nothing here
    else:

        def read(texts: Sequence[str], plain: bool) -> list[list[int]]:
            found = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=plain)
            return [list(ids) for ids in found["input_ids"]]

        return read
    backend.no_truncation()
    backend.no_padding()

    def read_fast(texts: Sequence[str], plain: bool) -> list[list[int]]:
        backend.encode_special_tokens = plain
        return [one.ids for one in backend.encode_batch(list(texts), add_special_tokens=False)]

    return read_fast


def _segments(template: str) -> list[tuple[str, str | None]]:
    """Literals of a template, each with the name of the field that follows it (null after the last)."""
    return [(literal, field) for literal, field, _, _ in Formatter().parse(template)]
