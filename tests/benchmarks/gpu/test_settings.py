"""The settings survive JSON, and the rehearsal has the same steps at smaller sizes."""

import json

from ctonnx_bench.gpu.settings import ON_A_GPU, REHEARSAL, KitSettings


def test_settings_survive_json() -> None:
    for settings in (ON_A_GPU, REHEARSAL):
        assert KitSettings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings


def test_kit_takes_at_most_nine_minutes_and_its_rehearsal_four() -> None:
    assert (ON_A_GPU.budget_s, REHEARSAL.budget_s) == (540, 240)
    assert (ON_A_GPU.random_images, ON_A_GPU.scans, ON_A_GPU.clients) == (20_000, 2000, 64)
    assert ON_A_GPU.batch_sizes == (1, 32, 128)
    assert REHEARSAL.random_images < ON_A_GPU.random_images
