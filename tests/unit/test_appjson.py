"""Keys are added to an app.json as a person would: what stands there is not touched."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.core import appjson
from tenants.core.errors import UsageError

WANTED = ("scripts", "dokku", "predeploy")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=8), VALUES, max_size=4)
SCRIPTS = st.fixed_dictionaries({}, optional={"dokku": OBJECTS, "heroku": VALUES})
DOCUMENTS = st.builds(
    lambda before, scripts, after: {**before, **scripts, **after},
    OBJECTS,
    st.fixed_dictionaries({}, optional={"scripts": SCRIPTS}),
    OBJECTS.map(lambda found: {f"z{key}": value for key, value in found.items()}),
).filter(lambda d: isinstance(d.get("scripts", {}), dict) and isinstance(d.get("scripts", {}).get("dokku", {}), dict))


@given(DOCUMENTS, st.sampled_from([None, 0, 1, 2, 4, "\t"]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_the_new_text_means_the_old_one_and_the_key_and_keeps_every_line(
    document: dict[str, Any], indent: int | str | None, newline: str, ascii_only: bool
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only).replace("\n", newline) + newline
    appjson.check("app.json", text)
    if appjson.find("app.json", text, WANTED):
        return
    made = appjson.add(text, WANTED, "tenants deploy")
    expected = json.loads(text)
    expected.setdefault("scripts", {}).setdefault("dokku", {})["predeploy"] = "tenants deploy"
    assert json.loads(made) == expected
    assert list(json.loads(made))[: len(document)] == list(document)
    found = appjson.find("app.json", made, WANTED)
    assert found and found.value == "tenants deploy"
    assert "\n" not in made.replace("\r\n", "") or newline == "\n"
    assert _is_subsequence([c for c in text if not c.isspace()], made)


def _is_subsequence(wanted: list[str], text: str) -> bool:
    letters = iter(text)
    return all(letter in letters for letter in wanted)


def test_what_is_added_looks_like_what_is_there() -> None:
    text = '{\n    "name": "fruits",\n    "formation": {"web": {"quantity": 1}}\n}\n'
    assert appjson.add(text, WANTED, "tenants deploy") == (
        '{\n    "name": "fruits",\n    "formation": {"web": {"quantity": 1}},\n    "scripts": {\n        "dokku": {\n'
        '            "predeploy": "tenants deploy"\n        }\n    }\n}\n'
    )
    assert appjson.add(text, ("formation", "agent"), {"quantity": 1}) == text.replace(
        '{"quantity": 1}}', '{"quantity": 1}, "agent": {"quantity": 1}}'
    )
    assert appjson.add("{}", WANTED[1:], "x") == '{\n  "dokku": {\n    "predeploy": "x"\n  }\n}'
    assert appjson.add('{\n\t"scripts": {}\n}', WANTED, "x") == (
        '{\n\t"scripts": {\n\t\t"dokku": {\n\t\t\t"predeploy": "x"\n\t\t}\n\t}\n}'
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "app.json:1:1"),
        ('{\n  "name": "fruits",\n}', "app.json:3"),
        ("[]", "no object"),
        ("\ufeff{}", "app.json:1"),
        ("[" * 100_000, "app.json"),
        ('{"a": ' + "9" * 5000 + "}", "app.json"),
    ],
)
def test_what_is_no_json_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        appjson.check("app.json", text)
    assert told in caught.value.message and caught.value.next


def test_a_way_that_is_barred_is_told_with_its_line() -> None:
    with pytest.raises(UsageError, match=r"app.json:2: scripts.dokku is no object"):
        appjson.find("app.json", '{"scripts": {\n"dokku": "x"}}', WANTED)
