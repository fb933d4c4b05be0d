"""`ctonnx recalibrate`: the values of an exported model, fitted on a site's own labelled scans.

temperature  the temperature in the graph, and the hash of the rest
scans        the site's scans, and the model's outputs for them
fitting      the values: temperature, operating point, prediction sets, novelty threshold
comparison   the model before and after, on scans that chose nothing
files        the new model file and its golden inputs
recalibrate  `recalibrate_model`
report       the result as text
"""
