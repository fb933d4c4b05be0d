"""Reports of the kit.

markdown  gpu-report.md
plots     plots as PNG files
files     all files, written after each step
"""
