"""The line of every key, in whatever way TOML lets it be written."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.jobfile.toml_lines import lines_of

TEXT = '''\
# comment = 1
title = "a # b [c]" # x = 1
[pool]
workers = 2

[source."odd name"]
read = [ # the first
  "a, b",
  'c = "d"',
]
text = """
not = a key
[nor.this]
"""
dotted.key = 1979-05-27T07:32:00Z
inline = { one = 1, two = { three = [1.5, { four = 4 }] } }
[[workflow.w.step]]
name = "a"
[[workflow.w.step]]
name = \'\'\'b
c\'\'\'
branches.x = ""
[workflow.w.step.by]
z = -1.5e3
'''


def test_every_way_of_writing():
    found = lines_of(TEXT)
    expected = {
        ("title",): 2,
        ("pool",): 3,
        ("pool", "workers"): 4,
        ("source", "odd name"): 6,
        ("source", "odd name", "read"): 7,
        ("source", "odd name", "read", 0): 8,
        ("source", "odd name", "read", 1): 9,
        ("source", "odd name", "text"): 11,
        ("source", "odd name", "dotted", "key"): 15,
        ("source", "odd name", "inline", "two", "three", 1, "four"): 16,
        ("workflow", "w", "step", 0): 17,
        ("workflow", "w", "step", 0, "name"): 18,
        ("workflow", "w", "step", 1): 19,
        ("workflow", "w", "step", 1, "name"): 20,
        ("workflow", "w", "step", 1, "branches", "x"): 22,
        ("workflow", "w", "step", 1, "by"): 23,
        ("workflow", "w", "step", 1, "by", "z"): 24,
    }
    assert {path: found.get(path) for path in expected} == expected
    assert paths_of(tomllib.loads(TEXT)) <= found.keys()


def paths_of(value, path=()):
    found = {path} if path else set()
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        found |= paths_of(inner, (*path, key))
    return found


keys = st.text("ab_-1", min_size=1, max_size=3)
atoms = st.integers() | st.booleans() | st.sampled_from(['"x"', "'''\ny = 1\n'''", '"[a]\\"#"', "1.5", "[]", "{}"])


def written(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {written(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[\n" + ",\n".join(map(written, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


values = st.recursive(atoms, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))


@given(st.dictionaries(keys, st.dictionaries(keys, values, max_size=4), max_size=4))
def test_every_value_has_its_place_at_its_line(document):
    lines, expected = [], {}
    for table, pairs in document.items():
        lines.append(f"[{table}]")
        expected[table,] = len(lines)
        for key, value in pairs.items():
            text = f"{key} = {written(value)} # [no.table]"
            if isinstance(value, dict) and "\n" in text:  # an inline table is one line
                continue
            expected[table, key] = len(lines) + 1
            lines += text.split("\n")
    text = "\n".join(lines) + "\n"
    found = lines_of(text)
    assert {path: found.get(path) for path in expected} == expected
    assert paths_of(tomllib.loads(text)) <= found.keys()
