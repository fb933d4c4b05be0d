"""Output of `ctonnx predict`: rows and heatmaps.

provenance      model, threshold and time in each row
row_order       order of the rows
row_formats     table, CSV and JSON lines
pictures/       pictures of scans and series
heatmap_folder  folder of heatmap pictures
group_rows      the rows' formats for groups of slices
batch           predicts files and writes their rows and heatmaps
group_batch     the same for groups of slices
parts/          shards of a split: their files, continued and merged
"""
