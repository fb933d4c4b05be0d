"""Reports of a benchmark.

notes       notes below the table
tables      terminal table and Markdown
charts      plots
html        self-contained HTML page
files       files of a report
publishing  document of results on named hardware
"""
