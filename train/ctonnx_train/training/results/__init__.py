"""Results of a training in the folder of its run.

run_record  calibration, metrics and run.json
report      reports in a run's folder
"""
