"""Generated, labelled chest-CT phantoms.

drawing      axial slices with and without lesions
phantom_set  datasets of phantoms, in the layout of the public Kaggle set
"""
