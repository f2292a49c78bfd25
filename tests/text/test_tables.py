"""Tables give the texts that stand in them, all of them, and are read as they are."""

import csv
import gzip
import json

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather, ipc, parquet

from lm_jax.data import TokenStream
from lm_jax.errors import UserError
from lm_jax.text import Corpus, find
from lm_jax.text.labels import table_examples
from lm_jax.text.tables import READERS, table_documents
from lm_jax.tokenizers import Words
from tests.properties import quick
from tests.text import splits_of


def test_tables_are_a_document_a_row(tmp_path):
    texts = [f"poem {i}, 明月\nline" for i in range(50)] + [""]
    table = tmp_path / "poems.jsonl"
    table.write_text("".join(json.dumps({"id": 1, "poem": t}) + "\n" for t in texts))
    splits = splits_of(Corpus(str(table), column="poem"), tmp_path / "cache")
    assert sorted(splits["train"] + splits["validation"]) == sorted(texts[:-1])
    with pytest.raises(UserError, match=r"no column 'text'.*id, poem"):
        splits_of(Corpus(str(table)), tmp_path / "cache")
    with pytest.raises(UserError, match="column 'id' of .* holds no text"):
        splits_of(Corpus(str(table), column="id"), tmp_path / "cache")


def test_csv_and_parquet(tmp_path):
    import datasets

    texts = {"text": [f'a "b", {i}' for i in range(20)]}
    table = datasets.Dataset.from_dict(texts)
    table.to_parquet(str(tmp_path / "t.parquet"))
    table.to_csv(str(tmp_path / "t.csv"))
    for name in ("t.parquet", "t.csv"):
        splits = splits_of(Corpus(str(tmp_path / name)), tmp_path / "cache")
        assert sorted(sum(splits.values(), [])) == sorted(texts["text"])


def test_a_parquet_file_that_was_cut_short(tmp_path):
    import datasets

    path = tmp_path / "t.parquet"
    datasets.Dataset.from_dict({"text": ["a", "b"]}).to_parquet(str(path))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"t.parquet cannot be read as parquet: .*"):
        splits_of(Corpus(str(path)), tmp_path / "cache")


def write(path, texts):
    """Write texts beside a column of numbers, in the format that the name says."""
    end = path.suffix
    rows = [{"id": i, "text": text} for i, text in enumerate(texts)]
    table = pyarrow.table({"id": [*range(len(texts))], "text": texts})
    if end in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            form = {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None}
            writer = csv.writer(file, **(form if end == ".tsv" else {}))
            writer.writerows([["id", "text"], *([r["id"], r["text"]] for r in rows)])
    elif end == ".json":
        path.write_text(json.dumps(rows))
    elif end == ".parquet":
        parquet.write_table(table, path)
    elif end == ".feather":
        feather.write_feather(table, path)
    elif end == ".arrow":
        with ipc.new_stream(path, table.schema) as file:
            file.write_table(table)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("end", READERS)
@pytest.mark.parametrize("name", ["a[1]", "f*", "a::b", "{x,y}", "a?b", "#1 %20", "~"])
def test_the_file_is_read_whose_name_it_is(tmp_path, name, end):
    for other in ("a1", "f1", "b", "x", "y", "acb"):
        write(tmp_path / f"{other}{end}", ["wrong"] * 20)
    write(tmp_path / f"{name}{end}", ["right"] * 20)
    found = splits_of(Corpus(str(tmp_path / f"{name}{end}")), tmp_path / "cache")
    assert sum(found.values(), []) == ["right"] * 20
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["digests"]


@pytest.mark.parametrize("end", [".jsonl", ".ndjson", ".jsonlines", ".NDJSON"])
@pytest.mark.parametrize("pack", [None, gzip.compress])
def test_lines_of_json_are_read_whatever_they_are_called(tmp_path, end, pack):
    write(path := tmp_path / f"a{end}", ["one text"] * 20)
    if pack:
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(pack(path.read_bytes()))
        path.unlink()
        path = packed
    assert (
        sum(splits_of(Corpus(str(path)), tmp_path / "cache").values(), [])
        == ["one text"] * 20
    )


WORDS = [
    "NA",
    "None",
    "null",
    "nan",
    "NaN",
    "N/A",
    "-",
    "1",
    "01",
    "1.0",
    "true",
    "#N/A",
]
WORDS += ["2020-01-01", "2020-01-01T00:00:00Z", " padded ", "'", "春", "<NA>", "1e5"]


@pytest.mark.parametrize("end", READERS)
def test_what_looks_like_no_text_is_text(tmp_path, end):
    path = tmp_path / f"a{end}"
    write(path, WORDS)
    assert list(table_documents(path, "text")) == WORDS
    write(path, ["2020-01-01"] * 5)
    assert list(table_documents(path, "text")) == ["2020-01-01"] * 5


printed = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
fields = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\t\r\n")
)


@quick
@pytest.mark.parametrize("end", [".jsonl", ".csv", ".tsv", ".parquet"])
@given(data=st.data())
def test_texts_come_back(tmp_path_factory, end, data):
    one = fields if end == ".tsv" else printed
    texts = data.draw(st.lists(one, min_size=1, max_size=6))
    path = tmp_path_factory.mktemp("t") / f"t{end}"
    write(path, texts)
    assert list(table_documents(path, "text")) == [text for text in texts if text]


def test_quotes_in_a_tsv_are_text_and_merge_no_rows(tmp_path):
    path = tmp_path / "q.tsv"
    rows = [f'"row {i}' if i % 10 == 3 else f"row {i}" for i in range(120)]
    rows += ['"whole"', 'in "the" middle', '""']
    path.write_text("text\tid\n" + "".join(f"{row}\t1\n" for row in rows))
    assert list(table_documents(path, "text")) == rows


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "text,id\nHello, world,1\n", "line 2: 3 fields, .* names 2.*quotes"),
        ("a.csv", "text,id\nx,1\nHello\n", "line 3: 1 fields, where the first row"),
        ("a.csv", 'text\n"never ends\nb\n', "line 3 cannot be read as csv: .*end of"),
        ("a.csv", 'text\n"a"b\n', "line 2 cannot be read as csv.*doubled"),
        ("a.csv", "text,text\na,b\n", "has the column 'text' 2 times"),
        ("a.csv", "texts,id\na,b\n", "no column 'text'.*mean 'texts'.*id, texts"),
        ("a.csv", "\n\n", "no column 'text'"),
        ("a.tsv", "text\tid\nx\ny\t1\n", "line 2: 1 fields.*jsonl"),
        ("a.jsonl", '{"text": "a"}\n{"text"\n', "line 2 cannot be read as JSON"),
        ("a.jsonl", '{"text": "a"}\n["b"]\n', "line 2 is no object .* but a list"),
        ("a.jsonl", '{"id": 1, "text": ["a"]}\n', r"no text but a list.*id \(a number"),
        ("a.jsonl", '{"text": {"a": 1}}\n', "holds no text but an object"),
        ("a.jsonl", '{"text": 5}\n', "line 1, holds no text but a number"),
        ("a.jsonl", '{"text": true}\n', "holds no text but true or false"),
        ("a.jsonl", '{"body": "a"}\n', "no column 'text'.*body"),
        ("a.jsonl", '{"text": "a \\ud800 b"}\n', "line 1: the text has half a char"),
        ("a.jsonl", '{"text": null}\n{"text": ""}\n', "no text in the column 'text'"),
        ("a.csv", "text,id\n,1\n,2\n", "has no text in the column 'text' to learn"),
        ("a.csv", "text\n", "has no text in the column 'text' to learn from"),
        ("a.jsonl", "[" * 100_000, "line 1 cannot be read as JSON"),
        ("a.json", '[{"text": "a"}, {"text"', "line 1 cannot be read as JSON"),
        ("a.json", '{\n "text": "a"\n}\n', "Each line is to be one object"),
        ("a.parquet", "PAR1", "cannot be read as parquet"),
        ("a.arrow", "ARROW1\0\0", "cannot be read as arrow"),
        ("a.feather", "nothing", "cannot be read as arrow"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=said):
        splits_of(Corpus(str(tmp_path / name)), tmp_path / "cache")


@pytest.mark.parametrize("write_table", [parquet.write_table, feather.write_feather])
def test_columns_that_are_no_text_are_told_with_their_types(tmp_path, write_table):
    columns = {
        "list": pyarrow.array([["a"]]),
        "struct": pyarrow.array([{"a": "b"}]),
        "time": pyarrow.array([0], pyarrow.timestamp("s")),
        "bytes": pyarrow.array([b"a"]),
        "number": pyarrow.array([1.5]),
        "none": pyarrow.array([None]),
    }
    end = ".parquet" if write_table is parquet.write_table else ".feather"
    path = tmp_path / f"t{end}"
    write_table(pyarrow.table(columns), path)
    kinds = ["list<", "struct<a: string>", "timestamp", "binary", "double", "null"]
    for column, kind in zip(columns, kinds, strict=True):
        with pytest.raises(UserError, match=f"no text but {kind}.*There is: list .*"):
            splits_of(Corpus(str(path), column=column), tmp_path / "cache")


def test_all_types_of_text_are_text(tmp_path):
    texts, path = ["a", None, "", "b"], tmp_path / "t.arrow"
    for kind in ("string", "large_string", "string_view", "dictionary"):
        column = pyarrow.array(texts, "string" if kind == "dictionary" else kind)
        column = column.dictionary_encode() if kind == "dictionary" else column
        table = pyarrow.table({"text": column, "a.b": column})
        with ipc.new_file(path, table.schema) as file:
            file.write_table(table)
        assert list(table_documents(path, "text")) == ["a", "b"]
        if kind != "string_view":
            parquet.write_table(table, tmp_path / "t.parquet")
            assert list(table_documents(tmp_path / "t.parquet", "a.b")) == ["a", "b"]


def test_compressed_tables(tmp_path):
    for end in (".jsonl", ".csv", ".parquet"):
        write(tmp_path / f"t{end}", ["a", "b"])
        packed = tmp_path / f"t{end}.gz"
        packed.write_bytes(gzip.compress((tmp_path / f"t{end}").read_bytes()))
        assert list(table_documents(packed, "text")) == ["a", "b"]
        text = find(Corpus(str(packed)), tmp_path / "cache")
        assert text.bytes == (tmp_path / f"t{end}").stat().st_size


@pytest.mark.parametrize("end", [".jsonl", ".csv", ".parquet"])
def test_rows_that_are_left_out_are_counted(tmp_path, end):
    path = tmp_path / f"a{end}"
    write(path, [f"text {k}" if k % 3 else "" for k in range(60)])
    if end == ".jsonl":  # as other programs write what isn't there
        lines = path.read_text().splitlines()
        lines[0], lines[3] = '{"content": "text"}', '{"text": null}'
        path.write_text("\n".join(lines))
    data = TokenStream(Corpus(str(path)), Words(), 4)
    for _ in range(2):  # made, and found in the cache
        said = data.prepare(tmp_path / "cache").statement
        assert "20 of the 60 rows have no text in the column 'text'" in said
    write(path, [f"text {k}" for k in range(60)])
    assert "rows have" not in data.prepare(tmp_path / "cache").statement


def test_labels_are_what_stands_there(tmp_path):
    path = tmp_path / "l.csv"

    def found(*texts):
        return list(table_examples(path, texts or ["text"], "label"))

    path.write_text("text,label,other\na,01,x\nb,NA,y\nc,1.0,z\n")
    assert found() == [(("a",), "01"), (("b",), "NA"), (("c",), "1.0")]
    assert found("text", "other")[0] == (("a", "x"), "01")
    for asked in (("other", "other"), ("label",)):
        with pytest.raises(UserError, match=f"column '{asked[0]}' .* asked for twice"):
            found(*asked)
    for empty in ("", "  "):
        path.write_text(f"text,label\na,0\n{empty},1\n")
        with pytest.raises(UserError, match="line 3 has no text in the column 'text'"):
            found()
    path.write_text("text,label\na,\n")
    with pytest.raises(UserError, match="line 2 has no label in the column 'label'"):
        found()
    path = tmp_path / "l.jsonl"
    path.write_text('{"text": "a", "label": 1}\n{"text": "b", "label": true}\n')
    assert found() == [(("a",), "1"), (("b",), "True")]
    for value, said in (("null", "no label"), ("[1]", "a list, no label,")):
        path.write_text(f'{{"text": "a", "label": {value}}}\n')
        with pytest.raises(UserError, match=f"line 1 has {said}"):
            found()
    path.write_text('{"text": "a", "kind": 1}\n')
    with pytest.raises(UserError, match="line 1 has no column 'label'.*kind, text"):
        found()


def test_a_long_document_and_a_byte_order_mark(tmp_path):
    long = "x" * 300_000
    for end in (".csv", ".jsonl"):
        path = tmp_path / f"a{end}"
        write(path, [long, "b"])
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert list(table_documents(path, "text")) == [long, "b"]


def test_a_table_is_read_row_by_row(tmp_path):
    """The first row comes before the rest was read, whatever its format."""
    for end in READERS:
        path = tmp_path / f"t{end}"
        write(path, [f"text {i}" for i in range(3000)])
        documents = table_documents(path, "text")
        assert next(documents) == "text 0"
        documents.close()


@pytest.mark.parametrize(
    ("name", "head", "said"),
    [
        ("a.csv", "text;label", "separated by commas, and these seem to be by ';'"),
        (
            "a.csv",
            "text\tlabel",
            "separated by commas, and these seem to be by '\\\\t'",
        ),
        ("a.tsv", "text,label", "separated by tabs, and these seem to be by ','"),
    ],
)
def test_fields_with_another_separator_are_no_column(tmp_path, name, head, said):
    (tmp_path / name).write_text(f"{head}\none\n")
    with pytest.raises(UserError, match=said):
        list(table_documents(tmp_path / name, "text"))


def test_a_column_may_have_a_semicolon_in_its_name(tmp_path):
    (tmp_path / "a.csv").write_text("text;label\none;x\n")
    rows = list(table_documents(tmp_path / "a.csv", "text;label"))
    assert rows == ["one;x"]
