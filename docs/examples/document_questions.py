"""Retrieval over documents: one pipeline cuts and embeds a document, another maps it and answers questions."""

import math
from collections import Counter

from hypernodes import Pipeline, node, stateful

DOCUMENTS = {
    "tea": "Green tea is steeped at eighty degrees. Black tea wants boiling water. Both come from one plant.",
    "bread": "Sourdough needs a starter. Knead the dough for ten minutes. Bake it in a hot oven.",
    "bikes": "Oil the chain every month. Tyres lose pressure over time. Check the brakes before a ride.",
}


@stateful
class Embedder:
    """Stands for a model that is slow to load: it is built at first use, once."""

    def __init__(self, name: str) -> None:
        print(f"loading {name}")

    def embed(self, text: str) -> Counter[str]:
        return Counter(text.lower().replace(".", "").replace("?", "").split())


@node(output_name="passages")
def cut(document: str) -> list[str]:
    return [part.strip() for part in document.split(".") if part.strip()]


@node(output_name="vectors", stateful_params=("embedder",))
def embed(passages: list[str], embedder: Embedder) -> list[Counter[str]]:
    return [embedder.embed(passage) for passage in passages]


@node(output_name="index")
def join(passages_of: list[list[str]], vectors_of: list[list[Counter[str]]]) -> list[tuple[str, Counter[str]]]:
    return [pair for passages, vectors in zip(passages_of, vectors_of) for pair in zip(passages, vectors)]


@node(output_name="answer")
def answer(index: list[tuple[str, Counter[str]]], question: str, embedder: Embedder) -> str:
    asked = embedder.embed(question)

    def likeness(vector: Counter[str]) -> float:
        shared = sum(asked[word] * vector[word] for word in asked)
        return shared / math.sqrt(sum(count * count for count in vector.values()))

    return max(index, key=lambda pair: likeness(pair[1]))[0]


per_document = Pipeline([cut, embed], name="document")
indexing = per_document.as_node({"documents": "document"}, {"passages": "passages_of", "vectors": "vectors_of"}, map_over="documents")
questions = Pipeline([indexing, join, answer], name="questions").bind(embedder=Embedder("words-v1"))

if __name__ == "__main__":
    result = questions.run({"documents": list(DOCUMENTS.values()), "question": "How hot is the water for black tea?"})
    print(result["answer"])
    print(result.stats)
