"""The folds' metrics in words."""

from ctonnx_train.training.results.out_of_fold import describe_folds


def test_the_spread_of_the_folds_is_a_sentence() -> None:
    folds = [{"accuracy": value, "macro_auroc": None} for value in (0.8, 0.7, 0.75)]
    assert describe_folds(folds) == (
        "3 folds, each by a network trained without it: accuracy 0.700 to 0.800, median 0.750; macro AUROC not defined"
    )
