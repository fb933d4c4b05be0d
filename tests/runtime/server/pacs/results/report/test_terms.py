"""Codes of a report's own terms."""

from ctonnx.server.pacs.results.report import terms


def test_terms_have_different_values_in_the_private_scheme() -> None:
    codes = [getattr(terms, name) for name in terms.__all__ if name != "DECISIONS"] + list(terms.DECISIONS.values())
    assert len({code.value for code in codes}) == len(codes)
    assert {code.scheme_designator for code in codes} == {"99CTONNX"}


def test_each_decision_has_a_code_of_its_name() -> None:
    assert {name: code.value for name, code in terms.DECISIONS.items()} == {
        "positive": "positive",
        "negative": "negative",
        "refer": "refer",
    }
