"""Results of a training in the folder of its run.

out_of_fold  predictions of images by networks that were trained without them
novelty      the distance from the training images and its threshold
run_record   calibration, metrics and run.json
report       reports in a run's folder
"""
