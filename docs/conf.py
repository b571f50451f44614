"""How `make docs` builds the site from this folder."""

from trialpack import __version__

project = "trialpack"
author = copyright = "trialpack developers"
release = version = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
highlight_language = "none"

myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_show_tb = True
nb_execution_timeout = 300
nb_merge_streams = True

# Docstrings are numpydoc's; types stand in annotations only.
default_role = "py:obj"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "description"
autodoc_typehints_format = "short"
napoleon_google_docstring = False
napoleon_use_ivar = False

html_theme = "pydata_sphinx_theme"
html_title = f"trialpack {release}"
html_theme_options = {"navbar_center": [], "navbar_end": ["theme-switcher"], "navigation_with_keys": False}
html_sidebars = {"**": ["globaltoc.html"]}
html_copy_source = html_show_sphinx = False
