"""Settings of the documentation site; `make site` builds it with every warning as an error, and without a network."""

import importlib.metadata

project = "ctonnx"
release = importlib.metadata.version("ctonnx")
root_doc = "README"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["**/.*"]
myst_heading_anchors = 3  # links to headings, as GitHub resolves them

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
add_module_names = False
default_role = "code"  # docstrings write `name`

html_theme = "furo"  # its fonts are the system's, and it loads nothing from elsewhere
html_title = f"ctonnx {release}"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
