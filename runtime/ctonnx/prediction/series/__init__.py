"""Slices to series, studies and patients.

pseudonyms  names of patients that cannot be traced back without the key
"""
