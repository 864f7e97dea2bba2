"""What models have in common whose programs are the same."""

from app.card import Card


def architecture_card(card: Card) -> Card:
    """Return a card without what versions of one architecture differ in."""
    forgotten = {"name": "any", "familiarity": (), "provenance": {}, "metrics": {}}
    return card.model_copy(update={**forgotten, "default_steps": None, "max_steps": None})
