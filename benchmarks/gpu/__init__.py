"""Feed a GPU; `sections` has what is measured."""
