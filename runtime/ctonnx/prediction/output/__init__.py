"""Output of `ctonnx predict`: rows and heatmaps.

provenance      model, threshold and time in each row
row_order       order of the rows
row_formats     table, CSV and JSON lines
heatmap_image   picture of a scan with its heatmap
heatmap_folder  folder of heatmap pictures
group_rows      the rows' formats for groups of slices
series_picture  the score along the body with the strongest slices
batch           predicts files and writes their rows and heatmaps
group_batch     the same for groups of slices
"""
