"""Reports of a benchmark.

notes       notes below the table
tables      terminal table and Markdown
charts      plots
html        one self-contained HTML page
files       files of a report
publishing  results documents on named hardware
"""
