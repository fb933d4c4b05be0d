"""`Predictor(trust=...)` opens the bytes that a trusted key signed."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.artifacts.provenance.signed_models import KeyPair, never_opened

from ctonnx import SignatureError
from ctonnx.errors import ModelError
from ctonnx.inference.session import open_session
from ctonnx.prediction import predictor as module
from ctonnx.prediction.predictor import Predictor
from ctonnx.system.files import sha256_of


def test_one_key_or_several_may_be_given(signed: Path, maker: KeyPair, other: KeyPair) -> None:
    for keys in (maker.public, str(maker.public), [other.public, maker.public]):
        with Predictor(signed, trust=keys) as predictor:
            assert (predictor.signed_by, predictor.sha256) == (maker.fingerprint, sha256_of(predictor.path))
    with Predictor(signed) as predictor:
        assert (predictor.signed_by, predictor.signed_sha256) == (None, None)


def test_file_that_is_exchanged_after_the_check_is_not_opened(
    signed: Path, maker: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = signed / "model.fp32.onnx"
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    with Predictor(model) as predictor:
        expected = predictor.predict_pixels(pixels).logits

    def opened(path: Path, **options: Any) -> Any:
        path.write_bytes(b"another model")
        return open_session(path, **options)

    monkeypatch.setattr(module, "open_session", opened)
    with Predictor(model, trust=maker.public) as predictor:
        np.testing.assert_array_equal(predictor.predict_pixels(pixels).logits, expected)
    with pytest.raises(ModelError):
        Predictor(model)


def test_copy_in_another_process_checks_again(signed: Path, maker: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    with Predictor(signed, trust=maker.public) as predictor:
        content = pickle.dumps(predictor)
    assert pickle.loads(content).signed_by == maker.fingerprint  # noqa: S301  (made above)
    (signed / "added").touch()
    never_opened(monkeypatch)
    with pytest.raises(SignatureError, match="found 'added' not signed"):
        pickle.loads(content)  # noqa: S301  (made above)


def test_signed_model_that_is_no_export_is_not_opened(
    export: Path, maker: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key can be lost, and other programs sign anything: the graph is checked as that of any file."""
    from model_signing import hashing, signing

    (export / "model.fp32.onnx").write_bytes(b"\x08\x0a")
    signer = signing.Config().use_elliptic_key_signer(private_key=maker.private)
    signer.set_hashing_config(hashing.Config().set_ignored_paths(paths=["model.sig"])).sign(
        export, export / "model.sig"
    )
    never_opened(monkeypatch)
    with pytest.raises(ModelError, match=f"^'{export / 'model.fp32.onnx'}' is not a whole ONNX model"):
        Predictor(export, trust=maker.public)
