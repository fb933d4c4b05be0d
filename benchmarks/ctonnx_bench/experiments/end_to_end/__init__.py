"""Whole processes on a folder of scans.

peers/  the programs that are compared
folder  a folder and a single scan
"""
