"""What a norm over groups of channels of one row (Wu and He 2018) needs."""


def check_groups(filters: int, groups: int, places: int) -> None:
    """Raise ValueError where a group of a map with `places` has one value: less its own mean that is always 0."""
    if filters // groups * places < 2:
        raise ValueError(
            f"{filters} filters in {groups} groups leave a norm one value a group where the picture has shrunk to one "
            "place, and nothing of the picture: take fewer groups, or larger pictures"
        )
