"""Codes of the terms that a report has of its own: names of values, and decisions."""

from highdicom.sr import CodedConcept

from ctonnx.artifacts.decision.rule import DecisionName
from ctonnx.server.pacs.results.codes import private_code

__all__ = ["CLASS", "DECISION", "DECISIONS", "OPERATING_POINT", "PROBABILITY", "REASON", "SCORE", "WARNING"]

CLASS = private_code("class", "Predicted class")
DECISION = private_code("decision", "Decision")
REASON = private_code("reason", "Reason for the decision")
WARNING = private_code("warning", "Warning about the image")
PROBABILITY = private_code("probability", "Probability of the predicted class")
SCORE = private_code("score", "Score: summed probability of the suspicious classes")
OPERATING_POINT = private_code("operating-point", "Operating point: lowest score that is positive")
DECISIONS: dict[DecisionName, CodedConcept] = {
    "positive": private_code("positive", "Positive"),
    "negative": private_code("negative", "Negative"),
    "refer": private_code("refer", "Refer to a person"),
}
"""Codes of the decisions."""
