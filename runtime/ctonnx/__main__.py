"""Lets `python -m ctonnx` stand for the `ctonnx` command."""

from ctonnx.cli import main

main()
