"""Pictures of scans and series.

heatmap_image   picture of a scan with its heatmap
series_picture  the score along the body with the strongest slices
"""
