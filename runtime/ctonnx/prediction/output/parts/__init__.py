"""Rows of a run in parts, each of one shard of its files.

split      which files are in a shard, the same on each machine
part_file  the rows of a shard in a file, written as they come, and continued after a stop
merging    the parts of all shards to the rows of the whole run
"""
