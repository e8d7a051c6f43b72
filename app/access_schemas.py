"""Shapes of answers about owners."""

from pydantic import BaseModel, Field


class OwnerUse(BaseModel):
    """What an owner has."""

    owner: str
    runs: int
    bases: int = Field(description="Bases of all the owner's runs.")
    active_runs: int = Field(description="Runs that are not at their end.")
    active_bases: int
    last_submitted_at: str | None


class OwnerList(BaseModel):
    """All owners, by name."""

    owners: list[OwnerUse]
