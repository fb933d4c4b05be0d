"""UIDs from sources and models."""

from pydicom.uid import UID

from ctonnx.server.pacs.results.uids import derived_uid


def test_same_parts_have_the_same_valid_uid() -> None:
    uid = derived_uid("1.2.3", ["1.2.3.4", "1.2.3.5"], "ab" * 32)
    assert uid == derived_uid("1.2.3", ["1.2.3.4", "1.2.3.5"], "ab" * 32)
    assert UID(uid).is_valid
    assert uid.startswith("2.25.")


def test_other_parts_have_another_uid() -> None:
    parts = [("a", "b"), ("ab",), ("a", ["b"], ""), (["a", "b"],), (["a"], ["b", ""]), ("a", "c"), ("b", "a")]
    assert len({derived_uid(*one) for one in parts}) == len(parts)
