"""Whole processes on a folder of scans.

peers/  programs to compare
folder  comparison on a folder and on a single scan
"""
