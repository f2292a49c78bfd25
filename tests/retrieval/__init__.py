"""A collection so small that everything in it can be counted."""

import json

DOCUMENTS = [
    (f"d{k}", f"{colour} {thing}", f"the {thing} is {colour} and number {k}")
    for k, (colour, thing) in enumerate(
        (colour, thing)
        for thing in ("boat", "house", "tree", "bird", "stone", "cloud")
        for colour in ("red", "blue", "green", "grey")
    )
]
QUERIES = [(f"q{name}", f"which {title} is it") for name, title, _ in DOCUMENTS]


def write_collection(folder):
    """Write BEIR's files: each query asks for one document, the first for two."""
    (folder / "qrels").mkdir(parents=True)
    documents = [{"_id": i, "title": t, "text": x} for i, t, x in DOCUMENTS]
    queries = [{"_id": i, "text": text} for i, text in QUERIES]
    for name, rows in (("corpus", documents), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    head = "query-id\tcorpus-id\tscore\n"
    for split, first, last in (("train", 0, 16), ("dev", 16, 20), ("test", 20, 24)):
        rows = [f"{QUERIES[k][0]}\t{DOCUMENTS[k][0]}\t1\n" for k in range(first, last)]
        if split == "train":
            rows.append(f"{QUERIES[0][0]}\t{DOCUMENTS[1][0]}\t2\n")
        (folder / "qrels" / f"{split}.tsv").write_text(head + "".join(rows))
    return folder
