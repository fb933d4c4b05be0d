"""Settings of the documentation site; `make site` builds it with every warning as an error, and without a network."""

import importlib.metadata
import re

from sphinx.application import Sphinx

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


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Adds the navigation to the root page: a group for each item of its numbered list, with the pages linked there."""
    if page == root_doc:
        for group in re.split(r"(?m)^\d\. ", source[0])[1:]:
            caption = "" if group.startswith("[") else f":caption: {group.splitlines()[0]}\n"
            pages = "\n".join(re.findall(r"\]\((\S+)\.md\)", group))
            source[0] += f"\n```{{toctree}}\n:hidden:\n{caption}\n{pages}\n```\n"


def setup(app: Sphinx) -> None:
    """Registers the navigation, which GitHub would show as code in the page itself."""
    app.connect("source-read", add_navigation)
