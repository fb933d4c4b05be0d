"""Output of `ctonnx predict`: rows and heatmaps.

provenance      model, threshold and time in each row
row_order       order of the rows
row_formats     table, CSV and JSON lines
heatmap_image   picture of a scan with its heatmap
heatmap_folder  folder of heatmap pictures
batch           predicts files and writes their rows and heatmaps
"""
