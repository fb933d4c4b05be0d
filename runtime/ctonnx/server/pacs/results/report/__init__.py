"""Comprehensive 3D SR of a series.

terms              codes of the model's own terms
content_items      content items as bytes
image_groups       evaluations of each image, and the library of images
structured_report  the report
"""
