"""One benchmark: its document, and the reports from it.

document  `run_benchmark`: measured cases, and the verdict on each
workflow  a benchmark from its settings to its reports
plan      the machines that an archive needs before a deadline
family/   `--family`: models of several exports, and the plot of accuracy against latency
"""
