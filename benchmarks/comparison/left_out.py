"""Configurations without some of what an encoder sees."""

from medtop.files.errors import DataError


def without(config, names):
    """A configuration without some embeddings, or with a number of it at 0."""
    for name in names.split("+"):
        if name in config["embeddings"]:
            config = config | {"embeddings": [kept for kept in config["embeddings"] if kept != name]}
        elif isinstance(config.get(name), int | float):
            config = config | {name: 0}
        else:
            raise DataError(f"--without: expected an embedding or a number of the configuration, received {name!r}")
    return config
